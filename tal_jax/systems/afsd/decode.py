"""From the outputs of AFSD to scored candidate segments of a window (AFSD section 3.4, Eq. 15)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tal_jax.ops.segments import anchors_to_segments
from tal_jax.systems import candidates
from tal_jax.systems.afsd.config import reading
from tal_jax.systems.afsd.losses import refine_distances
from tal_jax.systems.candidates import best_of_window, suppress_soft


class Locations(NamedTuple):
    """Candidates of B windows, one for each location and class."""

    segments: jax.Array  # (B, N, 2) frames of the window, within the recording
    scores: jax.Array  # (B, N, K), background left out; 0 where there is no candidate


def decode(config, *outputs):
    """The best candidates of each window, as a dict of arrays: see `candidates.best_of_window`.

    Args:
      config: the run's config. Its reading `decode.fusion` says how two streams are fused: 'outputs'
        (THUMOS14, as published) or 'segments' (ActivityNet).
      outputs: model.Outputs of each network.
    """
    if len(outputs) == 1:
        locations = of_locations(config, *outputs)
    elif reading(config, "decode.fusion") == "segments":
        locations = of_two_streams(config, *outputs)
    else:
        locations = of_locations(config, fuse_streams(*outputs))
    return best_of_window(config, *locations)


def of_locations(config, outputs):
    """Segments and class scores of every location.

    Score of class k = 0.5 * (coarse + refined softmax)_k * sigmoid(quality); with the auxiliary branch, its
    score takes the place of the quality (`final_score='replace_quality'`), multiplies it (`'times_quality'`),
    or is the score of the most probable class by itself (`'aux_only'`). With the reading decode.refined=False
    candidates are of the coarse heads alone: coarse segments, coarse softmax. A location after the end of the
    recording has score 0, and no segment reaches beyond that end.

    Args:
      config: the run's config (`curriculum.auxiliary`, `window.frames`, `readings`).
      outputs: Outputs.

    Returns:
      Locations.
    """
    distances = outputs.coarse_distances
    if reading(config, "decode.refined"):
        distances = refine_distances(distances, outputs.refined_offsets)
    segments, scores = anchors_to_segments(outputs.anchors, distances), _scores(config, outputs)
    if outputs.num_frames is None:
        return Locations(jnp.clip(segments, 0, config.window.frames), scores)
    # Training leaves out the locations in the padding: whatever they say is no candidate.
    inside = outputs.anchors < outputs.num_frames[:, None]  # (B, N)
    segments = jnp.clip(segments, 0, outputs.num_frames[:, None, None])
    return Locations(segments, jnp.where(inside[..., None], scores, 0.0))


def _scores(config, outputs):
    """Scores (B, N, K) of every location for each class, see `of_locations`."""
    if not reading(config, "decode.refined"):
        return jax.nn.softmax(outputs.coarse_logits)[..., 1:]
    classes = 0.5 * (jax.nn.softmax(outputs.coarse_logits) + jax.nn.softmax(outputs.refined_logits))[..., 1:]
    quality = jax.nn.sigmoid(outputs.quality_logits)[..., None]
    if config.curriculum.auxiliary != "branch":
        return classes * quality
    auxiliary = jax.nn.sigmoid(outputs.auxiliary_logits)[..., None]
    return {
        "replace_quality": classes * auxiliary,
        "times_quality": classes * auxiliary * quality,
        "aux_only": jax.nn.one_hot(classes.argmax(-1), classes.shape[-1]) * auxiliary,
    }[reading(config, "decode.final_score")]


def suppress(config, found):
    """`candidates.suppress_soft` with the last candidate as `config.readings` or `config.recipe` says."""
    return suppress_soft(config, found, keep_last=reading(config, "decode.keep_last"))


def deployment(config):
    """`candidates.deployment` with the last candidate as `suppress` has it."""
    return candidates.deployment(config, reading(config, "decode.keep_last"))


def fuse_streams(first, second):
    """Two-stream fusion (THUMOS): the Outputs whose distances, offsets and logits are the means of both
    networks' ones.
    """
    names = (
        "coarse_distances",
        "coarse_logits",
        "refined_offsets",
        "refined_logits",
        "quality_logits",
        "auxiliary_logits",
    )
    pairs = {name: (getattr(first, name), getattr(second, name)) for name in names}
    return first.replace(**{name: 0.5 * (a + b) for name, (a, b) in pairs.items() if a is not None})


def of_two_streams(config, first, second):
    """Two-stream fusion (ActivityNet, as published): each network is decoded by itself, logits are averaged
    for the scores.

    Args:
      config: the run's config.
      first, second: Outputs of the two networks.

    Returns:
      Locations: start and end are the geometric means of both networks' starts and ends, frames of the
        window.
    """
    segments = jnp.sqrt(of_locations(config, first).segments * of_locations(config, second).segments)
    return Locations(segments, of_locations(config, fuse_streams(first, second)).scores)
