"""Names of recordings and of classes: what they may be, and which recording a name in another file means."""

import functools
import pathlib
import unicodedata

from tal_jax.data.feature_files import SUFFIXES as FEATURE_SUFFIXES
from tal_jax.errors import UNPRINTABLE, DataError

# Of a recording's name. Files are called after it, and a file's name may have 255 bytes: the longest is that
# of a file on its way, ".NAME.cas.npz.1a2b3c4d".
MAX_BYTES = 236
VIDEO_SUFFIXES = tuple(
    ".3gp .asf .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv".split()
)
FILE_SUFFIXES = VIDEO_SUFFIXES + FEATURE_SUFFIXES  # of recordings, and of what is computed of them


def require_name(name, where):
    """Raises DataError for a recording's or video's name that is no plain file name; `where` begins the
    sentence.

    Such a name is empty, begins with a dot, holds '/', '\\' or a control character, or has more than
    `MAX_BYTES` bytes in UTF-8.
    """
    plain = name and not name.startswith(".") and not {*"/\\"} & {*name} and is_printable(name)
    if not plain or len(name.encode()) > MAX_BYTES:
        raise DataError(
            f"{where}: the recording's name {name!r:.60} is no plain file name; files are called after it, "
            f"so rename the recording: 1 to {MAX_BYTES} bytes, no '/', '\\' or control character, no dot in "
            "front."
        )


def require_label(label, where):
    """Raises DataError for a label that is empty or has a control character; `where` begins the sentence."""
    if not label.strip() or not is_printable(label):
        found = f"the label {label!r:.60} is empty or holds a control character"
        raise DataError(f"{where}: {found}; correct the label.")


@functools.lru_cache(4096)
def is_printable(text):
    """Whether a text has no control character, no line separator and no half of a character: a terminal shows
    it as it is.
    """
    return not UNPRINTABLE.search(text)


def match_names(names, known):
    """Which recordings the names in a file of detections, proposals or scores mean.

    A name that is not known as it is may lack ActivityNet's "v_" or have it, end in a suffix of a video or
    feature file, or differ in case or in the Unicode form of an accent. It stays unknown where it could mean
    several recordings.

    Args:
        names: of a file.
        known: names of recordings.

    Returns:
        {name: the known one, or None}.
    """
    known = ByName(dict.fromkeys(known))
    return {name: known.called(name) for name in names}


def match_names_of_file(path, names, known):
    """`match_names` of a file in which a recording has one name, and one at least is known.

    Args:
        path: of the file.
        names, known: as for `match_names`.

    Raises:
        DataError: two names of the file mean one recording, or there are names but none is known.
    """
    matched, first = match_names(names, known), {}
    for name, recording in matched.items():
        other = first.setdefault(recording, name)
        if recording is not None and other != name:
            found = f"'{other}' and '{name}' are both the recording '{recording}' of the annotations"
            raise DataError(f"{path}: {found}; join them, or rename one.")
    if {*first} == {None}:
        raise DataError(
            f"{path}: none of its recordings is in the annotations. Its first is '{first[None]}', that of "
            f"the annotations '{next(iter(known), '')}'; correct the names or choose other annotations."
        )
    return matched


class ByName(dict):
    """{name of a recording: value}; a recording is also found by another name, as `match_names` says."""

    def called(self, name):
        """The key that a name of a recording means, or None."""
        if dict.__contains__(self, name):
            return name
        same = self._keys_alike.get(_key(name), ())
        return same[0] if len(same) == 1 else None

    def __contains__(self, name):
        return self.called(name) is not None

    def __missing__(self, name):
        if name not in self:
            raise KeyError(name)
        return self[self.called(name)]

    @functools.cached_property
    def _keys_alike(self):
        alike = {}
        for name in self:
            alike.setdefault(_key(name), []).append(name)
        return alike


def _key(name):
    """A recording's name without "v_" in front, the suffix of a file and the case of its letters, in Unicode
    form NFC.
    """
    folded = unicodedata.normalize("NFC", name).casefold()
    suffix = pathlib.PurePath(folded).suffix
    return folded.removesuffix(suffix if suffix in FILE_SUFFIXES else "").removeprefix("v_")
