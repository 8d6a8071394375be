"""The losses of KT-MGFN and the order in which its parts are trained (kt_mgfn report, sections 3.1 and 3.2).

The report sends the reader to its journal paper for the training strategy. Here each part is trained in its
turn and then frozen: "source" on trimmed clips, "target" on recordings and towards the source, "boundary" on
the activations of the target.
"""

import functools

import jax
import jax.numpy as jnp
from optax.losses import sigmoid_binary_cross_entropy

from tal_jax.systems.interface import Term
from tal_jax.systems.kt_mgfn.boundary import contrast_activations, select
from tal_jax.systems.kt_mgfn.config import training_stages
from tal_jax.systems.kt_mgfn.transfer import mean_discrepancy

MAX_LABELS = 8  # of a recording that train the regressor: ours, sets memory and not results, if it is enough


def classification_loss(logits, labels):
    """Sigmoid cross-entropy of each recording: mean over classes, sum over branches (the report is silent on
    both).

    logits (B, N, K), labels (B, K) 0/1 -> (B,).
    """
    return sigmoid_binary_cross_entropy(logits, labels[:, None]).mean(axis=-1).sum(axis=-1)


def transfer_loss(config, source, target, mask):
    """kt_mgfn report, section 3.2: MMD^2 between the pooled features of clips and recordings, the mean over
    all branches.

    Args:
      config: `config.loss`.
      source: (B, N, D) of clips, a constant; target: (B, N, D) of recordings; N branches of all stages.
      mask: (B,) 1 = the example counts, its clip and its recording.

    Returns:
      Scalar.
    """
    discrepancy = functools.partial(mean_discrepancy, config, source_mask=mask, target_mask=mask)
    return jax.vmap(discrepancy, in_axes=1)(jax.lax.stop_gradient(source), target).mean()


def contrast_loss(cas, segments, labels):
    """Mean OIC of the segments that are selected for the labels of each recording; 0 where none is.

    Args:
      cas: (B, T, K), a constant; segments: (B, T, M, 2); labels: (B, K) 0/1.

    Returns:
      (B,).
    """
    present, classes = jax.lax.top_k(labels, min(MAX_LABELS, labels.shape[-1]))  # (B, L)
    activations = jnp.take_along_axis(jax.lax.stop_gradient(cas), classes[:, None], axis=2)  # (B, T, L)
    of_class = jax.vmap(select, in_axes=(1, None))
    selection = jax.vmap(of_class)(activations, segments)  # (B, L, T)
    counts = selection.kept & (present[..., None] > 0)
    return (selection.contrast * counts).sum(axis=(1, 2)) / jnp.maximum(counts.sum(axis=(1, 2)), 1)


def loss(config, module, variables, batch, epoch, rng):
    """All terms; those of parts that do not train at this epoch have sum 0 and count 0, and are not computed.

    On several devices `transfer` is the mean of each device's own discrepancy, which is no sum over
    recordings. So it is of small batches that are accumulated.

    Args:
      config: the run's config.
      module: KTMGFN; variables: its parameters.
      batch: dict: `inputs` (B, T, C), `labels` (B, K); with transfer also `clip_inputs` (B, T, C) and
        `clip_labels` (B, K); `sample_mask` (B,), 0 for examples that only fill the batch, with their clips.
      epoch: scalar float array, epochs done so far.
      rng: not used, nothing here is random.

    Returns:
      dict of Terms: target_first, and as far as the config has them target_second, source_first,
      source_second, transfer, contrast; and no statistics ({}).
    """
    del rng
    weights = _weights(config)
    parts, epochs = zip(*training_stages(config))
    compute = {"source": _source_sums, "target": _target_sums, "boundary": _boundary_sums}

    def sums_of(part, batch):
        nothing = jnp.zeros((), jnp.float32)
        return {name: (nothing, nothing) for name in weights} | compute[part](
            config, module, variables, batch
        )

    # The stage that holds this epoch: how many of the others are over.
    ends = jnp.cumsum(jnp.asarray(epochs))[:-1]
    sums = jax.lax.switch((epoch >= ends).sum(), [functools.partial(sums_of, part) for part in parts], batch)
    return {name: Term(weights[name], *sums[name]) for name in weights}, {}


def _weights(config):
    """Weight of each term that the config has."""
    model, loss = config.model, config.loss
    stages = {"first": 1.0} | ({"second": loss.second_weight} if model.cascade else {})
    parts = (["source"] if model.transfer else []) + ["target"]
    weights = {f"{part}_{stage}": weight for part in parts for stage, weight in stages.items()}
    if model.transfer:
        weights["transfer"] = loss.transfer_weight
    if model.boundary:
        weights["contrast"] = 1.0
    return weights


def _stage_sums(part, classification, labels, mask):
    """Classification losses of both stages, as {term: (sum, count)}."""
    stages = {"first": classification.first, "second": classification.second}
    return {
        f"{part}_{name}": ((classification_loss(stage.logits, labels) * mask).sum(), mask.sum())
        for name, stage in stages.items()
        if stage is not None
    }


def _source_sums(config, module, variables, batch):
    """Trimmed clips alone."""
    labels = batch["clip_labels"]
    classification = module.apply(variables, batch["clip_inputs"], labels, method="classify_clips")
    return _stage_sums("source", classification, labels, batch["sample_mask"])


def _target_sums(config, module, variables, batch):
    """Recordings, and their distance from the clips."""
    labels, mask = batch["labels"], batch["sample_mask"]
    classification = module.apply(variables, batch["inputs"], labels, method="classify")
    sums = _stage_sums("target", classification, labels, mask)
    if config.model.transfer:
        clips = module.apply(variables, batch["clip_inputs"], batch["clip_labels"], method="classify_clips")
        count = mask.sum()
        sums["transfer"] = (
            transfer_loss(config.loss, clips.pooled, classification.pooled, mask) * count,
            count,
        )
    return sums


def _boundary_sums(config, module, variables, batch):
    """Segments of recordings, on activations that stay as they are."""
    labels, mask = batch["labels"], batch["sample_mask"]
    classification = module.apply(variables, batch["inputs"], labels, method="classify")
    _, segments = module.apply(variables, batch["inputs"], method="regress")
    cas = contrast_activations(config.oic, classification.fused_cas)
    losses = contrast_loss(cas, segments, labels)
    return {"contrast": ((losses * mask).sum(), mask.sum())}
