"""What the linear probe learns from: in which cells each action goes on."""

import optax

from tal_jax.systems.interface import Term


def loss(config, model, variables, batch, epoch, rng):
    """Cross-entropy of each class, see `System.loss`: "action" in its cells, "rest" in all others.

    "action" is the mean of the cells of a class, then of the classes that the batch holds, "rest" likewise of
    all classes. So a class counts as much as any other in the batch, however few its cells are, and its cells
    as much as those without it.

    batch: see `examples.training_examples`, with a leading B.
    """
    del config, epoch, rng
    logits, labels = model.apply(variables, batch["inputs"]), batch["cell_labels"]  # (B, T, K)
    counted = (batch["cell_mask"] * batch["sample_mask"][:, None])[..., None]  # (B, T, 1)
    losses = optax.sigmoid_binary_cross_entropy(logits, labels)
    inside, outside = labels * counted, ~labels * counted
    terms = {
        name: Term(1.0, (losses * cells).sum(axis=(0, 1)), cells.sum(axis=(0, 1)))  # (K,)
        for name, cells in (("action", inside), ("rest", outside))
    }
    return terms, {}
