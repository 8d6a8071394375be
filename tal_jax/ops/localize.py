"""From the arrays that a network gives of a window to scored segments, on the host: the rules of systems that
find segments where activations are high.

A rule is (settings, arrays, num_frames) -> (segments_frame, classes, scores): the arrays are those of one
window, NumPy; `num_frames` is F, its length in frames of the video; the segments are (M, 2) float64 within
[0, F], the classes (M,) int, the scores (M,) float. Candidates, before suppression.
"""

import numpy as np

from tal_jax.ops.nms import hard_nms
from tal_jax.ops.runs import likely_runs, published_runs, smoothed

FORMAT = "tal_jax export 2"  # of the files whose rules these are, see `runtime_export`

# AutoLoc's code has these numbers, where the report on KT-MGFN is silent.
MIN_ACTIVATION = 0.1  # of a class at a snippet: above it the segment at the snippet counts
MAX_CONTRAST = 0.4  # segments of this contrast or more are discarded
MAX_TIOU = 0.4  # segments that overlap a better one by so much are discarded


def of_likely_classes(settings, arrays, num_frames):
    """ECM, published code: runs of the classes that are likely in the window.

    Args:
      settings: `min_probability`, and those of `runs.find_runs`.
      arrays: `cas` (T, K), `probabilities` (K,).
      num_frames: F.
    """
    return _runs(settings, settings.min_probability, arrays, num_frames)


def of_likely_or_best_class(settings, arrays, num_frames):
    """KT-MGFN without its boundary module: as `of_likely_classes`, or of the best class if none is likely."""
    return _runs(settings, _least_probability(settings, arrays), arrays, num_frames)


def of_boundaries(settings, arrays, num_frames):
    """KT-MGFN: the regressed segments that stand out, by class, and in a class by falling score.

    Before they are clipped to the window, no two of a class overlap by tIoU >= `MAX_TIOU`. The rule is that
    of `kt_mgfn.boundary.select`.

    Args:
      settings: `min_probability`.
      arrays: `cas` (T, K) in [0, 1], `probabilities` (K,), `segments` (K, T, 2) in snippets, `contrast`
        (K, T).
      num_frames: F.
    """
    probabilities = arrays["probabilities"]
    candidate = (arrays["cas"].T > MIN_ACTIVATION) & (arrays["contrast"] < MAX_CONTRAST)
    likely = probabilities >= _least_probability(settings, arrays)
    classes, places = np.nonzero(candidate & likely[:, None])
    segments, contrast = arrays["segments"][classes, places], arrays["contrast"][classes, places]
    kept = hard_nms(segments, -contrast, MAX_TIOU, groups=classes)
    segments, contrast, classes = segments[kept], contrast[kept], classes[kept]  # (M, 2) snippets, (M,), (M,)
    snippets = len(arrays["cas"])
    segments_frame = np.clip(segments, 0, snippets).astype(np.float64) / snippets * num_frames
    inside = segments_frame[:, 1] > segments_frame[:, 0]  # a segment may lie outside the window altogether
    scores = probabilities[classes] * (1 - contrast) / 2
    return segments_frame[inside], classes[inside], scores[inside]


def of_probabilities(settings, arrays, num_frames):
    """Linear probe: runs of probabilities as they are, smoothed over time.

    Args:
      settings: `smoothing`, `max_classes`, and those of `runs.likely_runs`.
      arrays: `cas` (T, K) in [0, 1], of a whole recording.
      num_frames: F.
    """
    probabilities = smoothed(arrays["cas"], settings.smoothing)
    return likely_runs(settings, settings.max_classes, probabilities, num_frames)


def _runs(settings, min_probability, arrays, num_frames):
    """`runs.published_runs` of the arrays of a window."""
    return published_runs(settings, min_probability, arrays["cas"], arrays["probabilities"], num_frames)


def _least_probability(settings, arrays):
    """How probable a class must be; of a window without such a class, as much as its likeliest."""
    return min(settings.min_probability, float(arrays["probabilities"].max()))


_ALL = of_likely_classes, of_likely_or_best_class, of_boundaries, of_probabilities
RULES = {rule.__name__: rule for rule in _ALL}


def in_features(localize, arrays, num_features, frames_per_feature):
    """Candidates of a window, in its features.

    Args:
      localize: (arrays, num_frames) -> what a rule gives.
      arrays: of the window.
      num_features: those in it.
      frames_per_feature: frames of the video from one feature to the next; need not be whole.

    Returns:
      (segments (M, 2) float64, classes (M,), scores (M,)).
    """
    num_frames = max(round(num_features * frames_per_feature), 1)
    segments_frame, classes, scores = localize(arrays, num_frames)
    return segments_frame * (num_features / num_frames), classes, scores


def whole_cas(windows):
    """The activations of a recording from its windows, by a network that computes each cell by itself.

    Where windows overlap they agree, and the last one counts.

    Args:
      windows: iterable of (first cell, number of cells L, arrays with `cas` (T, K), of which L cells count).

    Returns:
      (T, K) float32, of all cells of the recording.
    """
    parts = {offset: arrays["cas"][:num_cells] for offset, num_cells, arrays in windows}
    length = max(offset + len(part) for offset, part in parts.items())
    cas = np.zeros((length, next(iter(parts.values())).shape[1]), np.float32)
    for offset, part in parts.items():
        cas[offset : offset + len(part)] = part
    return cas
