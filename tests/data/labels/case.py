"""A file of labels, written and read in one call."""

import json

from tal_jax.data.labels import FORMATS, read_labels
from tal_jax.data.labels.rows import Options


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
