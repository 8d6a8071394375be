"""AFSD: an anchor-free detector with saliency-based boundary refinement (Lin et al., CVPR 2021).

Data flow:  backbone -> pyramid (levels l = 0..5) -> towers -> coarse heads
                              |                          |
                              +-> frame-level feature -> boundary pooling -> refined heads, quality,
                                                                             auxiliary score

Lengths: a window has `window` frames, the unit of all distances here. Level l has T_l cells; all levels
together have N = sum of T_l locations.
"""

import functools
from typing import Any, Sequence

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.ops.boundary_pooling import boundary_max_pool

NUM_LEVELS = 6


@flax.struct.dataclass
class Outputs:
    """Everything the detector computes.

    B recordings, N locations over all levels (finest first), K classes, C channels. Distances and regions are
    in frames of the window unless said otherwise; class 0 is background.
    """

    anchors: jax.Array  # (N,) centre of each location, frames
    coarse_distances: jax.Array  # (B, N, 2) to start and end
    coarse_logits: jax.Array  # (B, N, K + 1)
    refined_offsets: jax.Array  # (B, N, 2) unit: half the coarse width
    refined_logits: jax.Array  # (B, N, K + 1)
    quality_logits: jax.Array  # (B, N)
    frame_feature: jax.Array  # (B, window, C): first half start-sensitive, second half end-sensitive
    loc_sides: jax.Array  # (B, T_0, 2C) level-0 start- and end-sensitive halves of the localisation branch
    cls_sides: jax.Array  # (B, T_0, 2C) level-0 start- and end-sensitive halves of the classification branch
    level_regions: jax.Array  # (B, N, 4) pooling regions in cells of each location's own level
    frame_regions: jax.Array  # (B, N, 4) pooling regions in frames
    pyramid: Sequence[jax.Array]  # (B, T_l, C) each
    num_frames: jax.Array | None = None  # (B,) frames of the window that the recording fills; None: all
    auxiliary_logits: jax.Array | None = None  # (B, N), with the auxiliary branch of DW-AFSD


def real_cells(num_frames, cells, window):
    """Which of the T = `cells` equal cells of a window begin before the end of the recording.

    num_frames: (B,) frames of the window that the recording fills; window: frames in a window -> (B, T, 1)
    bool.
    """
    first_frames = jnp.arange(cells) * (window / cells)
    return (first_frames < num_frames[:, None])[..., None]


def without_padding(x, num_frames, window):
    """A feature (B, T, C) with 0 in all but its `real_cells`; as it is where `num_frames` is None."""
    return x if num_frames is None else jnp.where(real_cells(num_frames, x.shape[1], window), x, 0)


class Conv(nn.Module):
    """1-D convolution with bias and SAME padding, (B, T, C) -> (B, ceil(T / stride), features)."""

    features: int
    kernel: int = 1
    stride: int = 1
    kernel_init: Any = nn.initializers.glorot_uniform()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        settings = dict(kernel_init=self.kernel_init, dtype=self.dtype, name="conv")
        return nn.Conv(self.features, self.kernel, self.stride, **settings)(x)


class Block(nn.Module):
    """AFSD Eq. 2: ReLU(GroupNorm(Conv(x))), the unit that AFSD is made of.

    With 2C channels it gives the start-sensitive f^s and the end-sensitive f^e in one.
    """

    features: int
    kernel: int = 1
    stride: int = 1
    window: int | None = None  # frames in a window, needed with `num_frames`
    groups: int = 32
    kernel_init: Any = nn.initializers.glorot_uniform()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, num_frames=None):
        """(B, T, C) -> (B, ceil(T / stride), features).

        num_frames: (B,) frames of the window that the recording fills. GroupNorm then counts the `real_cells`
        alone, and the other cells become 0, as the padding of a convolution is. None: all cells count.
        """
        x = Conv(self.features, self.kernel, self.stride, self.kernel_init, self.dtype, name="conv")(x)
        norm = nn.GroupNorm(self.groups, epsilon=1e-5, dtype=self.dtype, name="norm")
        mask = None
        if num_frames is not None:
            mask = jnp.broadcast_to(real_cells(num_frames, x.shape[1], self.window), x.shape)
        return without_padding(nn.relu(norm(x, mask=mask)), num_frames, self.window)


