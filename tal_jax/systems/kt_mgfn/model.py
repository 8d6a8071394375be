"""The network of KT-MGFN (HACS Challenge 2021 report; Su et al., IEEE TMM 2020).

Data flow:  inputs -> first stage -> CAS -> erase the snippets it is sure of -> second stage -> CAS
                                      +------------> both fused: where actions are <-----------+
            inputs -> boundary predictor -> a segment for each snippet and anchor

A stage is a multi-dilated convolution module: two base convolutions, then a branch for each dilation rate.
"""

import functools
from typing import Any, Sequence

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from tal_jax.systems.kt_mgfn.boundary import anchor_segments
from tal_jax.systems.kt_mgfn.erasing import erase, erasing_mask, fuse_stages, likely_classes


@flax.struct.dataclass
class Stage:
    """The outputs of one stage. B recordings, T snippets, N branches, K classes, D channels."""

    logits: jax.Array  # (B, N, K) of each branch
    pooled: jax.Array  # (B, N, D) mean over time of each branch's features
    branch_cas: jax.Array  # (B, N, T, K)
    cas: jax.Array  # (B, T, K) the branches fused, raw


@flax.struct.dataclass
class Outputs:
    """The outputs of a classification network of one or two stages, and of the boundary predictor.

    B recordings, T snippets, N branches, K classes, D channels, M anchors.
    """

    first: Stage
    second: Stage | None  # with the cascade
    erased: jax.Array | None  # (B, T) 1 = snippet hidden from the second stage
    fused_cas: jax.Array  # (B, T, K) of both stages together
    probabilities: jax.Array  # (B, K)
    pooled: jax.Array  # (B, N of all stages, D), what knowledge transfer compares
    # In test mode, with the boundary predictor:
    offsets: jax.Array | None = None  # (B, T, M, 2) p_x, p_w
    segments: jax.Array | None = None  # (B, T, M, 2) start and end in snippets, not clipped to the recording


def fuse_branches(branch_cas):
    """kt_mgfn report, section 3.1: H = H_0 + mean of the others, those with dilation > 1 (Wei et al., CVPR
    2018).

    (B, N, T, K) -> (B, T, K); the first branch is not dilated.
    """
    undilated, dilated = branch_cas[:, 0], branch_cas[:, 1:]
    return undilated + dilated.mean(axis=1) if dilated.shape[1] else undilated


class Conv(nn.Module):
    """Convolution of width 3 over time, zeros beyond the ends. (B, T, C) -> (B, T, features).

    A product of matrices: inside `lax.switch`, where `losses` has it, XLA's convolution is 50 times slower on
    a CPU.
    """

    features: int
    dilation: int = 1
    kernel_init: Any = nn.initializers.glorot_uniform()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        num_snippets, channels = x.shape[1:]
        kernel = self.param("kernel", self.kernel_init, (3, channels, self.features)).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        padded = jnp.pad(x.astype(self.dtype), ((0, 0), (self.dilation, self.dilation), (0, 0)))
        taps = [padded[:, i * self.dilation : i * self.dilation + num_snippets] for i in range(3)]
        return jnp.concatenate(taps, axis=-1) @ kernel.reshape(3 * channels, self.features) + bias


class Branch(nn.Module):
    """Dilated convolution, global average pooling, a classifier.

    Each branch has a classifier of its own; the report does not say whether it is shared.
    """

    num_classes: int
    width: int
    dilation: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        """(B, T, C) -> logits (B, K), pooled (B, D), CAS (B, T, K): the classifier at each snippet, without
        its bias.
        """
        convolved = Conv(self.width, self.dilation, dtype=self.dtype, name="conv")(x)
        features = nn.relu(convolved).astype(jnp.float32)
        weigh = nn.Dense(self.num_classes, use_bias=False, name="classifier")
        bias = self.param("bias", nn.initializers.zeros, (self.num_classes,))
        pooled = features.mean(axis=1)
        return weigh(pooled) + bias, pooled, weigh(features)


class MultiDilatedStage(nn.Module):
    """Multi-dilated convolution module (kt_mgfn report, section 3.1). (B, T, C) -> Stage."""

    num_classes: int
    width: int
    dilations: Sequence[int]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs):
        x = inputs
        for i in range(2):
            x = nn.relu(Conv(self.width, dtype=self.dtype, name=f"base_{i}")(x))
        branches = [
            Branch(self.num_classes, self.width, dilation, self.dtype, name=f"branch_{i}")(x)
            for i, dilation in enumerate(self.dilations)
        ]
        logits, pooled, cas = (jnp.stack(values, axis=1) for values in zip(*branches))
        return Stage(logits=logits, pooled=pooled, branch_cas=cas, cas=fuse_branches(cas))


