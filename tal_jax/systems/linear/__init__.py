"""A linear probe: one linear layer on each feature vector says which actions go on. Few labels are enough."""

import flax.linen as nn


class Linear(nn.Module):
    """Features -> logits of each class in each cell, by themselves: several actions may go on at once."""

    num_classes: int

    @nn.compact
    def __call__(self, inputs, num_frames=None):
        """(B, T, C), not used (B,) -> (B, T, K)."""
        return nn.Dense(self.num_classes, name="logits")(inputs)


def build(config, num_classes):
    """The Flax module for sequences (B, T, C)."""
    del config
    return Linear(num_classes)
