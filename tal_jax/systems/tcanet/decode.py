"""From regressed proposals to detections: the published post-processing.

`decode` runs on the device, the rest on the host, in float64. `ops.nms.soft_nms` does not serve here: it
works in float32 and makes its picks in rounds, for thousands of candidates. These are a hundred, few enough
for the definition itself.
"""

import jax.numpy as jnp
import numpy as np

from tal_jax.ops.segments import tiou
from tal_jax.systems.candidates import NOTHING, Detections
from tal_jax.systems.tcanet.config import reading
from tal_jax.systems.two_stage import best_classes

DECAY_POWER = 2.5  # of the IoU in the decay exp(-IoU^2.5 / nms_sigma): published code


def decode(config, outputs):
    """The regressed proposals and their confidence, on the device.

    Args:
      config: the run's config (`decode`).
      outputs: model.Outputs.

    Returns:
      dict: segments_sec (B, P, 2) of the last stage; confidence (B, P) of stage `decode.confidence_stage`.
      With the reading decode.refined=False the proposals as they were given, with confidence 1.
    """
    if not reading(config, "decode.refined"):
        return {"segments_sec": outputs.stages[0].entering_sec, "confidence": jnp.ones(outputs.mask.shape)}
    # The published code ranks by stage 2, though it refines in three; the report suggests the last one.
    confidence = outputs.stages[config.decode.confidence_stage - 1].confidence
    return {"segments_sec": outputs.stages[-1].refined_sec, "confidence": confidence}


def detections(config, windows, timeline):
    """Detections of a recording, suppressed; see interface.System.

    Args:
      config: the run's config (`decode`).
      windows: iterable of Decoded with the arrays that `decode` gives, padded after the N proposals of the
        window, and the info of `examples.test_windows`.
      timeline: not used.

    Returns:
      Detections.
    """
    del timeline
    parts = []
    for _, _, arrays in windows:
        rows = slice(len(arrays["proposal_scores"]))
        segments_sec = arrays["segments_sec"][rows] + arrays["start_sec"]
        parts.append((segments_sec, arrays["confidence"][rows] * arrays["proposal_scores"], arrays["labels"]))
    segments_sec, scores, labels = map(np.concatenate, zip(*parts))
    duration_sec, class_scores = arrays["duration_sec"], arrays.get("recording_scores")
    return of_recording(config, segments_sec, scores, duration_sec, labels=labels, class_scores=class_scores)


def of_recording(config, segments_sec, scores, duration_sec, *, labels=None, class_scores=None):
    """Detections of one recording: suppression, then classes.

    Args:
      config: the run's config (`decode`).
      segments_sec: (P, 2) regressed proposals.
      scores: (P,) score of the incoming proposal times the confidence, not negative.
      duration_sec: of the recording, to which segments are clipped.
      labels: (P,) int class of each incoming proposal; each class is suppressed by itself. Not used with
        class_scores.
      class_scores: (K,) of the recording: every proposal is in each of the `likely_classes`, its score times
        their probability.

    Returns:
      Detections, best first, at most `decode.max_detections`.
    """
    segments_sec, scores = np.asarray(segments_sec, np.float64), np.asarray(scores, np.float64)
    if class_scores is None:
        groups = [(np.equal(labels, k), [(k, 1.0)]) for k in np.unique(labels)]
    else:
        groups = [(slice(None), zip(*likely_classes(config, class_scores)))]
    parts = [NOTHING]
    for rows, classes in groups:
        kept_sec, kept_scores = suppress(config, segments_sec[rows], scores[rows], duration_sec)
        parts += [(kept_sec, np.full(len(kept_sec), k), share * kept_scores) for k, share in classes]
    segments_sec, classes, scores = map(np.concatenate, zip(*parts))
    order = np.argsort(-scores, kind="stable")[: config.decode.max_detections]
    return Detections(segments_sec[order], classes[order], scores[order])


def suppress(config, segments_sec, scores, duration_sec):
    """Soft-NMS of the proposals of one recording, whatever their class; it clips those it keeps.

    The highest score is picked; every other that overlaps it falls by exp(-IoU^2.5 / 0.4); again. As
    published the last proposal left is not picked, but a lone one is.

    Args:
      config: the run's config (`decode`).
      segments_sec: (P, 2) float64; scores: (P,) float64, not negative.
      duration_sec: of the recording.

    Returns:
      (segments_sec (M, 2), scores (M,)), best first, M at most `decode.keep`; the published code
      picks one more, which it does not keep.
    """
    settings, left, decayed = config.decode, scores.copy(), np.full(len(scores), -np.inf)
    least_left = 0 if reading(config, "decode.keep_last") or len(scores) == 1 else 1
    picks = max(min(settings.keep, len(scores) - least_left), 0)
    for _ in range(picks):
        best = int(np.where(decayed == -np.inf, left, -np.inf).argmax())  # of what was not picked yet
        decayed[best] = left[best]
        left *= np.exp(-(tiou(segments_sec, segments_sec[best]) ** DECAY_POWER) / settings.nms_sigma)
    order = np.argsort(-decayed, kind="stable")[:picks]
    return np.clip(segments_sec[order], 0, duration_sec), decayed[order]


def likely_classes(config, class_scores):
    """The likeliest classes of a recording.

    Args:
      config: the run's config (`decode`).
      class_scores: (K,) logits, probabilities are softmax(2 * logits); with `decode.class_sharpness` 0 they
        are the probabilities.

    Returns:
      (classes, probabilities) of the best `decode.top_classes`.
    """
    probabilities = np.asarray(class_scores, np.float64)
    if config.decode.class_sharpness:
        logits = config.decode.class_sharpness * probabilities
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
    classes = best_classes(probabilities, config.decode.top_classes)
    return classes, probabilities[classes]
