"""AFSD: an anchor-free detector with saliency-based boundary refinement (Lin et al., CVPR 2021).

Data flow:  backbone -> pyramid (levels l = 0..5) -> towers -> coarse heads
                              |                          |
                              +-> frame-level feature -> boundary pooling -> refined heads, quality,
                                                                             auxiliary score

Lengths: a window has `window` frames, the unit of all distances here. Level l has T_l cells; all levels
together have N = sum of T_l locations. Behind the pyramid the levels lie side by side along time, so that
what they share runs once.
"""

import functools
from typing import Any, NamedTuple, Sequence

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.ops.boundary_pooling import boundary_max_pool
from tal_jax.ops.conv1d import of_cells, place_in_level
from tal_jax.systems.afsd.layers import (
    Block,
    Conv,
    number_of_real_cells,
    spatial_glorot,
    upsample_nearest,
    without_padding,
)

NUM_LEVELS = 6


class Sides(NamedTuple):
    """The features that boundary consistency reads. The first half of the channels of each is
    start-sensitive, the second half end-sensitive.
    """

    frame_feature: jax.Array  # (B, window, C)
    loc_sides: jax.Array  # (B, T_0, 2C) level 0 of the localisation branch
    cls_sides: jax.Array  # (B, T_0, 2C) level 0 of the classification branch


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
    frame_feature: jax.Array  # as in Sides, and the next two
    loc_sides: jax.Array
    cls_sides: jax.Array
    level_regions: jax.Array  # (B, N, 4) pooling regions in cells of each location's own level
    frame_regions: jax.Array  # (B, N, 4) pooling regions in frames
    pyramid: Sequence[jax.Array]  # (B, T_l, C) each
    num_frames: jax.Array | None = None  # (B,) frames of the window that the recording fills; None: all
    auxiliary_logits: jax.Array | None = None  # (B, N), with the auxiliary branch of DW-AFSD
    rearranged_sides: Sides | None = None  # of the rearranged windows, where there are any


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
    block: Any

    def setup(self):
        self.current, self.region = self.block(self.channels), self.block(self.channels)
        self.sides, self.merge = self.block(2 * self.channels), self.block(self.channels)

    def __call__(self, tower, frame_pooled, sides_pooled, *place):
        """Refined features (B, N, C) of all locations.

        Args:
          tower: (B, N, C).
          frame_pooled: (B, N, C), the frame-level feature pooled for each location.
          sides_pooled: (B, N, 2C), `sides` of the tower pooled for each location.
          place: `num_frames` and `cells` of `Block`.
        """
        parts = self.region(frame_pooled, *place), sides_pooled, self.current(tower, *place)
        return self.merge(jnp.concatenate(parts, axis=-1), *place)


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
        head = functools.partial(Conv, kernel_init=init, dtype=self.dtype, result=jnp.float32)
        # Distances of 100 frames need more digits than bfloat16 has.
        precise_head = functools.partial(Conv, kernel_init=init, precision="highest")

        channels, num_logits = self.channels, self.num_classes + 1
        self.pyramid = Pyramid(channels, self.top_down, block)
        self.frame = [block(channels, kernel) for kernel in (3, 3, 1)]
        self.scales = self.param("scales", nn.initializers.ones, (NUM_LEVELS,))
        self.loc_tower = [head_block(channels, 3) for _ in range(2)]
        self.cls_tower = [head_block(channels, 3) for _ in range(2)]
        self.loc_head, self.cls_head = precise_head(2, 3), head(num_logits, 3)
        self.loc_branch = RefinementBranch(channels, head_block)
        self.cls_branch = RefinementBranch(channels, head_block)
        self.refined_loc_head, self.refined_cls_head = precise_head(2), head(num_logits)
        self.quality_head = head(1, 3)
        if self.auxiliary:
            self.auxiliary_reduce, self.auxiliary_head = head_block(channels), head(1, 3)

    def __call__(self, inputs, num_frames=None, sample_mask=None, rearranged=None):
        """The Outputs for windows.

        Args:
          inputs: what the backbone takes ((B, window, C_in) for sequences), or the two maps.
          num_frames: (B,) frames of the window that the recording fills; None: all.
          sample_mask: (B,) 0 for recordings that only fill the batch, for the backbone; None: there are none.
          rearranged: the same windows rearranged, of which `rearranged_sides` are wanted, with a backbone;
            None: there are none. They are in no statistics of a batch: BatchNorms that are not frozen
            normalise them with those of the windows themselves.
        """
        lengths, maps = num_frames if self.padding_mask else None, inputs
        of_maps = lengths
        if rearranged is not None:
            counted = jnp.ones(len(inputs)) if sample_mask is None else sample_mask
            sample_mask = jnp.concatenate([counted, jnp.zeros_like(counted)])
            maps = inputs = jnp.concatenate([inputs, rearranged])
            of_maps = None if lengths is None else jnp.concatenate([lengths, lengths])
        if self.backbone is not None:
            maps = self.backbone(without_padding(inputs, of_maps, self.window), of_maps, sample_mask)
        levels = self.pyramid(*maps, of_maps)
        # Level 0 has the sum with level 1, whose cells are longer.
        levels[0] = without_padding(levels[0], of_maps, self.window)
        frames = without_padding(upsample_nearest(levels[0], self.window), of_maps, self.window)
        frame_feature = _through(self.frame, frames, of_maps)

        batch = frame_feature.shape[0] // (
            1 if rearranged is None else 2
        )  # its length is a symbol in an export
        cells = all_cells = tuple(level.shape[1] for level in levels)
        parts = [level[:batch] for level in levels]
        if rearranged is not None:  # its level 0 is one level more
            parts, all_cells = [*parts, levels[0][batch:]], (*cells, cells[0])
        joined = jnp.concatenate(parts, axis=1)
        towers = [_through(tower, joined, lengths, all_cells) for tower in (self.loc_tower, self.cls_tower)]
        branches = self.loc_branch, self.cls_branch
        sides = [branch.sides(tower, lengths, all_cells) for branch, tower in zip(branches, towers)]
        rearranged_sides = None
        if rearranged is not None:
            rearranged_sides = Sides(frame_feature[batch:], *(side[:, sum(cells) :] for side in sides))
        frame_feature = frame_feature[:batch]
        towers, sides = ([x[:, : sum(cells)] for x in pair] for pair in (towers, sides))
        row = self._coarse(*towers, cells)
        row |= self._refine(towers, frame_feature, sides, row, lengths, cells)
        return Outputs(
            frame_feature=frame_feature,
            loc_sides=sides[0][:, : cells[0]],
            cls_sides=sides[1][:, : cells[0]],
            rearranged_sides=rearranged_sides,
            pyramid=tuple(parts[: len(cells)]),
            num_frames=num_frames,
            **{name: value.astype(jnp.float32) for name, value in row.items()},
        )

    def _coarse(self, loc_feature, cls_feature, cells):
        """Coarse predictions from the two towers (B, N, C), and where their refinement looks."""
        distances = jnp.exp(of_cells(self.scales, cells)[:, None] * self.loc_head(loc_feature, cells))
        distances = distances * of_cells(np.float32(self.distance_multipliers[: len(cells)]), cells)[:, None]
        fixed = jax.lax.stop_gradient(distances)
        place, count = place_in_level(cells), np.repeat(cells, cells)
        anchors = np.float32((place + 0.5) / count * self.window)
        in_cells = fixed * np.float32(count / self.window)[:, None]
        return dict(
            anchors=jnp.asarray(anchors),
            coarse_distances=distances,
            coarse_logits=self.cls_head(cls_feature, cells),
            level_regions=boundary_regions(in_cells, place, plus_one=False),
            frame_regions=boundary_regions(fixed, anchors, plus_one=True),
        )

    def _refine(self, towers, frame_feature, sides, row, lengths, cells):
        """Refined predictions of all locations.

        Args:
          towers, sides: of the localisation and of the classification branch, (B, N, C) and (B, N, 2C).
          frame_feature: (B, window, C).
          row: of `_coarse`.
          lengths: (B,) frames of the recording, None: all; cells: of the levels.
        """
        frame_pooled = self._pool_frame_feature(frame_feature, row["frame_regions"], lengths, cells)
        loc, cls = (
            branch(
                tower,
                frame_pooled,
                self._pool_sides(side, row["level_regions"], lengths, cells),
                lengths,
                cells,
            )
            for branch, tower, side in zip((self.loc_branch, self.cls_branch), towers, sides)
        )
        refined = dict(
            refined_offsets=self.refined_loc_head(loc),
            refined_logits=self.refined_cls_head(cls),
            quality_logits=self.quality_head(loc, cells)[..., 0],
        )
        if self.auxiliary:
            choices = {"both": [cls, loc], "cls": [cls], "loc": [loc], "towers": towers[::-1]}
            read = jnp.concatenate(choices[self.auxiliary_features], axis=-1)
            reduced = self.auxiliary_reduce(read, lengths, cells)
            refined["auxiliary_logits"] = self.auxiliary_head(reduced, cells)[..., 0]
        return refined

    def _pool_frame_feature(self, frame_feature, regions, lengths, cells):
        """The frame-level feature (B, window, C), pooled for (B, N, 4) regions in frames -> (B, N, C)."""
        pool = functools.partial(boundary_max_pool, frame_feature, grad=self.boundary_pool_grad)
        regions = self._inside(regions, lengths, self.window)
        if self.boundary_pool_grad == "exact":
            return pool(regions)
        # The published gradient depends on the number of regions in a call, which are those of a level.
        levels = jnp.split(regions, np.cumsum(cells)[:-1], axis=1)
        return jnp.concatenate([*map(pool, levels)], axis=1)

    def _pool_sides(self, sides, regions, lengths, cells):
        """Features (B, N, 2C) of levels side by side, pooled for regions (B, N, 4) in cells of each level."""
        regions = self._inside(regions, lengths, np.repeat(cells, cells))
        return boundary_max_pool(sides, regions, cells=cells, grad=self.boundary_pool_grad)

    def _inside(self, regions, lengths, count):
        """Regions (B, N, 4) cut to the cells of the recording. count: cells in a window, a number or (N,)."""
        if lengths is None:
            return regions
        real = number_of_real_cells(lengths[:, None], count, self.window)
        return jnp.minimum(regions, real[..., None] - 1)


def _through(blocks, x, *place):
    """x through one `Block` after another. place: `num_frames` and `cells`."""
    return functools.reduce(lambda x, block: block(x, *place), blocks, x)
