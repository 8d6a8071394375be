"""ActionFormer: a transformer over a pyramid of a recording's features (Zhang, Wu, Li, ECCV 2022).

Data flow:  features -> embedding -> stem -> branch, level by level -> neck -> heads that all levels share

A recording has T positions at level 0, T / 2^l at level l; all levels together have N points. Positions are
cells of the feature axis: point i of a level of stride s lies at i s + 0.5.
"""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.errors import DataError
from tal_jax.ops.conv1d import of_cells
from tal_jax.systems.actionformer.blocks import ConvBlock, MaxBlock, SGPBlock, TransformerBlock
from tal_jax.systems.actionformer.layers import (
    Conv,
    Grid,
    LayerNorm,
    position_embedding,
    stretched_positions,
)

PRIOR = 0.01  # probability of each class at each point before training
EMPTY_PRIOR = 1e-6  # of a class without any training action


class Outputs(NamedTuple):
    """The outputs for B recordings at N points, those of the finest level first, and K classes."""

    logits: jax.Array  # (B, N, K), of sigmoids
    distances: jax.Array  # (B, N, 2) to start and end, >= 0, in strides of the point's level
    mask: jax.Array  # (B, N) bool: points of the recording
    points: np.ndarray  # (N,) float32, cells
    strides: np.ndarray  # (N,) float32, cells
    auxiliary_logits: jax.Array | None = None  # (B, N), with the auxiliary branch


def prior_bias(num_classes, empty_classes=()):
    """The classifier's bias before training, (K,): it makes each class rare, those without actions rarer."""
    prior = np.full(num_classes, PRIOR)
    prior[list(empty_classes)] = EMPTY_PRIOR
    return np.log(prior / (1 - prior)).astype(np.float32)


def points_of_levels(length, levels):
    """(points, strides), (N,) float32 each, in cells, of a recording of `length` positions."""
    strides = [2**level for level in range(levels)]
    points = [np.arange(0, length, stride) + 0.5 for stride in strides]
    sizes = [len(level) for level in points]
    return np.concatenate(points).astype(np.float32), np.repeat(np.float32(strides), sizes)


class Backbone(nn.Module):
    """Features -> the levels of the pyramid, before the neck.

    Attributes:
      max_length: positions of a training window (max_seq_len); the position embedding has as many.
      mixer: 'attention', 'max' (TemporalMaxer), 'sgp' (TriDet) or 'conv'.
      channels: width of all layers.
      heads: number of attention heads.
      embed_layers, stem_blocks, branch_blocks: how many; each block of the branch halves the positions.
      windows: positions that attention sees, of each level, or one for all; up to 1: all positions. Of
        'sgp': the smaller of its two windows, 1 or more.
      absolute_positions, relative_positions: whether positions are added to the embedding, or to logits.
      input_channels, projected_channels: widths of several features side by side, and to how many channels
        each is projected; (): one feature, no projection.
      dropout, drop_path: rates in training.
      dtype: of the computation.
    """

    max_length: int
    mixer: str = "attention"
    channels: int = 512
    heads: int = 4
    embed_layers: int = 2
    stem_blocks: int = 2
    branch_blocks: int = 5
    windows: Sequence[int] = (19,)
    absolute_positions: bool = False
    relative_positions: bool = False
    input_channels: Sequence[int] = ()
    projected_channels: Sequence[int] = ()
    dropout: float = 0.0
    drop_path: float = 0.1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, grid, train=False):
        """(B, T, C_in), its Grid -> list of (features (B, T_l, channels), Grid), the finest level first."""
        if self.projected_channels:
            require_width(x.shape[-1], self.input_channels)
            parts = jnp.split(x, np.cumsum(self.input_channels)[:-1], axis=-1)
            parts = [
                grid.mask(Conv(features, 1, use_bias=True, dtype=self.dtype, name=f"project_{i}")(part))
                for i, (features, part) in enumerate(zip(self.projected_channels, parts))
            ]
            x = jnp.concatenate(parts, axis=-1)
        for i in range(self.embed_layers):
            x = grid.mask(Conv(self.channels, dtype=self.dtype, name=f"embed_{i}")(x))
            x = grid.hide(jax.nn.relu(LayerNorm(name=f"embed_norm_{i}")(x)))
        if self.absolute_positions:
            table = position_embedding(self.max_length, self.channels)
            x += grid.mask(stretched_positions(table, grid.exists.sum(1), x.shape[1]).astype(x.dtype))
        for i in range(self.stem_blocks):
            x = self._block(0, 1, f"stem_{i}")(x, grid, train)
        levels = [(x, grid)]
        for i in range(self.branch_blocks):
            x = self._block(i + 1, 2, f"branch_{i}")(x, grid, train)
            grid = grid.strided(2)
            levels.append((x, grid))
        return levels

    def _block(self, level, stride, name):
        if self.mixer == "max":
            return MaxBlock(stride, name=name)
        if self.mixer == "conv":
            return ConvBlock(stride, self.dtype, name=name)
        window = windows_of_levels(self.windows, self.branch_blocks)[level]
        if self.mixer == "sgp":  # as published, without stochastic depth in the stem
            return SGPBlock(window, stride, self.drop_path if level else 0.0, self.dtype, name=name)
        settings = self.relative_positions, self.dropout, self.drop_path, self.dtype
        return TransformerBlock(self.heads, window, stride, *settings, name=name)


