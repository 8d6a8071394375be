"""From probabilities of cells to scored segments of a recording."""

import jax
import numpy as np

from tal_jax.data.windows import Decoded
from tal_jax.systems import activations


def decode(config, logits):
    """The array that `detections` reads of each window, on the device: `cas` (B, T, K) in [0, 1].

    They are probabilities as if a class's cells were as many as those without it, see `losses.loss`: 0.5
    where features speak as much for an action as against it, however rare the action is. They are compared
    with `localize.thresholds` as they are. A class that fewer training batches hold than others has lower
    ones, and those of a cell need not sum to 1.
    """
    del config
    return {"cas": jax.nn.sigmoid(logits)}


def detections(config, windows, timeline):
    """Detections of a recording from the probabilities of all its windows, see interface.System."""

    def localize(config, arrays, num_frames):
        probabilities = activations.smoothed(arrays["cas"], config.decode.smoothing)
        return activations.likely_runs(config, probabilities, num_frames)

    return activations.detections(config, [joined(windows)], timeline, localize)


def joined(windows):
    """All windows of a recording, iterable of Decoded, as one: a cell sees nothing of its neighbours, so the
    last window that holds it says what the others do.
    """
    parts = {window.offset: window.arrays["cas"][: window.num_features] for window in windows}
    length = max(offset + len(part) for offset, part in parts.items())
    cas = np.zeros((length, next(iter(parts.values())).shape[1]), np.float32)
    for offset, part in parts.items():
        cas[offset : offset + len(part)] = part
    return Decoded(0, length, {"cas": cas})
