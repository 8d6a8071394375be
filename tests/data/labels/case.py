"""A file of labels, written and read in one call; labels made by hand, and folders of recordings."""

import json

from tal_jax.data.labels import FORMATS, read_labels
from tal_jax.data.labels.media import Media
from tal_jax.data.labels.rows import Labels, Options, Row


def read(folder, name, content, kind="", fps=None, label_column=()):
    """(key of the format that read a file of this name and content, its Labels)."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    found, labels = read_labels(path, Options(fps, label_column), kind)
    return next(key for key in FORMATS if FORMATS[key] is found), labels


def actions(labels):
    """[(recording, label, start, end)] of Labels, in seconds to the microsecond."""
    return [(row.recording, row.label, round(row.start_sec, 6), round(row.end_sec, 6)) for row in labels.rows]


def counted(labels):
    """{reason: how often} of what a reader left out."""
    return {reason: len(places) for reason, places in labels.dropped.items()}


def labels(*rows, **recordings):
    """Labels of rows (recording, label, start, end), the place of row i being "line i"."""
    found = Labels([Row(*row, f"line {i}") for i, row in enumerate(rows, 1)])
    for name in dict.fromkeys([*(row[0] for row in rows), *recordings]):
        found.know(name, **recordings.get(name, {}))
    return found


def segments(joined, name="a"):
    actions = joined.content["database"][name]["annotations"]
    return [(action["label"], *action.get("segment", ())) for action in actions]


def folder_of(path, **seconds):
    """A folder with a table of two samples a second for each recording, and a Media of it."""
    path.mkdir(exist_ok=True)
    for name, length in seconds.items():
        rows = [f"{i / 2},{0.5 * (-1) ** i}" for i in range(2 * length)]
        (path / f"{name}.csv").write_text("\n".join(["time_s,x", *rows]))
    return Media(path)
