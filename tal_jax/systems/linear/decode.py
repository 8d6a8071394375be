"""From probabilities of cells to scored segments of a recording."""

from types import SimpleNamespace

import jax

from tal_jax.data.windows import Decoded
from tal_jax.ops.localize import of_probabilities, whole_cas
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
    cas = whole_cas(windows)
    return activations.detections(config, [Decoded(0, len(cas), {"cas": cas})], timeline, localize)


def localize(config, arrays, num_frames):
    """`ops.localize.of_probabilities` with the run's settings."""
    return of_probabilities(SimpleNamespace(**_settings(config)), arrays, num_frames)


def deployment(config):
    """The Deployment of a run, for --mode=export: runs in the whole recording, then greedy NMS."""
    return activations.deployment(config, of_probabilities, _settings(config), joined=True)


def _settings(config):
    """The settings of `ops.localize.of_probabilities`, a dict."""
    decode = config.decode
    return dict(config.localize.to_dict(), smoothing=decode.smoothing, max_classes=decode.max_classes)
