"""Turns labels as people have them into the annotation file of tal_jax, and says what it found and dropped.

python -m tal_jax.annotations --from FILES… --to=annotations.json
    files of ELAN, Praat, BORIS, Audacity, Label Studio, VIA, tables (CSV, TSV) and more: docs/data.md lists
    them; --from also takes folders and patterns, --from='labels/*.eaf'
python -m tal_jax.annotations --from labels --to=annotations.json --features=FOLDER --test=NAME,NAME
    takes lengths from the recordings' files, leaves out what has no file, and says who is to be tested on
python -m tal_jax.annotations --from old.json corrected.json --to=annotations.json --replace
    takes the labels of a recording from the last file that has it
"""

import argparse
import collections
import glob
import itertools
import json
import pathlib
import statistics
import sys
import unicodedata

import numpy as np

from tal_jax.data.labels import FORMATS, SUFFIXES, UnknownFormat, read_labels
from tal_jax.data.labels.joined import join_labels
from tal_jax.data.labels.media import Media
from tal_jax.data.labels.rows import Options
from tal_jax.data.video_jobs import first_few
from tal_jax.errors import DataError, plain, sentence_of
from tal_jax.runtime.files import list_files, replacing

MOST_NOTES = 20  # that are printed


def convert_labels(
    sources,
    target,
    kind="",
    options=Options(),
    features="",
    fps=None,
    widen_sec=0.0,
    test=(),
    replace=False,
):
    """Writes an annotation file of files of labels.

    Args:
        sources: files, folders or patterns.
        target: the JSON file to write; one that exists is replaced.
        kind: key of FORMATS that all files have; "": the format of each is recognised.
        options: rows.Options.
        features: folder of the recordings' features, signals or videos; "": names and lengths are as the
            labels say.
        fps: rows of features a second, where their files do not say it.
        widen_sec, test: see `joined.join_labels`.
        replace: whether the labels of a recording are those of the last of its files alone.

    Returns:
        list of lines, the report.

    Raises:
        DataError: a file cannot be read, no label is left, or `target` is one of the sources.
    """
    target = pathlib.Path(target)
    paths, named = find_sources(sources)
    if target.suffix.lower() != ".json":
        raise DataError(f"--to={target} must end in .json.")
    if target.exists() and any(target.samefile(path) for path in paths):
        raise DataError(
            f"--to={target} is a file that --from names and would be overwritten; choose another."
        )
    if fps and not features:
        raise DataError("--features_fps is of the files of --features; name their folder, or leave it out.")
    media = Media(features, fps) if features else None
    read, unknown = [], []
    for path in paths:
        try:
            read.append(read_labels(path, options, kind))
        except UnknownFormat as error:
            if path in named:
                raise
            unknown.append(error)
    if not read:
        raise unknown[0]
    known = {name for _, found in read for name in found.label_columns}
    if unread := [name for name in options.label_column if name not in known]:
        raise DataError(f"--label_column names '{unread[0]:.60}', which no file has; correct it.")
    joined = join_labels([found for _, found in read], media, widen_sec, test, replace, target)
    joined.notes[:0] = [f"{error} It is not read." for error in unknown]
    with replacing(target) as temporary:
        temporary.write_text(json.dumps(joined.content, indent=1, ensure_ascii=False), encoding="utf-8")
    return report_lines(read, joined, media, target)


def find_sources(sources):
    """The files that --from names: files, those of a folder that may hold labels, and patterns.

    Returns:
        (list of paths, each once; the set of those that are named one by one).

    Raises:
        DataError: a name is that of nothing, or a folder holds no such file.
    """
    paths, named = [], set()
    for source in sources:
        hint = "there is no such file"
        if pathlib.Path(source).is_dir():
            found = list_files(source, SUFFIXES)[0]
            hint = f"it holds no file of {', '.join(sorted(SUFFIXES))}"
        elif pathlib.Path(source).exists():
            found = [pathlib.Path(source)]
            named.update(found)
        else:
            found = [
                path
                for path in map(pathlib.Path, sorted(glob.glob(source, recursive=True)))
                if path.is_file()
            ]
        if not found:
            raise DataError(f"--from={source}: {hint}.")
        paths += found
    return [*dict.fromkeys(paths)], named


def report_lines(read, joined, media, target):
    """The lines of the report: what was found, what was dropped or changed and why, and what was written.

    Args:
        read: list of (Format, Labels), one a file.
        joined: Joined.
        media: Media, or None.
        target: the file that was written.
    """
    database = joined.content["database"]
    lines = []
    for kind in FORMATS.values():
        of_kind = [found for other, found in read if other is kind]
        rows = sum(len(found.rows) for found in of_kind)
        if of_kind:
            lines.append(f"Read: {_count(len(of_kind), 'file')} of {kind.title}, {_count(rows, 'label')}.")
    lines += ["", *_class_table(database), ""]
    for reason, places in joined.dropped.items():
        lines.append(f"{len(places)} dropped: {reason}: {_listed(places)}.")
    if joined.unmatched:
        listed = first_few([f"{name} ({count})" for name, count in joined.unmatched.items()])
        count = sum(joined.unmatched.values())
        lines.append(f"{count} dropped: their recording has no file in {media.folder}: {listed}.")
    for how, places in joined.changed.items():
        lines.append(f"{len(places)} changed: {how}: {_listed(places)}.")
    if not joined.dropped and not joined.unmatched:
        lines.append("Nothing was dropped.")
    lines += [f"Note: {note}" for note in joined.notes[:MOST_NOTES]]
    if joined.notes[MOST_NOTES:]:
        lines.append(f"Note: and {len(joined.notes) - MOST_NOTES} more notes.")
    unlabelled = [name for name in media.paths if name not in database] if media else []
    if unlabelled:
        count = f"{_count(len(unlabelled), 'file')} of {media.folder} without labels"
        lines.append(f"Note: {count}, left out: {first_few(unlabelled)}.")
    same, other = overlap_counts(joined.content)
    if same or other:
        counted = f"{same} actions overlap another of their class, {other} one of another class"
        lines.append(f"Note: {counted}; all are kept. --mode=check_data says what a system learns of them.")
    subsets = collections.Counter(entry["subset"] for entry in database.values())
    counted = ", ".join(f"{count} {subset}" for subset, count in subsets.items())
    actions = sum(len(entry["annotations"]) for entry in database.values())
    number = f"{_count(actions, 'action')} in {_count(len(database), 'recording')} ({counted})"
    return [plain(line) for line in [*lines, f"Written: {target}, {number}."]]


