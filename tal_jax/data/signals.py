"""Samples of a sensor, their faults and their times: pure functions on arrays.

What a network sees of them is in `runtime_export.as_frames`.
"""

import numpy as np

from tal_jax.runtime_export import band_edges, finite_values

LONGEST_STEP = 10  # median steps; a longer one is a gap
UNEVEN = 0.25  # of a step, more than rounding of times; samples further off their places are resampled


def finite_rows(features):
    """(T,) bool: the rows of a (T, ...) array whose values are all finite as float32."""
    return finite_values(features).reshape(len(features), -1).all(axis=1)


def place_of_first_bad(features, samples_per_frame=1, span=0):
    """Where in its file the first value is that is not finite, as words: "row 5", counted from 0.

    Args:
        features: (T, ...) as a detector sees them, with at least one such value.
        samples_per_frame, span: as of `constant_channels`.
    """
    frame = int(finite_rows(features).argmin())
    if span:  # the frame sees the rows around it
        first = frame * samples_per_frame - max((span - samples_per_frame) // 2, 0)
        return f"frame {frame}, made of rows {max(first, 0)} to {first + span - 1}"
    if samples_per_frame == 1:
        return f"row {frame}"
    width = features.shape[1] // samples_per_frame
    return f"row {frame * samples_per_frame + int(finite_values(features[frame]).argmin()) // width}"


def constant_channels(features, samples_per_frame=1, span=0, beside=False):
    """The channels of a sensor, counted from 1, that have one value all over a recording.

    Args:
        features: (T, C) as a detector sees them.
        samples_per_frame: so many samples are folded into one row, see `runtime_export.fold_samples`.
        span: the rows are the `runtime_export.sample_statistics` of so many samples instead, if not 0.
        beside: the folded samples follow the statistics.

    Returns:
        (list of channels, number of all channels).
    """
    rows, width = features.shape
    if span:  # of each channel the mean, the variance and the bands
        numbers = 1 + len(band_edges(span // 2))
        channels = width // (numbers + beside * samples_per_frame)
        still = _still(features[:, : channels * numbers]).reshape(channels, numbers).all(axis=1)
    else:
        still = _still(features.reshape(rows * samples_per_frame, width // samples_per_frame))
    return (np.flatnonzero(still) + 1).tolist(), len(still)


def _still(samples):
    """(C,) bool: the columns of one value. Looks at all rows of those alone that the first rows leave."""
    still = (samples[:100] == samples[:1]).all(axis=0)
    still[still] = (samples[:, still] == samples[:1, still]).all(axis=0)
    return still


def measured_rate(times_sec):
    """Samples a second of (T,) increasing times, T at least 2: by all their steps that are no gaps.

    A step counts as so many samples as it holds median steps, so that lost samples, jitter and times that are
    rounded to milliseconds do not change the rate.
    """
    steps = np.diff(times_sec)
    median = np.median(steps)
    usual = steps[steps <= LONGEST_STEP * median]
    return float(np.round(usual / median).sum() / usual.sum())


def gaps(times_sec):
    """[(start, length)] of the steps above LONGEST_STEP median ones of (T,) increasing times, in seconds.

    A start is counted from the first time.
    """
    steps = np.diff(times_sec)
    places = np.flatnonzero(steps > LONGEST_STEP * np.median(steps))
    return [(float(times_sec[place] - times_sec[0]), float(steps[place])) for place in places]


def resample(signal, times_sec, rate):
    """Samples that have times, on an even axis that begins with the first of them.

    Args:
        signal: (T, C).
        times_sec: (T,) float64, increasing.
        rate: samples a second of the axis.

    Returns:
        (T', C) float32, linear between two samples; `signal` itself where none is off its place by more than
        `UNEVEN` of a step.
    """
    times = times_sec - times_sec[0]
    places = np.arange(round(times[-1] * rate) + 1) / rate
    if len(places) == len(times) and np.abs(times - places).max() * rate <= UNEVEN:
        return signal
    return np.stack([np.float32(np.interp(places, times, channel)) for channel in signal.T], axis=1)
