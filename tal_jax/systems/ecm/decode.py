"""From the outputs of ECM to scored segments of a window (ECM section 3.5, as its published code has it)."""

import jax

from tal_jax.ops.localize import of_likely_classes
from tal_jax.systems import activations, candidates
from tal_jax.systems.ecm.config import reading


def decode(config, outputs):
    """The arrays that `localize` reads of each window, on the device.

    Args:
      config: the run's config.
      outputs: model.Outputs of B windows.

    Returns:
      dict of `cas` (B, T, K), logits, or with the reading decode.activations=softmax probabilities; and
      `probabilities` (B, K).
    """
    cas = outputs.cas if reading(config, "decode.activations") == "logits" else jax.nn.softmax(outputs.cas)
    return {"cas": cas, "probabilities": jax.nn.softmax(outputs.recording_logits)}


def detections(config, windows, timeline):
    """Detections of a recording: those of `localize` in each of its windows, see interface.System."""
    return activations.detections(config, windows, timeline, localize)


def localize(config, arrays, num_frames):
    """`ops.localize.of_likely_classes` with `config.localize`."""
    return of_likely_classes(config.localize, arrays, num_frames)


def suppress(config, found):
    """`candidates.suppress_hard` as published: `decode.nms_extra_sec` is added to lengths and overlaps."""
    return candidates.suppress_hard(config, found, config.decode.nms_extra_sec)


def deployment(config):
    """The Deployment of a run, for --mode=export: runs of likely classes, then greedy NMS."""
    settings, extra_sec = config.localize.to_dict(), config.decode.nms_extra_sec
    return activations.deployment(config, of_likely_classes, settings, extra_sec)
