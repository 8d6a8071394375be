"""The transfer of KT-MGFN, its losses and its optimizer: golden cases and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tal_jax import optimizer as shared_optimizer
from tal_jax.runtime.parallel import AXIS, make_parallel
from tal_jax.systems import kt_mgfn
from tal_jax.systems.kt_mgfn import losses, transfer
from tal_jax.systems.kt_mgfn.config import kt_mgfn_config
from tal_jax.systems.kt_mgfn.decode import decode
from tal_jax.systems.kt_mgfn.erasing import normalise_over_time
from tal_jax.systems.kt_mgfn.optimizer import make_optimizer
from tests.golden_case import GoldenCase


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_golden_discrepancy(precision):
    case = GoldenCase.load("kt_mgfn/mmd")
    tolerance = case.info["tolerance"][precision]
    with jax.enable_x64(precision == "float64"):
        arrays = {name: value.astype(precision) for name, value in case.arrays.items()}
        source, target = arrays["source"], arrays["target"]
        vectors, masks = np.concatenate([source, target]), (jnp.ones(len(source)), jnp.ones(len(target)))
        distances = np.square(vectors[:, None] - vectors).sum(-1)
        widths = transfer.bandwidths(distances, jnp.concatenate(masks))
        np.testing.assert_allclose(widths, arrays["bandwidths"], **tolerance)
        for kernel, name in (("gaussians", "multi"), ("gaussian", "rbf"), ("linear", "linear")):
            value = transfer.mean_discrepancy(kernel, source, target, *masks)
            np.testing.assert_allclose(value, arrays[f"mmd2_{name}"], **tolerance)
        gradient = jax.grad(functools.partial(transfer.mean_discrepancy, "gaussians"), argnums=1)(
            source, target, *masks
        )
        np.testing.assert_allclose(gradient, arrays["grad_target_multi"], **tolerance)


@pytest.mark.parametrize("kernel", ["gaussians", "gaussian", "linear"])
def test_discrepancy_of_equal_and_of_other_batches(kernel):
    rng = np.random.default_rng(0)
    source, target = rng.standard_normal((2, 6, 4)).astype(np.float32)
    compiled = jax.jit(functools.partial(transfer.mean_discrepancy, kernel))

    def discrepancy(source, target, source_mask=None, target_mask=None):
        given = (source, source_mask), (target, target_mask)
        return compiled(
            source, target, *(np.ones(len(v), "f") if mask is None else mask for v, mask in given)
        )

    np.testing.assert_allclose(discrepancy(source, source[::-1]), 0, atol=1e-6)
    near, far = discrepancy(source, source + 0.5), discrepancy(source, source + 2)
    assert 0 < near < far
    np.testing.assert_allclose(discrepancy(source, target), discrepancy(target, source), rtol=1e-5)
    np.testing.assert_allclose(
        discrepancy(source, target), discrepancy(source[::-1], target[::-1]), rtol=1e-5
    )
    masked = np.concatenate([target, 100 * np.ones((3, 4), np.float32)])
    first_six = np.float32([1] * 6 + [0] * 3)
    expected = discrepancy(source, target)
    np.testing.assert_allclose(discrepancy(source, masked, None, first_six), expected, rtol=1e-4)
    np.testing.assert_allclose(discrepancy(masked, source, first_six, None), expected, rtol=1e-4)
    for masks in ((None, np.zeros(6, np.float32)), (np.zeros(6, np.float32), None)):
        assert discrepancy(source, target, *masks) == 0
    alike = discrepancy(np.ones((2, 4), np.float32), np.ones((3, 4), np.float32))
    np.testing.assert_allclose(alike, 0, atol=1e-6)


def tiny_config(row="boundary"):
    """2 epochs of clips, 3 of recordings, 2 of segments, as far as the row has them."""
    config = kt_mgfn_config(row)
    config.model.update(width=4, predictor_width=4, anchors=(2.0, 4.0), dilations=(1, 2))
    config.stages.update(source_epochs=2, target_epochs=3, boundary_epochs=2)
    config.loss.transfer_weight = 2.0
    return config


@functools.cache
def problem(row="boundary"):
    """(config, module, variables, batch of 3) with 3 classes."""
    config = tiny_config(row)
    module = kt_mgfn.build(config, 3)
    rng = np.random.default_rng(0)
    inputs, clips = jnp.asarray(rng.standard_normal((2, 3, 8, 5)), jnp.float32)
    batch = {
        "inputs": inputs,
        "labels": jnp.array([[1.0, 0, 0], [0, 1, 1], [0, 0, 1]]),
        "sample_mask": jnp.ones(3),
        "clip_inputs": clips,
        "clip_labels": jnp.array([[0, 1.0, 0], [1, 0, 0], [0, 0, 1]]),
    }
    return config, module, jax.jit(module.init)(jax.random.key(1), inputs), batch


def total(terms):
    return sum(term.weight * term.sum / jnp.maximum(term.count, 1) for term in terms.values())


@functools.cache
def evaluated():
    """Function (batch, epoch) -> (terms, gradients of their total), compiled."""
    config, module, variables, _ = problem()

    def value(params, batch, epoch):
        terms, statistics = losses.loss(config, module, {"params": params}, batch, epoch, None)
        assert statistics == {}
        return total(terms), terms

    compiled = jax.jit(jax.grad(value, has_aux=True))
    return lambda batch, epoch: compiled(variables["params"], batch, jnp.float32(epoch))[::-1]


def test_the_contrast_is_of_scaled_activations_in_training_and_at_test():
    config, module, variables, batch = problem()
    scaled = config.copy_and_resolve_references()
    scaled.readings = ("oic_scaled=True",)
    outputs = module.apply(variables, batch["inputs"])
    expected = decode(config, outputs.replace(fused_cas=normalise_over_time(outputs.fused_cas)))
    found = decode(scaled, outputs)
    np.testing.assert_array_equal(found["cas"], expected["cas"])
    np.testing.assert_array_equal(found["contrast"], expected["contrast"])
    terms = [
        losses.loss(c, module, variables, batch, jnp.float32(5), None)[0]["contrast"].sum
        for c in (config, scaled)
    ]
    assert terms[0] != terms[1]


STAGES = [  # epoch, terms that are active, parts that have a gradient
    (0.0, {"source_first", "source_second"}, {"source"}),
    (1.0, {"source_first", "source_second"}, {"source"}),
    (2.0, {"target_first", "target_second", "transfer"}, {"target"}),
    (4.0, {"target_first", "target_second", "transfer"}, {"target"}),
    (5.0, {"contrast"}, {"boundary"}),
    (6.0, {"contrast"}, {"boundary"}),
    (7.0, {"contrast"}, {"boundary"}),
]


@pytest.mark.parametrize("epoch, active, parts", STAGES)
def test_each_stage_has_its_terms_and_trains_its_part(epoch, active, parts):
    terms, gradients = evaluated()(problem()[3], epoch)
    assert {name for name, term in terms.items() if term.count > 0} == active
    assert {name for name, term in terms.items() if term.sum != 0} == active
    assert set(terms) == {
        "source_first",
        "source_second",
        "target_first",
        "target_second",
        "transfer",
        "contrast",
    }
    assert {
        part for part, tree in gradients.items() if any(leaf.any() for leaf in jax.tree.leaves(tree))
    } == parts


def test_terms_are_sums_over_recordings_with_their_weights():
    config, module, variables, batch = problem()
    terms, _ = evaluated()(batch, 2.0)
    apply = jax.jit(module.apply, static_argnames="method")
    outputs = apply(variables, batch["inputs"], batch["labels"], method="classify")
    clips = apply(variables, batch["clip_inputs"], batch["clip_labels"], method="classify_clips")
    for name, stage, weight in (("first", outputs.first, 1.0), ("second", outputs.second, 1.0)):
        p, y = jax.nn.sigmoid(stage.logits), batch["labels"][:, None]  # (3, 2 branches, 3)
        expected = -(y * jnp.log(p) + (1 - y) * jnp.log(1 - p)).sum() / 3
        found = terms[f"target_{name}"]
        np.testing.assert_allclose([found.weight, found.sum, found.count], [weight, expected, 3], rtol=1e-5)
    pooled = [
        [side.first.pooled[:, i] for i in range(2)] + [side.second.pooled[:, i] for i in range(2)]
        for side in (clips, outputs)
    ]
    masks = jnp.ones(3), jnp.ones(3)
    mean = np.mean([transfer.mean_discrepancy("gaussians", *pair, *masks) for pair in zip(*pooled)])
    np.testing.assert_allclose(terms["transfer"][:], [2.0, 3 * mean, 3], rtol=1e-4)


@pytest.mark.parametrize("epoch", [0.0, 2.0, 5.0])
def test_masked_recordings_do_not_count(epoch):
    batch = problem()[3]
    changed = batch | {"sample_mask": jnp.array([1.0, 0, 1])}
    for name, value in (("inputs", 7.0), ("labels", 1.0), ("clip_inputs", 7.0), ("clip_labels", 1.0)):
        changed[name] = changed[name].at[1].set(value)
    expected = evaluated()(batch | {"sample_mask": changed["sample_mask"]}, epoch)
    assert {float(term.count) for term in expected[0].values()} == {0.0, 2.0}
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
        evaluated()(changed, epoch),
        expected,
    )
    terms, gradients = evaluated()(batch | {"sample_mask": jnp.zeros(3)}, epoch)
    assert total(terms) == 0 and not any(leaf.any() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize(
    "row, expected",
    [
        ("simple", {"target_first"}),
        ("transfer", {"source_first", "source_second", "target_first", "target_second", "transfer"}),
    ],
)
def test_rows_without_a_stage_have_no_terms_of_it(row, expected):
    config, module, variables, batch = problem(row)
    if row != "transfer":
        batch = {name: value for name, value in batch.items() if not name.startswith("clip")}
    apply = jax.jit(lambda epoch: losses.loss(config, module, variables, batch, epoch, None)[0])
    assert set(apply(0.0)) == expected
    active = {name for name, term in apply(0.0).items() if term.count > 0}
    assert active == ({"source_first", "source_second"} if row == "transfer" else expected)
    assert all(term.count == 3 for term in apply(2.0).values() if not (term.sum == 0))
    assert {name for name, term in apply(4.0).items() if term.count > 0} == expected - {
        "source_first",
        "source_second",
    }


@pytest.mark.parametrize("impl", ["pmap", "shard_map"])
def test_devices_share_a_batch(impl):
    config, module, variables, batch = problem()
    parallel = make_parallel(impl, 3)

    def step(state, batch):
        def local(params):
            terms, _ = losses.loss(config, module, {"params": params}, batch, state["epoch"], None)
            counts = jax.lax.psum({name: term.count for name, term in terms.items()}, AXIS)
            return sum(term.weight * term.sum / jnp.maximum(counts[name], 1) for name, term in terms.items())

        return state, jax.lax.psum(jax.grad(local)(state["params"]), AXIS)

    compiled = parallel.compile(step)
    for epoch in (0.0, 5.0):  # without the discrepancy, which is each device's own
        _, found = compiled(
            parallel.replicate(jax.device_get(variables | {"epoch": jnp.float32(epoch)})),
            parallel.shard(batch),
        )
        expected = evaluated()(batch, epoch)[1]
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), found, expected)


def test_an_optimizer_acts_during_its_steps_alone():
    optimizer = make_optimizer(tiny_config(), 7)  # the target is trained at steps 2, 3 and 4
    params = {part: jnp.ones(1) for part in ("source", "target", "boundary")}
    state, values, moments = optimizer.init(params), [], []
    update = jax.jit(optimizer.update)
    for _ in range(7):
        updates, state = update(jax.tree.map(jnp.ones_like, params), state, params)
        params = optax.apply_updates(params, updates)
        values.append(float(params["target"][0]))
        (adam,) = [part for part in of_target(state).inner_state if isinstance(part, optax.ScaleByAdamState)]
        moments.append((int(adam.count), float(adam.mu["target"][0])))
    np.testing.assert_allclose(values, np.cumsum([1, 0, -1e-4, -1e-4, -1e-4, 0, 0]), rtol=1e-6)
    assert [count for count, _ in moments] == [0, 0, 1, 2, 3, 3, 3]
    np.testing.assert_allclose(
        [mean for _, mean in moments], [0, 0, 0.1, 0.19, 0.271, 0.271, 0.271], rtol=1e-3
    )
    assert of_target(state).step == 7


def of_target(state):
    """The state of the part "target": the number of updates so far, and the state of its Adam."""
    return state.inner_states["target"].inner_state


def trained(config, total_steps, steps):
    """[parameters before and after each step] of 'source', 'target', 'boundary' with gradients that are never
    0.
    """
    optimizer = make_optimizer(config, total_steps)
    params = {part: {"w": jnp.array([1.0, -2.0])} for part in ("source", "target", "boundary")}
    gradients = jax.tree.map(lambda w: 3 * w, params)
    state, trace = optimizer.init(params), [params]
    update = jax.jit(optimizer.update)
    for _ in range(steps):
        updates, state = update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        trace.append(params)
    return [{part: np.asarray(tree["w"]) for part, tree in params.items()} for params in trace]


def test_frozen_parts_keep_their_bits():
    config = tiny_config()
    trace = trained(config, 14, 14)  # two steps an epoch
    moved = [
        {part for part in before if before[part].tobytes() != after[part].tobytes()}
        for before, after in zip(trace, trace[1:])
    ]
    assert moved == 4 * [{"source"}] + 6 * [{"target"}] + 4 * [{"boundary"}]


def test_parts_learn_by_adam_and_by_sgd():
    config = tiny_config()
    trace = trained(config, 14, 14)
    adam = optax.chain(optax.add_decayed_weights(5e-4), shared_optimizer.scale_by_adam(), optax.scale(-1e-4))
    params = jnp.array([1.0, -2.0])
    gradient, state = 3 * params, adam.init(params)
    for _ in range(4):
        updates, state = adam.update(gradient, state, params)
        params = params + updates
    np.testing.assert_allclose(trace[4]["source"], params, rtol=1e-6)
    # its first four steps are like those of the source
    np.testing.assert_allclose(trace[8]["target"], params, rtol=1e-6)

    w = np.array([1.0, -2.0])
    for rate, step in zip((1e-3,) * 4, range(11, 15)):
        w = w - rate * (np.array([3.0, -6.0]) + 5e-4 * w)
        np.testing.assert_allclose(trace[step]["boundary"], w, rtol=1e-6)


def test_a_schedule_begins_with_its_stage():
    config = tiny_config()
    config.train.update(schedule="cosine", weight_decay=0.0)
    trace = trained(config, 14, 14)
    steps = [np.abs(after["target"] - before["target"]).max() for before, after in zip(trace, trace[1:])][
        4:10
    ]
    np.testing.assert_allclose(steps, 1e-4 * 0.5 * (1 + np.cos(np.pi * np.arange(6) / 6)), rtol=1e-2)
