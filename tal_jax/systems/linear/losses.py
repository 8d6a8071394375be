"""What the linear probe learns from: in which cells each action goes on."""

import jax.numpy as jnp
import optax

from tal_jax.systems.interface import Term


def cell_labels(batch, num_classes):
    """(B, T, K) float32: 1 where the middle of a cell lies in an action of the class.

    batch: an example of `data.labelled_windows` with a leading B.
    """
    middles = jnp.arange(batch["inputs"].shape[1])[None, None] + 0.5  # (1, 1, T)
    starts, ends = batch["segments_frame"][..., :1], batch["segments_frame"][..., 1:]  # (B, G, 1)
    inside = ((starts <= middles) & (middles < ends)).astype(jnp.float32)  # (B, G, T)
    of_class = (batch["labels"][..., None] == jnp.arange(1, num_classes + 1)).astype(jnp.float32)
    return jnp.minimum(jnp.einsum("bgt,bgk->btk", inside, of_class), 1.0)


def loss(config, model, variables, batch, epoch, rng):
    """Cross-entropy of each class, see `System.loss`: cells of its actions count as much as all others."""
    del config, epoch, rng
    logits = model.apply(variables, batch["inputs"])
    labels = cell_labels(batch, logits.shape[-1])
    seen = jnp.arange(logits.shape[1]) < batch["num_frames"][:, None]  # (B, T)
    seen = (seen * batch["sample_mask"][:, None])[..., None]
    losses = optax.sigmoid_binary_cross_entropy(logits, labels)
    inside, outside = labels * seen, (1 - labels) * seen
    terms = {
        "action": Term(1.0, (losses * inside).sum(), inside.sum()),
        "rest": Term(1.0, (losses * outside).sum(), outside.sum()),
    }
    return terms, {}
