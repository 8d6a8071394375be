"""Sampling of proposals from a feature map, against the published one and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.systems.tcanet import sampling
from tal_jax.systems.tcanet.sampling import context_positions, interpolate, segment_positions
from tests.golden import recipe
from tests.systems.tcanet_golden import load, tolerance


@pytest.mark.parametrize("product", [True, False])
def test_samples_and_gradients_are_the_published_ones(product, monkeypatch):
    monkeypatch.setattr(sampling, "PRODUCT_MAX_ROWS", 512 if product else 0)
    case = load("sampling")
    features = recipe.array("ttn_features", [9, 8, 50]).transpose(0, 2, 1)
    cotangent = recipe.array("ttn_cot", [9, 8, 128]).transpose(0, 2, 1)
    covered = jnp.full(9, 50 * case.info["hyper"]["interval"])

    @jax.jit
    def run(segments, features):
        def sample(segments, features):
            return interpolate(features, context_positions(segments, covered, 50))

        sampled, backward = jax.vjp(sample, segments, features)
        return sampled, *backward(jnp.asarray(cotangent))

    sampled, on_segments, on_features = run(case.arrays["segments"], features)
    parts = dict(zip(("start", "action", "end"), np.split(np.asarray(sampled), [32, 96], axis=1)))
    for name, part in parts.items():
        golden = case.arrays[f"{name}_feature"].transpose(0, 2, 1)
        np.testing.assert_allclose(part, golden, **tolerance(case, "values"), err_msg=name)
    gradients = tolerance(case, "gradients")
    np.testing.assert_allclose(on_segments, case.arrays["grad_segments"], **gradients)
    np.testing.assert_allclose(on_features, case.arrays["grad_features"].transpose(0, 2, 1), **gradients)


def test_a_ramp_gives_the_ramp():
    """The published ramp, and that a feature that is its own place reads as the place: a second is 1 / 0.4
    rows.
    """
    case = load("sampling")
    interval = case.info["hyper"]["interval"]
    positions = segment_positions(jnp.float32(3), jnp.float32(6), jnp.float32(12 * interval), 12, 5)
    sampled = interpolate(jnp.arange(12.0)[:, None], positions)
    np.testing.assert_allclose(sampled[:, 0], case.arrays["single"][0, 0], **tolerance(case, "values"))

    segment = jnp.array([4.0, 8.0])
    places = interpolate(jnp.arange(30.0)[:, None], context_positions(segment, jnp.float32(30 * 0.4), 30))[
        :, 0
    ]
    times_sec = np.concatenate(
        [
            2 + 2 * (np.arange(32) + 0.5) / 32,
            4 + 4 * (np.arange(64) + 0.5) / 64,
            8 + 2 * (np.arange(32) + 0.5) / 32,
        ]
    )
    np.testing.assert_allclose(places, times_sec / 0.4 - 0.5, rtol=1e-5)


def test_a_context_outside_reads_the_edge_row_by_half():
    features = jnp.array([[3.0], [5.0], [7.0]])
    before, _, after = np.split(
        np.asarray(interpolate(features, context_positions(jnp.array([0.0, 6.0]), 6.0, 3))), [32, 96]
    )
    np.testing.assert_allclose(before, 1.5)
    np.testing.assert_allclose(after, 3.5)


def test_every_map_has_its_own_samples():
    random = np.random.default_rng(0)
    maps, positions = (
        random.standard_normal((2, 3, 7, 4)).astype(np.float32),
        random.uniform(-2, 8, (2, 3, 5)).astype(np.float32),
    )
    together = jax.jit(interpolate)(maps, positions)
    rows = np.pad(maps, ((0, 0), (0, 0), (3, 3), (0, 0)))  # zeros outside
    for i in np.ndindex(2, 3, 5):
        column = [np.interp(positions[i] + 3, np.arange(13), rows[i[:2]][:, c]) for c in range(4)]
        np.testing.assert_allclose(together[i], column, atol=1e-5)

    def total(positions):
        return (interpolate(jnp.asarray(maps), positions) ** 2).sum()

    of_each = jax.jit(jax.grad(total))
    shared = jnp.asarray(positions[0])  # the same places for the first axis of the maps
    np.testing.assert_allclose(
        of_each(shared), of_each(jnp.stack([shared, shared])).sum(0), rtol=1e-5, atol=1e-5
    )


def test_nothing_covered_makes_no_nan():
    def total(segment):
        return interpolate(jnp.ones((4, 2)), context_positions(segment, 0.0, 4)).sum()

    value, gradient = jax.value_and_grad(total)(jnp.zeros(2))
    assert np.isfinite(value) and np.isfinite(gradient).all()
