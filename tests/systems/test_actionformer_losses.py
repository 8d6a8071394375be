"""Targets, losses and optimizer of ActionFormer against the published ones, and the curriculum on it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax import curriculum
from tal_jax.ops.segments import overlap_and_union
from tal_jax.runtime.parallel import AXIS, make_parallel
from tal_jax.step import init_state, make_step
from tal_jax.systems import SYSTEMS, actionformer
from tal_jax.systems.actionformer import losses, optimizer
from tal_jax.systems.actionformer.config import actionformer_config
from tal_jax.systems.actionformer.model import Outputs, points_of_levels
from tal_jax.systems.actionformer.published import actionformer_from_state_dict
from tal_jax.systems.actionformer.targets import Targets, assign, bounds_of_points
from tal_jax.systems.interface import running_count
from tests.golden import recipe
from tests.systems.actionformer_case import (
    assert_gradients,
    by_name,
    load,
    parameters,
    small_config,
    tolerance,
)


def assigned(segments, labels, sub, hyper):
    """The Targets of one recording; segments and labels as the published code has them."""
    points, strides = points_of_levels(hyper["level_lengths"][0], len(hyper["strides"]))
    bounds = bounds_of_points(strides, hyper["regression_range"])
    radius = sub["radius"] if sub["center_sample"] == "radius" else 0.0
    segments, labels = (
        np.pad(segments + np.float32(0.5), ((0, 1), (0, 0))),
        np.pad(labels + 1, (0, 1)),
    )  # padding
    arrays = jnp.asarray(segments)[None], jnp.asarray(labels, jnp.int32)[None]
    return assign(points, strides, bounds, *arrays, hyper["num_classes"], radius)


def test_targets_are_the_published_ones():
    case = load("targets")
    hyper = case.info["hyper"]
    for name, sub in hyper["sub_cases"].items():
        for recording in hyper["recordings"]:
            found = assigned(
                *(case.input(f"{recording}_{kind}") for kind in ("segments", "labels")), sub, hyper
            )
            limits = case.info["tolerances"]
            np.testing.assert_array_equal(found.classes[0], case.arrays[f"{name}_{recording}_classes"])
            expected = case.arrays[f"{name}_{recording}_offsets"]
            np.testing.assert_allclose(found.distances[0], expected, **limits.get("offsets", {"atol": 1e-5}))


def test_elementwise_losses_are_the_published_ones():
    case = load("losses")
    args = case.input("focal_logits"), case.input("focal_targets")
    np.testing.assert_allclose(losses.focal_loss(*args), case.arrays["focal"], **tolerance(case, "focal"))
    gradient = jax.grad(lambda *args: losses.focal_loss(*args).sum())(*args)
    np.testing.assert_allclose(gradient, case.arrays["focal_grad"], **tolerance(case, "focal_grad"))
    args = case.input("pred_offsets_edited"), case.input("true_offsets_edited")
    overlap = lambda *args: 1 - losses.tiou_of_distances(*args)
    for name, function in (("diou", losses.diou_loss), ("giou", overlap)):
        np.testing.assert_allclose(function(*args), case.arrays[name], **tolerance(case, name))
        gradient = jax.grad(lambda *args: function(*args).sum())(*args)
        np.testing.assert_allclose(gradient, case.arrays[f"{name}_grad"], **tolerance(case, f"{name}_grad"))


def on_one_device(function):
    """A function as a step calls it, on the axis of devices."""
    return lambda *args: jax.vmap(lambda _: function(*args), axis_name=AXIS)(jnp.zeros(1))


def totals(config, outputs, targets, valid, before):
    """(cls, loc, total, normaliser) of one call, as `step.make_step` divides."""
    positive = valid & (targets.classes.sum(-1) > 0)
    terms = losses.terms_of_targets(config, outputs, targets, valid, {"cls": before, "loc": before}, 0.0)
    count = running_count(before, positive.sum())
    values = {name: term.sum / count for name, term in terms.items()}
    total = sum(term.weight * values[name] for name, term in terms.items())
    return total, jnp.stack([values["cls"], values["loc"], total, count])


@pytest.mark.parametrize("name", ["thumos", "activitynet", "auto_weight", "no_positives"])
def test_losses_are_the_published_ones(name):
    case = load("losses")
    sub = case.info["hyper"]["sub_cases"][name]
    config = actionformer_config()
    config.loss.update(smoothing=float(sub["smoothing"]), loc_weight=float(sub["weight"]))
    valid = jnp.asarray(case.input("mask"))
    names = ("classes", "true_offsets")
    targets = Targets(*(jnp.asarray(case.input(f"{name}_{kind}"), jnp.float32) for kind in names))

    def run(logits, distances, before):
        outputs = Outputs(logits, distances, valid, None, None)
        run = on_one_device(lambda: totals(config, outputs, targets, valid, before))
        total, values = run()
        return total[0], values[0]

    args = [jnp.asarray(case.input(f"{name}_{kind}")) for kind in ("logits", "offsets")]
    found, before = [], jnp.float32(sub["norm0"])
    for _ in case.arrays[f"{name}_losses"]:
        gradients, values = jax.grad(run, (0, 1), has_aux=True)(*args, before)
        before = values[-1]
        found.append((values, gradients))
    expected = case.arrays[f"{name}_losses"]
    np.testing.assert_allclose(np.stack([v for v, _ in found]), expected, **tolerance(case, "losses"))
    for gradient, kind in zip(found[0][1], ("logits", "offsets")):
        expected = case.arrays[f"{name}_grad_{kind}"]
        np.testing.assert_allclose(gradient, expected, **tolerance(case, "gradients"))


def test_the_optimizer_is_the_published_one():
    case = load("optimizer")
    hyper, config = case.info["hyper"], actionformer_config()
    for name, sub in hyper["schedules"].items():
        warmup, epochs = sub["warmup_epochs"], sub["epochs"] + sub["warmup_epochs"]
        config.train.update(learning_rate=sub["learning_rate"], epochs=epochs, warmup_epochs=warmup)
        if sub.get("schedule_type") == "multistep":
            decay = tuple(float(warmup + step) for step in sub["schedule_steps"])
            config.train.update(schedule="steps", decay_epochs=decay)
        steps = epochs * sub["iterations_per_epoch"]
        found = jax.vmap(optimizer.make_schedule(config, steps))(jnp.arange(steps))
        expected = case.arrays[f"schedule_{name}"]
        np.testing.assert_allclose(found, expected, **tolerance(case, f"schedule_{name}"))


def test_adamw_is_the_published_one():
    case = load("optimizer")
    config = actionformer_config()
    config.train.update(learning_rate=0.01, epochs=2, warmup_epochs=0, schedule="constant")
    for name, leaf in (("adamw_decay", "kernel"), ("adamw_no_decay", "bias")):
        params = {leaf: jnp.asarray(case.input("parameter"))}
        adamw = optimizer.make_optimizer(config, 10)
        state = adamw.init(params)
        for gradient, expected in zip(case.input("gradients"), case.arrays[name], strict=True):
            updates, state = adamw.update({leaf: jnp.asarray(gradient)}, state, params)
            params = {leaf: params[leaf] + updates[leaf]}
            np.testing.assert_allclose(params[leaf], expected, **tolerance(case, name))


def test_the_same_parameters_decay():
    case = load("optimizer")
    listed = [*case.info["decay"], *case.info["no_decay"]]
    shapes = {p["name"]: p["shape"] for p in load("train_step").info["parameters"]}
    tree = actionformer_from_state_dict({name: np.zeros(shapes[name]) for name in listed if name in shapes})
    flags = jax.tree.map(lambda decays, x: np.full(x.shape, decays, float), optimizer.decayed(tree), tree)
    found = by_name(load("train_step"), flags)
    assert {*case.info["decay"]} & {*found} and {*case.info["no_decay"]} & {*found}
    for name in {*listed} & {*found}:
        assert found[name].all() == found[name].any() == (name in case.info["decay"]), name


@functools.cache
def train_case():
    """(case, config, module, initial parameters) of the golden case of training steps."""
    case = load("train_step")
    config, num_classes = small_config(case)
    hyper = case.info["hyper"]
    opt = hyper["opt"]
    config.train.update(learning_rate=opt["learning_rate"], weight_decay=opt["weight_decay"])
    config.train.update(epochs=opt["epochs"] + opt["warmup_epochs"], warmup_epochs=opt["warmup_epochs"])
    config.train.update(ema_decay=hyper["ema_decay"], batch_size=len(hyper["lengths"]))
    config.train.gradient_clip = hyper["train_cfg"]["clip_grad_l2norm"]
    return case, config, actionformer.build(config, num_classes), parameters(case)


def batch_of(case, step, length):
    """The batch of a step, as the loader gives it."""
    videos, most = [], 0
    for i in range(len(case.info["hyper"]["lengths"])):
        names = [f"step{step}_{kind}{i}" for kind in ("video", "segments", "labels")]
        videos.append([case.input(name) for name in names])
        most = max(most, len(videos[-1][2]))
    rows = []
    for features, segments, labels in videos:
        missing = most - len(labels)
        rows.append(
            dict(
                inputs=np.pad(features.T, ((0, length - features.shape[1]), (0, 0))),
                num_frames=np.int32(features.shape[1]),
                segments_frame=np.pad(segments + np.float32(0.5), ((0, missing), (0, 0))),
                labels=np.pad(labels.astype(np.int32) + 1, (0, missing)),
                sample_mask=np.float32(1),
                stop=np.float32(0),
            )
        )
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def without_drop(config, module, variables, batch, epoch, rng):
    """The loss of a system without stochastic depth, as the case has it; its scales stay."""
    del rng
    outputs = module.apply(variables, batch["inputs"], batch["num_frames"])
    terms = losses.loss_terms(config, outputs, batch, variables["normaliser"], epoch)
    return terms, {"normaliser": variables["normaliser"]}


def test_training_steps_are_the_published_ones():
    case, config, module, initial = train_case()
    hyper, length = case.info["hyper"], config.window.frames
    per_epoch = hyper["iterations_per_epoch"]
    adamw = optimizer.make_optimizer(config, config.train.epochs * per_epoch)
    system = dataclasses.replace(SYSTEMS["actionformer"], loss=without_drop)
    parallel = make_parallel("pmap", 1)
    batches = [batch_of(case, step, length) for step in range(hyper["steps"])]
    state = init_state(config, module, adamw, {k: batches[0][k] for k in ("inputs", "num_frames")})
    assert jax.tree.map(jnp.shape, state.params) == jax.tree.map(jnp.shape, initial)
    state = parallel.replicate(state.replace(params=initial, ema=initial))
    step = parallel.compile(make_step(config, system, module, adamw, per_epoch))
    schedule, noise = (
        optimizer.make_schedule(config, config.train.epochs * per_epoch),
        case.info["gradient_is_rounding_noise"]["grad"],
    )
    first = by_name(case, initial)
    for i, batch in enumerate(batches):
        rate = float(schedule(i))
        np.testing.assert_allclose(rate, case.arrays["learning_rate"][i], **tolerance(case, "learning_rate"))
        state, values = step(state, parallel.shard(batch))
        now = parallel.unreplicate(state)
        count = now.model_state["normaliser"]["cls"]
        found = [values["cls"], values["loc"], values["total"], count]
        np.testing.assert_allclose(np.ravel(found), case.arrays["losses"][i], **tolerance(case, "losses"))
        limits = tolerance(case, "gradient_norm")
        np.testing.assert_allclose(values["gradient_norm"], case.arrays["gradient_norm"][i], **limits)
        moved, mean = by_name(case, now.params), by_name(case, now.ema)
        for row, name in enumerate(case.info["gradient_order"]):
            if name in noise:
                continue
            limits, size = case.info["tolerances"]["delta"], first[name].size
            delta, norm = moved[name] - first[name], case.arrays["delta_norm"][i, row]
            assert abs(np.linalg.norm(delta) - norm) <= limits["norm_rtol"] * norm + 1e-7, name
            projection = recipe.projection(name, delta, case.info["seed"])
            expected = case.arrays["delta_projection"][i, row]
            assert abs(projection - expected) <= 0.01 * norm / size**0.5 + 1e-7, name
            norm = case.arrays["ema_delta_norm"][i, row]
            found = np.linalg.norm(mean[name] - first[name])
            assert abs(found - norm) <= case.info["tolerances"]["ema_delta"]["norm_rtol"] * norm + 1e-6, name


def test_gradients_of_the_first_step_are_the_published_ones():
    case, config, module, initial = train_case()
    batch = batch_of(case, 0, config.window.frames)
    start = jnp.float32(config.loss.normaliser)

    def total(params):
        outputs = module.apply({"params": params}, batch["inputs"], batch["num_frames"])
        terms = losses.loss_terms(config, outputs, batch, {"cls": start, "loc": start}, 0.0)
        count = running_count(start, terms["cls"].count)
        return sum(term.weight * term.sum / count for term in terms.values())

    assert_gradients(case, by_name(case, jax.jit(jax.grad(total))(initial)))


# ------------------------------------------------------------------------------------- curriculum on it
EXAMPLE = dict(  # the worked example of docs/actionformer.md
    p=[[0.5, 0.2], [0.8, 0.3], [0.1, 0.05]],
    labels=[[1, 0], [1, 1], [0, 0]],
    predicted=[[2, 2], [1, 3], [0, 0]],
    true=[[2, 4], [1.5, 3], [0, 0]],
    c=[0.4, 0.7, 0.2],
)


def example():
    """(Outputs, Targets, valid) of the worked example."""
    logit = lambda p: jnp.log(p / (1 - p))
    p, c = jnp.asarray(EXAMPLE["p"]), jnp.asarray(EXAMPLE["c"])
    valid = jnp.ones((1, 3), bool)
    distances = jnp.asarray(EXAMPLE["predicted"], jnp.float32)[None]
    outputs = Outputs(logit(p)[None], distances, valid, None, None, logit(c)[None])
    targets = Targets(*(jnp.asarray(EXAMPLE[name], jnp.float32)[None] for name in ("labels", "true")))
    return outputs, targets, valid


def example_sums(epoch, norm="none", readings=(), **fields):
    """{name of a loss: its sum} of the worked example."""
    config = actionformer_config("dw_actionformer")
    config.train.update(epochs=16, warmup_epochs=0)
    config.curriculum.update(weight_norm=norm, **fields)
    config.readings = readings
    outputs, targets, valid = example()
    run = on_one_device(lambda: losses.terms_of_targets(config, outputs, targets, valid, {}, epoch))
    return {name: float(term.sum[0]) for name, term in run().items()}


@pytest.mark.parametrize(
    "epoch, cls, loc, auxiliary",
    [
        (0, 0.075273, 0.271914, 0.168598),
        (4, 0.111027, 0.298590, 0.231805),
        (16, 0.130800, 0.313342, 0.267323),
    ],
)
def test_worked_example_of_the_curriculum(epoch, cls, loc, auxiliary):
    """DW-AFSD Eq. 6 to 10 with K sigmoids: sums over points of focal, centre and auxiliary losses."""
    found = example_sums(float(epoch))
    for name, expected in dict(cls=cls, loc=loc, auxiliary=auxiliary).items():
        assert found[name] == pytest.approx(expected, abs=2e-6), name


def test_worked_example_without_weights_and_with_weighted_rows():
    plain = example_sums(4.0, weights=False)
    assert plain["cls"] == pytest.approx(0.200620, abs=2e-6)
    assert plain["loc"] == pytest.approx(0.475309, abs=2e-6)
    rows = example_sums(4.0, readings=("weighted_entries=all",))
    assert rows["cls"] == pytest.approx(0.028170 + 0.124822 + 0.000886, abs=2e-6)


def test_weights_divided_by_their_mean_have_the_mean_1():
    """w of the points 0.563212, 0.833713; of the entries 0.563212, 0.833713, 0.523349."""
    w = np.array([0.563212, 0.833713])
    expected = (w * [0.361111, 0.114198]).sum() / w.mean()
    found = example_sums(4.0, "mean")
    assert found["loc"] == pytest.approx(expected, abs=2e-6)
    entries = np.array([0.563212, 0.833713, 0.523349])
    focal = np.array([0.04332170, 0.00223144, 0.14748667])
    negative = 0.00669431 + 0.00079020 + 0.00009617
    expected = (entries * focal).sum() / entries.mean() + negative
    assert found["cls"] == pytest.approx(expected, abs=2e-6)
    assert found["auxiliary"] == pytest.approx(0.231805, abs=2e-6)  # the plain w is its target


def test_weight_norms():
    weights, positive = jnp.array([0.01, 0.4, 0.9]), jnp.array([True, True, False])
    norm = lambda how: on_one_device(lambda: curriculum.normalised(weights, positive, how))()[0]
    np.testing.assert_allclose(norm("none"), weights)
    np.testing.assert_allclose(norm("floor"), [0.1, 0.4, 0.9])
    np.testing.assert_allclose(norm("mean"), weights / 0.205, rtol=1e-6)
    nothing = on_one_device(lambda: curriculum.normalised(weights, ~positive & False, "mean"))()
    assert np.isfinite(nothing).all()


def test_overlap_power_weights_positives_by_their_tiou():
    outputs, targets, valid = example()
    config = actionformer_config()
    config.loss.overlap_power = 2.0
    s = np.array([0.666667, 0.888889]) ** 2
    positive = s[0] * 0.04332170 + s[1] * (0.00223144 + 0.14748667)
    terms = on_one_device(lambda: losses.terms_of_targets(config, outputs, targets, valid, {}, 0.0))()
    assert float(terms["cls"].sum[0]) == pytest.approx(positive + 0.00758068, abs=2e-6)


def test_tiou_of_distances_is_that_of_segments():
    outputs, targets, _ = example()
    shared, union = overlap_and_union(np.array([[-2, 2.0]]), np.array([[-2, 4.0]]))
    found = losses.tiou_of_distances(outputs.distances, targets.distances)
    assert float(found[0, 0]) == pytest.approx((shared / union)[0])


def test_the_cheapest_action_gives_the_distances():
    """Point 4 is in the middle of [2, 6] and inside [0, 8]; it predicts [0, 8] and its class 2."""
    points, strides = np.array([4.0], np.float32), np.array([1.0], np.float32)
    segments, labels = jnp.array([[[2.0, 6], [0, 8], [0, 0]]]), jnp.array([[1, 2, 0]])
    outputs = Outputs(jnp.array([[[-2.0, 2.0]]]), jnp.array([[[4.0, 4.0]]]), None, points, strides)
    cost = losses.action_cost(outputs, segments, labels)
    logits = outputs.logits[0, 0]
    cls = [losses.focal_loss(logits, jnp.array(one)).sum() for one in ([1.0, 0.0], [0.0, 1.0])]
    np.testing.assert_allclose(cost[0, 0, :2], [cls[0] + 2 * 0.5, cls[1]], atol=1e-6)
    bounds = np.array([[0, 10]], np.float32)
    found = assign(points, strides, bounds, segments, labels, 2, 1.5, cost)
    assert found.classes.tolist() == [[[1, 0]]]  # labels are those of the shortest one
    assert found.distances.tolist() == [[[4, 4]]]
    assert assign(points, strides, bounds, segments, labels, 2).distances.tolist() == [[[2, 2]]]
