"""From the outputs of ECM to scored segments of a window (ECM section 3.5, as its published code has it)."""

import jax

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
    """Candidate segments of one window, on the host: see `activations.published_runs`.

    Args:
      config: the run's config, of which `localize` is used.
      arrays: of one window, NumPy, as `decode` has them but without B.
      num_frames: length of the window in frames.
    """
    least, cas, probabilities = config.localize.min_probability, arrays["cas"], arrays["probabilities"]
    return activations.published_runs(config.localize, least, cas, probabilities, num_frames)


def suppress(config, found):
    """`candidates.suppress_hard` as published: `decode.nms_extra_sec` is added to lengths and overlaps."""
    return candidates.suppress_hard(config, found, config.decode.nms_extra_sec)
