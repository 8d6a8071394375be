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
from tal_jax.systems.kt_mgfn.config import reading, training_stages
from tal_jax.systems.kt_mgfn.transfer import mean_discrepancy

MAX_LABELS = 8  # of a recording that train the regressor: ours, sets memory and not results, if it is enough


def classification_loss(logits, labels):
    """Sigmoid cross-entropy of each recording, its mean over classes and sum over branches.

    logits (B, N, K), labels (B, K) 0/1 -> (B,). The report is silent on both.
    """
    return sigmoid_binary_cross_entropy(logits, labels[:, None]).mean(axis=-1).sum(axis=-1)


def transfer_loss(kernel, source, target, mask):
    """kt_mgfn report, section 3.2: MMD^2 between the pooled features of clips and recordings, the mean over
    all branches.

    Args:
      kernel: of `transfer.mean_discrepancy`.
      source: (B, N, D) of clips, a constant; target: (B, N, D) of recordings; N branches of all stages.
      mask: (B,) 1 = the example counts, its clip and its recording.

    Returns:
      Scalar.
    """
    discrepancy = functools.partial(mean_discrepancy, kernel, source_mask=mask, target_mask=mask)
    return jax.vmap(discrepancy, in_axes=1)(jax.lax.stop_gradient(source), target).mean()


def contrast_loss(cas, segments, labels):
    """Mean OIC of the segments that are selected for the labels of each recording, 0 where there is none.

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

    A discrepancy is no sum over recordings. So on several devices, and for batches that are accumulated,
    `transfer` is the mean of the discrepancies of each device and batch.

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
    model = config.model
    terms = {  # name -> weight, whether the config has it
        "source_first": (1.0, model.transfer),
        "source_second": (1.0, model.transfer and model.cascade),
        "target_first": (1.0, True),
        "target_second": (1.0, model.cascade),
        "transfer": (config.loss.transfer_weight, model.transfer),
        "contrast": (1.0, model.boundary),
    }
    weights = {name: weight for name, (weight, present) in terms.items() if present}
    parts, epochs = zip(*training_stages(config))
    nothing = jnp.zeros((), jnp.float32)

    def sums_of(part, batch):
        sums = part_sums(config, functools.partial(module.apply, variables), part, batch)
        return dict.fromkeys(weights, (nothing, nothing)) | sums

    # The training stage that holds this epoch: how many of the others are over.
    ends = jnp.cumsum(jnp.asarray(epochs))[:-1]
    sums = jax.lax.switch((epoch >= ends).sum(), [functools.partial(sums_of, part) for part in parts], batch)
    return {name: Term(weights[name], *sums[name]) for name in weights}, {}


def part_sums(config, apply, part, batch):
    """The sums and counts of the terms that train one part.

    Args:
      config, batch: as for `loss`.
      apply: the module with its variables.
      part: "source", classification of clips; "target", classification of recordings and their distance from
        the clips; "boundary", segments of recordings on activations that stay as they are.

    Returns:
      {term: (sum, count)}.
    """
    mask, sums = batch["sample_mask"], {}
    inputs, labels, method = batch["inputs"], batch["labels"], "classify"
    if part == "source":
        inputs, labels, method = batch["clip_inputs"], batch["clip_labels"], "classify_clips"
    outputs = apply(inputs, labels, method=method)
    if part == "boundary":
        segments = apply(inputs, method="regress")["segments"]
        contrasts = contrast_loss(contrast_activations(config, outputs.fused_cas), segments, labels)
        return {"contrast": ((contrasts * mask).sum(), mask.sum())}
    for name, stage in {"first": outputs.first, "second": outputs.second}.items():
        if stage is not None:
            sums[f"{part}_{name}"] = (classification_loss(stage.logits, labels) * mask).sum(), mask.sum()
    if part == "target" and config.model.transfer:
        clips = apply(batch["clip_inputs"], batch["clip_labels"], method="classify_clips")
        distance = transfer_loss(reading(config, "mmd_kernel"), clips.pooled, outputs.pooled, mask)
        sums["transfer"] = distance * mask.sum(), mask.sum()
    return sums