class Neck(nn.Module):
    """A layer normalisation of each level, after a top-down path if there is one.

    Attributes:
      top_down: whether each level first gets the coarser ones added, repeated (fpn).
      width: channels of the top-down path.
      first_level: finer levels are left out.
      norm: whether levels are normalised; convolutions without norm have a bias.
      dtype: of the computation.
    """

    top_down: bool = False
    width: int = 512
    first_level: int = 0
    norm: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, levels):
        """list of (features (B, T_l, C), Grid) -> the same, of the levels from `first_level` on."""
        levels = levels[self.first_level :]
        if self.top_down:
            settings = dict(use_bias=not self.norm, dtype=self.dtype)
            xs = [
                grid.mask(Conv(self.width, 1, name=f"lateral_{i}", **settings)(x))
                for i, (x, grid) in enumerate(levels)
            ]
            for i in range(len(xs) - 1, 0, -1):
                xs[i - 1] += jnp.repeat(xs[i], 2, axis=1)
            levels = [
                (grid.mask(Conv(name=f"out_{i}", **settings)(grid.hide(x))), grid)
                for i, (x, (_, grid)) in enumerate(zip(xs, levels))
            ]
        if not self.norm:
            return levels
        return [(grid.hide(LayerNorm(name=f"norm_{i}")(x)), grid) for i, (x, grid) in enumerate(levels)]


class Tower(nn.Module):
    """The hidden layers of a head: convolution, layer normalisation, ReLU.

    Attributes:
      width: channels.
      layers: how many.
      norm: whether there is a normalisation; else convolutions have a bias.
      dtype: of the computation.
    """

    width: int
    layers: int = 2
    norm: bool = True
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        settings = dict(use_bias=not self.norm, dtype=self.dtype)
        self.conv = [Conv(self.width, **settings) for _ in range(self.layers)]
        self.normal = [LayerNorm() for _ in range(self.layers if self.norm else 0)]

    def __call__(self, x, grid, cells=None):
        """(B, T, C), its Grid -> (B, T, width). cells: of levels side by side, see `ops.conv1d`."""
        for i, conv in enumerate(self.conv):
            x = grid.mask(conv(x, cells))
            x = grid.hide(jax.nn.relu(self.normal[i](x) if self.norm else x))
        return x


class Heads(nn.Module):
    """Class logits and distances of every point; the same weights at all levels but a factor of distances.

    Attributes:
      num_classes: K.
      width: channels of the hidden layers.
      layers: convolutions of each head, the last one included.
      levels: of the pyramid.
      auxiliary: whether there is a third output, the auxiliary score of DW-AFSD.
      empty_classes: classes without any training action.
      norm: whether hidden layers are normalised.
      dtype: of the computation.
    """

    num_classes: int
    width: int
    layers: int
    levels: int
    auxiliary: bool = False
    empty_classes: Sequence[int] = ()
    norm: bool = True
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        settings = dict(use_bias=True, dtype=self.dtype)
        tower = self.width, self.layers - 1, self.norm, self.dtype
        bias = tuple(prior_bias(self.num_classes, self.empty_classes).tolist())
        self.cls_tower, self.loc_tower = Tower(*tower), Tower(*tower)
        self.cls_out = Conv(self.num_classes, bias=bias, **settings)
        self.loc_out = Conv(2, **settings)
        self.scales = self.param("scales", nn.initializers.ones, (self.levels,))
        if self.auxiliary:
            self.auxiliary_in = Conv(self.width, 1, use_bias=False, dtype=self.dtype)
            self.auxiliary_norm = LayerNorm()
            self.auxiliary_out = Conv(1, bias=float(prior_bias(1)[0]), **settings)

    def __call__(self, levels):
        """list of (features (B, T_l, C), Grid) -> logits (B, N, K), distances (B, N, 2), auxiliary (B, N)."""
        cells = tuple(x.shape[1] for x, _ in levels)
        joined, grids = zip(*levels)
        x, grid = jnp.concatenate(joined, 1), Grid(*(jnp.concatenate(masks, 1) for masks in zip(*grids)))
        cls, loc = self.cls_tower(x, grid, cells), self.loc_tower(x, grid, cells)
        logits = grid.mask(self.cls_out(cls, cells)).astype(jnp.float32)
        scales = of_cells(self.scales, cells)[:, None]
        distances = jax.nn.relu(grid.mask(self.loc_out(loc, cells)).astype(jnp.float32) * scales)
        if not self.auxiliary:
            return logits, distances, None
        both = grid.mask(self.auxiliary_in(jnp.concatenate([cls, loc], axis=-1)))
        both = grid.hide(jax.nn.relu(self.auxiliary_norm(both)))
        return logits, distances, grid.mask(self.auxiliary_out(both, cells)).astype(jnp.float32)[..., 0]