def _listed(places, most=10):
    """The first few of many places, each once, for a sentence."""
    places = [*dict.fromkeys(places)]
    return "; ".join(places[:most]) + (f"; and {len(places) - most} more" if len(places) > most else "")


def _count(number, what):
    return f"{number} {what}{'s' * (number != 1)}"


def _class_table(database):
    """Lines, one a class: how many actions and recordings, and the lengths of its actions in seconds."""
    lengths, recordings = collections.defaultdict(list), collections.defaultdict(set)
    counts = collections.Counter()
    for name, entry in database.items():
        for action in entry["annotations"]:
            start, end = action.get("segment", (None, None))
            lengths[action["label"]] += [] if start is None else [end - start]
            counts[action["label"]] += 1
            recordings[action["label"]].add(name)
    rows = [("class", "actions", "recordings", "shortest (s)", "median (s)", "longest (s)")]
    for label, count in sorted(counts.items()):
        of_class = lengths[label]
        spread = (min(of_class), statistics.median(of_class), max(of_class)) if of_class else (None,) * 3
        cells = ("-" if length is None else f"{length:.2f}" for length in spread)
        rows.append((label, str(count), str(len(recordings[label])), *cells))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def overlap_counts(content):
    """(actions that overlap another of their class, actions that overlap one of another class)."""
    same = other = 0
    for entry in content["database"].values():
        timed = [
            (*action["segment"], action["label"]) for action in entry["annotations"] if "segment" in action
        ]
        segments_sec = np.array([row[:2] for row in timed], np.float64).reshape(-1, 2)
        labels = np.array([row[2] for row in timed])
        own = np.zeros(len(timed), int)
        for label in np.unique(labels):
            own[labels == label] = _overlapping(segments_sec[labels == label])
        same += int((own > 0).sum())
        other += int((_overlapping(segments_sec) > own).sum())
    return same, other


def _overlapping(segments_sec):
    """(G,) of each of the segments (G, 2) how many others it overlaps."""
    starts, ends = np.sort(segments_sec, axis=0).T
    begun = np.searchsorted(starts, segments_sec[:, 1], side="left")
    over = np.searchsorted(ends, segments_sec[:, 0], side="right")
    return begun - over - 1


def _positive(text):
    value = float(text)
    if not 1e-6 <= value < float("inf"):
        raise ValueError
    return value


_positive.__name__ = "positive number"


def _names(text):
    text = unicodedata.normalize("NFC", text)
    return tuple(name.strip() for name in text.split(",") if name.strip())


def main():
    """Runs the command line. What the user can put right ends with one sentence and exit code 1."""
    parser = argparse.ArgumentParser("python -m tal_jax.annotations", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    of_from = dict(nargs="+", action="extend", required=True, metavar="FILE")
    parser.add_argument("--from", dest="sources", help="files, folders or patterns of labels", **of_from)
    parser.add_argument("--to", required=True, help="the annotation file to write, .json")
    parser.add_argument("--format", choices=FORMATS, default="", help="of all files, if it is not recognised")
    features_help = "folder of the recordings' features, signals or videos: their names and lengths"
    parser.add_argument("--features", default="", help=features_help)
    parser.add_argument(
        "--fps", type=_positive, help="frames or samples a second, where labels count in them"
    )
    rows_help = "rows of the files of --features a second, where these do not say it"
    parser.add_argument("--features_fps", type=_positive, help=rows_help)
    column_help = "names of the columns, tiers or attributes that hold the labels, with commas between"
    of_names = dict(type=_names, action="append", default=[], metavar="NAME,NAME")
    parser.add_argument("--label_column", help=column_help, **of_names)
    widen_help = "makes a point an action of so many seconds around it"
    parser.add_argument("--widen_sec", type=_positive, default=0.0, metavar="SECONDS", help=widen_help)
    test_help = "recordings or subjects that are the subset test, with commas between; others stay in theirs"
    parser.add_argument("--test", help=test_help, **of_names)
    replace_help = "takes the labels of a recording from the last file that has it, not from all"
    parser.add_argument("--replace", action="store_true", help=replace_help)
    said = parser.parse_args()
    label_column, test = (tuple(itertools.chain(*names)) for names in (said.label_column, said.test))
    options = Options(said.fps, label_column)
    try:
        features = dict(features=said.features, fps=said.features_fps)
        rest = dict(widen_sec=said.widen_sec, test=test, replace=said.replace)
        print("\n".join(convert_labels(said.sources, said.to, said.format, options, **features, **rest)))
    except (DataError, OSError) as error:
        sys.exit(f"Error: {sentence_of(error)}")


if __name__ == "__main__":
    main()
