"""I3D against the published one, and properties of its parts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.backbones.i3d import I3D, LAYERS, BatchNorm, scale_pixels
from tal_jax.published.i3d import i3d_from_state_dict
from tests.golden import recipe
from tests.golden_case import GoldenCase


@pytest.mark.parametrize(
    "stream, channels, formulation", [("rgb", 3, "folded"), ("odd", 3, "native"), ("flow", 2, "folded")]
)
def test_end_points_are_the_published_ones(stream, channels, formulation):
    case = GoldenCase.load("afsd/i3d")
    clip = case.input(f"{stream}_clip").transpose(0, 2, 3, 4, 1)
    state_dict = case.parameters()
    first = "backbone._model.Conv3d_1a_7x7.conv3d.weight"
    state_dict[first] = recipe.param(first, (64, channels, 7, 7, 7), case.info["seed"])
    model = I3D(outputs=tuple(LAYERS), conv=formulation)
    with jax.default_matmul_precision("highest"):
        found = jax.jit(model.apply)(i3d_from_state_dict(state_dict), clip)
    found = {name: np.asarray(value).transpose(0, 4, 1, 2, 3) for name, value in zip(LAYERS, found)}
    for name in ("Mixed_4f", "Mixed_5c"):
        if f"{stream}_{name}" in case.arrays:
            np.testing.assert_allclose(
                found[name], case.arrays[f"{stream}_{name}"], **case.info["tolerances"]["features"]
            )
    for row in case.info["end_point_stats"][stream]:
        value = found[row["end_point"]]
        assert list(value.shape) == row["shape"]
        norm = np.linalg.norm(value)
        np.testing.assert_allclose(norm, row["norm"], rtol=1e-4)
        projection = recipe.projection(f"{stream}.{row['end_point']}", value, case.info["seed"])
        assert abs(projection - row["projection"]) <= 0.01 * norm / np.sqrt(value.size), row["end_point"]


def test_pixels_become_minus_one_to_one():
    np.testing.assert_array_equal(scale_pixels(jnp.array([0, 127.5, 255], jnp.float16)), [-1, 0, 1])
    np.testing.assert_array_equal(scale_pixels(jnp.array([0, 255], jnp.uint8)), [-1, 1])


@pytest.fixture(scope="module")
def stem():
    """Function (**settings) -> (module, its variables, clips) of a narrow I3D that ends at Mixed_3b."""
    clips = np.random.default_rng(0).integers(0, 256, (2, 8, 16, 16, 3)).astype(np.uint8)

    def make(**settings):
        model = I3D(channel_factor=1 / 32, outputs=("Mixed_3b",), **settings)
        return model, jax.jit(model.init)(jax.random.key(0), clips), clips

    return make


def test_recomputing_changes_no_gradient(stem):
    def gradients(remat):
        model, variables, clips = stem(remat=remat)

        def loss(params):
            return (model.apply(variables | {"params": params}, clips)[0] ** 2).sum()

        return jax.jit(jax.grad(loss))(variables["params"])

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), gradients(False), gradients(True)
    )


def test_frozen_norms_are_constants(stem):
    model, variables, clips = stem()
    assert {path[-1].key for path, _ in jax.tree.leaves_with_path(variables["params"])} == {"kernel"}
    _, after = jax.jit(functools.partial(model.apply, mutable=["batch_stats"]))(variables, clips)
    jax.tree.map(np.testing.assert_array_equal, after["batch_stats"], variables["batch_stats"])


def test_trained_norms_learn_their_statistics_from_all_devices(stem):
    model, variables, clips = stem(frozen_norm=False)
    assert {path[-1].key for path, _ in jax.tree.leaves_with_path(variables["params"])} == {
        "kernel",
        "scale",
        "bias",
    }

    @functools.partial(jax.vmap, axis_name="data")
    def train(clips):
        return model.apply(variables, clips, mutable=["batch_stats"])

    (together,), after = jax.jit(train)(clips[None])
    (apart,), after_apart = jax.jit(train)(clips[:, None])  # one clip on each of two devices
    np.testing.assert_allclose(apart[:, 0], together[0], rtol=1e-3, atol=1e-4)
    for state in (after, after_apart):
        learned = state["batch_stats"]["Conv3d_1a_7x7"]["bn"]
        assert np.abs(learned["mean"][0]).max() > 0 and np.abs(learned["var"][0] - 1).max() > 0
    (running,) = jax.jit(model.apply)(variables, clips)  # statistics as they were at the start
    assert np.abs(running - together[0]).max() > 1e-3


def test_clips_that_fill_the_batch_are_not_in_the_statistics():
    """Three clips and one that only fills the batch, on one device, on two and on four."""
    norm = BatchNorm(jnp.float32)
    clips = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (3, 4, 2, 2, 5)), jnp.float32)
    variables = norm.init(jax.random.key(0), clips)
    padded, mask = jnp.concatenate([clips, 100 * clips[:1]]), jnp.float32([1, 1, 1, 0])

    def train(devices):
        @functools.partial(jax.vmap, axis_name="data")
        def step(clips, mask):
            def loss(clips):
                out, state = norm.apply(variables, clips, mask, mutable=["batch_stats"])
                return (out**3 * mask[:, None, None, None, None]).sum(), (out, state)

            return jax.grad(loss, has_aux=True)(clips)

        shared = [x.reshape(devices, -1, *x.shape[1:]) for x in (padded, mask)]
        gradient, (out, state) = jax.jit(step)(*shared)
        first_three = [x.reshape(4, *x.shape[2:])[:3] for x in (gradient, out)]
        return first_three, jax.tree.map(lambda x: x[-1], state["batch_stats"])

    mean, var = clips.mean((0, 1, 2, 3)), clips.var((0, 1, 2, 3))
    expected = (clips - mean) / np.sqrt(var + 1e-3)
    for devices in (1, 2, 4):
        (gradient, out), state = train(devices)
        np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(state["mean"], 0.01 * mean, rtol=1e-4)
        np.testing.assert_allclose(state["var"], 0.99 + 0.01 * var, rtol=1e-4)
        np.testing.assert_allclose(gradient, train(1)[0][0], rtol=1e-3, atol=1e-3)


def test_bfloat16_is_near(stem):
    model, variables, clips = stem()
    half, _, _ = stem(dtype=jnp.bfloat16)
    (exact,), (rounded,) = (jax.jit(m.apply)(variables, clips) for m in (model, half))
    assert rounded.dtype == jnp.bfloat16
    assert np.linalg.norm(exact - rounded.astype(jnp.float32)) < 0.05 * np.linalg.norm(exact)
