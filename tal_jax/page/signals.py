"""Signals small enough for a page: the lowest and highest value of each short part, a byte each."""

import base64
import warnings

import numpy as np

from tal_jax.page.charts import plural

MOST_CHANNELS = 6  # that a page shows
LARGEST = 1e18  # of a value that is drawn: its square is a float32
FEATURES = 64  # with more channels than this, one of them shows nobody anything
LEAST_BINS = 300  # below it, half of the channels are shown in more detail instead


def reduced(values, num_bins):
    """The lowest and highest value of each of at most `num_bins` equal parts of a signal.

    Args:
      values: (T, C) float; what is not finite, or LARGEST or more, counts for nothing.
      num_bins: parts, above 0.

    Returns:
      (low, high, step): (n, C) float32 each, NaN where a part has no value; the number of samples of a part,
      of which the last may have fewer.
    """
    values = np.where(np.abs(values) < LARGEST, values, np.nan).astype(np.float32)
    step = max(1, -(-len(values) // num_bins))
    rest = -len(values) % step
    padded = np.concatenate([values, np.full((rest, values.shape[1]), np.nan, np.float32)])
    parts = padded.reshape(-1, step, values.shape[1])
    low = np.fmin.reduce(parts, axis=1)
    return low, np.fmax.reduce(parts, axis=1), step


def quantised(values, low, high):
    """(n,) uint8: 0 for NaN, else 1 at `low` to 255 at `high`."""
    scaled = 1 + 254 * (values - low) / ((high - low) or 1)
    return np.where(np.isnan(scaled), 0, np.round(np.nan_to_num(scaled))).astype(np.uint8)


def _spread(values):
    """(C,) standard deviations of channels; what is not finite counts for nothing, 0 where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a channel without values
        return np.nan_to_num(np.nanstd(np.where(np.abs(values) < LARGEST, values, np.nan), axis=0))


def packed(values, start_sec, sample_sec, names, most_bytes, keeps_all=False):
    """A signal as a page holds it.

    Args:
      values: (T, C) float, T and C above 0.
      start_sec, sample_sec: time of the first sample, and from one to the next, in seconds.
      names: C names of channels; (): they have numbers.
      most_bytes: how much text it may be.
      keeps_all: keeps all channels; else at most MOST_CHANNELS, those that vary most.

    Returns:
      {"start", "step": seconds, "pairs": whether a low and a high stand side by side, "more": what is said of
      channels that are left out, "channels": [{"name", "low", "high", "data"}]}: data is bytes in base64, see
      `quantised`.
    """
    chosen = range(values.shape[1])
    if not keeps_all:
        per_channel = most_bytes * 3 / 4 / 2 / min(MOST_CHANNELS, values.shape[1])
        most = MOST_CHANNELS if min(per_channel, len(values)) >= min(LEAST_BINS, len(values)) else 3
        if len(chosen) > most:
            spread = _spread(values)
            chosen = sorted(np.argsort(-spread, kind="stable")[:most]) if most > 3 else range(most)
    bins = max(1, int(most_bytes * 3 / 4 / 2 / len(chosen)))
    low, high, step = reduced(values[:, list(chosen)], bins)
    channels = []
    for i, channel in enumerate(chosen):
        of_channel = np.stack([low[:, i], high[:, i]], axis=1) if step > 1 else low[:, i]
        known = of_channel[np.isfinite(of_channel)]
        ends = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
        data = base64.b64encode(quantised(of_channel.ravel(), *ends).tobytes()).decode()
        name = names[channel] if names else f"channel {channel + 1}"
        least, most = (float(f"{end:.4g}") for end in ends)
        channels.append({"name": name, "low": least, "high": most, "data": data})
    left_out = values.shape[1] - len(channels)
    return {
        "start": round(float(start_sec), 4),
        "step": float(f"{step * sample_sec:.9g}"),
        "pairs": step > 1,
        "more": f"The signal has {plural(left_out, 'more channel')}." if left_out else "",
        "channels": channels,
    }
