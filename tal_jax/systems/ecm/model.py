"""ECM: two streams classify a recording, before and after its snippets are summed (Zhao et al.).

The paper is "Equivalent Classification Mapping"; its streams are called pre- and post-classification.

    snippets -> classifier -> class activation sequence (CAS) -> top-k mean over time -> pre-stream's scores
       |                             |
       |                             +-> weight transition -> weights of each class over time
       |                                                        |
       +-> weighted sums of the snippets, in folds <------------+
               |
               +-> classifier -> post-stream's scores, and in training those of the background

Both streams score the same recording, so their scores should agree, and the weights come to be large where
the action is.
"""

import functools
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from tal_jax.systems.torch_defaults import uniform_by_fan_in

NEGATIVE_SLOPE = 0.01  # of both leaky ReLUs
WINOGRAD_MIN_SNIPPETS = 8  # of shorter sequences, the ends that 'products' leaves out are worth more
CPU_SNIPPETS_AT_ONCE = 1500  # of all sequences: enough for fast products, few enough for little memory


@flax.struct.dataclass
class Outputs:
    """Everything the network computes.

    B recordings, T snippets, K classes, G = K or 1 weights, F folds, D feature channels. Scores are logits. A
    field is None where the config has no such stream, and at test time where only losses read it.
    """

    cas: jax.Array  # (B, T, K) class activation sequence, raw
    recording_logits: jax.Array  # (B, K) scores of the recording at test time
    pre_logits: jax.Array | None = None  # (B, K) pre-classification stream
    weights: jax.Array | None = None  # (B, T, G) in (0, 1): how much of an action a snippet is
    aggregated: jax.Array | None = None  # (B, G, F, D) weighted sums of the snippets
    post_logits: jax.Array | None = None  # (B, K) post-classification stream
    background_logits: jax.Array | None = None  # (B, K) scores of the background


def top_k_mean(cas, ratio):
    """Mean of the int(T * ratio) largest values over time, at least one. (B, T, K) -> (B, K)."""
    count = max(int(cas.shape[1] * ratio), 1)
    return jax.lax.top_k(cas.transpose(0, 2, 1), count)[0].mean(-1)


def aggregate(weights, features, folds):
    """ECM Eq. 1: weighted sums over time, f_c = sum_t w_{c,t} f_t, not divided by the weights.

    Fold f sums the snippets f, f + folds, f + 2 * folds, ...

    Args:
      weights: (B, T, G); features: (B, T, D).

    Returns:
      (B, G, folds, D).
    """
    in_fold = jnp.arange(weights.shape[1])[:, None] % folds == jnp.arange(folds)  # (T, F)
    # (B, T, G, F): so no fold's features are copied.
    fold_weights = jnp.where(in_fold[:, None], weights[..., None], 0.0)
    return jnp.einsum("btgf,btd->bgfd", fold_weights, features)


def collect_background(logits, slots):
    """One background score a class, as the published code has it.

    It is the class's own where it is labelled, else the mean over the labelled classes.

    Args:
      logits: (B, S, K) background of the labelled class in each slot, scored for every class.
      slots: (B, S) int32 labelled classes, -1 for padding.

    Returns:
      (B, K).
    """
    own = jax.nn.one_hot(slots, logits.shape[-1])  # (B, S, K), zeros for padding
    used = (slots >= 0)[..., None].astype(logits.dtype)
    mean = (logits * used).sum(1) / jnp.maximum(used.sum(1), 1.0)
    return jnp.where(own.sum(1) > 0, (logits * own).sum(1), mean)


