import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tal_jax.optimizer import make_optimizer, make_schedule, scale_by_adam
from tests.golden_case import GoldenCase


@pytest.fixture
def adam(tiny):
    """Function (fields of config.train) -> optimizer without warm-up, decay and clipping, unless asked for."""

    def make(total_steps=100, **fields):
        plain = dict(schedule="constant", warmup_steps=0, weight_decay=0.0, gradient_clip=0.0)
        return make_optimizer(tiny("toy", **plain | fields), total_steps)

    return make


def updated(optimizer, params, gradients):
    """[params after each update]"""
    state, trace = optimizer.init(params), []
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        trace.append(np.asarray(params))
    return trace


def test_the_optimizer_is_the_published_one(adam):
    golden = GoldenCase.load("afsd/optimizer")
    hyper, tolerances = golden.info["hyper"], golden.info["tolerances"]
    p, q, *gradients = (golden.input(name) for name in ("p", "q", "g0", "g1", "g2", "qg0", "qg1", "qg2"))
    small = updated(adam(learning_rate=hyper["lr"], weight_decay=hyper["weight_decay"]), p, gradients[:3])
    large = updated(adam(learning_rate=0.1, weight_decay=0.1), q, gradients[3:])
    for i in range(3):
        np.testing.assert_allclose(small[i] - p, golden.arrays[f"delta{i}"], **tolerances["delta*"])
        np.testing.assert_allclose(large[i], golden.arrays[f"q{i}"], **tolerances["q*"])


def test_adam_is_that_of_optax():
    gradients = np.random.default_rng(0).standard_normal((50, 5)).astype(np.float32)
    params = np.zeros(5, np.float32)
    found, expected = (updated(adam, params, gradients) for adam in (scale_by_adam(), optax.scale_by_adam()))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[0], np.sign(gradients[0]), rtol=1e-6)  # the first step has length 1


def test_schedules(tiny):
    def rates(total_steps, steps, **fields):
        schedule = make_schedule(tiny("toy", learning_rate=0.5, **fields), total_steps)
        return [float(schedule(step)) for step in steps]

    np.testing.assert_allclose(rates(10, [0, 1, 9], schedule="constant", warmup_steps=0), [0.5, 0.5, 0.5])
    np.testing.assert_allclose(
        rates(10, [0, 1, 3, 4, 9], schedule="constant", warmup_steps=4), [0.125, 0.25, 0.5, 0.5, 0.5]
    )
    np.testing.assert_allclose(rates(10, [0, 1], schedule="constant", warmup_steps=1), [0.5, 0.5])
    half_way, quarter = 0.25, 0.25 * (1 + np.cos(np.pi / 4))
    np.testing.assert_allclose(
        rates(8, [0, 2, 4, 8], schedule="cosine", warmup_steps=0), [0.5, quarter, half_way, 0], atol=1e-7
    )
    np.testing.assert_allclose(
        rates(12, [1, 4, 8, 12], schedule="cosine", warmup_steps=4), [0.25, 0.5, half_way, 0], atol=1e-7
    )
    np.testing.assert_allclose(
        rates(12, [0, 5, 7, 11], schedule="steps", warmup_steps=0, epochs=4, decay_epochs=(2, 3)),
        [0.5, 0.5, 0.05, 0.005],
        rtol=1e-6,
    )
    # Both decay epochs end nearest to update 2; the one that ends in the warm-up waits for its end.
    falling = dict(schedule="steps", warmup_steps=0, epochs=100, decay_epochs=(48, 52))
    np.testing.assert_allclose(rates(4, [1, 2, 3], **falling), [0.5, 0.005, 0.005], rtol=1e-6)
    waiting = dict(schedule="steps", warmup_steps=4, epochs=5, decay_epochs=(1,))
    np.testing.assert_allclose(rates(10, [2, 3, 4, 9], **waiting), [0.375, 0.5, 0.05, 0.05], rtol=1e-6)


def test_gradients_are_clipped_by_their_norm(adam):
    small, large = np.array([0.3, 0.4], np.float32), np.array([6.0, 8.0], np.float32)
    params = jnp.ones(2)
    found = updated(adam(gradient_clip=1.0), params, [small, large])[-1]
    np.testing.assert_allclose(found, updated(adam(), params, [small, large / 10])[-1], rtol=1e-6)
    assert np.abs(found - updated(adam(), params, [small, large])[-1]).max() > 1e-4
