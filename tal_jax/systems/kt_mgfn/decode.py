"""From the outputs of KT-MGFN to scored segments of a window (kt_mgfn report, section 3.1, its inference;
silent on scores).
"""

import jax

from tal_jax.ops.localize import of_boundaries, of_likely_or_best_class
from tal_jax.systems import activations
from tal_jax.systems.kt_mgfn import boundary


def decode(config, outputs):
    """The arrays that `localize` reads of each window, on the device.

    Args:
      config: the run's config (`model.boundary`).
      outputs: Outputs of B windows.

    Returns:
      dict of `cas` (B, T, K), of the stages fused (`erasing.fuse_stages`), and `probabilities` (B, K). With
      the boundary module `cas` is what OIC is computed of (`boundary.contrast_activations`), and each class
      has its best segment at each snippet: `segments` (B, K, T, 2) snippets, not clipped, and `contrast`
      (B, K, T), in [-1, 1] for a `cas` in [0, 1], lower is better.
    """
    arrays = {"cas": outputs.fused_cas, "probabilities": outputs.probabilities}
    if config.model.boundary:
        arrays["cas"] = boundary.contrast_activations(config, outputs.fused_cas)
        of_class = jax.vmap(boundary.best_segments, in_axes=(1, None))
        arrays["segments"], arrays["contrast"] = jax.vmap(of_class)(arrays["cas"], outputs.segments)
    return arrays


def detections(config, windows, timeline):
    """Detections of a recording: those of `localize` in each of its windows. See interface.System."""
    return activations.detections(config, windows, timeline, localize)


def localize(config, arrays, num_frames):
    """A rule of `ops.localize` with `config.localize`: of segments that are regressed, or of runs."""
    return _rule(config)(config.localize, arrays, num_frames)


def deployment(config):
    """The Deployment of a run, for --mode=export: regressed segments or runs, then greedy NMS."""
    return activations.deployment(config, _rule(config), config.localize.to_dict())


def _rule(config):
    """The rule of `ops.localize` that fits the run's network, with a boundary module or without."""
    return of_boundaries if config.model.boundary else of_likely_or_best_class