def spatial_glorot(height, width):
    """Initialiser of a flat kernel (1, height * width * C, features): Glorot uniform of the convolution of
    height and width.
    """

    def init(key, shape, dtype=jnp.float32):
        unflattened = (height, width, shape[1] // (height * width), shape[2])
        return nn.initializers.glorot_uniform()(key, unflattened, dtype).reshape(shape)

    return init


def upsample_nearest(x, length):
    """Nearest upsampling in time by a whole factor. (B, T, C) -> (B, length, C)."""
    return jnp.repeat(x, length // x.shape[1], axis=1)


def boundary_regions(distances, centre, *, plus_one):
    """AFSD Eq. 3: where to look for the two boundaries of a segment.

    The published code looks w/10 outside and w/4 inside each boundary, at least one cell (the paper's text
    swaps the two).

    Args:
      distances: (..., 2) from `centre` to start and end; centre: (...), in the same unit, frames or cells.
      plus_one: width counts both end frames (the frame-level regions do, the level ones do not).

    Returns:
      (..., 4) [start_from, start_to, end_from, end_to], rounded half to even, not clamped to the window.
    """
    width = distances.sum(-1) + (1.0 if plus_one else 0.0)
    inside, outside = jnp.maximum(width / 4, 1), jnp.maximum(width / 10, 1)
    start, end = centre - distances[..., 0], centre + distances[..., 1]
    return jnp.round(jnp.stack([start - outside, start + inside, end - inside, end + outside], axis=-1))


class Pyramid(nn.Module):
    """Two backbone maps (B, T, H, W, C) -> six levels (B, T_l, channels), each half as long as the last."""

    channels: int
    top_down: bool  # level 0: the finer map plus the upsampled level 1 (THUMOS); else the coarser map alone
    block: Any

    @nn.compact
    def __call__(self, finer, coarser, num_frames=None):
        levels = []
        for i, x in enumerate([finer, coarser] if self.top_down else [coarser]):
            # A kernel as large as the map is a product with the flattened map.
            init = spatial_glorot(*x.shape[2:4])
            project = self.block(self.channels, kernel_init=init, name=f"project_{i}")
            levels.append(project(x.reshape(*x.shape[:2], -1), num_frames))
        while len(levels) < NUM_LEVELS:
            levels.append(self.block(self.channels, 3, 2, name=f"down_{len(levels)}")(levels[-1], num_frames))
        if self.top_down:
            levels[0] = levels[0] + upsample_nearest(levels[1], levels[0].shape[1])
        return levels


class RefinementBranch(nn.Module):
    """AFSD Eq. 5: the refined feature, of a location's own and those pooled near both ends of its segment."""

    channels: int
    pool: Any
    block: Any

    @nn.compact
    def __call__(self, tower, frame_pooled, level_regions, num_frames=None):
        """Refined features (B, T_l, C) of one level, and their sides (B, T_l, 2C) before pooling: the
        start-sensitive and the end-sensitive half.

        Args:
          tower: (B, T_l, C); frame_pooled: (B, T_l, C), the frame-level feature pooled for each cell.
          level_regions: (B, T_l, 4) in cells; num_frames: see `Block`.
        """
        current = self.block(self.channels, name="current")(tower, num_frames)
        sides = self.block(2 * self.channels, name="sides")(tower, num_frames)
        region = self.block(self.channels, name="region")(frame_pooled, num_frames)
        merged = jnp.concatenate([region, self.pool(sides, level_regions, num_frames), current], axis=-1)
        return self.block(self.channels, name="merge")(merged, num_frames), sides


class AFSD(nn.Module):
    """The detector after the backbone, with the auxiliary branch of DW-AFSD as an option.

    Attributes:
      num_classes: K, background not counted.
      window: frames in a window.
      channels: width of every level (512 as published).
      groups: GroupNorm groups (32 as published).
      distance_multipliers: of each level, what turns exp(scale * x) into frames (ones for THUMOS).
      top_down: see `Pyramid`.
      normal_heads: draw all but pyramid and frame-level convolutions from N(0, 0.01^2) (ActivityNet).
      auxiliary: add the auxiliary branch (DW-AFSD section 3.4.1).
      auxiliary_features: what it reads, see `afsd_config`.
      boundary_pool_grad: 'exact', or 'reference' for the gradient the published CUDA code computes.
      padding_mask: what comes after the end of a recording changes nothing before it: convolutions see zeros
        there, GroupNorm and boundary pooling the recording's cells alone. False, as published: padding is
        seen like a recording.
      backbone: module turning inputs into the two maps, with `padding_mask` from (inputs, num_frames); None
        if the maps are given.
      dtype: of the computation; parameters and outputs that losses read stay float32.
    """

    num_classes: int
    window: int
    channels: int = 512
    groups: int = 32
    distance_multipliers: Sequence[float] = (1.0,) * NUM_LEVELS
    top_down: bool = True
    normal_heads: bool = False
    auxiliary: bool = False
    auxiliary_features: str = "both"
    boundary_pool_grad: str = "exact"
    padding_mask: bool = False
    backbone: nn.Module | None = None
    dtype: Any = jnp.float32

    def setup(self):
        block = functools.partial(Block, window=self.window, groups=self.groups, dtype=self.dtype)
        init = nn.initializers.normal(0.01) if self.normal_heads else nn.initializers.glorot_uniform()
        head_block = functools.partial(block, kernel_init=init)
        # In float32: distances of 100 frames need more digits than bfloat16 has.
        head = functools.partial(Conv, kernel_init=init)

        channels, num_logits = self.channels, self.num_classes + 1
        self.pyramid = Pyramid(channels, self.top_down, block)
        self.frame = [block(channels, kernel) for kernel in (3, 3, 1)]
        self.scales = self.param("scales", nn.initializers.ones, (NUM_LEVELS,))
        self.loc_tower = [head_block(channels, 3) for _ in range(2)]
        self.cls_tower = [head_block(channels, 3) for _ in range(2)]
        self.loc_head, self.cls_head = head(2, 3), head(num_logits, 3)
        self.loc_branch = RefinementBranch(channels, self._pool, head_block)
        self.cls_branch = RefinementBranch(channels, self._pool, head_block)
        self.refined_loc_head, self.refined_cls_head = head(2), head(num_logits)
        self.quality_head = head(1, 3)
        if self.auxiliary:
            self.auxiliary_reduce, self.auxiliary_head = head_block(channels), head(1, 3)

    def __call__(self, inputs, num_frames=None, sample_mask=None):
        """The Outputs for windows.

        Args:
          inputs: what the backbone takes ((B, window, C_in) for sequences), or the two maps.
          num_frames: (B,) frames of the window that the recording fills; None: all.
          sample_mask: (B,) 0 for recordings that only fill the batch, for the backbone; None: there are none.
        """
        lengths, maps = num_frames if self.padding_mask else None, inputs
        if self.backbone is not None:
            maps = self.backbone(without_padding(inputs, lengths, self.window), lengths, sample_mask)
        levels = self.pyramid(*maps, lengths)
        # Level 0 has the sum with level 1, whose cells are longer.
        levels[0] = without_padding(levels[0], lengths, self.window)

        def through(blocks, x):
            return functools.reduce(lambda x, block: block(x, lengths), blocks, x)

        frames = without_padding(upsample_nearest(levels[0], self.window), lengths, self.window)
        frame_feature = through(self.frame, frames)
        towers = [(through(self.loc_tower, level), through(self.cls_tower, level)) for level in levels]
        rows = [self._coarse(level, *features) for level, features in enumerate(towers)]
        pooled = self._pool_frame_feature(frame_feature, [row["frame_regions"] for row in rows], lengths)
        for row, features, frame_pooled in zip(rows, towers, pooled, strict=True):
            row |= self._refine(*features, frame_pooled, row["level_regions"], lengths)
        sides = {name: [row.pop(name) for row in rows][0] for name in ("loc_sides", "cls_sides")}
        joined = {
            name: jnp.concatenate([row[name] for row in rows], min(1, value.ndim - 1), jnp.float32)
            for name, value in rows[0].items()
        }
        return Outputs(
            frame_feature=frame_feature, pyramid=tuple(levels), num_frames=num_frames, **sides, **joined
        )

    def _coarse(self, level, loc_feature, cls_feature):
        """Coarse prediction of one level from its two towers (B, T_l, C), and where its refinement looks."""
        cells = loc_feature.shape[1]
        distances = jnp.exp(self.scales[level] * self.loc_head(loc_feature))
        distances = distances * self.distance_multipliers[level]
        fixed = jax.lax.stop_gradient(distances)
        anchors = (jnp.arange(cells) + 0.5) / cells * self.window
        return dict(
            anchors=anchors,
            coarse_distances=distances,
            coarse_logits=self.cls_head(cls_feature),
            level_regions=boundary_regions(fixed * (cells / self.window), jnp.arange(cells), plus_one=False),
            frame_regions=boundary_regions(fixed, anchors, plus_one=True),
        )

    def _refine(self, loc_feature, cls_feature, frame_pooled, level_regions, lengths):
        """Refined prediction of one level, with the sides of its two branches (see `RefinementBranch`)."""
        loc_refined, loc_sides = self.loc_branch(loc_feature, frame_pooled, level_regions, lengths)
        cls_refined, cls_sides = self.cls_branch(cls_feature, frame_pooled, level_regions, lengths)
        row = dict(
            refined_offsets=self.refined_loc_head(loc_refined),
            refined_logits=self.refined_cls_head(cls_refined),
            quality_logits=self.quality_head(loc_refined)[..., 0],
            loc_sides=loc_sides,
            cls_sides=cls_sides,
        )
        if self.auxiliary:
            refined, towers = [cls_refined, loc_refined], [cls_feature, loc_feature]
            choices = {"both": refined, "cls": refined[:1], "loc": refined[1:], "towers": towers}
            read = jnp.concatenate(choices[self.auxiliary_features], axis=-1)
            row["auxiliary_logits"] = self.auxiliary_head(self.auxiliary_reduce(read, lengths))[..., 0]
        return row

    def _pool(self, features, regions, lengths):
        """Boundary pooling among the cells of the recording. (B, T, C), (B, T_l, 4) -> (B, T_l, C)."""
        if lengths is not None:
            last_cell = real_cells(lengths, features.shape[1], self.window).sum(axis=1, keepdims=True) - 1
            regions = jnp.minimum(regions, last_cell)  # (B, 1, 1)
        return boundary_max_pool(features, regions, grad=self.boundary_pool_grad)

    def _pool_frame_feature(self, frame_feature, regions, lengths):
        """The frame-level feature (B, window, C), pooled for regions of each level.

        regions: list of (B, T_l, 4) in frames -> list of (B, T_l, C).
        """
        if self.boundary_pool_grad == "reference":  # its gradient depends on the number of regions in a call
            return [self._pool(frame_feature, level, lengths) for level in regions]
        ends = np.cumsum([level.shape[1] for level in regions])[:-1]
        return jnp.split(self._pool(frame_feature, jnp.concatenate(regions, axis=1), lengths), ends, axis=1)
