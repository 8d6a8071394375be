"""From the outputs of ActionFormer to detections: candidates of each level, soft-NMS, voting."""

import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.ops.nms import rows_of_each, vote
from tal_jax.ops.segments import anchors_to_segments
from tal_jax.systems.actionformer.config import reading
from tal_jax.systems.candidates import best_of_window, suppress_soft


def decode(config, outputs):
    """The best candidates of each level of each window, a dict of arrays: see `candidates.best_of_window`.

    Args:
      config: the run's config. Of a level at most `decode.max_per_level` candidates (point, class) are taken,
        of a score above `decode.min_score`; of these the ones that last more than `decode.min_frames` stay.
      outputs: model.Outputs; its `strides` are known before anything is compiled. A segment may reach beyond
        the recording: it is suppressed as it is, as published, and cut at the end.
    """
    strides = np.asarray(outputs.strides)
    segments = anchors_to_segments(outputs.points, outputs.distances * strides[:, None])  # (B, N, 2)
    ends = np.flatnonzero(np.diff(strides)) + 1  # where a level ends and the next one begins
    levels = zip(*(jnp.split(part, ends, axis=1) for part in (segments, final_scores(config, outputs))))
    best = [best_of_window(config, *level, config.decode.max_per_level) for level in levels]
    found = {key: jnp.concatenate([part[key] for part in best], axis=1) for key in best[0]}
    lasting = jnp.diff(found["segments"])[..., 0] > config.decode.min_frames
    return found | {"scores": jnp.where(lasting, found["scores"], 0.0)}


def final_scores(config, outputs):
    """Scores (B, N, K) of each point for each class, 0 at points that are not valid.

    The score is the class probability p. With the auxiliary branch, c = sigmoid of its logit joins it, as the
    reading `decode.final_score` says: 'times', p c; 'sqrt', sqrt(p c); 'aux_only', c for the most probable
    class and 0 for the others.

    Args:
      config: the run's config (`readings`).
      outputs: model.Outputs (`logits`, `mask`, `auxiliary_logits`).
    """
    scores = jax.nn.sigmoid(outputs.logits)
    if outputs.auxiliary_logits is not None:
        auxiliary = jax.nn.sigmoid(outputs.auxiliary_logits)[..., None]
        scores = {
            "times": scores * auxiliary,
            "sqrt": jnp.sqrt(scores * auxiliary),
            "aux_only": jax.nn.one_hot(outputs.logits.argmax(-1), scores.shape[-1]) * auxiliary,
        }[reading(config, "decode.final_score")]
    return scores * outputs.mask[..., None]


def suppress(config, found):
    """Soft-NMS of each recording, then voting, then its `decode.max_per_recording` best detections.

    With `decode.per_class` each class is suppressed by itself, else all candidates together. Then each one
    that is kept moves to the mean of those it was suppressed with that have a tIoU of at least
    `decode.voting_tiou` with it; 0: nothing votes. Published voting is without `per_class`.

    Args:
      config: the run's config (`decode`).
      found: dict recording name -> Detections.

    Returns:
      dict recording name -> Detections by falling score, with decayed scores.
    """
    settings = config.decode
    most, together = settings.max_per_recording, not settings.per_class
    kept = suppress_soft(config, found, together=together, top_k=most, keep_best=True)
    for name, detections in kept.items():
        best = detections.take(np.argsort(-detections.scores, kind="stable")[:most])
        if settings.voting_tiou:
            best = best._replace(segments_sec=_voted(settings, best, found[name]))
        kept[name] = best
    return kept


def _voted(settings, best, found):
    """Segments (N, 2) of the N best Detections, moved by their voters among all, `found`, see `suppress`."""
    if not settings.per_class:
        return vote(best.segments_sec, found.segments_sec, found.scores, settings.voting_tiou)
    moved = np.array(best.segments_sec, np.float64)
    for rows in rows_of_each(best.classes):
        voters = found.take(found.classes == best.classes[rows[0]])
        moved[rows] = vote(moved[rows], voters.segments_sec, voters.scores, settings.voting_tiou)
    return moved
