"""The network of TCANet: it moves the boundaries of proposals, stage after stage, and says how good they are.

features (B, T, C_in) -> two convolutions -> LGTE layers -> features (B, T, C), which all stages read:

    proposals -> TBR 1 -> proposals -> TBR 2 -> proposals -> TBR 3 -> proposals
                  confidence            confidence            confidence
"""

from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from tal_jax.errors import DataError
from tal_jax.systems.tcanet.convolution import ConvParameters, convolve, join_groups, split_groups
from tal_jax.systems.tcanet.lgte import Encoder
from tal_jax.systems.tcanet.tbr import BoundaryRegressor, Stage


@flax.struct.dataclass
class Outputs:
    """Everything the network computes."""

    base: jax.Array  # (B, T, C) after the convolutions
    encoded: jax.Array  # (B, T, C) after the encoders
    mask: jax.Array  # (B, P) bool, False for padding, whose other values mean nothing
    stages: tuple[Stage, ...]


class TCANet(nn.Module):
    """The network; attributes as in `config.tcanet_config`, `stages` of them.

    Attributes:
      dtype: of the products of matrices.
      g_train, g_test: factor on the offsets of the frame level in training and at test, as in the published
        code; the report has none.
    """

    channels: int
    groups: int
    encoders: int
    heads: int
    local_heads: int
    window_size: int
    hidden: int
    dropout: float
    attention_scale: str
    residual: str
    padding_mask: bool
    stages: int
    samples: tuple[int, int, int]
    detach_stages: bool
    dtype: Any
    g_train: float = 1.0
    g_test: float = 0.2

    @nn.compact
    def __call__(
        self,
        features,
        proposals_sec,
        proposal_mask,
        covered_sec,
        num_features=None,
        earliest_sec=0.0,
        train=False,
    ):
        """Moves and scores proposals, each by itself: they may come in any order, or in several calls.

        Args:
          features: (B, T, C_in) float32, C_in a multiple of the groups.
          proposals_sec: (B, P, 2) start and end, counted from the start of the features; may be negative.
          proposal_mask: (B, P), 0 for padding. In the published code padding is what has start + end = 0.
          covered_sec: (B,) seconds that the T features stand for, see `examples._window`.
          num_features: (B,) how many are no padding; needed for `padding_mask` alone.
          earliest_sec: (B,) start of the recording, in the time of the proposals: 0 where the features are
            those of all of it, as in the published code.
          train: with dropout, which needs an rng named "dropout", and the offsets of the frame level times
            `g_train`.

        Returns:
          Outputs.

        Raises:
          DataError: the channels do not go into the groups.
        """
        if features.shape[-1] % self.groups:
            raise DataError(
                f"The features have {features.shape[-1]} channels; they must be a multiple of "
                f"config.model.groups, {self.groups}."
            )
        x = split_groups(features.astype(self.dtype), self.groups)
        for name, channels in (("base_1", features.shape[-1]), ("base_2", self.channels)):
            parameters = ConvParameters(self.channels, 3, self.groups, self.dtype, name=name)(channels)
            x = nn.relu(convolve(x, *parameters))
        base = encoded = join_groups(x).astype(jnp.float32)
        key_mask = jnp.ones(features.shape[:2], bool)
        if self.padding_mask:  # the published code has such a mask and does not use it
            key_mask = jnp.arange(features.shape[1]) < num_features[:, None]
        heads = self.heads, self.local_heads, self.window_size
        settings = *heads, self.hidden, self.dropout, self.attention_scale, self.residual, self.dtype
        for i in range(self.encoders):
            encoded = Encoder(*settings, name=f"encoder_{i + 1}")(encoded, key_mask, train)
        stages, segments, g = [], proposals_sec, self.g_train if train else self.g_test
        for i in range(self.stages):
            # In the published code a stage learns through those that follow.
            if self.detach_stages:
                segments = jax.lax.stop_gradient(segments)
            regressor = BoundaryRegressor(self.groups, self.samples, self.dtype, name=f"stage_{i + 1}")
            stages.append(regressor(encoded, segments, covered_sec, g, earliest_sec))
            segments = stages[-1].refined_sec
        return Outputs(base, encoded, proposal_mask > 0, tuple(stages))