class ActionFormer(nn.Module):
    """The whole detector.

    Attributes:
      num_classes: K; each has its own sigmoid, and there is no background.
      backbone: Backbone.
      normalisers: (name of a loss, what it is divided by at first), see `step.py`.
      top_down: whether the neck has a top-down path.
      head_layers: convolutions of each head.
      auxiliary: whether there is an auxiliary score, the branch of DW-AFSD.
      empty_classes: classes, from 0, without any training action.
      padding_mask: whether the network sees nothing of the padding; else as much as the published code.
    """

    num_classes: int
    backbone: Backbone
    normalisers: Sequence[tuple[str, float]] = ()
    top_down: bool = False
    head_layers: int = 3
    auxiliary: bool = False
    empty_classes: Sequence[int] = ()
    padding_mask: bool = False

    @nn.compact
    def __call__(self, inputs, num_frames=None, train=False):
        """Runs the detector.

        Args:
          inputs: (B, T, C) features, zeros after the end of a recording. T is a multiple of the coarsest
            stride. Padding beyond `padded_length` changes nothing; with `padding_mask` none does.
          num_frames: (B,) int, positions of each recording; None: all.
          train: whether dropout and stochastic depth act; needs the rng "dropout".

        Returns:
          Outputs.
        """
        for name, first in self.normalisers if self.is_initializing() else ():
            self.variable("normaliser", name, jnp.float32, first)
        num_frames = jnp.full(len(inputs), inputs.shape[1]) if num_frames is None else num_frames
        backbone, levels = self.backbone, self.backbone.branch_blocks + 1
        channels, dtype = backbone.channels, backbone.dtype
        grid = self._grid(inputs.shape[1], num_frames[:, None])
        pyramid = backbone(grid.mask(inputs.astype(dtype)), grid, train)
        pyramid = Neck(self.top_down, channels, dtype=dtype, name="neck")(pyramid)
        settings = self.auxiliary, self.empty_classes
        heads = Heads(
            self.num_classes, channels, self.head_layers, levels, *settings, dtype=dtype, name="heads"
        )
        logits, distances, auxiliary = heads(pyramid)
        mask = jnp.concatenate([level.valid for _, level in pyramid], axis=1)
        points, strides = points_of_levels(inputs.shape[1], levels)
        return Outputs(logits, distances, mask, points, strides, auxiliary)

    def _grid(self, size, length):
        """The Grid of level 0. size: T; length: (B, 1), positions of each recording."""
        position = jnp.arange(size)
        valid = position < length
        if self.padding_mask:
            return Grid(valid, valid)
        if size <= self.backbone.max_length:
            return Grid(valid, jnp.ones_like(valid))
        return Grid(valid, position < padded_length(length, self.backbone))


def require_width(channels, input_channels):
    """Raises DataError unless features have the channels of `input_channels`, if any, side by side.

    channels: int; input_channels: see `Backbone`.
    """
    if input_channels and channels != sum(input_channels):
        wanted = f"config.backbone.input_channels are {tuple(input_channels)}, {sum(input_channels)} in all"
        raise DataError(f"The features have {channels} channels, but {wanted}; make the two agree.")


def windows_of_levels(windows, branch_blocks):
    """The window of each level, of a tuple that has one for all or one for each."""
    return windows if len(windows) > 1 else windows * (branch_blocks + 1)


def padded_length(length, backbone):
    """Positions to which the published code pads recordings of `length` positions in evaluation, (...) int.

    backbone: Backbone.
    """
    windows = windows_of_levels(tuple(backbone.windows), backbone.branch_blocks)
    multiple = max(2**level * (2 * (w // 2) if w > 1 else 1) for level, w in enumerate(windows))
    return jnp.where(length <= backbone.max_length, backbone.max_length, -(-length // multiple) * multiple)
