"""From the outputs of KT-MGFN to scored segments of a window (kt_mgfn report, section 3.1, its inference;
silent on scores).
"""

import jax
import numpy as np

from tal_jax.ops.nms import hard_nms
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
    """Segments of one window, on the host: of the boundary predictor, or without it runs of high activation.

    Args:
      config: the run's config.
      arrays: of one window, NumPy, as `decode` has them but without B.
      num_frames: length of the window in frames.

    Returns:
      (segments_frame, classes, scores): (M, 2) float in frames of the window, within [0, num_frames]; (M,)
      int; (M,) float. Ordered by class. Those of regression then by falling score; before they were clipped
      to the window, no two of a class overlapped by tIoU >= `boundary.MAX_TIOU`.
    """
    probabilities = arrays["probabilities"]
    min_probability = min(config.localize.min_probability, float(probabilities.max()))  # as `likely_classes`
    if not config.model.boundary:
        return activations.published_runs(
            config.localize, min_probability, arrays["cas"], probabilities, num_frames
        )
    # The rule of `boundary.select`.
    candidate = (arrays["cas"].T > boundary.MIN_ACTIVATION) & (arrays["contrast"] < boundary.MAX_CONTRAST)
    classes, places = np.nonzero(candidate & (probabilities >= min_probability)[:, None])
    segments, contrast = arrays["segments"][classes, places], arrays["contrast"][classes, places]
    kept = hard_nms(segments, -contrast, boundary.MAX_TIOU, groups=classes)
    segments, contrast, classes = segments[kept], contrast[kept], classes[kept]  # (M, 2) snippets, (M,), (M,)
    snippets = len(arrays["cas"])
    segments_frame = np.clip(segments, 0, snippets).astype(np.float64) / snippets * num_frames
    inside = segments_frame[:, 1] > segments_frame[:, 0]  # a segment may lie outside the window altogether
    scores = probabilities[classes] * (1 - contrast) / 2
    return segments_frame[inside], classes[inside], scores[inside]
