"""Which recording each name in files of labels means."""

import collections
import re

from tal_jax.data.names import ByName, match_names
from tal_jax.errors import DataError


def called_in_files(labels, media=None):
    """What the recordings of files of labels are called in the annotation file.

    Args:
        labels: list of Labels; notes are added where two names are one recording.
        media: Media, whose names count. None: those of the first file that has a recording.

    Returns:
        list of {name in a file: the recording that it means, or None}, one a file.

    Raises:
        DataError: no recording has a file in `media`, or two folders hold media files of one name.
    """
    called = _names_of_media(labels, media) if media else _names_of_first_files(labels)
    _require_one_folder(labels, called)
    return called


def _names_of_media(labels, media):
    """`called_in_files` by the names of the recordings' files. Raises DataError where no name has a file."""
    every = {name for found in labels for name in found.recordings}
    every |= {name for found in labels for known in found.recordings.values() for name in known["others"]}
    meant = match_names(every, media.paths)
    called, of_first_name = [], {}
    for found in labels:
        names = {}
        for name, known in found.recordings.items():
            names[name] = next((meant[n] for n in (name, *known["others"]) if meant[n] is not None), None)
            of_first_name.setdefault(name, names[name])
        called.append(names)
    for found, names in zip(labels, called):
        firsts = {}  # recording -> the first name that means it
        for name, known in found.recordings.items():
            if not known["others"]:  # the file of another program may say what else it is called
                names[name] = names[name] or of_first_name[name]
            first = firsts.setdefault(names[name], name)
            if names[name] is not None and first != name:
                both = f"'{first}' and '{name}' of a file of labels are both '{names[name]}'"
                found.notes.append(f"{both} of {media.folder}; their labels are joined.")
    if called and not any(any(names.values()) for names in called):
        first, of_folder = next(iter(every), ""), next(iter(media.paths))
        first = next((name for found in labels for name in found.recordings), first)
        count = len({name for found in labels for name in found.recordings})
        none = f"none of the {count} labelled recordings has a file in {media.folder}"
        raise DataError(
            f"{none}: the first is '{first}', that of the folder '{of_folder}'; correct the names."
        )
    return called


def _names_of_first_files(labels):
    """`called_in_files` by the name that the first file with a recording gives it.

    Two recordings that share an other name alone, as the observation 1 of two projects, are not one.
    """
    called, known_as = [], {}  # known_as: any name that a file gives a recording -> what it is called
    for found in labels:
        firsts = ByName({first: first for names in called for first in names.values()})
        aliases, meant = ByName(dict(known_as)), {}
        for name, known in found.recordings.items():
            same = [firsts[other] for other in (name, *known["others"]) if other in firsts]
            same += [aliases[name]] if name in aliases else []
            meant[name] = next(iter(same), name)
        counts = collections.Counter(meant.values())
        for name, known in found.recordings.items():
            if counts[meant[name]] > 1 and name not in firsts.keys():
                meant[name] = name  # the file has two of them: they are not one
            if meant[name] != name:
                found.notes.append(f"'{name}' is taken to be the '{meant[name]}' of a file before.")
            for other in (name, *known["others"]):
                known_as.setdefault(other, meant[name])
        called.append(meant)
    return called


def _require_one_folder(labels, called):
    """Raises DataError for media files of one name in several folders: they are two recordings.

    Absolute paths that begin in different folders may be of two machines, and so may the paths of two files
    of labels: of these the last folders alone are compared.
    """
    last = {}  # recording -> {last folder: (path of folders, place that names it)}
    for found, names in zip(labels, called):
        for name, places in found.folders.items():
            if names.get(name) is None:
                continue
            of_roots = {}  # root of a path -> {path of folders: (it, place that names it)}
            for path, where in places.items():
                root = re.match(r"/[^/]*|[a-zA-Z][a-zA-Z0-9+.-]*:|", path)[0]
                of_root, of_name = of_roots.setdefault(root, {}), last.setdefault(names[name], {})
                of_root[path] = of_name[path.rpartition("/")[2]] = path, where
                several = [*(of_root if len(of_root) > 1 else of_name).values()]
                if len(several) > 1:
                    (one, _), (other, where), *_ = several
                    both = f"'{one:.60}' and '{other:.60}' both hold a '{name:.60}'"
                    how = "rename one, because recordings are told apart by their names"
                    raise DataError(f"{where}: {both}; {how}, or write one folder if it is one recording.")
