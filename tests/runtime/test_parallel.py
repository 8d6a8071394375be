import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tal_jax import train
from tal_jax.data import load_dataset
from tal_jax.data.loader import pad_batch, stack
from tal_jax.errors import DataError
from tal_jax.runtime.parallel import AXIS, make_parallel
from tal_jax.systems import SYSTEMS
from tal_jax.systems.afsd import model as afsd_model

IMPLEMENTATIONS = ("pmap", "shard_map")


def devices(count):
    """Skips where there are fewer devices than that: on a machine with one GPU."""
    if len(jax.local_devices()) < count:
        pytest.skip(f"needs {count} devices")
    return count


def first_examples(config, count, batch_size):
    """The first training examples, padded to a batch with `sample_mask` 0."""
    items, make_example = SYSTEMS[config.system].examples(config, load_dataset(config))
    examples = [make_example(item, np.random.default_rng(0)) for item in items[:count]]
    assert len(examples) == count
    return pad_batch(stack(examples), batch_size)


def nobody_stops(batch):
    """The batch as the loop gives it to a step."""
    return batch | {"stop": np.zeros(len(batch["sample_mask"]), np.float32)}


def run_step(config, batch, impl, num_devices, steps=1, optimizer=None):
    """State and loss values after steps, one an epoch, of gradient descent; Adam would hide a gradient that
    is a multiple.
    """
    system = SYSTEMS[config.system]
    model, optimizer = system.build(config, 2), optimizer or optax.sgd(0.1)
    parallel = make_parallel(impl, num_devices)
    assert parallel.num_devices == num_devices
    inputs = jax.tree.map(lambda array: array[:1], batch["inputs"])
    state = parallel.replicate(train.init_state(config, model, optimizer, inputs))
    step = parallel.compile(train.make_step(config, system, model, optimizer, batches_per_epoch=1))
    for _ in range(steps):
        state, values = step(state, parallel.shard(nobody_stops(batch)))
    return jax.device_get((parallel.unreplicate(state), values))


def assert_close(found, expected):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), found, expected)


@pytest.fixture(scope="module")
def on_one_device(tiny):
    """(config, batch, state and values after 2 steps): 6 examples in a batch of 8, so that the last of 4
    devices has none.
    """
    config = tiny("toy", ema_decay=0.9)
    batch = first_examples(config, 6, 8)
    return config, batch, run_step(config, batch, "pmap", 1, steps=2)


@pytest.mark.parametrize("num_devices", [1, 2, 4])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_batch_means_the_same_on_any_number_of_devices(on_one_device, impl, num_devices):
    config, batch, expected = on_one_device
    assert_close(run_step(config, batch, impl, devices(num_devices), steps=2), expected)


def test_padding_does_not_count(on_one_device):
    config, batch, (_, expected) = on_one_device
    whole = {key: value[:6] for key, value in batch.items()}
    assert_close(run_step(config, whole, "pmap", 1, steps=2)[1], expected)
    whole["sample_mask"] = np.ones(6, np.float32)
    whole["inputs"] = whole["inputs"] * 2  # and what is compared here is not blind
    assert abs(run_step(config, whole, "pmap", 1, steps=2)[1]["total"] - expected["total"]) > 1e-2


def test_a_step_is_the_gradient_of_the_whole_batch(on_one_device):
    config, batch, _ = on_one_device
    system, model = SYSTEMS["toy"], SYSTEMS["toy"].build(config, 2)
    params = train.init_state(config, model, optax.sgd(0.1), batch["inputs"][:1]).params

    def total(params):
        terms, _ = system.loss(config, model, {"params": params}, batch, 0.0, None)
        return sum(term.weight * term.sum / jnp.maximum(term.count, 1) for term in terms.values())

    value, gradients = jax.jit(jax.value_and_grad(total))(params)
    state, values = run_step(config, batch, "pmap", 1)
    assert_close(values["total"], value)
    assert_close(values["gradient_norm"], optax.tree.norm(gradients))
    assert_close(state.params, jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients))
    assert state.step == 1


