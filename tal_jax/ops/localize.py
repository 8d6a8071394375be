"""From the arrays that a network gives of a window to scored segments, on the host: the rules of systems that
find segments where activations are high.

A rule is (settings, arrays, num_frames) -> (segments_frame, classes, scores): the arrays are those of one
window, NumPy; `num_frames` is F, its length in frames of the video; the segments are (M, 2) float64 within
[0, F], the classes (M,) int, the scores (M,) float. Candidates, before suppression.
"""

import types

import numpy as np

from tal_jax.ops.nms import hard_nms
from tal_jax.ops.runs import likely_runs, published_runs, smoothed
from tal_jax.ops.snippets import window_snippets

# AutoLoc's code has these numbers, where the report on KT-MGFN is silent.
MIN_ACTIVATION = 0.1  # only positions above it are regressed
MAX_CONTRAST = 0.4  # segments of higher contrast are discarded
MAX_TIOU = 0.4  # segments that overlap a better one by so much are discarded


def of_likely_classes(settings, arrays, num_frames):
    """ECM, published code: runs of the classes that are likely in the window.

    Args:
      settings: `min_probability`, and those of `runs.find_runs`.
      arrays: `cas` (T, K), `probabilities` (K,).
      num_frames: F.
    """
    cas, probabilities = arrays["cas"], arrays["probabilities"]
    return published_runs(settings, settings.min_probability, cas, probabilities, num_frames)


def of_likeliest_classes(settings, arrays, num_frames):
    """KT-MGFN without its boundary module: as `of_likely_classes`; if no class is likely, the likeliest."""
    cas, probabilities = arrays["cas"], arrays["probabilities"]
    return published_runs(settings, _least_probability(settings, arrays), cas, probabilities, num_frames)


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


def _least_probability(settings, arrays):
    """How probable a class must be; of a window without such a class, as much as its likeliest."""
    return min(settings.min_probability, float(arrays["probabilities"].max()))


RULES = {
    rule.__name__: rule for rule in (of_likely_classes, of_likeliest_classes, of_boundaries, of_probabilities)
}


def in_features(rule, settings, arrays, num_features, frames_per_feature):
    """What a rule finds in a window of `num_features` features.

    Returns:
      (segments (M, 2) float64 in features of the window, classes (M,), scores (M,)).
    """
    num_frames = max(round(num_features * frames_per_feature), 1)
    segments_frame, classes, scores = rule(settings, arrays, num_frames)
    return segments_frame * (num_features / num_frames), classes, scores


def to_seconds(cells, fps, stride_frames, snippet_frames):
    """Seconds of positions on the feature axis of a recording, any shape, as of `data.timeline.Timeline`.

    The order of operations counts: greedy NMS compares tIoUs of cells that may be equal to its threshold.
    """
    frames = (np.asarray(cells, np.float64) - 0.5) * stride_frames + snippet_frames / 2
    return frames / fps


def joined(windows):
    """All windows of a recording as one, where a cell sees nothing of its neighbours: the last window that
    holds a cell says what the others do.

    Args:
      windows: iterable of (first cell, number of cells L, arrays with `cas` (T, K), of which L cells count).

    Returns:
      (0, number of cells of the recording, {"cas": (that number, K) float32}).
    """
    parts = {offset: arrays["cas"][:num_cells] for offset, num_cells, arrays in windows}
    length = max(offset + len(part) for offset, part in parts.items())
    cas = np.zeros((length, next(iter(parts.values())).shape[1]), np.float32)
    for offset, part in parts.items():
        cas[offset : offset + len(part)] = part
    return 0, length, {"cas": cas}


def in_recording(about, frames, offsets, run):
    """The detections of a recording by an exported run, see `runtime_export.Detector`.

    Args:
      about: what about.json says: `localize` and `suppression`, see `candidates.Deployment`.
      frames: (T, C).
      offsets: first frames of the windows.
      run: iterable of (first frame, number of frames, inputs of the network) -> (first frame, number of
        frames, arrays) of each.

    Returns:
      (segments_sec (M, 2), classes (M,), scores (M,)), after greedy NMS.
    """
    settings, limits = types.SimpleNamespace(**about["localize"]), about["suppression"]
    rule, size = RULES[settings.rule], settings.window_frames or len(frames)
    timeline = settings.fps, settings.stride_frames, settings.snippet_frames
    parts = ((offset, frames[offset : offset + size]) for offset in offsets)
    inputs = lambda part: window_snippets(settings, part) if settings.snippets else part
    outputs = run((offset, len(part), inputs(part)) for offset, part in parts)
    found = []
    for offset, number, arrays in [joined(outputs)] if rule is of_probabilities else outputs:
        segments, *rest = in_features(rule, settings, arrays, number, settings.stride_frames)
        found.append((to_seconds(segments + offset, *timeline), *rest))
    segments_sec, classes, scores = map(np.concatenate, zip(*found))
    kept = hard_nms(segments_sec, scores, limits["tiou"], limits["extra_sec"], groups=classes)
    return segments_sec[kept], classes[kept], scores[kept]
