import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.ops.boundary_pooling import boundary_max_pool
from tests.golden_case import GoldenCase

METHODS = ("sparse_table", "scan")
GOLDEN = GoldenCase.load("afsd/boundary_pooling")
SUB_CASES = ("random", "edge", "ties", "frame", "triplet", "more_segments_than_time")
GRADIENTS = [(case, "exact", method) for case in SUB_CASES for method in METHODS]
GRADIENTS += [(case, "reference", "auto") for case in SUB_CASES if f"{case}_grad_reference" in GOLDEN.arrays]


def channels_last(array):
    """(B, C, N) of the reference to (B, N, C)."""
    return np.moveaxis(array, 1, -1)


@functools.partial(jax.jit, static_argnames=("method", "grad"))
def pool_and_grad(features, regions, grad_pooled, **options):
    """The pooled features, and the gradient of sum(pooled * grad_pooled) with respect to the features."""
    pooled, pull_back = jax.vjp(lambda features: boundary_max_pool(features, regions, **options), features)
    return pooled, pull_back(grad_pooled)[0]


def tie_free(shape, seed=0):
    """Features that are all different, at least 0.1 apart."""
    count = int(np.prod(shape))
    return (
        (0.1 * np.random.default_rng(seed).permutation(count) - 0.05 * count)
        .reshape(shape)
        .astype(np.float32)
    )


def random_regions(shape, cells, seed=1):
    """Regions (..., 4) of any order of ends, some of them outside the clip."""
    return np.random.default_rng(seed).uniform(-3, cells + 3, (*shape, 4)).astype(np.float32)


def pool_by_loops(features, regions):
    """The rule in plain Python, one output number at a time: values (B, K, C) and the cell each was read
    from.
    """
    batch, cells, channels = features.shape
    pooled = np.zeros((batch, regions.shape[1], channels), features.dtype)
    source = np.zeros(pooled.shape, int)
    for b, k, c in np.ndindex(*pooled.shape):
        bounds = regions[b, k, :2] if c < channels // 2 else regions[b, k, 2:]
        left, right = np.clip(np.trunc(bounds), 0, cells - 1).astype(int)
        source[b, k, c] = left + np.argmax(features[b, left : max(left, right) + 1, c])
        pooled[b, k, c] = features[b, source[b, k, c], c]
    return pooled, source


@pytest.mark.parametrize("case, grad, method", GRADIENTS)
def test_golden(case, grad, method):
    features, grad_pooled = (
        channels_last(GOLDEN.input(f"{case}_{name}")) for name in ("input", "grad_output")
    )
    regions = GOLDEN.input(f"{case}_segments")
    pooled, grad_features = pool_and_grad(features, regions, grad_pooled, method=method, grad=grad)
    np.testing.assert_array_equal(pooled, channels_last(GOLDEN.arrays[f"{case}_output"]))
    expected = channels_last(GOLDEN.arrays[f"{case}_grad_{grad}"])
    np.testing.assert_allclose(grad_features, expected, **GOLDEN.info["tolerances"]["grad"])


def test_golden_cases_tell_the_two_gradients_apart():
    assert sum(grad == "reference" for _, grad, _ in GRADIENTS) == 5
    assert np.abs(GOLDEN.arrays["frame_grad_exact"] - GOLDEN.arrays["frame_grad_reference"]).max() > 1


