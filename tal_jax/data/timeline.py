"""Where features lie in time: from the rows of a file to seconds."""

import dataclasses
from typing import NamedTuple

import numpy as np

from tal_jax.data import signals
from tal_jax.errors import DataError
from tal_jax.runtime_export import seen_sec, to_seconds

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
        return to_seconds(cells, **dataclasses.asdict(self))

    def to_cells(self, seconds):
        """Positions on the feature axis of times in seconds, any shape."""
        frames = np.asarray(seconds, np.float64) * self.fps - self.snippet_frames / 2
        return frames / self.stride_frames + 0.5

    def folded(self, samples_per_frame):
        """The Timeline of frames of so many features each, see `signals.fold_samples`."""
        snippet_frames = self.snippet_frames + (samples_per_frame - 1) * self.stride_frames
        return Timeline(self.fps, samples_per_frame * self.stride_frames, snippet_frames)

    def resized(self, num_features, length):
        """The Timeline of features resized to another length: its cells share evenly what they have seen.

        Source: ActionFormer's published code. Where the features have seen more or less than a stride, it is
        not quite where `snippets.resize_linear` takes its values from.
        """
        frames_apart = self.seen_sec(num_features) * self.fps / length
        return Timeline(self.fps, frames_apart, frames_apart)

    def seen_sec(self, num_features):
        """Seconds from the first frame that the first feature has seen to the last that the last one has."""
        return seen_sec(num_features, **dataclasses.asdict(self))


class Axis(NamedTuple):
    """The feature axis of a recording, as its file shows it.

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
    """The array (T, C) of a FeatureFile, resampled where its times ask for it, and its Axis.

    Args:
        file: tables.FeatureFile.
        said: features a second, see `said_rate`.
        where: the recording, for messages.

    Raises:
        DataError: the file says another rate, or most of its time has no samples.
    """
    times, array = file.times_sec, file.array
    if times is None and file.rate is None:
        return array, Axis(max(file.rows, len(array)), 0.0, file.notes)
    measured = file.rate if times is None else signals.measured_rate(times)
    if said and abs(measured / said - 1) > (SAME_SOUND_RATE if times is None else SAME_RATE):
        raise DataError(
            f"{where} has {measured:.6g} rows a second as its file says, but {said:.6g} by its annotation or "
            "config.data.fps and .stride_frames. If the latter are right, as those of the recordings that a "
            "run was trained on, resample the file; else correct them."
        )
    if times is None:
        return array, Axis(len(array), measured, file.notes)
    gaps, rate, notes = signals.gaps(times), said or measured, dict(file.notes)
    if sum(length for _, length in gaps) > times[-1] / 2:
        start, length = max(gaps, key=lambda gap: gap[1])
        found = f"a gap of {length:.6g} s at {start:.6g} s, and less than half of its time has samples"
        raise DataError(f"{where} has {found}; cut its file there.")
    if gaps:
        listed = ", ".join(f"{length:.4g} s at {start:.4g} s" for start, length in gaps[:GAPS_TOLD])
        listed += f" and {len(gaps) - GAPS_TOLD} more" if len(gaps) > GAPS_TOLD else ""
        notes[f"gaps {where}"] = f"has gaps between its times, of {listed}; a straight line fills each"
    even = signals.resample(array, times, rate)
    if even is array:
        notes["rate"] = f"has {rate:.6g} samples a second by its times"
    else:
        apart = f"{np.diff(times).min():.4g} to {np.diff(times).max():.4g} s apart"
        notes["resampled"] = f"has times {apart}; its samples are interpolated at {rate:.6g} a second"
    return even, Axis(len(even), rate, notes)


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
    if fps:
        num_frames = recording.num_frames or round(fps * (recording.duration_sec or 0))
        frames_apart = fps / rate if rate else num_frames / rows
        if frames_apart:
            return Timeline(fps, frames_apart, frames_apart)
        raise DataError(
            f"Recording '{recording.name}' has neither 'num_frames' nor 'duration', over which its features "
            "could be spread (config.data.stride_frames is 0); annotate one of them."
        )
    if rate:
        return Timeline(rate * stride, stride, snippet) if stride else Timeline(rate, 1, 1)
    if not recording.duration_sec:
        lacks = f"Recording '{recording.name}' has neither 'fps' nor 'duration'"
        raise DataError(f"{lacks}; annotate one of them or set config.data.fps.")
    return Timeline(rows / recording.duration_sec, 1, 1)
