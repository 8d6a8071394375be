"""Which recording each name in files of labels means."""

import collections
import re

from tal_jax.data.names import ByName, match_names
from tal_jax.errors import DataError


def recordings_of_files(labels, media=None):
    """Which recordings the names in files of labels mean.

    Args:
        labels: list of Labels; notes are added where two names are one recording.
        media: Media, whose names count. None: those of the first file that has a recording.

    Returns:
        list of {name in a file: the recording that it means, or None}, one a file.

    Raises:
        DataError: no recording has a file in `media`, or two folders hold media files of one name.
    """
    recordings = _by_media(labels, media) if media else _by_first_files(labels)
    _require_one_folder(labels, recordings)
    return recordings


def _by_media(labels, media):
    """`recordings_of_files` by the names of the recordings' files. Raises DataError where no name has one."""
    every = {name for found in labels for name in found.recordings}
    others = {name for found in labels for known in found.recordings.values() for name in known["others"]}
    meant = match_names(every | others, media.paths)
    recordings, by_first_name = [], {}
    for found in labels:
        of_file = {}
        for name, known in found.recordings.items():
            same = (meant[n] for n in (name, *known["others"]) if meant[n] is not None)
            of_file[name] = next(same, None)
            if of_file[name] is not None:
                by_first_name.setdefault(name, of_file[name])
        recordings.append(of_file)
    for found, of_file in zip(labels, recordings):
        first_names = {}  # recording -> the first name of the file that means it
        for name, known in found.recordings.items():
            if of_file[name] is None and not known["others"]:  # another file may say what else it is called
                of_file[name] = by_first_name.get(name)
            first = first_names.setdefault(of_file[name], name)
            if of_file[name] is not None and first != name:
                both = f"'{first}' and '{name}' of a file of labels are both '{of_file[name]}'"
                found.notes.append(f"{both} of {media.folder}; their labels are joined.")
    if every and not any(any(of_file.values()) for of_file in recordings):
        first = next(name for found in labels for name in found.recordings)
        none = f"none of the {len(every)} labelled recordings has a file in {media.folder}"
        of_folder = next(iter(media.paths))
        raise DataError(
            f"{none}: the first is '{first}', that of the folder '{of_folder}'; correct the names."
        )
    return recordings


def _by_first_files(labels):
    """`recordings_of_files` by the name that the first file with a recording gives it.

    Two recordings that share an other name alone, as the observation 1 of two projects, are not one.
    """
    recordings, by_any_name = [], {}
    for found in labels:
        before = ByName({recording: recording for of_file in recordings for recording in of_file.values()})
        by_any_name_before, of_file = ByName(dict(by_any_name)), {}
        for name, known in found.recordings.items():
            same = [before[other] for other in (name, *known["others"]) if other in before]
            same += [by_any_name_before[name]] if name in by_any_name_before else []
            of_file[name] = next(iter(same), name)
        counts = collections.Counter(of_file.values())
        for name, known in found.recordings.items():
            if counts[of_file[name]] > 1 and name not in before.keys():
                of_file[name] = name  # the file has two of them: they are not one
            if of_file[name] != name:
                found.notes.append(f"'{name}' is taken to be the '{of_file[name]}' of a file before.")
            for other in (name, *known["others"]):
                by_any_name.setdefault(other, of_file[name])
        recordings.append(of_file)
    return recordings


def _require_one_folder(labels, recordings):
    """Raises DataError for media files of one name in several folders: they are two recordings.

    Absolute paths that begin in different folders may be of two machines, and so may the paths of two files
    of labels: of these the last folders alone are compared.
    """
    last = {}  # recording -> {last folder: (path of folders, place that names it)}
    for found, of_file in zip(labels, recordings):
        for name, places in found.folders.items():
            if of_file.get(name) is None:
                continue
            of_roots = {}  # root of a path -> {path of folders: (it, place that names it)}
            for path, where in places.items():
                root = re.match(r"/[^/]*|[a-zA-Z][a-zA-Z0-9+.-]*:|", path)[0]
                of_root, of_name = of_roots.setdefault(root, {}), last.setdefault(of_file[name], {})
                of_root[path] = of_name[path.rpartition("/")[2]] = path, where
                several = [*(of_root if len(of_root) > 1 else of_name).values()]
                if len(several) > 1:
                    (one, _), (other, where), *_ = several
                    both = f"'{one:.60}' and '{other:.60}' both hold a '{name:.60}'"
                    how = "rename one, because recordings are told apart by their names"
                    raise DataError(f"{where}: {both}; {how}, or write one folder if it is one recording.")