@pytest.mark.parametrize("method", METHODS)
def test_by_hand(method):
    # Channel 0 is pooled over columns 0 and 1 of a region, channel 1 over columns 2 and 3.
    features = jnp.array([[[1.0, 50.0], [4.0, 40.0], [4.0, 30.0], [2.0, 20.0], [9.0, 10.0]]])
    regions = jnp.array(
        [
            [
                [0.0, 3.0, 2.0, 4.0],  # both ends included; the tie of cells 1 and 2 goes to cell 1
                [0.9, 1.9, 3.9, 4.9],  # truncated to 0..1 and 3..4
                [3.0, 1.0, 4.0, 0.0],  # ends reversed: the left one is read
                [-9.0, -5.0, 7.0, 99.0],  # outside: the first and the last cell
            ]
        ]
    )
    grad_pooled = jnp.array([[[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [8.0, 80.0]]])
    pooled, grad_features = pool_and_grad(features, regions, grad_pooled, method=method)
    np.testing.assert_array_equal(pooled, [[[4, 30], [4, 20], [2, 10], [1, 10]]])
    np.testing.assert_array_equal(grad_features, [[[8, 0], [3, 0], [0, 10], [4, 20], [0, 120]]])


@pytest.mark.parametrize("cells", [1, 8, 13])
def test_methods_agree_with_plain_loops(cells):
    features, regions = tie_free((2, cells, 6)), random_regions((2, 9), cells)
    pooled, source = pool_by_loops(features, regions)
    grad_pooled = tie_free(pooled.shape, seed=2)
    expected_grad = np.zeros_like(features)
    batch, _, channel = np.indices(pooled.shape)
    np.add.at(expected_grad, (batch, source, channel), grad_pooled)
    for method in METHODS:
        got, got_grad = pool_and_grad(features, regions, grad_pooled, method=method)
        np.testing.assert_array_equal(got, pooled)
        np.testing.assert_allclose(got_grad, expected_grad, rtol=1e-5, atol=1e-5)


def test_gradient_matches_finite_differences():
    features, regions = tie_free((1, 6, 4)).astype(np.float64), random_regions((1, 5), 6)
    grad_pooled = tie_free((1, 5, 4), seed=3)
    expected = np.zeros_like(features)
    for position in np.ndindex(*features.shape):
        raised, lowered = features.copy(), features.copy()
        raised[position] += 0.04  # less than half the distance between any two features
        lowered[position] -= 0.04
        difference = pool_by_loops(raised, regions)[0] - pool_by_loops(lowered, regions)[0]
        expected[position] = (difference * grad_pooled).sum() / 0.08
    _, got = pool_and_grad(features.astype(np.float32), regions, grad_pooled)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_ties_go_to_the_first_cell(method):
    features = jnp.zeros((1, 8, 2))  # as after a ReLU
    regions = jnp.array([[[2.0, 6.0, 5.0, 7.0], [0.0, 7.0, 5.0, 5.0]]])
    _, grad_features = pool_and_grad(features, regions, jnp.ones((1, 2, 2)), method=method)
    expected = np.zeros((8, 2))
    expected[2, 0] = expected[0, 0] = 1
    expected[5, 1] = 2
    np.testing.assert_array_equal(grad_features[0], expected)


@pytest.mark.parametrize("method", METHODS)
def test_properties(method):
    features, regions = tie_free((3, 16, 4)), random_regions((3, 10), 16)
    pooled = boundary_max_pool(features, regions, method=method)
    order = np.random.default_rng(4).permutation(10)
    np.testing.assert_array_equal(
        boundary_max_pool(features, regions[:, order], method=method), pooled[:, order]
    )
    one_by_one = [
        boundary_max_pool(features[b : b + 1], regions[b : b + 1], method=method)[0] for b in range(3)
    ]
    np.testing.assert_array_equal(pooled, one_by_one)
    shifted = np.concatenate([np.full((3, 5, 4), 1e6, np.float32), features], 1)  # unread, whatever it holds
    inside = np.clip(regions, 0, 15)
    np.testing.assert_array_equal(boundary_max_pool(shifted, inside.astype(int) + 5.0, method=method), pooled)
    np.testing.assert_array_equal(boundary_max_pool(2 * features, regions, method=method), 2 * pooled)


@pytest.mark.parametrize("method, grad", [*((method, "exact") for method in METHODS), ("auto", "reference")])
def test_same_under_pmap_of_vmap(method, grad):
    features, regions = tie_free((2, 16, 4)), random_regions((2, 10), 16)
    grad_pooled = tie_free((2, 10, 4), seed=5)

    def gradient(features, regions, grad_pooled):
        return pool_and_grad(features, regions, grad_pooled, method=method, grad=grad)[1]

    expected = gradient(features, regions, grad_pooled)
    devices = jax.local_device_count()
    repeated = [
        np.broadcast_to(array, (devices, 3, *array.shape)) for array in (features, regions, grad_pooled)
    ]
    for of_one_device in jax.pmap(jax.vmap(gradient))(*repeated):
        np.testing.assert_array_equal(of_one_device, [expected] * 3)


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16(method):
    features = jnp.asarray(tie_free((2, 300, 2)), jnp.bfloat16)
    regions = jnp.asarray(random_regions((2, 10), 300))
    pooled = boundary_max_pool(features, regions, method=method)
    assert pooled.dtype == jnp.bfloat16
    np.testing.assert_array_equal(pooled, pool_by_loops(np.asarray(features), np.asarray(regions))[0])
    # 1000 gradients of 1 onto one cell: a bfloat16 sum would stop at 256.
    same_cell = jnp.full((1, 1000, 4), 7.0)
    ones = jnp.ones((1, 1000, 2), jnp.bfloat16)
    _, grad_features = pool_and_grad(features[:1, :8], same_cell, ones, method=method)
    assert grad_features.dtype == jnp.bfloat16
    np.testing.assert_array_equal(grad_features[0, 7], [1000, 1000])


def test_regions_get_no_gradient():
    features, regions = tie_free((1, 8, 4)), random_regions((1, 5), 8)
    for grad in ("exact", "reference"):
        grad_regions = jax.grad(lambda regions: boundary_max_pool(features, regions, grad=grad).sum())(
            regions
        )
        np.testing.assert_array_equal(grad_regions, np.zeros_like(regions))


def test_reference_gradient_changes_no_value():
    features, regions = tie_free((2, 32, 6)), random_regions((2, 10), 32)
    np.testing.assert_array_equal(
        boundary_max_pool(features, regions, grad="reference"), boundary_max_pool(features, regions)
    )


def test_errors_say_what_to_do():
    features, regions = np.zeros((2, 6, 4)), np.zeros((2, 9, 4))
    with pytest.raises(ValueError, match="K=9 and T=6; use grad='exact'"):
        boundary_max_pool(features, regions, grad="reference")
    with pytest.raises(ValueError, match="C=3"):
        boundary_max_pool(features[..., :3], regions)
    with pytest.raises(ValueError, match="B=2 as in features"):
        boundary_max_pool(features, regions[:1])
    with pytest.raises(ValueError, match="method must be"):
        boundary_max_pool(features, regions, method="cuda")
    with pytest.raises(ValueError, match="grad must be"):
        boundary_max_pool(features, regions, grad="none")


@pytest.mark.parametrize("platform, loops", [("cpu", True), ("tpu", False), ("cuda", False)])
def test_method_follows_the_platform_that_is_compiled_for(platform, loops):
    shapes = jax.ShapeDtypeStruct((1, 8, 4), jnp.float32), jax.ShapeDtypeStruct((1, 3, 4), jnp.float32)
    traced = jax.jit(jax.grad(lambda *given: boundary_max_pool(*given).sum())).trace(*shapes)
    assert ("stablehlo.while" in traced.lower(lowering_platforms=(platform,)).as_text()) == loops


@pytest.mark.parametrize("method", ["auto", "sparse_table", "scan"])
@pytest.mark.parametrize("grad", ["exact", "reference"])
def test_levels_side_by_side_are_pooled_each_by_itself(method, grad):
    cells, rng = (8, 4, 1), np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, sum(cells), 4)), jnp.float32)
    regions = jnp.asarray(np.sort(rng.uniform(-2, 9, (2, sum(cells), 4)).round()), jnp.float32)
    pool = functools.partial(boundary_max_pool, method=method, grad=grad)
    cotangent = rng.standard_normal(x.shape)

    def level_by_level(x):
        split = functools.partial(jnp.split, indices_or_sections=np.cumsum(cells)[:-1], axis=1)
        return jnp.concatenate([*map(pool, split(x), split(regions))], axis=1)

    together = lambda x: pool(x, regions, cells=cells)
    np.testing.assert_array_equal(together(x), level_by_level(x))
    slopes = [jax.grad(lambda x: jnp.vdot(run(x), cotangent))(x) for run in (together, level_by_level)]
    np.testing.assert_array_equal(*slopes)
