"""The recordings of a page: truth, detections, signal and video of each, in few bytes."""

import contextlib
import logging
import os
import pathlib
import urllib.parse

import numpy as np

from tal_jax import exports
from tal_jax.data import DATASETS
from tal_jax.errors import DataError
from tal_jax.page import signals

MOST_SIGNALS = 600  # recordings: reading more takes too long at the end of an evaluation
DETECTION_BYTES = 29  # of a detection in the page, about


def truth_of(recording, found_at=()):
    """The truths of a Recording that have times, as rows [class index, start, end (ms), *scores].

    found_at: of each run the (G,) scores of the detections that find them, which the rows have, None for NaN.
    """
    timed = np.isfinite(recording.segments_sec).all(axis=1)
    columns = [recording.labels[timed].tolist(), *_ms(recording.segments_sec[timed])]
    columns += [[None if np.isnan(s) else short(s) for s in scores[timed]] for scores in found_at]
    return [[*row] for row in zip(*columns, strict=True)]


def found_of(detections, index, types=None, most=None):
    """The best `most` detections of a recording, by falling score.

    Args:
      detections: [{"label", "segment", "score"}].
      index: {class: number}.
      types: of the detections, see `judged.Judged`; None: nothing is judged.
      most: None keeps all.

    Returns:
      {"rows": [[class index, start, end (ms), score, type]], "rest": number of wrong ones that are left out};
      rows have no type without types.
    """
    scores = np.array([d["score"] for d in detections], float)
    order = np.argsort(-scores, kind="stable")
    kept, rest = order[:most], order[len(order) if most is None else most :]
    segments_sec = np.array([detections[i]["segment"] for i in kept], float).reshape(-1, 2)
    columns = [[index[detections[i]["label"]] for i in kept], *_ms(segments_sec)]
    columns.append([short(score) for score in scores[kept]])
    if types is not None:
        columns.append(types[kept].tolist())
    wrong = 0 if types is None else int((types[rest] > 0).sum())
    return {"rows": [[*row] for row in zip(*columns, strict=True)], "rest": wrong}


def most_of_each(counts, num_bytes):
    """How many detections of each recording a page may hold, for so many bytes; None: all.

    counts: (R,) numbers of detections.
    """
    room = num_bytes / DETECTION_BYTES
    if counts.sum() <= room:
        return None
    low, high = 1, int(counts.max())
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(counts, middle).sum() <= room else (low, middle - 1)
    return low


def entry_of(recording, ignored_labels=()):
    """The entry of a Recording in a corrected annotation file, without its actions."""
    facts = {"duration": recording.duration_sec, "fps": recording.fps}
    facts |= {"num_frames": recording.num_frames, "subject": recording.subject}
    entry = {"subset": recording.subset} | {field: value for field, value in facts.items() if value}
    if len(recording.ignored_sec) and ignored_labels:
        rows = [{"label": ignored_labels[0], "segment": sec} for sec in recording.ignored_sec.tolist()]
        entry["ignored"] = rows
    return entry


class SignalReader:
    """Reads signals as the files have them, before they are folded or described.

    Attributes:
      problem: why there are none, a sentence, or "".
    """

    def __init__(self, config, count):
        self.problem, self._dataset = "", None
        if config.data.input != "features":
            self.problem = "The run sees videos: the page plays those that it finds, or that --input names."
            return
        if count > MOST_SIGNALS:
            self.problem = f"Signals are not shown: there are more than {MOST_SIGNALS} recordings."
            return
        try:
            with said_before():
                self._dataset = DATASETS[config.data.name](as_in_files(config))
        except (DataError, OSError) as error:
            self.problem = f"Signals are not shown: {error}"

    def read(self, name):
        """The signal of a recording, see `signal_of`; None where it cannot be shown."""
        if self._dataset is None or name not in self._dataset.annotations.recordings:
            return None
        try:
            with said_before():
                signal = signal_of(self._dataset, name)
        except (DataError, OSError) as error:
            self.problem = self.problem or f"Signals are not shown of all recordings: {error}"
            return None
        if signal is None:
            self.problem = "The inputs are features of many channels, which a page does not show."
            self._dataset = None
        return signal


@contextlib.contextmanager
def said_before():
    """Keeps the log quiet while files are read again: their notes have been told."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def as_in_files(config):
    """The config to read signals with as the files have them, before they are folded or described."""
    plain = config.copy_and_resolve_references()
    plain.data.update(samples_per_frame=1, statistics_samples=0, samples_beside=False)
    plain.data.update(standardised=False, fill_missing=False)
    return plain


def signal_of(dataset, name):
    """(values (T, C), time of the first sample, seconds from one to the next, C names or ()), the arguments
    of `signals.packed`; None for features, of many channels.

    Raises DataError for a bad file.
    """
    values = dataset.read(name)
    if values.ndim != 2 or not values.size or values.shape[1] > signals.FEATURES:
        return None
    first, second = dataset.timeline(name).to_seconds(np.array([0.0, 1.0]))
    names = dataset.channels(name)
    return values, float(first), float(second - first), names if len(names) == values.shape[1] else ()


def media_of(config, folder=""):
    """{recording: path of its video or sound}: of a folder, and else of the config's folders of inputs."""
    data, found = config.data, {}
    for place in (data.get("frames"), data.get("features"), folder):
        found |= exports.media_files(place, data.file_prefix)
    return found


def link(path, page):
    """{"src", "sound"} of a video or sound as the page names it: relative to the page, if it can be."""
    path, folder = pathlib.Path(path).resolve(), pathlib.Path(page).resolve().parent
    try:
        src = urllib.parse.quote(os.path.relpath(path, folder).replace(os.sep, "/"))
    except ValueError:  # on another drive
        src = path.as_uri()
    return {"src": src, "sound": path.suffix.lower() == ".wav"}


def _ms(segments_sec):
    """[starts, ends] of (n, 2) segments in whole milliseconds."""
    return np.round(1000 * segments_sec).astype(int).T.tolist()


def short(score):
    """A score with four digits."""
    return float(f"{score:.4g}")
