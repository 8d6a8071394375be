"""What the rules of a plan know of a data set: lengths of actions, rates, moments of channels."""

import contextlib
import math
from typing import NamedTuple

import numpy as np

from tal_jax import data
from tal_jax.data import check
from tal_jax.data.dataset import common_frame_sec
from tal_jax.errors import DataError
from tal_jax.runtime_export import LARGEST

MOST_READ, MOST_VALUES = 20, 4_000_000  # training recordings that are read, values of each
OVERLAP_SEC = 1e-3  # two actions may touch
SMALLEST_SHARE = 1e-6  # of its mean, by which a channel varies: less is rounding


class Fingerprint(NamedTuple):
    """A summary of the training recordings of a data set; the rules of `plan` read nothing else."""

    recordings: dict  # subset, any -> how many
    rows_a_sec: float  # of feature files, the median
    channels: int
    offsets: tuple  # of each channel the mean
    scales: tuple  # and the deviation, 1 for one that does not vary
    still: int  # channels that do not vary
    missing: float  # share of the values of the recordings that were read that are not finite
    lost: dict  # channel, from 1 -> in how many of them it has no value at all
    seconds: float  # of all recordings
    recording_sec: float  # the median of those that were read
    lengths_sec: np.ndarray  # (N,) of actions, ascending
    shortest_rows: float = math.inf  # of any recording whose length is annotated, or that was read
    of_classes: tuple = (1,)  # number of labels of each class in training
    overlap: bool = False  # whether two actions of a training recording do
    most_actions: int = 0  # of a training recording
    longest_rows: int = 0  # of all training recordings, where labels have no times

    def quantile_sec(self, share):
        """The length that this share of the actions does not exceed, in seconds."""
        return float(np.quantile(self.lengths_sec, share))


def fingerprint(config):
    """The Fingerprint of the data that a config names: annotations, and MOST_READ of the training files.

    Raises:
      DataError: the data cannot be read, or no training recording has a label.
    """
    raw = config.copy_and_resolve_references()
    raw.data.update(samples_per_frame=1, statistics_samples=0, standardised=False, allow_missing=True)
    raw.data.update(channel_offsets=(), channel_scales=(), fill_missing=False)
    dataset = data.load_dataset(raw)
    annotations = dataset.annotations
    training = annotations.subset(config.data.train_subset).recordings
    if not any(len(recording.labels) for recording in training.values()):
        raise DataError(
            f"No recording of the subset '{config.data.train_subset}' has a label, from which a plan could "
            "be made; annotate them."
        )
    names = [*training][:: math.ceil(len(training) / MOST_READ)]
    rates, seconds, read_rows, readable, means, variances, missing, problem = [], [], [], [], [], [], [], None
    for name in names:
        try:
            rows, timeline = dataset.read(name), dataset.timeline(name)
        except DataError as error:  # training and check_data read the file too, and name it
            problem = problem or error
            continue
        seconds.append(timeline.seen_sec(len(rows)))
        read_rows.append(len(rows))
        readable.append(name)
        frame_sec = common_frame_sec(dataset, [name])[0]
        rates.append(1 / frame_sec if frame_sec else len(rows) / seconds[-1])
        rows = np.float64(rows[:: math.ceil(rows.size / MOST_VALUES)])
        rows = np.ma.masked_invalid(rows)
        if (largest := float(np.abs(rows).filled(0).max())) > LARGEST:
            what = f"Recording '{name}' has values up to {largest:.2g}, more than {LARGEST:g}"
            raise DataError(f"{what}, too large for a mean and a deviation; correct the file.")
        if not means or rows.shape[1] == len(means[0]):
            means.append(rows.mean(axis=0))
            variances.append(rows.var(axis=0))
            missing.append(np.ma.getmaskarray(rows).mean())
    if not means:
        raise problem
    if unit_problem := check.unit_problem(dataset, readable):
        raise DataError(unit_problem)
    means, variances = np.ma.stack(means), np.ma.stack(variances)
    mean = means.mean(axis=0).filled(0)
    deviation = np.sqrt(variances.mean(axis=0).filled(0) + means.var(axis=0).filled(0))
    lost = np.ma.getmaskarray(means).sum(axis=0)
    if lost.all() and lost.min() == len(means):
        raise DataError(f"No value of the training recording '{names[0]}' is a number; correct the files.")
    varies = deviation > SMALLEST_SHARE * np.abs(mean)
    lengths_sec = _lengths(training.values())
    durations_sec = [recording.duration_sec for recording in annotations.recordings.values()]
    known = [int(duration_sec * np.median(rates)) for duration_sec in durations_sec if duration_sec]
    subsets = [recording.subset for recording in annotations.recordings.values()]
    return Fingerprint(
        recordings={subset: subsets.count(subset) for subset in dict.fromkeys(subsets)},
        rows_a_sec=float(np.median(rates)),
        channels=len(mean),
        offsets=tuple(np.float32(mean).tolist()),
        scales=tuple(np.float32(np.where(varies, deviation, 1)).tolist()),
        still=int((~varies).sum()),
        missing=float(np.mean(missing)),
        lost={int(channel) + 1: int(lost[channel]) for channel in np.flatnonzero(lost)},
        seconds=float(np.mean(seconds) * len(training)),
        recording_sec=float(np.median(seconds)),
        lengths_sec=lengths_sec,
        shortest_rows=min(known + read_rows),
        of_classes=_of_classes(training.values()),
        overlap=any(_overlap(recording.segments_sec) for recording in training.values()),
        most_actions=max(len(recording.labels) for recording in training.values()),
        longest_rows=0 if len(lengths_sec) else _most_rows(dataset, training, np.median(rates)),
    )


def _most_rows(dataset, recordings, rows_a_sec):
    """Rows of the longest recording: by the annotations, or of the files where these do not say them all."""
    durations = [recording.duration_sec for recording in recordings.values()]
    if all(durations):
        return round(max(durations) * rows_a_sec)
    most = 0
    for name in recordings:
        with contextlib.suppress(DataError):  # training and check_data name the file
            most = max(most, len(dataset.read(name)))
    return most


def _of_classes(recordings):
    """How many labels of recordings each class has that occurs, a tuple."""
    labels = np.concatenate([recording.labels for recording in recordings])
    return tuple(np.unique(labels, return_counts=True)[1].tolist())


def _overlap(segments_sec):
    """Whether two of (N, 2) segments have time in common."""
    ordered = segments_sec[np.argsort(segments_sec[:, 0])]
    return bool((ordered[1:, 0] < np.maximum.accumulate(ordered[:, 1])[:-1] - OVERLAP_SEC).any())


def _lengths(recordings):
    """(N,) lengths in seconds of the actions with times of recordings, ascending."""
    lengths = [np.diff(recording.segments_sec)[:, 0] for recording in recordings]
    lengths = np.concatenate([np.zeros(0), *lengths])
    return np.sort(lengths[lengths > 0])