class Classifier(nn.Module):
    """One stage, or two of which the second sees what the first leaves over (kt_mgfn report, section 3.1).

    Attributes:
      stage: constructor of a MultiDilatedStage.
      cascade: with the second stage.
      erase_threshold: see `erasing_mask`.
      normalised_fusion: see `fuse_stages`.
    """

    stage: Any
    cascade: bool
    erase_threshold: float
    normalised_fusion: bool

    @nn.compact
    def __call__(self, inputs, labels=None):
        """inputs (B, T, C); labels (B, K) 0/1 say which classes erase, None: the likely ones -> Outputs,
        float32.
        """
        first, second, erased = self.stage(name="first")(inputs), None, None
        stages = [first]
        if self.cascade:
            if labels is None:
                labels = likely_classes(jax.nn.sigmoid(first.logits).mean(axis=1))
            erased = erasing_mask(first.cas, labels, self.erase_threshold)
            second = self.stage(name="second")(erase(inputs, erased))
            stages.append(second)
        logits = jnp.concatenate([stage.logits for stage in stages], axis=1)  # (B, N of all stages, K)
        return Outputs(
            first=first,
            second=second,
            erased=erased,
            fused_cas=fuse_stages([stage.cas for stage in stages], self.normalised_fusion),
            # the report is silent on how branches and stages are joined
            probabilities=jax.nn.sigmoid(logits).mean(axis=1),
            pooled=jnp.concatenate([stage.pooled for stage in stages], axis=1),
        )


class BoundaryPredictor(nn.Module):
    """The boundary regression module of the kt_mgfn report, section 3.1.

    (B, T, C) -> (B, T, M, 2) p_x, p_w of each anchor.
    """

    num_anchors: int
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs):
        x = inputs
        for i in range(3):
            x = nn.relu(Conv(self.width, dtype=self.dtype, name=f"conv_{i}")(x))
        # Small weights, as AutoLoc's: the first segments are nearly the anchors. float32, for they are many
        # snippets long.
        values = Conv(2 * self.num_anchors, kernel_init=nn.initializers.normal(0.01), name="head")(x)
        return jnp.stack(jnp.split(values, 2, axis=-1), axis=-1)  # first all p_x, then all p_w


class KTMGFN(nn.Module):
    """The whole system: "target" classifies recordings, "source" trimmed clips, "boundary" regresses
    segments.

    Attributes:
      num_classes: K.
      width: channels of base and branches.
      dilations: of the branches; the first is 1.
      cascade, erase_threshold, normalised_fusion: see `Classifier`.
      has_source: with the network for trimmed clips, which training towards them needs.
      has_boundary: with the boundary predictor.
      predictor_width: channels of the boundary predictor.
      anchors: lengths of the M anchors of the boundary predictor, snippets.
      dtype: of the convolutions; outputs are float32.
    """

    num_classes: int
    width: int = 256
    dilations: Sequence[int] = (1, 2, 3, 5)
    cascade: bool = True
    has_source: bool = True
    has_boundary: bool = True
    erase_threshold: float = 0.6
    normalised_fusion: bool = True
    predictor_width: int = 128
    anchors: Sequence[float] = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
    dtype: Any = jnp.float32

    def setup(self):
        stage = functools.partial(MultiDilatedStage, self.num_classes, self.width, self.dilations, self.dtype)
        settings = stage, self.cascade, self.erase_threshold, self.normalised_fusion
        self.target = Classifier(*settings)
        if self.has_source:
            self.source = Classifier(*settings)
        if self.has_boundary:
            self.boundary = BoundaryPredictor(len(self.anchors), self.predictor_width, self.dtype)

    def __call__(self, inputs):
        """Recordings (B, T, C), labels not known -> Outputs. Initialisation makes the parameters of all
        parts.
        """
        if self.has_source and self.is_initializing():
            self.source(inputs)
        outputs = self.target(inputs)
        return outputs.replace(**self.regress(inputs)) if self.has_boundary else outputs

    def classify(self, inputs, labels):
        """Recordings (B, T, C) with labels (B, K) -> Outputs without segments."""
        return self.target(inputs, labels)

    def classify_clips(self, inputs, labels):
        """Trimmed clips (B, T, C) with labels (B, K) -> Outputs without segments."""
        return self.source(inputs, labels)

    def regress(self, inputs):
        """Recordings (B, T, C) -> dict of `offsets` and `segments`, (B, T, M, 2) each, see `Outputs`."""
        offsets = self.boundary(inputs)
        return {"offsets": offsets, "segments": anchor_segments(offsets, jnp.asarray(self.anchors))}
