"""A system that compiles in a moment: says of each frame what happens in it. For tests of all that knows no
system by name.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from tal_jax.backbones.i3d import scale_pixels
from tal_jax.data import labelled_windows
from tal_jax.systems import candidates
from tal_jax.systems.interface import System, Term

CELL_FRAMES = 16


class Toy(nn.Module):
    """(B, T, C), or clips (B, T, H, W, C) by their mean colour, -> class logits of each frame (B, T, K + 1),
    class 0 is background.
    """

    num_classes: int
    channels: int

    @nn.compact
    def __call__(self, inputs, num_frames=None):
        if inputs.ndim == 5:
            inputs = scale_pixels(inputs).mean(axis=(2, 3))
        logits = nn.Conv(self.num_classes + 1, (3,))(nn.relu(nn.Conv(self.channels, (9,))(inputs)))
        if num_frames is None:
            return logits
        background = jnp.where(jnp.arange(self.num_classes + 1) == 0, 0.0, -jnp.inf)
        return jnp.where((jnp.arange(logits.shape[1]) < num_frames[:, None])[..., None], logits, background)


def frame_labels(batch):
    """(B, T) int32: the class of each frame, 0 where nothing happens."""
    frames = jnp.arange(batch["inputs"].shape[1])[None, None]
    starts, ends = batch["segments_frame"][..., :1], batch["segments_frame"][..., 1:]
    return jnp.where((starts <= frames) & (frames < ends), batch["labels"][..., None], 0).max(axis=1)


def loss(config, model, variables, batch, epoch, rng):
    """Cross-entropy of action frames and of the others, whose numbers differ from device to device."""
    logits, labels = model.apply(variables, batch["inputs"]), frame_labels(batch)
    losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)[..., 0]
    action = (labels > 0) * batch["sample_mask"][:, None]
    rest = (labels == 0) * batch["sample_mask"][:, None]
    terms = {
        "action": Term(1.0 + 0.1 * epoch, (losses * action).sum(), action.sum()),
        "rest": Term(0.5, (losses * rest).sum(), rest.sum()),
    }
    return terms, {}


def decode(config, *logits):
    """Every cell of 16 frames is a candidate of each class; of two streams by the mean of their logits."""
    logits = sum(logits) / len(logits)
    probabilities = jax.nn.softmax(logits)[..., 1:]
    batch, window, num_classes = probabilities.shape
    starts = jnp.arange(0, window, CELL_FRAMES, dtype=jnp.float32)
    segments = jnp.stack([starts, starts + CELL_FRAMES], axis=-1)
    scores = probabilities.reshape(batch, -1, CELL_FRAMES, num_classes).mean(axis=2)
    return candidates.best_of_window(config, jnp.broadcast_to(segments, (batch, *segments.shape)), scores)


TOY = System(
    lambda config, num_classes: Toy(num_classes, **config.toy),
    labelled_windows.examples,
    loss,
    decode,
    candidates.detections,
    max_streams=2,
    deployment=candidates.deployment,
)
# Adam makes of the last bit of a gradient the first one of a step.
TOY_SGD = dataclasses.replace(TOY, optimizer=lambda config, total_steps: optax.sgd(0.1))