def conv_over_time(x, kernel, formulation="products"):
    """Convolution over time with kernel 3 and zero padding 1, without bias, as products of matrices.

    Args:
      x: (T, C).
      kernel: (3, C, O).
      formulation: 'products', one for each tap; 'winograd', F(2, 3) of Lavin and Gray (2016), four products
        for every two snippets instead of six, which is faster on a CPU.

    Returns:
      (T, O); the two formulations differ by rounding alone.
    """
    # The gradient of a split is one kernel; that of indexing would be three, mostly zeros.
    before, here, after = (tap[0] for tap in jnp.split(kernel, 3))  # (C, O) each
    if formulation == "products":
        y = x @ here + jnp.pad(x[:-1] @ before, ((1, 0), (0, 0)))
        return y + jnp.pad(x[1:] @ after, ((0, 1), (0, 0)))
    length, tiles = len(x), -(-len(x) // 2)
    padded = jnp.pad(x, ((1, 2 * tiles - length + 1), (0, 0)))
    even, odd = padded[0::2], padded[1::2]  # (tiles + 1, C)
    first, second, third, fourth = even[:-1], odd[:-1], even[1:], odd[1:]  # what a tile sees
    plus = (second + third) @ (0.5 * (before + here + after))
    minus = (third - second) @ (0.5 * (before - here + after))
    left = (first - third) @ before + plus + minus
    right = plus - minus - (second - fourth) @ after
    return jnp.stack([left, right], axis=1).reshape(2 * tiles, -1)[:length]


class ConvParameters(nn.Module):
    """Kernel (3, channels, features) and bias (features,) of a convolution over time."""

    features: int

    @nn.compact
    def __call__(self, channels):
        init = uniform_by_fan_in(3 * channels)
        kernel = self.param("kernel", init, (3, channels, self.features))
        return kernel, self.param("bias", init, (self.features,))


class Classifier(nn.Module):
    """The classifier of both streams.

    Two convolutions over time with leaky ReLUs, dropout, one linear layer without bias.
    """

    num_classes: int
    hidden: int
    dropout: float
    remat: bool
    on_cpu: bool | None
    dtype: Any

    def setup(self):
        self.conv_1, self.conv_2 = ConvParameters(self.hidden), ConvParameters(self.hidden)
        self.kernel = self.param("kernel", uniform_by_fan_in(self.hidden), (self.hidden, self.num_classes))

    def __call__(self, snippets, train):
        """CAS: (B, T, D) -> (B, T, K)."""
        return self._read_hidden(snippets, train, lambda hidden: hidden @ self.kernel)

    def summary(self, aggregated, train):
        """Input of the last layer for sums of snippets, its mean over folds: (..., F, D) -> (..., hidden)."""
        return self._read_hidden(aggregated, train, lambda hidden: hidden.mean(0))

    def score(self, summaries):
        """Scores of summaries: (..., G, hidden) -> (..., K).

        With G = K each class is scored by its own summary, with G = 1 all by the one.
        """
        if summaries.shape[-2] == 1:
            return summaries[..., 0, :] @ self.kernel
        return jnp.einsum("...kh,hk->...k", summaries, self.kernel)

    def _read_hidden(self, sequences, train, read):
        """`read` of the input (T, hidden) of the last layer, float32, for every sequence.

        (..., T, D) -> (..., shape of what `read` returns). On a CPU a few sequences are done at once, so that
        little memory is needed beside their inputs and outputs.
        """
        length, channels = sequences.shape[-2:]
        flat = sequences.reshape(-1, length, channels)
        layers = {"conv_1": self.conv_1(channels), "conv_2": self.conv_2(self.hidden)}
        layers = jax.tree.map(lambda parameter: parameter.astype(self.dtype), layers)
        keep = 1.0 - self.dropout
        keys = jax.random.split(self.make_rng("dropout"), len(flat)) if train and keep < 1 else None

        # Activations, masks and sums of neighbours are cheap to do again in the backward pass, so not kept.
        kept = jax.checkpoint_policies.save_only_these_names(*(["conv_2"] if self.remat else layers))

        @functools.partial(jax.checkpoint, policy=kept, static_argnums=1)
        def classify(sequence_and_key, formulation):
            x, key = sequence_and_key
            x = x.astype(self.dtype)
            for name, (kernel, bias) in layers.items():
                x = checkpoint_name(conv_over_time(x, kernel, formulation), name)
                x = nn.leaky_relu(x + bias, NEGATIVE_SLOPE)
            if key is not None:
                x = jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep, 0.0)
            return read(x.astype(jnp.float32))

        def on_cpu(*flat_and_keys):
            formulation = "winograd" if length >= WINOGRAD_MIN_SNIPPETS else "products"
            parts = -(-len(flat) * length // CPU_SNIPPETS_AT_ONCE)
            at_once = -(-len(flat) // parts)  # parts of the same size
            few = lambda pair: classify(pair, formulation)
            return jax.lax.map(few, flat_and_keys, batch_size=at_once)

        def elsewhere(*flat_and_keys):
            return jax.vmap(lambda pair: classify(pair, "products"))(flat_and_keys)

        run = {None: functools.partial(jax.lax.platform_dependent, cpu=on_cpu, default=elsewhere)}
        run |= {True: on_cpu, False: elsewhere}
        results = run[self.on_cpu](flat, keys)
        return results.reshape(*sequences.shape[:-2], *results.shape[1:])


class Transition(nn.Module):
    """Weight transition: weights over time from the CAS. (B, T, K) -> (B, T, features) in (0, 1)."""

    features: int

    @nn.compact
    def __call__(self, cas):
        init = uniform_by_fan_in(cas.shape[-1])
        return nn.sigmoid(nn.Dense(self.features, kernel_init=init, bias_init=init, name="dense")(cas))


class ECM(nn.Module):
    """The network.

    Attributes:
      num_classes: K, no background.
      hidden: channels inside the classifier.
      dropout: before its last layer, in training; every pass has its own mask.
      folds: F, how many sums the post stream aggregates the snippets to.
      top_k_ratio: share of the snippets whose mean is the score of the pre stream.
      streams: 'both', 'pre', 'post'. Without the pre stream the CAS, from which the weights come, is computed
        but not scored.
      shared_classifier: False: the post stream has a classifier of its own.
      class_specific_weights: False: one weight a snippet for all classes, G = 1.
      background: in training, score the background too.
      background_weights: 'w*(1-w)' of each class and the labelled one (published code); '1-w' of the labelled
        one (paper).
      remat: do the first convolution again in the backward pass instead of keeping it.
      on_cpu: whether to compute in the way that is fast on a CPU: Winograd's convolutions of all but short
        sequences, few sequences at once. None: where the program is compiled for a CPU.
      dtype: of the convolutions; parameters and scores stay float32.
    """

    num_classes: int
    hidden: int = 2048
    dropout: float = 0.5
    folds: int = 3
    top_k_ratio: float = 0.125
    streams: str = "both"
    shared_classifier: bool = True
    class_specific_weights: bool = True
    background: bool = True
    background_weights: str = "w*(1-w)"
    remat: bool = True
    on_cpu: bool | None = None
    dtype: Any = jnp.float32

    def setup(self):
        classifier = functools.partial(
            Classifier, self.num_classes, self.hidden, self.dropout, self.remat, self.on_cpu, self.dtype
        )
        self.classifier = classifier()
        if self.streams != "pre":
            self.transition = Transition(self.num_classes if self.class_specific_weights else 1)
        if not self.shared_classifier:
            self.post_classifier = classifier()

    def __call__(self, inputs, slots=None):
        """Scores of recordings.

        Args:
          inputs: (B, T, D) float32 features of the snippets.
          slots: None at test time: no dropout, and no post stream where the pre stream scores. In training
            (B, S) int32, the labelled classes of each recording, -1 for padding (`losses.label_slots`); needs
            an rng named "dropout".

        Returns:
          Outputs.
        """
        train = slots is not None
        cas = self.classifier(inputs, train)
        pre_logits = top_k_mean(cas, self.top_k_ratio) if self.streams != "post" else None
        if self.streams == "pre":
            return Outputs(cas, pre_logits, pre_logits)
        weights = self.transition(cas)
        if self.streams == "both" and not train and not self.is_initializing():
            return Outputs(cas, pre_logits, pre_logits, weights)
        aggregated, post_logits, background_logits = self._post_stream(inputs, weights, slots)
        recording_logits = post_logits if self.streams == "post" else pre_logits
        return Outputs(cas, recording_logits, pre_logits, weights, aggregated, post_logits, background_logits)

    def _post_stream(self, inputs, weights, slots):
        """The post-classification stream, and in training its scores of the background.

        Returns:
          aggregated features (B, G, F, D), their scores (B, K), scores of the background (B, K) or None.
        """
        classifier = self.classifier if self.shared_classifier else self.post_classifier
        train, num_weights, all_weights = slots is not None, weights.shape[2], weights
        if train and self.background:
            background = self._background_weights(weights, slots)
            all_weights = jnp.concatenate([weights, background.reshape(*weights.shape[:2], -1)], axis=2)
        # One pass for actions and backgrounds.
        aggregated = aggregate(all_weights, inputs, self.folds)
        summaries = classifier.summary(aggregated, train)  # (B, G + S * G, hidden)
        post_logits = classifier.score(summaries[:, :num_weights])
        if all_weights is weights:
            return aggregated, post_logits, None
        of_slots = summaries[:, num_weights:].reshape(len(inputs), *background.shape[2:], -1)
        logits = classifier.score(of_slots)  # (B, S, G, hidden) -> (B, S, K)
        collected = collect_background(logits, slots) if self.class_specific_weights else logits[:, 0]
        return aggregated[:, :num_weights], post_logits, collected

    def _background_weights(self, weights, slots):
        """ECM Eq. 2: the background's weights w^b of each labelled class, for the sums of `aggregate`.

        weights (B, T, G), slots (B, S) -> (B, T, S, G), or (B, T, S, 1) with '1-w'.
        """
        labelled = weights  # one weight for all classes leaves one background, S = 1
        if self.class_specific_weights:
            labelled = jnp.take_along_axis(weights, jnp.maximum(slots, 0)[:, None], axis=2)
        left_over = 1.0 - labelled[..., None]
        return left_over * weights[:, :, None] if self.background_weights == "w*(1-w)" else left_over
