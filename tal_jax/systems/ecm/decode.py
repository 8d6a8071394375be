"""From the outputs of ECM to scored segments of a window (ECM section 3.5, as its published code has it;
docs/ecm.md).
"""

import jax

from tal_jax.systems import activations
from tal_jax.systems.activations import find_runs


def decode(config, outputs):
    """What `localize` needs of each window, on the device.

    Returns:
      dict: `cas` (B, T, K), logits, or with `localize.activations` = 'softmax' probabilities; `probabilities`
        (B, K).
    """
    cas = outputs.cas if config.localize.activations == "logits" else jax.nn.softmax(outputs.cas)
    return {"cas": cas, "probabilities": jax.nn.softmax(outputs.recording_logits)}


def detections(config, windows, timeline):
    """Detections of a recording: those of `localize` in each of its windows. See interface.System."""
    return activations.detections(config, windows, timeline, localize)


def localize(config, arrays, num_frames):
    """Candidate segments of one window, on the host: see `activations.find_runs`.

    Args:
      config: the run's config, of which `localize` is used.
      arrays: of one window, NumPy, as `decode` has them but without B.
      num_frames: length of the window in frames.
    """
    settings = config.localize
    return find_runs(settings, settings.min_probability, arrays["cas"], arrays["probabilities"], num_frames)
