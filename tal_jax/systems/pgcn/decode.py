"""From the outputs of P-GCN to detections of a video: fusion, scores, suppression, regression (section 4.2).

`decode` and `fuse` run on the device, the rest on the host.

The order is that of the published code: suppression sees the proposals as they came, regression follows,
nothing comes after.
"""

import jax.numpy as jnp
import numpy as np

from tal_jax.ops.nms import hard_nms
from tal_jax.systems.candidates import Detections
from tal_jax.systems.pgcn.config import reading
from tal_jax.systems.two_stage import best_classes

# Fields of model.Outputs that detections are made of.
SCORES = ("activity_logits", "completeness_logits", "offsets", "auxiliary_logits")


def fuse(streams, weights):
    """Two streams as one: weighted means of logits and offsets.

    Args:
      streams: arrays of one shape, one of each stream, for the same proposals.
      weights: of each stream, in any scale.

    Returns:
      Array of that shape.
    """
    shares = np.asarray(weights, np.float64) / np.sum(weights)
    return sum(share * stream for share, stream in zip(shares, streams, strict=True))


def decode(config, *outputs):
    """The `SCORES` of a recording, on the device: those of one network, or of two that are fused.

    Args:
      config: the run's config (`data`, `decode`).
      outputs: model.Outputs of each stream.

    Returns:
      dict of arrays (B, N, ...), and `num_streams` (B,) int, how many networks were fused.
    """
    weights = config.decode.fusion_weights[:: -1 if config.data.stream == "flow" else 1]
    arrays = {"num_streams": jnp.full(len(outputs[0].activity_logits), len(outputs))}
    for name in SCORES:
        streams = [getattr(output, name) for output in outputs]
        if streams[0] is not None:
            arrays[name] = fuse(streams, weights) if len(streams) > 1 else streams[0]
    return arrays


def class_scores(scores, final_score="times_completeness"):
    """Score of every proposal for every class: its probability, background counted, times exp(completeness).

    With an auxiliary score c: times c. With 'replace_completeness' c takes the place of the exponential; with
    'aux_only' the score of every class is c.

    Args:
      scores: dict of the `SCORES` of N proposals: activity_logits (N, K + 1), background first;
        completeness_logits (N, K); auxiliary_logits (N,), if there are any.
      final_score: the reading of that name.

    Returns:
      (N, K).
    """
    logits = scores["activity_logits"]
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = (exponentials / exponentials.sum(-1, keepdims=True))[:, 1:]
    if "auxiliary_logits" not in scores:
        return probabilities * np.exp(scores["completeness_logits"])
    # A sigmoid that cannot overflow.
    auxiliary = 0.5 * (1.0 + np.tanh(0.5 * np.asarray(scores["auxiliary_logits"])[:, None]))
    if final_score == "aux_only":
        return np.broadcast_to(auxiliary, probabilities.shape)
    if final_score == "replace_completeness":
        return probabilities * auxiliary
    return probabilities * auxiliary * np.exp(scores["completeness_logits"])


def best_pairs(values, count):
    """The (proposal, class) pairs of a video with the highest scores, of equal ones the first.

    Args:
      values: (N, K) scores.
      count: at most so many.

    Returns:
      (N, K) bool.
    """
    chosen = np.zeros(values.shape, bool)
    chosen.flat[np.argsort(-values.ravel(), kind="stable")[:count]] = True
    return chosen


def pairs_of_recording(values, class_scores, count):
    """All proposals with each of the best classes of the whole video (P-GCN*, Table 2), as SSN's code does.

    Args:
      values: (N, K) scores; class_scores: (K,) of the video by an external classifier.
      count: of classes.

    Returns:
      (N, K) bool.
    """
    best = best_classes(class_scores, count)
    return np.broadcast_to(np.isin(np.arange(values.shape[1]), best), values.shape)


def regress(segments, offsets):
    """Moves segments by their offsets, within [0, 1].

    Args:
      segments: (M, 2) shares of the video.
      offsets: (M, 2) shift of the centre in lengths, log ratio of sizes.

    Returns:
      (M, 2) float64 shares of the video.
    """
    start, end = np.asarray(segments, np.float64).T
    length = end - start
    centre = (start + end) / 2 + length * offsets[:, 0]
    with np.errstate(over="ignore"):  # a length without bound is clipped to the video
        half = length * np.exp(np.asarray(offsets[:, 1], np.float64)) / 2
    return np.clip(np.stack([centre - half, centre + half], axis=1), 0.0, 1.0)


def detections(config, windows, timeline):
    """Detections of a recording, suppressed; see interface.System.

    Args:
      config: the run's config (`decode`).
      windows: one Decoded with the arrays that `decode` gives, padded after N proposals, and the info of
        `examples.test_windows`. recording_scores (K,), if it has them, tell the classes of all proposals.
      timeline: not used.

    Returns:
      Detections, class by class and by falling score within a class.
    """
    del timeline
    ((_, _, arrays),) = windows
    segments, of_recording = arrays["shares"], arrays.get("recording_scores")
    scores = {name: arrays[name][: len(segments)] for name in SCORES if name in arrays}
    values = class_scores(scores, reading(config, "decode.final_score"))
    if of_recording is not None:
        chosen = pairs_of_recording(values, of_recording, config.decode.recording_classes)
        if reading(config, "decode.recording_probability"):
            values = values * np.asarray(of_recording)
    elif reading(config, "decode.final_score") == "aux_only" and "auxiliary_logits" in scores:
        # The auxiliary score names no class.
        likeliest = scores["activity_logits"][:, 1:].argmax(-1)[:, None]
        ranked = np.where(np.arange(values.shape[1]) == likeliest, values, -np.inf)
        chosen = best_pairs(ranked, min(config.decode.max_per_window, len(values)))
    else:
        chosen = best_pairs(values, config.decode.max_per_window)
    alone = arrays["num_streams"] == 1
    # Published: what overlaps by more than the threshold is dropped; `hard_nms` drops at its threshold too.
    threshold = np.nextafter(config.decode.nms_tiou if alone else config.decode.fused_nms_tiou, np.inf)
    classes, proposals = np.nonzero(chosen.T)
    kept = hard_nms(segments[proposals], values[proposals, classes], threshold, groups=classes)
    proposals, classes = proposals[kept], classes[kept]
    segments = regress(segments[proposals], scores["offsets"][proposals, classes])
    return Detections(segments * arrays["duration_sec"], classes, values[proposals, classes])
