"""The Temporal Boundary Regressor (TCANet section 2.2): two views of a proposal correct its boundaries."""

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from tal_jax.systems.tcanet import convolution
from tal_jax.systems.tcanet.convolution import ConvParameters
from tal_jax.systems.tcanet.sampling import context_positions

# Published code. The report has no steps.
CENTRE_STEP = 0.1  # factor on the segment level's offset of the centre
WIDTH_STEP = 0.2  # and of the width
FRAME_SHARE = 0.5  # tau of Eq. 16, share of the frame level


@flax.struct.dataclass
class Stage:
    """Outputs of one stage for B recordings with P proposals each."""

    entering_sec: jax.Array  # (B, P, 2) the proposals it is given
    boundary_offsets: jax.Array  # (B, P, 2) frame level: ds, de
    segment_offsets: jax.Array  # (B, P, 2) segment level: dx, dw
    confidence: jax.Array  # (B, P) in (0, 1), of the proposals it is given
    refined_sec: jax.Array  # (B, P, 2) the proposals it gives


def move_boundaries(segments, offsets, g):
    """TCANet Eq. 13: the frame level's proposal, s + g * ds * w and e + g * de * w; sign and g as published.

    segments (..., 2), offsets (..., 2): ds, de -> segments (..., 2), in the unit of those given.
    """
    return segments + g * offsets * (segments[..., 1:] - segments[..., :1])


def move_centre_and_width(segments, offsets, centre_step, width_step):
    """TCANet Eq. 14, TCANet Eq. 15: the segment level's proposal, of centre c + dx * w and width w * exp(dw).

    As published dx is added, and both offsets are first multiplied by their steps.
    segments (..., 2), offsets (..., 2): dx, dw -> segments (..., 2), in the unit of those given.
    """
    start, end = segments[..., 0], segments[..., 1]
    width = end - start
    centre = (start + end) / 2 + centre_step * offsets[..., 0] * width
    half = width * jnp.exp(width_step * offsets[..., 1]) / 2
    return jnp.stack([centre - half, centre + half], axis=-1)


def fuse(by_boundaries, by_centre, share, earliest=0.0):
    """TCANet Eq. 16: share * first + (1 - share) * second, then not before `earliest`.

    (..., 2) twice -> (..., 2).
    """
    fused = share * by_boundaries + (1.0 - share) * by_centre
    return jnp.where(fused < earliest, earliest, fused)  # `jnp.maximum` would halve the gradient there


class FrameLevel(nn.Module):
    """TCANet Eq. 10: the offset of one boundary from its context. (G, B, T, I), (B, P, S) -> (B, P)."""

    @nn.compact
    def __call__(self, maps, positions):
        hidden = len(maps) * maps.shape[-1] // 4
        conv_3 = ConvParameters(1, positions.shape[-1] // 4, 1, maps.dtype, name="conv_3")(hidden)
        hidden = _two_convolutions(maps, positions, hidden)
        return convolution.summarise(hidden, *conv_3)[0].reshape(positions.shape[:2])


class SegmentLevel(nn.Module):
    """TCANet Eq. 12: offsets of centre and width, and a confidence logit, from all of F_a.

    maps (G, B, T, I), positions (B, P, S) -> (B, P, 3).
    """

    @nn.compact
    def __call__(self, maps, positions):
        groups, channels, taps = len(maps), len(maps) * maps.shape[-1], positions.shape[-1] // 4
        conv_3 = ConvParameters(channels, taps, groups, maps.dtype, name="conv_3")(channels)
        conv_4 = ConvParameters(3, 1, 1, maps.dtype, name="conv_4")(channels)
        hidden = _two_convolutions(maps, positions, channels)
        hidden = nn.relu(convolution.summarise(hidden, *conv_3))  # (G, B * P, I)
        return convolution.summarise(hidden[:, :, None], *conv_4)[0].reshape(*positions.shape[:2], 3)


def _two_convolutions(maps, positions, features):
    """Two convolutions of stride 2 over samples of maps, with ReLUs, in the module that calls this.

    maps (G, B, T, I), positions (B, P, S) -> (G, B * P, S / 4, features / G).
    """
    groups = len(maps)
    conv_1 = ConvParameters(features, 3, groups, maps.dtype, name="conv_1")(groups * maps.shape[-1])
    conv_2 = ConvParameters(features, 3, groups, maps.dtype, name="conv_2")(features)
    halves = [
        nn.relu(half).astype(maps.dtype) for half in convolution.convolve_samples(maps, positions, *conv_1)
    ]
    even, odd = (half.reshape(groups, -1, *half.shape[-2:]) for half in halves)
    return nn.relu(convolution.convolve_halves(even, odd, *conv_2))


class BoundaryRegressor(nn.Module):
    """One stage: both levels, and the proposals moved by their offsets.

    Attributes:
      groups: of the convolutions.
      samples: of the context before, inside, after.
      dtype: of the products of matrices.
    """

    groups: int
    samples: tuple[int, int, int]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, features, segments_sec, covered_sec, g, earliest_sec=0.0):
        """Moves and scores the proposals of B recordings.

        Args:
          features: (B, T, C).
          segments_sec: (B, P, 2).
          covered_sec: (B,) what the features cover.
          g: factor on the offsets of the frame level.
          earliest_sec: (B,) start of the recording, before which no proposal begins.

        Returns:
          Stage, all float32.
        """
        positions = context_positions(segments_sec, covered_sec[:, None], features.shape[1], self.samples)
        maps = convolution.split_groups(features.astype(self.dtype), self.groups)
        before, _, after = self.samples
        start = FrameLevel(name="start")(maps, positions[..., :before])
        end = FrameLevel(name="end")(maps, positions[..., -after:])
        boundary_offsets = jnp.stack([start, end], axis=-1).astype(jnp.float32)
        segment = SegmentLevel(name="segment")(maps, positions).astype(jnp.float32)
        by_boundaries = move_boundaries(segments_sec, boundary_offsets, g)
        by_centre = move_centre_and_width(segments_sec, segment[..., :2], CENTRE_STEP, WIDTH_STEP)
        refined = fuse(by_boundaries, by_centre, FRAME_SHARE, jnp.reshape(earliest_sec, (-1, 1, 1)))
        return Stage(segments_sec, boundary_offsets, segment[..., :2], nn.sigmoid(segment[..., 2]), refined)
