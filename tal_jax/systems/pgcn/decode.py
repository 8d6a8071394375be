"""From the outputs of P-GCN to detections of a video: fusion, scores, suppression, regression (P-GCN section
4.2). On the host.

The order is that of the published code: suppression sees the proposals as they came, regression follows,
nothing comes after.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from tal_jax.ops.nms import hard_nms
from tal_jax.systems.candidates import Detections


@dataclasses.dataclass(frozen=True)
class ProposalScores:
    """What a network, or two that are fused, say of the N proposals of a video; K classes.

    Attributes:
      activity_logits: (N, K + 1), background first.
      completeness_logits: (N, K).
      offsets: (N, K, 2) shift of the centre in lengths, log of the ratio of sizes.
      auxiliary_logits: (N,), or None.
    """

    activity_logits: np.ndarray
    completeness_logits: np.ndarray
    offsets: np.ndarray
    auxiliary_logits: np.ndarray | None = None


class Found(NamedTuple):
    """Detections of a video, class by class and by falling score within a class."""

    segments: np.ndarray  # (M, 2) float64, shares of the video, within [0, 1]
    classes: np.ndarray  # (M,) int64, 0-based
    scores: np.ndarray  # (M,)


def fuse(scores, weights):
    """Two streams as one: weighted means of logits and offsets.

    Args:
      scores: ProposalScores of each stream, of the same proposals.
      weights: of each stream, in any scale.

    Returns:
      ProposalScores.
    """
    shares = np.asarray(weights, np.float64) / np.sum(weights)
    fused = {}
    for field in dataclasses.fields(ProposalScores):
        values = [getattr(stream, field.name) for stream in scores]
        fused[field.name] = (
            None
            if values[0] is None
            else sum(share * value for share, value in zip(shares, values, strict=True))
        )
    return ProposalScores(**fused)


def class_scores(scores, final_score="times_completeness"):
    """Score of every proposal for every class: softmax, background left out after it, times
    exp(completeness).

    With an auxiliary score c: times c. With 'replace_completeness' c takes the place of the exponential; with
    'aux_only' the score of every class is c.

    Args:
      scores: ProposalScores; final_score: `config.decode.final_score`.

    Returns:
      (N, K).
    """
    logits = scores.activity_logits
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    found = (exponentials / exponentials.sum(-1, keepdims=True))[:, 1:]
    if scores.auxiliary_logits is None:
        return found * np.exp(scores.completeness_logits)
    # A sigmoid that cannot overflow.
    auxiliary = 0.5 * (1.0 + np.tanh(0.5 * np.asarray(scores.auxiliary_logits)[:, None]))
    if final_score == "aux_only":
        return np.broadcast_to(auxiliary, found.shape)
    found = found * auxiliary
    return found if final_score == "replace_completeness" else found * np.exp(scores.completeness_logits)


def best_pairs(values, count):
    """The best (proposal, class) pairs of a video.

    Args:
      values: (N, K) scores.
      count: at most so many.

    Returns:
      proposals (M,), classes (M,) int64, by falling score; among equal scores the first comes first.
    """
    best = np.argsort(-values.ravel(), kind="stable")[:count]
    return best // values.shape[1], best % values.shape[1]


def most_probable_pairs(values, logits, count):
    """The best proposals of a video, each with its most probable class alone.

    Args:
      values: (N, K) scores; logits: (N, K + 1), background first.
      count: at most so many.

    Returns:
      proposals (M,), classes (M,) int64, by falling score; among equal scores the first comes first.
    """
    classes = np.asarray(logits)[:, 1:].argmax(-1)
    best = np.argsort(-values[np.arange(len(values)), classes], kind="stable")[:count]
    return best, classes[best]


def pairs_of_recording(values, probabilities, count):
    """All proposals of a video with each of the best classes of the whole video (P-GCN*, Table 2; read as
    SSN's code does it).

    Args:
      values: (N, K) scores; probabilities: (K,) of the video by an external classifier.
      count: of classes.

    Returns:
      proposals (M,), classes (M,) int64, M = N * count.
    """
    best = np.argsort(-np.asarray(probabilities), kind="stable")[:count]
    return np.tile(np.arange(len(values)), len(best)), np.repeat(best, len(values))


def regress(segments, offsets):
    """Moves segments by their offsets, within [0, 1]. (M, 2) shares of the video, (M, 2) offsets -> (M, 2)
    float64.
    """
    start, end = np.asarray(segments, np.float64).T
    length = end - start
    centre = (start + end) / 2 + length * offsets[:, 0]
    with np.errstate(over="ignore"):  # a length without bound is clipped to the video
        half = length * np.exp(np.asarray(offsets[:, 1], np.float64)) / 2
    return np.clip(np.stack([centre - half, centre + half], axis=1), 0.0, 1.0)


def decode(config, *outputs):
    """What the host needs of a recording, on the device: the fields of ProposalScores, of two networks fused.

    Returns:
      dict of arrays (B, N, ...), and `num_streams` (B,) int, how many networks were fused.
    """
    names = [field.name for field in dataclasses.fields(ProposalScores)]
    streams = [ProposalScores(*(getattr(output, name) for name in names)) for output in outputs]
    weights = (
        config.decode.fusion_weights if config.data.stream != "flow" else config.decode.fusion_weights[::-1]
    )
    scores = streams[0] if len(streams) == 1 else fuse(streams, weights)
    arrays = {name: getattr(scores, name) for name in names if getattr(scores, name) is not None}
    return arrays | {"num_streams": jnp.full(len(scores.activity_logits), len(streams))}


def detections(config, windows, timeline):
    """Detections of a recording, suppressed; see interface.System.

    Args:
      config: the run's config.
      windows: one Decoded: its arrays are those of `decode`, of which rows behind its N proposals are
        padding; shares (N, 2), the proposals as shares of the recording; duration_sec; recording_scores (K,),
        where there are any.
      timeline: not used.

    Returns:
      Detections.
    """
    del timeline
    ((_, _, arrays),) = windows
    shares, duration_sec = arrays["shares"], arrays["duration_sec"]
    names = [field.name for field in dataclasses.fields(ProposalScores) if field.name in arrays]
    scores = ProposalScores(**{name: arrays[name][: len(shares)] for name in names})
    found = localize(config, scores, shares, int(arrays["num_streams"]), arrays.get("recording_scores"))
    return Detections(found.segments * duration_sec, found.classes, found.scores)


def localize(config, scores, segments, num_streams=1, recording_probabilities=None):
    """Detections of a video.

    Args:
      config: the run's config (`decode`).
      scores: ProposalScores of N proposals.
      segments: (N, 2) float64 shares of the video.
      num_streams: 1, or 2 where `scores` are fused.
      recording_probabilities: (K,) class scores of the whole video, by which proposals get their classes;
        None: by their own.

    Returns:
      Found.
    """
    decode = config.decode
    values = class_scores(scores, decode.final_score)
    if recording_probabilities is not None:
        proposals, classes = pairs_of_recording(values, recording_probabilities, decode.recording_classes)
        if decode.recording_probability:
            values = values * np.asarray(recording_probabilities)
    elif decode.final_score == "aux_only" and scores.auxiliary_logits is not None:  # c names no class
        proposals, classes = most_probable_pairs(values, scores.activity_logits, decode.max_per_window)
    else:
        proposals, classes = best_pairs(values, decode.max_per_window)
    threshold = decode.nms_tiou if num_streams == 1 else decode.fused_nms_tiou
    # Published: what overlaps by more than the threshold is dropped; `hard_nms` drops at its threshold too.
    threshold = np.nextafter(threshold, np.inf)
    kept = hard_nms(segments[proposals], values[proposals, classes], threshold, groups=classes)
    proposals, classes = proposals[kept], classes[kept]
    moved = regress(segments[proposals], scores.offsets[proposals, classes])
    return Found(moved, classes, values[proposals, classes])