def test_a_batch_of_proposals_means_the_same_on_four_devices(tiny, tmp_path):
    segments = [[start, start + length] for length in (2, 3, 5) for start in range(12)]
    results = {
        name: [{"segment": segment, "label": "slow"} for segment in segments]
        for name in ("monday", "tuesday", "sunday")
    }
    (tmp_path / "proposals.json").write_text(json.dumps({"results": results}))
    config = tiny("pgcn")
    config.proposals = str(tmp_path / "proposals.json")
    config.model.update(dropout=0.0, branch_dropout=0.0)  # what is random differs from device to device
    batch = first_examples(config, 3, 4)
    assert_close(run_step(config, batch, "pmap", devices(4)), run_step(config, batch, "pmap", 1))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_step_is_compiled_once(impl):
    traced = []

    def body(state, batch):
        traced.append(1)
        total = jax.lax.psum(batch["x"].sum(), AXIS)
        return {"w": state["w"] + total}, {"total": total}

    parallel = make_parallel(impl, devices(2))
    state, step = parallel.replicate({"w": jnp.zeros(3)}), parallel.compile(body)
    for _ in range(3):
        state, values = step(state, parallel.shard({"x": np.arange(4.0)}))
    np.testing.assert_array_equal(parallel.unreplicate(state)["w"], [18, 18, 18])
    assert values["total"].shape == () and values["total"] == 6
    assert len(traced) == 1


@pytest.mark.parametrize("num_devices", [1, 4])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_compile_map_keeps_the_order_of_the_batch(impl, num_devices):
    parallel = make_parallel(impl, devices(num_devices))
    run = parallel.compile_map(lambda params, batch: {"y": params["w"] * batch["x"]})
    found = run(
        parallel.replicate({"w": jnp.float32(2)}), {"x": np.arange(16, dtype=np.float32).reshape(8, 2)}
    )
    assert isinstance(found["y"], np.ndarray)
    np.testing.assert_array_equal(found["y"], 2 * np.arange(16).reshape(8, 2))


def afsd_terms(config, batch, num_devices):
    """(value, count) of every loss term, summed over the devices."""
    system = SYSTEMS[config.system]
    model, parallel = system.build(config, 2), make_parallel("pmap", num_devices)
    params = train.init_state(config, model, optax.sgd(0.1), batch["inputs"][:1]).params

    def body(params, batch):
        terms, _ = system.loss(config, model, {"params": params}, batch, 3.0, None)
        summed = jax.lax.psum(
            {name: (term.weight * term.sum, term.count) for name, term in terms.items()}, AXIS
        )
        return jax.tree.map(lambda value: value[None], summed)

    return jax.tree.map(
        lambda values: values[0], parallel.compile_map(body)(parallel.replicate(params), batch)
    )


@pytest.fixture(scope="module")
def small_afsd(tiny):
    """(config, batch, terms on one device) of DW-AFSD with 2 levels, which compiles in a third of the time of
    6.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(afsd_model, "NUM_LEVELS", 2)
        config = tiny("dw_afsd")
        config.loss.level_bounds = ()
        batch = first_examples(config, 3, 4)
        yield config, batch, afsd_terms(config, batch, 1)


def in_bfloat16(config):
    config = config.copy_and_resolve_references()
    config.train.mixed_precision = True
    return config


def test_the_terms_of_afsd_add_up_over_devices(small_afsd):
    config, batch, expected = small_afsd
    assert {
        "loc",
        "cls",
        "refined_loc",
        "refined_cls",
        "quality",
        "auxiliary",
        "start",
        "end",
    } <= expected.keys()
    assert_close(afsd_terms(config, batch, devices(4)), expected)


def test_afsd_in_bfloat16(small_afsd):
    config, batch, expected = small_afsd
    for name, (total, count) in afsd_terms(in_bfloat16(config), batch, devices(2)).items():
        assert total.dtype == np.float32
        assert total != expected[name][0]  # it was switched on
        np.testing.assert_allclose(
            total / max(count, 1), expected[name][0] / max(expected[name][1], 1), rtol=0.1, err_msg=name
        )


@pytest.mark.slow
def test_a_step_of_afsd_in_bfloat16(small_afsd):
    config, batch, _ = small_afsd
    state, values = run_step(in_bfloat16(config), batch, "pmap", devices(2), steps=3)
    assert all(np.isfinite(value) for value in values.values())
    for leaf in jax.tree.leaves(state.params):
        assert leaf.dtype == np.float32 and np.isfinite(leaf).all()


def test_a_batch_that_cannot_be_split_is_one_sentence(tiny, tmp_path):
    devices(4)
    config = tiny("toy", batch_size=6)
    config.parallel.max_devices = 4
    with pytest.raises(
        DataError, match="^config.train.batch_size is 6; it must be a multiple of the 4 devices"
    ):
        train.train(config, tmp_path)


def test_an_unknown_implementation_is_one_sentence():
    with pytest.raises(DataError, match="^config.parallel.impl is 'xmap'; it must be 'pmap' or 'shard_map'"):
        make_parallel("xmap")
