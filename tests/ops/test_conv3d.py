"""Convolution and max pooling of videos: every formulation is one function, with one gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.ops.conv3d import PRODUCT_ROWS, conv3d, max_pool3d

CONVOLUTIONS = [  # kernel, stride, size of the clip
    ((7, 7, 7), (2, 2, 2), (9, 10, 7)),
    ((7, 7, 7), (2, 2, 2), (8, 6, 8)),
    ((3, 3, 3), (1, 1, 1), (5, 4, 6)),
    ((1, 1, 1), (1, 1, 1), (3, 2, 2)),
    ((1, 1, 1), (1, 1, 1), (2, 40, 41)),  # a picture for each product of the kernel's gradient
    ((3, 3, 3), (1, 1, 1), (140, 3, 3)),  # several products, and several parts forward
    ((7, 1, 3), (1, 1, 1), (2, 4, 5)),  # a kernel that is longer than the clip
    ((2, 3, 1), (3, 1, 2), (7, 4, 5)),
    ((2, 2, 2), (1, 1, 1), (4, 3, 3)),
]
POOLS = [  # window, stride, size of the clip
    ((1, 3, 3), (1, 2, 2), (3, 6, 7)),
    ((3, 3, 3), (2, 2, 2), (5, 6, 7)),
    ((3, 3, 3), (1, 1, 1), (4, 3, 5)),
    ((2, 2, 2), (2, 2, 2), (5, 4, 3)),
]


def value_and_gradients(function, *inputs):
    """What a function of the inputs gives, and the gradients of its sum of squares."""

    def loss(*inputs):
        out = function(*inputs)
        return jnp.square(out.astype(jnp.float32)).sum(), out

    grads, out = jax.jit(jax.grad(loss, tuple(range(len(inputs))), has_aux=True))(*inputs)
    return out, *grads


def assert_near(found, expected, tolerance=1e-5):
    """Differences are small beside the largest number of each array."""
    for one, other in zip(found, expected, strict=True):
        one, other = (np.asarray(array, np.float32) for array in (one, other))
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


def convolution_inputs(kernel, size, dtype=np.float32):
    rng = np.random.default_rng(0)
    return [
        jnp.asarray(rng.standard_normal(shape), dtype) for shape in ((2, *size, 3), (*kernel, 3, 4))
    ]  # x, kernel


@pytest.mark.parametrize("kernel, stride, size", CONVOLUTIONS)
def test_formulations_are_one_convolution(kernel, stride, size):
    inputs = convolution_inputs(kernel, size)
    native, folded, auto = (
        value_and_gradients(lambda x, kernel: conv3d(x, kernel, stride, formulation), *inputs)
        for formulation in ("native", "folded", "auto")
    )
    assert_near(folded, native)
    assert_near(auto, native)


def test_convolutions_divide_their_work():
    """The sizes above have clips that are more than one part, one product."""
    assert 2 * 40 * 41 > PRODUCT_ROWS and 2 * 140 * 9 > PRODUCT_ROWS


def test_bfloat16_sums_in_float32():
    """The gradients differ from those of float32 by one rounding, to 8 bits, of the numbers that go in and out."""
    half = convolution_inputs((3, 3, 3), (70, 3, 3), jnp.bfloat16)
    exact = [array.astype(jnp.float32) for array in half]
    gradient = jnp.asarray(np.random.default_rng(1).standard_normal((2, 70, 3, 3, 4)), jnp.bfloat16)
    found, expected = (
        (out, *vjp(gradient.astype(out.dtype)))
        for out, vjp in (jax.vjp(conv3d, *pair) for pair in (half, exact))
    )
    assert {array.dtype.name for array in found} == {"bfloat16"}
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.astype(np.float32), other, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize("window, stride, size", POOLS)
def test_formulations_are_one_max_pool(window, stride, size):
    rng = np.random.default_rng(0)
    x = jnp.asarray(np.maximum(rng.integers(-2, 3, (2, *size, 3)), 0), jnp.float32)  # many are equal
    native, folded, auto = (
        value_and_gradients(lambda x: max_pool3d(x, window, stride, formulation), x)
        for formulation in ("native", "folded", "auto")
    )
    for found in (folded, auto):
        jax.tree.map(np.testing.assert_array_equal, found, native)


def test_the_first_of_equal_values_gets_the_gradient():
    _, grad = value_and_gradients(
        lambda x: max_pool3d(x, (2, 2, 2), (2, 2, 2), "folded"), jnp.ones((1, 2, 2, 2, 1))
    )
    np.testing.assert_array_equal(grad.ravel(), [2, 0, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("formulation", ["native", "folded"])
def test_no_number_is_never_pooled_away(formulation):
    x = jnp.zeros((1, 1, 3, 3, 1))
    for place in range(9):
        pooled = max_pool3d(x.at[0, 0, place // 3, place % 3].set(jnp.nan), (1, 3, 3), (1, 3, 3), formulation)
        assert np.isnan(pooled).all()


def test_clips_may_be_mapped_and_recomputed():
    """The gradients of a network of both, by vmap over clips and with recomputation, are those of the batch."""
    inputs = convolution_inputs((3, 3, 3), (4, 5, 3))

    def network(x, kernel):
        return max_pool3d(conv3d(x, kernel), (1, 3, 3), (1, 2, 2))

    def mapped(x, kernel):
        return jax.vmap(lambda clip: jax.remat(network)(clip[None], kernel)[0])(x)

    assert_near(value_and_gradients(mapped, *inputs), value_and_gradients(network, *inputs))


@pytest.mark.parametrize("platform, folded", [("cpu", True), ("tpu", False), ("cuda", False)])
def test_formulation_follows_the_platform_that_is_compiled_for(platform, folded):
    def lowered(function, *shapes):
        shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        gradient = functools.partial(value_and_gradients, function)
        return jax.jit(gradient).trace(*shapes).lower(lowering_platforms=(platform,)).as_text()

    text = lowered(conv3d, (1, 4, 6, 6, 2), (3, 3, 3, 2, 5))
    assert ("[b, 0, 1, f]" in text, "[b, 0, 1, 2, f]" in text) == (folded, not folded)
    text = lowered(lambda x: max_pool3d(x, (3, 3, 3), (2, 2, 2)), (1, 4, 6, 6, 2))
    assert ("select_and_scatter" in text) == (not folded)
