"""The convolution over time against XLA's own, of one level and of levels side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.ops.conv1d import conv1d, of_cells, place_in_level


def problem(length, taps, channels=3, features=5):
    """(x (2, length, channels), kernel (taps, channels, features))."""
    rng = np.random.default_rng(length * taps)
    shapes = (2, length, channels), (taps, channels, features)
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


def by_xla(x, kernel, stride=1, padding="SAME"):
    layout = ("NWC", "WIO", "NWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride,), padding, dimension_numbers=layout)


def assert_same_with_gradients(ours, theirs, *arguments):
    np.testing.assert_allclose(ours(*arguments), theirs(*arguments), rtol=1e-5, atol=1e-5)
    cotangent = np.random.default_rng(0).standard_normal(ours(*arguments).shape)
    gradients = [
        jax.grad(lambda *given: jnp.vdot(run(*given), cotangent), (0, 1))(*arguments)
        for run in (ours, theirs)
    ]
    for one, other in zip(*gradients):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 7, 8])
@pytest.mark.parametrize("taps, stride", [(1, 1), (1, 2), (3, 1), (3, 2), (5, 2)])
def test_same_padding_is_that_of_xla(length, taps, stride):
    ours = lambda x, kernel: conv1d(x, kernel, stride=stride)
    theirs = lambda x, kernel: by_xla(x, kernel, stride)
    assert_same_with_gradients(ours, theirs, *problem(length, taps))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_given_padding(stride):
    ours = lambda x, kernel: conv1d(x, kernel, stride=stride, padding=(1, 1))
    theirs = lambda x, kernel: by_xla(x, kernel, stride, [(1, 1)])
    assert_same_with_gradients(ours, theirs, *problem(8, 3))


@pytest.mark.parametrize("taps", [1, 3, 5])
def test_levels_side_by_side_do_not_see_each_other(taps):
    cells = (8, 4, 1, 2)
    ends = np.cumsum(cells)

    def level_by_level(x, kernel):
        return jnp.concatenate([by_xla(x[:, e - n : e], kernel) for n, e in zip(cells, ends)], axis=1)

    together = lambda x, kernel: conv1d(x, kernel, cells=cells)
    assert_same_with_gradients(together, level_by_level, *problem(sum(cells), taps))


def test_levels_need_cells_that_fit():
    x, kernel = problem(8, 3)
    for wrong in (dict(cells=(4, 3)), dict(cells=(4, 4), stride=2)):
        with pytest.raises(ValueError, match="levels of"):
            conv1d(x, kernel, **wrong)


def test_a_result_of_more_digits_than_its_operands():
    x, kernel = (array.astype(jnp.bfloat16) for array in problem(8, 3))
    assert conv1d(x, kernel).dtype == jnp.bfloat16
    exact = conv1d(*(array.astype(jnp.float32) for array in (x, kernel)))
    np.testing.assert_allclose(conv1d(x, kernel, result=jnp.float32), exact, rtol=1e-5, atol=1e-5)


def test_a_number_of_each_level_for_its_cells():
    np.testing.assert_array_equal(of_cells(np.array([5.0, 7.0]), (2, 1)), [5, 5, 7])
    np.testing.assert_array_equal(place_in_level((2, 3)), [0, 1, 0, 1, 2])
