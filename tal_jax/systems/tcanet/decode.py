"""From refined proposals to detections, as the published post-processing has it. All but `decode` on the
host, in float64.

`ops.nms.soft_nms` does not serve here: it works in float32 and makes its picks in rounds, for thousands of
candidates. These are a hundred, few enough for the definition itself.
"""

import jax.numpy as jnp
import numpy as np

from tal_jax.ops.nms import rows_of_each
from tal_jax.ops.segments import tiou
from tal_jax.systems.candidates import Detections

DECAY_POWER = 2.5  # of the IoU in the decay exp(-IoU^2.5 / nms_sigma): published code


def decode(config, outputs):
    """What the host needs of each recording, on the device.

    Returns:
      dict: `segments_sec` (B, P, 2) of the last stage; `confidence` (B, P) of stage
        `decode.confidence_stage`; `mask` (B, P) bool,
      False for padding. Without `decode.refined` the proposals as they were given, with confidence 1.
    """
    if not config.decode.refined:
        segments_sec = outputs.stages[0].entering_sec
        return {
            "segments_sec": segments_sec,
            "confidence": jnp.ones(outputs.mask.shape),
            "mask": outputs.mask,
        }
    # The published code ranks by stage 2, though it refines in three; the report suggests the last one.
    confidence = outputs.stages[config.decode.confidence_stage - 1].confidence
    return {"segments_sec": outputs.stages[-1].refined_sec, "confidence": confidence, "mask": outputs.mask}


def detections(config, windows, timeline):
    """Detections of a recording, suppressed; see interface.System.

    Args:
      config: the run's config.
      windows: iterable of Decoded: its arrays are those of `decode` and what `examples.test_windows` adds.
      timeline: not used.

    Returns:
      Detections.
    """
    del timeline
    arrays = [window.arrays for window in windows]
    present = [(window, np.flatnonzero(window["mask"])) for window in arrays]
    segments_sec = np.concatenate(
        [window["segments_sec"][rows] + window["start_sec"] for window, rows in present]
    )
    scores = np.concatenate(
        [window["confidence"][rows] * window["proposal_scores"][rows] for window, rows in present]
    )
    class_scores = arrays[0].get("recording_scores")
    labels = (
        np.concatenate([window["labels"][rows] for window, rows in present]) if class_scores is None else None
    )
    found = of_recording(
        config, segments_sec, scores, arrays[0]["duration_sec"], class_scores=class_scores, labels=labels
    )
    return Detections(*found)


def of_recording(config, segments_sec, scores, duration_sec, *, class_scores=None, labels=None):
    """Detections of one recording: suppression, then classes.

    Args:
      config: the run's config (`decode`).
      segments_sec: (P, 2) refined proposals, of `decode`.
      scores: (P,) score of the incoming proposal times the confidence, not negative.
      duration_sec: of the recording, to which segments are clipped.
      class_scores: (K,) of the recording, see `of_recording_classes`; or else
      labels: (P,) int class of each incoming proposal. Then those of each class are suppressed by themselves.

    Returns:
      (segments_sec (M, 2), classes (M,) int, scores (M,)), best first, M at most `decode.max_detections`.
    """
    segments_sec, scores = np.asarray(segments_sec, np.float64), np.asarray(scores, np.float64)
    if class_scores is not None:
        return of_recording_classes(
            config, *suppress(config, segments_sec, scores, duration_sec), class_scores
        )
    found, labels = [], np.asarray(labels)
    for rows in rows_of_each(labels):
        kept, kept_scores = suppress(config, segments_sec[rows], scores[rows], duration_sec)
        found.append((kept, np.full(len(kept), labels[rows[0]], np.int64), kept_scores))
    nothing = (np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(0))
    return _best(config, *(np.concatenate(parts) for parts in zip(nothing, *found)))


def suppress(config, segments_sec, scores, duration_sec):
    """Soft-NMS of the proposals of one recording, whatever their class, the best of them clipped to the
    recording.

    The highest score is picked; every other that overlaps it falls by exp(-IoU^2.5 / 0.4); again. As
    published there are at most 101 picks, the last proposal left is not picked, but a lone one is.

    Args:
      config: the run's config (`decode`).
      segments_sec: (P, 2) float64; scores: (P,) float64, not negative.

    Returns:
      (segments_sec (M, 2), scores (M,)), best first, M at most `decode.keep`.
    """
    settings = config.decode
    least_left = 0 if settings.keep_last or len(scores) == 1 else 1
    picks, decayed = min(settings.nms_top_k, len(scores) - least_left), np.full(len(scores), -np.inf)
    left = scores.copy()
    for _ in range(max(picks, 0)):
        best = int(np.where(decayed == -np.inf, left, -np.inf).argmax())  # of what was not picked yet
        decayed[best] = left[best]
        left *= np.exp(-(tiou(segments_sec, segments_sec[best]) ** DECAY_POWER) / settings.nms_sigma)
    order = np.argsort(-decayed, kind="stable")[: min(settings.keep, max(picks, 0))]
    return np.clip(segments_sec[order], 0, duration_sec), decayed[order]


def of_recording_classes(config, segments_sec, scores, class_scores):
    """Every proposal in each of the likeliest classes of the recording; score: probability of the class times
    its own.

    Args:
      config: the run's config (`decode`).
      segments_sec: (P, 2); scores: (P,).
      class_scores: (K,) logits, probabilities are softmax(2 * logits); with `decode.class_sharpness` 0 they
        are the probabilities.

    Returns:
      As `of_recording`.
    """
    probabilities = np.asarray(class_scores, np.float64)
    if config.decode.class_sharpness:
        logits = config.decode.class_sharpness * probabilities
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
    classes = np.argsort(-probabilities, kind="stable")[: config.decode.top_classes]
    combined = np.outer(probabilities[classes], scores).ravel()
    return _best(config, np.tile(segments_sec, (len(classes), 1)), np.repeat(classes, len(scores)), combined)


def _best(config, segments_sec, classes, scores):
    order = np.argsort(-scores, kind="stable")[: config.decode.max_detections]
    return segments_sec[order], classes[order], scores[order]
