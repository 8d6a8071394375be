"""TransNetV2 (Souček and Lokoč, 2020): where one shot of a film ends and the next one begins.

It sees all frames of a film as tiny pictures. Six layers of dilated convolutions, the paper's DDCNN cells,
each look at most 8 frames back and ahead. Two further parts compare each frame with the 50 before and after
it, by what the cells have found and by its colours. Two heads give a logit for each frame: `single` of the
one frame at which the shot changes, `many` of all frames of a gradual change.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from tal_jax.backbones.i3d import FrozenBatchNorm

HEIGHT, WIDTH = 27, 48  # pixels of a frame
DILATIONS = (1, 2, 4, 8)  # frames between the taps of a branch
LOOKUP = 101  # frames with which one is compared, itself in the middle
SIMILARITY_FEATURES = 128
LEVELS = 8  # of each colour in a histogram
SMALLEST_NORM = 1e-12


class TransNetV2(nn.Module):
    """The whole network, with frozen BatchNorms and without dropout: it detects, and is not trained here.

    Attributes:
      filters: F, of a branch of the first block; each further block has twice as many.
      blocks: each halves height and width.
      hidden: features of the layer before the heads.
    """

    filters: int = 16
    blocks: int = 3
    hidden: int = 1024

    @nn.compact
    def __call__(self, frames):
        """The logits of each frame.

        Args:
          frames: (B, T, 27, 48, 3) uint8 RGB. What lies outside counts as black, as published.

        Returns:
          dict of (B, T) float32: `single` and `many`, logits; and of (B, T, 128): `similarity` and
          `histogram`, what the two comparing parts find.
        """
        x, means = frames.astype(jnp.float32) / 255, []
        for number in range(self.blocks):
            x = Block(self.filters * 2**number, name=f"block_{number}")(x)
            means.append(x.mean(axis=(2, 3)))
        similarity = FrameSimilarity(name="similarity")(jnp.concatenate(means, axis=-1))
        histogram = Neighbours(name="histogram")(unit_length(histograms(frames)))
        flat = x.reshape(*x.shape[:2], -1)
        joined = jnp.concatenate([histogram, similarity, flat], axis=-1)
        hidden = nn.relu(nn.Dense(self.hidden, name="hidden")(joined))
        logits = {name: nn.Dense(1, name=name)(hidden)[..., 0] for name in ("single", "many")}
        return logits | {"similarity": similarity, "histogram": histogram}


class Block(nn.Module):
    """Two dilated layers with a shortcut, and a mean over 2 x 2 pixels. (B, T, H, W, C) -> (B, T, H//2, W//2,
    4 F).
    """

    filters: int

    @nn.compact
    def __call__(self, x):
        shortcut = nn.relu(Layer(self.filters, name="layer_0")(x))
        x = nn.relu(Layer(self.filters, name="layer_1")(shortcut)) + shortcut
        return nn.avg_pool(x, (1, 2, 2), (1, 2, 2))


class Layer(nn.Module):
    """Four branches side by side, whose taps in time lie 1, 2, 4 and 8 frames apart, and a BatchNorm.

    (B, T, H, W, C) -> (B, T, H, W, 4 F). A branch is a 3 x 3 convolution to 2 F channels in each frame, then
    one of 3 taps in time to F channels, with nothing between them.
    """

    filters: int

    @nn.compact
    def __call__(self, x):
        init, branches = nn.initializers.he_normal(), []
        shapes = {
            "spatial": (3, 3, x.shape[-1], 2 * self.filters),
            "temporal": (3, 2 * self.filters, self.filters),
        }
        kernels = {
            name: [self.param(f"{name}_{dilation}", init, shape) for dilation in DILATIONS]
            for name, shape in shapes.items()
        }
        pictures = convolve(x.reshape(-1, *x.shape[2:]), jnp.concatenate(kernels["spatial"], axis=-1))
        rows = pictures.reshape(*x.shape[:2], -1, pictures.shape[-1])  # (B, T, H * W, 4 * 2 F)
        parts = jnp.split(rows, len(DILATIONS), axis=-1)
        for part, kernel, dilation in zip(parts, kernels["temporal"], DILATIONS, strict=True):
            branches.append(convolve(part, kernel[:, None], (dilation, 1)))
        joined = jnp.concatenate(branches, axis=-1)
        return FrozenBatchNorm(jnp.float32, name="bn")(joined.reshape(*x.shape[:4], -1))


def convolve(x, kernel, dilation=(1, 1)):
    """2-D convolution without bias, SAME padding: (N, H, W, C), (kh, kw, C, O) -> (N, H, W, O).

    Convolutions over time are 2-D ones here too, of frames x pixels: XLA has fast 2-D ones on every device.
    """
    layout = "NHWC", "HWIO", "NHWC"
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", rhs_dilation=dilation, dimension_numbers=layout
    )


class FrameSimilarity(nn.Module):
    """Compares frames by the means of their feature maps: (B, T, C) -> (B, T, 128)."""

    @nn.compact
    def __call__(self, means):
        return Neighbours(name="neighbours")(
            unit_length(nn.Dense(SIMILARITY_FEATURES, name="projection")(means))
        )


class Neighbours(nn.Module):
    """One layer over the products of each frame with its neighbours: (B, T, C) -> (B, T, 128)."""

    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(SIMILARITY_FEATURES, name="layer")(products_with_neighbours(x)))


def products_with_neighbours(x):
    """Inner products of each row with the 50 before it, itself, and the 50 after it; 0 beyond the ends.

    (B, T, C) -> (B, T, 101).
    """
    num_frames, reach = x.shape[1], LOOKUP // 2
    products = jnp.einsum("btc,buc->btu", x, x)
    products = jnp.pad(products, ((0, 0), (0, 0), (reach, reach)))
    places = jnp.arange(num_frames)[:, None] + jnp.arange(LOOKUP)
    return jnp.take_along_axis(products, places[None], axis=2)


def histograms(frames):
    """How many pixels of each frame have each of 512 colours, 8 levels of red, green and blue.

    (B, T, H, W, 3) uint8 -> (B, T, 512) float32.
    """
    levels = frames.reshape(*frames.shape[:2], -1, 3) // (256 // LEVELS)
    red, green, blue = (
        jax.nn.one_hot(levels[..., channel], LEVELS, dtype=jnp.float32) for channel in range(3)
    )
    green_blue = (green[..., :, None] * blue[..., None, :]).reshape(*green.shape[:-1], -1)
    counts = jnp.einsum("btpr,btpc->btrc", red, green_blue)  # a product of matrices: quick, and exact
    return counts.reshape(*counts.shape[:2], -1)


def unit_length(x):
    """(..., C) divided by its length; zeros stay zeros."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), SMALLEST_NORM)
