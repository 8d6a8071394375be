"""Samples of a sensor as a network sees them, their faults and their times: pure functions on arrays."""

import numpy as np

NUM_BANDS = 6
MIN_POWER = 1e-5  # of a channel that stands still
LONGEST_STEP = 10  # median steps; a longer one is a gap
UNEVEN = 0.25  # of a step, more than rounding of times; samples further off their places are resampled


def fold_samples(signal, samples_per_frame):
    """Makes r consecutive samples one frame: (T, C) -> (T//r, r*C), the samples of a frame in time order.

    The T % r samples at the end are dropped. A view where NumPy can make one.
    """
    num_frames = len(signal) // samples_per_frame
    return signal[: num_frames * samples_per_frame].reshape(num_frames, samples_per_frame * signal.shape[1])


def sample_statistics(signal, samples_per_frame, span):
    """Hand-made features of the samples around each frame, which unlike samples can be averaged over time.

    Args:
        signal: (T, C) sensor samples.
        samples_per_frame: r, samples from one frame to the next.
        span: samples described, around the middle of the frame; at the ends of the signal its first and last
            sample are repeated.

    Returns:
        (T//r, C * (2 + bands)) float32: for each channel the mean, and log10(1 + power / MIN_POWER) of the
        variance and of bands of frequency that get wider and wider, `NUM_BANDS` of them or as many as the
        span can tell apart.
    """
    num_frames = len(signal) // samples_per_frame
    before = max((span - samples_per_frame) // 2, 0)
    padded = np.pad(np.asarray(signal, np.float32), ((before, span), (0, 0)), mode="edge")
    spans = np.lib.stride_tricks.sliding_window_view(padded, span, axis=0)
    spans = spans[: num_frames * samples_per_frame : samples_per_frame]
    mean = spans.mean(axis=-1)  # (T, C)
    power = np.square(np.abs(np.fft.rfft(spans - mean[..., None], axis=-1)[..., 1:])) / span**2
    bands = np.add.reduceat(power, _band_edges(power.shape[-1])[:-1], axis=-1)  # (T, C, bands)
    rest = np.log10(1 + np.concatenate([power.sum(axis=-1, keepdims=True), bands], axis=-1) / MIN_POWER)
    return np.concatenate([mean[..., None], rest], axis=-1).reshape(num_frames, -1).astype(np.float32)


def _band_edges(num_frequencies):
    """Indices of the first frequency of each band, and one past the last."""
    return np.unique(np.round(np.geomspace(1, num_frequencies + 1, NUM_BANDS + 1)).astype(int)) - 1


def standardise(features):
    """Each channel with mean 0 and deviation 1 over the recording; one that does not vary (by 1e-6) is 0.

    What is the same all over a recording is lost: a short one of a single activity looks unlike a long one
    that holds it too. Values that are not finite as float32 do not count and stay where they are.

    (T, C) -> (T, C) float32.
    """
    finite = finite_values(features)
    with np.errstate(over="ignore", invalid="ignore"):  # of values that are not finite
        centred = features - np.mean(features, axis=0, dtype=np.float64, where=finite)
        deviation = np.std(centred, axis=0, where=finite)
        scaled = centred / np.where(deviation > 1e-6, deviation, np.inf)
        return np.where(finite, scaled, features).astype(np.float32)


def filled(samples):
    """Samples (T, C) whose values that are not finite are on the line between those before and after.

    Those at an end have the value nearest to them; a channel without any has 0. Values that are finite stay.
    """
    finite = finite_values(samples)
    if finite.all():
        return samples
    made, places = np.array(samples), np.arange(len(samples))
    for channel in np.flatnonzero(~finite.all(axis=0)):
        there, column = finite[:, channel], made[:, channel]
        column[~there] = np.interp(places[~there], places[there], column[there]) if there.any() else 0
    return made


def finite_values(features):
    """Which values of an array are finite as float32: an array of bool."""
    with np.errstate(over="ignore"):
        return np.isfinite(features.astype(np.float32) if features.dtype.itemsize > 4 else features)


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
        samples_per_frame: so many samples are folded into one row, see `fold_samples`.
        span: the rows are the `sample_statistics` of so many samples instead, if not 0.
        beside: the folded samples follow the statistics.

    Returns:
        (list of channels, number of all channels).
    """
    rows, width = features.shape
    if span:  # of each channel the mean, the variance and the bands
        numbers = 1 + len(_band_edges(span // 2))
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
