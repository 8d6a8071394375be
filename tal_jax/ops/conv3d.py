"""Convolution and max pooling of videos, with gradients that are fast on a CPU too.

Formulations, the same for both:
  'native': XLA's own operation and gradient, the fastest on an accelerator.
  'folded': made of what XLA does well on a CPU, where it has no fast 3-D convolution, gradient of a kernel or
    gradient of a max pool.
  'auto': 'folded' where the program is compiled for a CPU, else 'native'.
They differ by rounding alone; another one is a ValueError. 'folded' and 'auto' can be differentiated in
reverse mode only.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

FOLDED_PICTURES = 32  # steps of all clips that one folded convolution does at the least
PRODUCT_ROWS = 2400  # positions that one product for the gradient of a kernel sums, few enough for a cache


def conv3d(x, kernel, stride=(1, 1, 1), formulation="auto"):
    """3-D convolution without bias, SAME padding.

    Args:
      x: (B, T, H, W, C), where no axis is empty.
      kernel: (kt, kh, kw, C, O).
      stride: (time, height, width).
      formulation: 'native', 'folded' or 'auto', see above.

    Returns:
      (B, ceil(T / stride), ..., O).
    """
    if formulation == "native":
        return _native_conv3d(x, kernel, stride)
    return _conv3d(x, kernel, tuple(stride), formulation)


def max_pool3d(x, window, stride, formulation="auto"):
    """Max pool, SAME padding. Among equal values the first, by time, height, width, gets the gradient.

    Args:
      x: (B, T, H, W, C), where no axis is empty.
      window: (time, height, width).
      stride: (time, height, width).
      formulation: 'native', 'folded' or 'auto', see above.

    Returns:
      (B, ceil(T / stride), ..., C).
    """
    if formulation == "native":
        return _native_max_pool3d(x, window, stride)
    return _max_pool3d(x, tuple(window), tuple(stride), formulation)


def _choose(formulation, folded, native):
    """Raises ValueError for another formulation than 'folded' and 'auto'."""
    if formulation not in ("folded", "auto"):
        raise ValueError(f"formulation must be 'native', 'folded' or 'auto': got {formulation!r}.")
    auto = functools.partial(lax.platform_dependent, cpu=folded, default=native)
    return folded if formulation == "folded" else auto


# Each formulation is chosen inside the rules of differentiation, which so never see a conditional.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv3d(x, kernel, stride, formulation):
    folded = functools.partial(_folded_conv3d, stride=stride)
    native = functools.partial(_native_conv3d, stride=stride)
    return _choose(formulation, folded, native)(x, kernel)


def _conv3d_forward(x, kernel, stride, formulation):
    return _conv3d(x, kernel, stride, formulation), (x, kernel)


def _conv3d_backward(stride, formulation, residuals, grad):
    def folded(x, kernel, grad):
        return _gradient_of_input(x, kernel, grad, stride), _gradient_of_kernel(x, kernel, grad, stride)

    def native(x, kernel, grad):
        return jax.vjp(functools.partial(_native_conv3d, stride=stride), x, kernel)[1](grad)

    return _choose(formulation, folded, native)(*residuals, grad)


_conv3d.defvjp(_conv3d_forward, _conv3d_backward)


def _native_conv3d(x, kernel, stride):
    layout = "NDHWC", "DHWIO", "NDHWC"
    return lax.conv_general_dilated(x, kernel, stride, "SAME", dimension_numbers=layout)


def _folded_conv3d(x, kernel, stride):
    """One 2-D convolution of the kt * C channels of kt steps, in up to four parts."""
    taps, hop = kernel.shape[0], stride[0]
    new_steps, padding = _same(x.shape[1], taps, hop)
    x = jnp.pad(x, ((0, 0), padding, (0, 0), (0, 0), (0, 0)))
    flat_kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(*kernel.shape[1:3], -1, kernel.shape[4])
    parts = []
    for first, count in _parts(x.shape[0], new_steps):
        folded = jnp.concatenate(_shifted(x[:, first * hop :], taps, hop, 1, count), axis=-1)
        parts.append(_conv2d(folded, flat_kernel, stride[1:]).astype(x.dtype))
    return jnp.concatenate(parts, axis=1)


def _parts(batch, steps):
    """[(first step, number of steps)] of at most four parts, because more take long to compile, with
    FOLDED_PICTURES pictures or more each.
    """
    size = max(FOLDED_PICTURES // batch, -(-steps // 4))
    return [(first, min(size, steps - first)) for first in range(0, steps, size)]


def _conv2d(x, kernel, stride):
    """2-D convolution of each picture, SAME padding, at least in float32; stride: (height, width).

    (B, T, H, W, C), (kh, kw, C, O) -> (B, T, H', W', O).
    """
    layout, dtype = ("NHWC", "HWIO", "NHWC"), jnp.promote_types(x.dtype, jnp.float32)
    settings = dict(dimension_numbers=layout, preferred_element_type=dtype)
    y = lax.conv_general_dilated(x.reshape(-1, *x.shape[2:]), kernel, stride, "SAME", **settings)
    return y.reshape(*x.shape[:2], *y.shape[1:])


def _gradient_of_input(x, kernel, grad, stride):
    """Gradient of the input, (B, T, H, W, C), of a convolution whose output has the gradient `grad`.

    Without strides, and with an odd kernel, a 2-D convolution makes kt * C channels of the gradients of each
    step: C for each step of the input that its kernel sees. Those of one step are added up. Elsewhere this
    is the transpose of `_folded_conv3d`.
    """
    taps, *sizes, channels, features = kernel.shape
    if stride != (1, 1, 1) or not all(size % 2 for size in kernel.shape[:3]):
        return jax.vjp(lambda x: _folded_conv3d(x, kernel, stride), x)[1](grad)[0]
    flat_kernel = kernel[:, ::-1, ::-1].transpose(1, 2, 4, 0, 3).reshape(*sizes, features, -1)
    parts = [
        _conv2d(grad[:, first : first + count], flat_kernel, stride[1:])
        for first, count in _parts(*grad.shape[:2])
    ]
    given = jnp.concatenate(parts, axis=1).reshape(*grad.shape[:4], taps, channels)
    given = jnp.pad(given, [(taps // 2, taps // 2) if axis == 1 else (0, 0) for axis in range(6)])
    # Step t gets what place p of the kernel takes at step t + kt // 2 - p, before the padding.
    seen_from = _shifted(given, taps, 1, 1, x.shape[1])
    return sum(one[..., taps - 1 - i, :] for i, one in enumerate(seen_from)).astype(x.dtype)


def _gradient_of_kernel(x, kernel, grad, stride):
    """(kt, kh, kw, C, O), from kh products of two matrices for few pictures at a time, added up in float32.

    The rows of both matrices are positions. The columns of the first are the gradients of the steps that see
    a value (kt * O), those of the second the values that a kernel sees side by side (kw * C). XLA copies the
    first to transpose it, once for all products. With a stride in time the steps between two outputs are
    channels of one.
    """
    (taps, *sizes, channels, features), (hop, *hops) = kernel.shape, stride
    batch, steps, height, width, _ = grad.shape
    taps_of_hop = -(-taps // hop)
    hops_of_x = steps + taps_of_hop - 1
    (_, (before, _)), (_, above), (_, left) = map(_same, x.shape[1:4], kernel.shape[:3], stride)
    count = max(1, min(hops_of_x, PRODUCT_ROWS // (batch * height * width)))
    loops = -(-hops_of_x // count)
    count = -(-hops_of_x // loops)

    after = loops * count * hop - x.shape[1] - before
    x = jnp.pad(x, ((0, 0), (before, after), above, left, (0, 0)))
    x = x.reshape(batch, -1, hop, *x.shape[2:])
    x = jnp.moveaxis(x, 2, 4).reshape(batch, -1, *x.shape[3:5], hop * channels)
    grad = jnp.pad(grad, ((0, 0), (taps_of_hop - 1, loops * count - steps), (0, 0), (0, 0), (0, 0)))

    def add(index, total):
        values = lax.dynamic_slice_in_dim(x, index * count, count, 1)
        values = jnp.concatenate(_shifted(values, sizes[1], hops[1], 3, width), axis=-1)
        grads = lax.dynamic_slice_in_dim(grad, index * count, count + taps_of_hop - 1, 1)
        grads = jnp.concatenate(_shifted(grads, taps_of_hop, 1, 1, count)[::-1], axis=-1)
        products = [  # einsum sorts the names that it sums over: in this order it copies nothing
            jnp.einsum("abcdo,abcdi->oi", grads, rows, preferred_element_type=total.dtype)
            for rows in _shifted(values, sizes[0], hops[0], 2, height)
        ]
        return total + jnp.stack(products)

    shape = sizes[0], taps_of_hop * features, sizes[1] * hop * channels
    total = lax.fori_loop(0, loops, add, jnp.zeros(shape, jnp.promote_types(x.dtype, jnp.float32)))
    total = total.reshape(sizes[0], taps_of_hop, features, sizes[1], hop, channels)
    total = total.transpose(1, 4, 0, 3, 5, 2)
    return total.reshape(-1, *kernel.shape[1:])[:taps].astype(kernel.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool3d(x, window, stride, formulation):
    folded = functools.partial(_folded_max_pool3d, window=window, stride=stride)
    native = functools.partial(_native_max_pool3d, window=window, stride=stride)
    return _choose(formulation, folded, native)(x)


def _max_pool3d_forward(x, window, stride, formulation):
    return _max_pool3d(x, window, stride, formulation), x


def _max_pool3d_backward(window, stride, formulation, x, grad):
    def folded(x, grad):
        return jax.vjp(lambda x: _folded_max_pool3d(x, window, stride), x)[1](grad)

    def native(x, grad):
        return jax.vjp(lambda x: _native_max_pool3d(x, window, stride), x)[1](grad)

    return _choose(formulation, folded, native)(x, grad)


_max_pool3d.defvjp(_max_pool3d_forward, _max_pool3d_backward)


def _native_max_pool3d(x, window, stride):
    return nn.max_pool(x, window, stride, "SAME")


def _folded_max_pool3d(x, window, stride):
    """Maxima along the width, of these along the height, of these along time."""

    def earlier_maximum(a, b):  # jnp.maximum would share the gradient of equal values
        return jnp.where((a >= b) | jnp.isnan(a), a, b)

    for axis, size, hop in reversed(list(zip((1, 2, 3), window, stride))):
        if (size, hop) == (1, 1):
            continue
        count, padding = _same(x.shape[axis], size, hop)
        x = jnp.pad(x, [padding if other == axis else (0, 0) for other in range(5)], constant_values=-jnp.inf)
        x = functools.reduce(earlier_maximum, _shifted(x, size, hop, axis, count))
    return x


def _same(length, size, hop):
    """Outputs of a window of `size` every `hop`, and the padding (before, after) they need."""
    count = -(-length // hop)
    padding = max((count - 1) * hop + size - length, 0)
    return count, (padding // 2, padding - padding // 2)


def _shifted(x, size, hop, axis, count):
    """What each place of a window of `size` every `hop` sees: `size` arrays of length `count` in the axis."""
    return [lax.slice_in_dim(x, i, i + (count - 1) * hop + 1, hop, axis) for i in range(size)]
