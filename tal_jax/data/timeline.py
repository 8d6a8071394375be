"""Where features lie in time: from the rows of a file to seconds."""

import dataclasses
from typing import NamedTuple

import numpy as np

from tal_jax.data import signals
from tal_jax.errors import DataError

SAME_RATE = 0.02  # rates that differ by less are one: a clock is not exact
SAME_SOUND_RATE = 1e-3  # of files that say their rate themselves
GAPS_TOLD = 5


@dataclasses.dataclass(frozen=True)
class Timeline:
    """Maps the feature axis of one recording to seconds.

    The axis is continuous: feature i is the cell [i, i+1). It was computed from the `snippet_frames` frames
    that begin at frame i*stride_frames, and its centre i+0.5 is the time of the snippet's centre.

    Attributes:
        fps: frames (samples) of the recording in one second.
        stride_frames: frames from one feature to the next.
        snippet_frames: frames that one feature has seen.
    """

    fps: float
    stride_frames: float
    snippet_frames: float

    def to_seconds(self, cells):
        """Seconds of positions on the feature axis, any shape."""
        return (
            (np.asarray(cells, np.float64) - 0.5) * self.stride_frames + self.snippet_frames / 2
        ) / self.fps

    def to_cells(self, seconds):
        """Positions on the feature axis of times in seconds, any shape."""
        return (
            np.asarray(seconds, np.float64) * self.fps - self.snippet_frames / 2
        ) / self.stride_frames + 0.5

    def folded(self, samples_per_frame):
        """The Timeline of frames of so many features each, see `fold_samples`."""
        snippet_frames = self.snippet_frames + (samples_per_frame - 1) * self.stride_frames
        return Timeline(self.fps, samples_per_frame * self.stride_frames, snippet_frames)

    def seen_sec(self, num_features):
        """Seconds from the first frame that the first feature has seen to the last frame that the last one
        has.
        """
        return ((num_features - 1) * self.stride_frames + self.snippet_frames) / self.fps


class Axis(NamedTuple):
    """What is known of the feature axis of a recording once its file is read.

    Attributes:
        rows: features before folding, and before the longer of two streams is cut: a row that is cut off
            leaves the others where they are.
        rate: features a second as the file says, 0 if it does not.
        notes: ends of sentences about the file by kind, see `FeatureFile`.
    """

    rows: int
    rate: float
    notes: dict


def said_rate(recording, data):
    """Features a second, before folding, that the annotations or else `config.data` say; 0 if they do not."""
    fps = recording.fps or data.fps
    return fps / data.stride_frames if fps and data.stride_frames else 0.0


def on_even_axis(file, said, where):
    """(array (T, C), Axis) of a FeatureFile, resampled where its times ask for it. Raises DataError for two
    rates.
    """
    notes, times = dict(file.notes), file.times_sec
    if times is None and file.rate is None:
        return file.array, Axis(max(file.rows, len(file.array)), 0.0, notes)
    rate = measured = file.rate if times is None else signals.measured_rate(times)
    if said and abs(measured / said - 1) > (SAME_RATE if times is not None else SAME_SOUND_RATE):
        raise DataError(
            f"{where} has {measured:.6g} rows a second as its file says, but {said:.6g} by its annotation "
            "or config.data.fps and .stride_frames. If the latter are right, as those of the recordings that "
            "a run "
            "was trained on, resample the file; else correct them."
        )
    array = file.array
    if times is not None:
        rate = said or measured
        gaps = signals.gaps(times)
        if sum(length for _, length in gaps) > times[-1] / 2:
            start, length = max(gaps, key=lambda gap: gap[1])
            raise DataError(
                f"{where} has a gap of {length:.6g} s at {start:.6g} s, and less than half of its time has "
                "samples; cut its file there."
            )
        array = signals.resample(array, times, rate)
        if gaps:
            listed = ", ".join(f"{length:.4g} s at {start:.4g} s" for start, length in gaps[:GAPS_TOLD])
            more = f" and {len(gaps) - GAPS_TOLD} more" if len(gaps) > GAPS_TOLD else ""
            notes[f"gaps {where}"] = (
                f"has gaps between its times, of {listed}{more}; a straight line fills each"
            )
        if array is not file.array:
            steps = np.diff(times)
            notes["resampled"] = (
                f"has times {steps.min():.4g} to {steps.max():.4g} s apart; its samples are interpolated at "
                f"{rate:.6g} a second"
            )
        else:
            notes["rate"] = f"has {rate:.6g} samples a second by its times"
    return array, Axis(len(array), rate, notes)


def make_timeline(recording, data, axis):
    """Timeline of a recording's features before folding.

    Its own frame rate goes before that of `config.data`, this before that of its file. With none of them, its
    features are spread evenly over its duration; with `config.data.stride_frames` = 0 over its frames.

    Args:
        recording: Recording.
        data: the fields of `config.data`.
        axis: recording name -> Axis. Called only where annotations and config do not say all.
    """
    stride, snippet = data.stride_frames, data.snippet_frames
    fps = recording.fps or data.fps
    if fps and stride:
        return Timeline(fps, stride, snippet)
    rows, rate, _ = axis(recording.name)
    if fps and rate:
        return Timeline(fps, fps / rate, fps / rate)
    if fps:
        num_frames = recording.num_frames or round(fps * (recording.duration_sec or 0))
        if not num_frames:
            raise DataError(
                f"Recording '{recording.name}' has neither 'num_frames' nor 'duration', over which its "
                f"features "
                "could be spread (config.data.stride_frames is 0); annotate one of them."
            )
        return Timeline(fps, num_frames / rows, num_frames / rows)
    if rate:
        return Timeline(rate * stride, stride, snippet) if stride else Timeline(rate, 1, 1)
    if not recording.duration_sec:
        raise DataError(
            f"Recording '{recording.name}' has neither 'fps' nor 'duration'; annotate one of them or set "
            f"config.data.fps."
        )
    return Timeline(rows / recording.duration_sec, 1, 1)
