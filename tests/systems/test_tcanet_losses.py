"""The losses and the optimizer of TCANet against the published ones, and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.losses import huber_loss

from tal_jax.systems import tcanet
from tal_jax.systems.tcanet import losses
from tal_jax.systems.tcanet.config import tcanet_config
from tal_jax.systems.tcanet.model import Outputs
from tal_jax.systems.tcanet.optimizer import make_optimizer, make_schedule
from tal_jax.systems.tcanet.tbr import Stage
from tests.golden import recipe
from tests.systems.tcanet_golden import (
    assert_norms_and_projections,
    load,
    parameters,
    random_variables,
    tolerance,
)

TERMS = [f"{kind}_{i}" for kind in ("regression", "confidence") for i in (1, 2, 3)]


def value(term):
    return term.weight * term.sum / jnp.maximum(term.count, 1)


def stage_terms(stage, truths, mask, uniforms, dynamic_weights=None):
    """Of threshold 0.5, compiled."""
    return jax.jit(functools.partial(losses.stage_terms, threshold=0.5))(
        stage, truths, mask, uniforms=uniforms, dynamic_weights=dynamic_weights
    )  # fmt: skip


def stage_of(entering, confidence=0.5, boundary=0.0, segment=0.0, refined=None):
    """Stage of one recording, from (P, 2) proposals."""
    entering = jnp.asarray(entering, jnp.float32)[None]
    refined = entering if refined is None else jnp.asarray(refined, jnp.float32)[None]
    offsets = [jnp.full(entering.shape, value) for value in (boundary, segment)]
    return Stage(entering, *offsets, jnp.full(entering.shape[:2], confidence), refined)


def test_overlaps_and_targets_are_the_published_ones():
    case = load("boxes")
    proposals, gt = case.arrays["proposals"], case.arrays["gt"]
    close = functools.partial(np.testing.assert_allclose, **tolerance(case, "values"))
    close(losses.tiou(proposals, gt), case.arrays["iou"])
    close(losses.boundary_targets(proposals, gt), case.arrays["target_se"])
    close(losses.segment_targets(proposals, gt), case.arrays["target_xw"])


@pytest.mark.parametrize("tenths", [5, 6, 7])
def test_the_confidence_loss_is_the_published_one(tenths):
    """Its value, its gradients, and how many proposals it counts, with bands larger than the high one."""
    case, threshold = load("confidence_loss"), tenths / 10
    predicted, iou = recipe.array("cl_pred", [240], 0, 0, 1), case.arrays["iou"]
    uniforms = np.stack([recipe.array(f"cl_u:{i}", [240], 0, 0, 1) for i in range(2)])

    def confidence_loss(predicted, iou):
        chosen = losses.confidence_sample(iou, np.ones(240, bool), uniforms, threshold)
        return jnp.where(chosen, huber_loss(predicted, iou), 0).sum() / jnp.maximum(chosen.sum(), 1), chosen

    (found, chosen), gradients = jax.jit(jax.value_and_grad(confidence_loss, (0, 1), has_aux=True))(
        predicted, iou
    )
    np.testing.assert_allclose(found, case.arrays[f"loss_{tenths}"], **tolerance(case, "loss"))
    for gradient, name in zip(gradients, ("pred", "iou")):
        np.testing.assert_allclose(gradient, case.arrays[f"grad_{name}_{tenths}"], **tolerance(case, "grad"))
    bands = [(iou > threshold).sum(), ((iou > 0.3) & (iou <= threshold)).sum(), (iou <= 0.3).sum()]
    assert [*bands, chosen.sum()] == case.arrays[f"counts_{tenths}"].tolist()


def test_the_confidence_loss_of_few_proposals():
    """Three thresholds, no high one, all high: the answers that go with the golden stage."""
    case = load("tbr")
    predicted = recipe.array("iou_pred", [10], 0, 0, 1)
    uniforms = np.stack([recipe.array(f"tbr_u2:{i}", [10], 0, 0, 1) for i in range(2)])

    @jax.jit
    def confidence_loss(iou, threshold):
        chosen = losses.confidence_sample(iou, np.ones(10, bool), uniforms, threshold)
        return jnp.where(chosen, huber_loss(predicted, iou), 0).sum() / jnp.maximum(chosen.sum(), 1)

    close = functools.partial(np.testing.assert_allclose, **tolerance(case, "losses"))
    for tenths in (5, 6, 7):
        close(confidence_loss(case.arrays["iou"], tenths / 10), case.arrays[f"iou_loss_{tenths}"])
    close(confidence_loss(np.full(10, 0.2, np.float32), 0.5), case.arrays["iou_loss_no_positive"])
    close(confidence_loss(np.full(10, 0.9, np.float32), 0.5), case.arrays["iou_loss_all_positive"])


def test_a_training_step_is_the_published_one():
    """Losses, every stage, all gradients, the first update, the losses after it."""
    case = load("train_step")
    config, params = tcanet_config(), parameters(case)
    config.model.dropout = 0.0
    config.train.update(warmup_steps=0, schedule="constant")
    module, optimizer = tcanet.build(config), make_optimizer(config, 10)
    features = 0.5 * np.abs(recipe.array("tca_train_features", [2, 2304, 100])).transpose(0, 2, 1)
    proposals, gt = case.arrays["proposals"], case.arrays["gt"]
    mask = proposals.sum(-1) > 0
    uniforms = np.zeros((12, 2, 20), np.float32)
    for i in range(12):
        uniforms[i][mask] = recipe.array(f"tca_u:{i}", [36], 0, 0, 1)
    uniforms = uniforms.reshape(2, 3, 2, 2, 20)
    covered = jnp.full(2, 100 * case.info["hyper"]["temporal_interval"])

    def total(params, features, uniforms):
        outputs = module.apply({"params": params}, features, proposals, mask, covered, train=True)
        terms = losses.all_terms(config, outputs, gt, uniforms)
        values = jnp.stack([value(terms[name]) for name in TERMS])
        return values.sum(), (values, outputs.stages)

    @jax.jit
    def run(params, features):
        (_, (before, stages)), gradients = jax.value_and_grad(total, has_aux=True)(
            params, features, uniforms[0]
        )
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
        after = total(optax.apply_updates(params, updates), features, uniforms[1])[1][0]
        return before, stages, gradients, updates, after

    before, stages, gradients, updates, after = run(params, features)
    np.testing.assert_allclose([*before, before.sum()], case.arrays["losses"], **tolerance(case, "losses"))
    for i, stage in enumerate(stages):
        # those of the case "forward"
        close = functools.partial(np.testing.assert_allclose, rtol=5e-4, atol=2e-3)
        close(losses.tiou(stage.entering_sec, gt)[mask], case.arrays[f"iou_in_{i + 1}"])
        close(stage.refined_sec[mask], case.arrays[f"stage{i + 1}_proposals"])
        close(stage.confidence[mask], case.arrays[f"stage{i + 1}_confidence"])
    assert_norms_and_projections(gradients, case)
    assert_norms_and_projections(updates, case, norm="delta_norm", projection=None)
    np.testing.assert_allclose(
        [*after, after.sum()], case.arrays["losses_after"], **tolerance(case, "losses_after")
    )


def test_the_learning_rate_is_the_published_one():
    case = load("schedule")
    iterations = int(case.arrays["iterations"])
    config = tcanet_config()
    schedule = jax.jit(jax.vmap(make_schedule(config, config.train.epochs * iterations)))
    epoch, iteration, rate = case.arrays["lr"].T
    np.testing.assert_allclose(
        schedule((epoch * iterations + iteration).astype(np.int32)), rate, **tolerance(case, "lr")
    )


def test_a_short_first_epoch_finishes_the_warm_up():
    config = tcanet_config()
    schedule = make_schedule(config, 9 * 300)
    np.testing.assert_allclose(
        [schedule(step) for step in (299, 499, 999, 1000, 1799, 1801)],
        np.array([(1 - np.cos(0.3 * np.pi)) / 2, 0.5, 1, 1, 1, 0.1]) * 4e-4, rtol=1e-5,
    )  # fmt: skip


def test_the_decay_is_not_part_of_the_gradient():
    config = tcanet_config()
    config.train.update(warmup_steps=0, schedule="constant", learning_rate=0.1, weight_decay=0.5)
    optimizer = make_optimizer(config, 10)
    params, gradient = jnp.array([2.0, -4.0]), jnp.array([1e-3, 7.0])
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    np.testing.assert_allclose(updates, [-0.1 * (1 + 0.5 * 2), -0.1 * (1 - 0.5 * 4)], rtol=1e-4)


def test_terms_by_hand():
    """Two positives of four, offsets 0, confidence 0.5, all bands full; a truth the same as its proposal has
    no loss.
    """
    truths = jnp.array([[[0, 10], [20, 30], [50, 60], [0, 1]]], jnp.float32)
    stage = stage_of([[0, 10], [20, 28], [54, 64], [90, 91]])  # IoU 1, 0.8, 6/14, 0
    mask = jnp.ones((1, 4), bool)
    terms = stage_terms(stage, truths, mask, jnp.ones((2, 1, 4)))
    # Of the second: boundaries 0 and 2/8, centre 1/8, width ln(10/8).
    np.testing.assert_allclose(terms[0].sum, 0.5 * (0.25**2 + 0.125**2 + np.log(1.25) ** 2), rtol=1e-5)
    np.testing.assert_allclose(
        terms[1].sum, 0.5 * (0.5**2 + 0.3**2 + (0.5 - 6 / 14) ** 2 + 0.5**2), rtol=1e-4
    )
    assert terms[0].count == 2 and terms[1].count == 4
    masked = stage_terms(stage, truths, mask.at[0, 1].set(False), jnp.zeros((2, 1, 4)))
    assert [float(term.count) for term in masked] == [1, 1]
    np.testing.assert_allclose(masked[0].sum, 0, atol=1e-8)
    np.testing.assert_allclose(masked[1].sum, 0.125, rtol=1e-4)


def test_bands_take_about_as_many_as_there_are_high_ones():
    iou = jnp.concatenate([jnp.full(100, 0.8), jnp.full(400, 0.4), jnp.full(1000, 0.1)])
    uniforms = jax.random.uniform(jax.random.key(0), (2, 1500))
    chosen = losses.confidence_sample(iou, jnp.ones(1500, bool), uniforms, 0.5)
    assert chosen[:100].all()
    assert 60 < chosen[100:500].sum() < 140 and 60 < chosen[500:].sum() < 140
    edges = losses.confidence_sample(
        jnp.array([0.5, 0.3, 0.31, 0.9]), jnp.ones(4, bool), jnp.array([[1.0] * 4, [0.0] * 4]), 0.5
    )
    # 0.5 is in the middle band, 0.3 in the low one
    np.testing.assert_array_equal(edges, [True, False, True, True])


def test_without_high_proposals_there_is_no_loss_and_no_nan():
    stage, truths = (
        stage_of([[0, 0], [5, 5], [30, 31]]),
        jnp.array([[[0, 10], [20, 30], [50, 60]]], jnp.float32),
    )

    def total(stage, truths):
        return sum(
            value(t)
            for t in losses.stage_terms(stage, truths, jnp.ones((1, 3), bool), 0.5, jnp.ones((2, 1, 3)))
        )

    found, gradients = jax.jit(jax.value_and_grad(total))(stage, truths)
    assert found == 0
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradients))


def test_curriculum_weights_the_regression_of_positives():
    config = tcanet_config()
    truths, mask, uniforms = (
        jnp.array([[[0, 10], [20, 30]]], jnp.float32),
        jnp.ones((1, 2), bool),
        jnp.ones((2, 1, 2)),
    )
    stage = stage_of([[0, 8], [20, 27]], confidence=0.25, refined=[[0, 10], [20, 25]])
    plain = stage_terms(stage, truths, mask, uniforms)
    rows = [stage_terms(stage, truths, mask.at[0, i].set(False), uniforms)[0].sum for i in (1, 0)]
    given = jnp.array([[0.5, 0.25]])
    weighted = stage_terms(stage, truths, mask, uniforms, given)
    np.testing.assert_allclose(weighted[0].sum, np.dot(given[0], rows), rtol=1e-4)
    assert weighted[0].count == plain[0].count and weighted[1] == plain[1]

    def weights(epoch):
        return losses.curriculum_weights(config, stage, truths, epoch)[0]

    tiou, confidence = np.array([1.0, 0.5]), 0.25
    alpha = 0.6 * np.exp(-3 / np.sqrt(9)) + 0.4
    np.testing.assert_allclose(weights(3.0), (1 - alpha) * tiou + alpha * confidence, rtol=1e-5)
    config.readings = ("first_epoch=1",)
    np.testing.assert_allclose(weights(2.0), (1 - alpha) * tiou + alpha * confidence, rtol=1e-5)
    config.curriculum.schedule = False
    np.testing.assert_allclose(weights(3.0), 0.5 * tiou + 0.5 * confidence, rtol=1e-5)

    def through_weights(refined):
        return losses.curriculum_weights(config, stage.replace(refined_sec=refined), truths, 0.0).sum()

    assert np.abs(jax.grad(through_weights)(stage.refined_sec)).max() == 0
    config.readings += ("detach_weights=False",)
    assert np.abs(jax.grad(through_weights)(stage.refined_sec)).max() > 0


def test_dynamic_weights_are_of_a_pass_without_dropout():
    """One proposal: the regression loss of a stage and its gradient are w times the plain ones."""
    config, batch = small_training()
    config.loss.iou_thresholds = (0.5, 0.6)
    config.model.dropout = 0.5
    keep = jnp.zeros((2, 6)).at[0, 0].set(1.0)
    batch["inputs"]["proposal_mask"], batch["sample_mask"] = keep, jnp.array([1.0, 0.0])
    module = tcanet.build(config)
    variables = random_variables(module, **batch["inputs"])
    names = ("regression_1", "regression_2")

    def regressions(weights):
        run = config.copy_and_resolve_references()
        run.curriculum.weights = weights

        def sums(variables, seed):
            terms, _ = losses.loss(run, module, variables, batch, 2.0, jax.random.key(seed))
            return jnp.stack([terms[name].sum for name in names])

        return jax.jit(lambda variables, seed: (sums(variables, seed), jax.jacrev(sums)(variables, seed)))

    still = module.clone(dropout=0.0).apply(variables, **batch["inputs"], train=True).stages
    alpha = 0.6 * np.exp(-2 / 3) + 0.4
    overlaps = [losses.tiou(stage.refined_sec, batch["truths_sec"]) for stage in still]
    pairs = zip(overlaps, still, strict=True)
    by_hand = [(1 - alpha) * overlap[0, 0] + alpha * stage.confidence[0, 0] for overlap, stage in pairs]
    weighted, plain = regressions(True), regressions(False)
    for seed in (0, 1):
        (found, found_slope), (expected, slope) = weighted(variables, seed), plain(variables, seed)
        assert (expected > 0).all()
        np.testing.assert_allclose(found / expected, by_hand, rtol=1e-4)
        for ours, theirs in zip(jax.tree.leaves(found_slope), jax.tree.leaves(slope), strict=True):
            scaled = theirs * np.reshape(by_hand, (2,) + (1,) * (theirs.ndim - 1))
            np.testing.assert_allclose(ours, scaled, rtol=1e-3, atol=1e-5 * np.abs(scaled).max() + 1e-8)


@pytest.mark.parametrize(
    "weights, model, passes",
    [(True, {}, 2), (False, {}, 1), (True, {"dropout": 0.0}, 1), (True, {"encoders": 0}, 1)],
)
def test_a_second_pass_only_where_the_weights_need_it(monkeypatch, weights, model, passes):
    config, batch = small_training()
    config.loss.iou_thresholds = (0.5, 0.6)
    config.model.update(model)
    config.curriculum.weights = weights
    module, made = tcanet.build(config), []
    variables = jax.eval_shape(module.init, jax.random.key(0), **batch["inputs"])
    apply = tcanet.TCANet.apply

    def counted(self, *arguments, **named):
        made.append(self.dropout)
        return apply(self, *arguments, **named)

    monkeypatch.setattr(tcanet.TCANet, "apply", counted)
    jax.eval_shape(lambda v: losses.loss(config, module, v, batch, 0.0, jax.random.key(0)), variables)
    assert made == [config.model.dropout, 0.0][:passes]


def small_training(seed=0):
    """(config, batch): two recordings where channel k of the features is high within action k, T = 32, 1 s a
    step.
    """
    config = tcanet_config()
    config.model.update(
        channels=32, hidden=16, heads=4, local_heads=2, encoders=1, samples=(8, 16, 8), dropout=0.1
    )
    random = np.random.default_rng(seed)
    truths = np.array([[[6, 14]] * 6, [[12, 26]] * 6], np.float32)
    features = 0.1 * random.standard_normal((2, 32, 4)).astype(np.float32)
    features[0, 6:14, 0], features[1, 12:26, 1] = 2.0, 2.0
    proposals = truths + random.uniform(-1.5, 1.5, truths.shape).astype(np.float32)
    proposals[:, 4] = [28, 31]
    mask = np.array([[1, 1, 1, 1, 1, 0]] * 2)
    inputs = dict(features=features, proposals_sec=proposals, proposal_mask=mask)
    inputs["covered_sec"] = np.full(2, 32.0)
    batch = dict(inputs=inputs, truths_sec=truths, sample_mask=np.ones(2))
    return config, jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), batch)


def test_examples_that_only_fill_the_batch_count_nothing():
    config, batch = small_training()
    config.model.dropout = 0.0
    config.loss.iou_thresholds = (0.5, 0.6)
    module = tcanet.build(config)
    variables = random_variables(module, **batch["inputs"])

    @jax.jit
    def terms(batch):
        return losses.loss(config, module, variables, batch, 0.0, jax.random.key(3))[0]

    masked_batch = batch | {"sample_mask": jnp.array([1.0, 0.0])}
    other_inputs = batch["inputs"] | {"features": batch["inputs"]["features"].at[1].set(7.0)}
    whole, again, masked = terms(batch), terms(masked_batch), terms(masked_batch | {"inputs": other_inputs})
    assert set(whole) == {name for name in TERMS if name[-1] < "3"}
    for name in whole:
        np.testing.assert_allclose(masked[name].sum, again[name].sum, rtol=1e-5)
        assert masked[name].count == again[name].count <= whole[name].count
    assert masked["regression_1"].count == 4 and whole["regression_1"].count == 8


def test_it_learns_two_recordings():
    """Boundaries come closer to the truth, and the confidence tells good proposals from the bad one."""
    config, batch = small_training()
    config.loss.iou_thresholds = (0.5, 0.6)
    module = tcanet.build(config)
    config.train.update(warmup_steps=20, schedule="constant", learning_rate=3e-3)
    optimizer = make_optimizer(config, 120)
    params = jax.jit(module.init)(jax.random.key(0), **batch["inputs"])["params"]

    def step(carry, key):
        params, state = carry

        def total(params):
            terms, _ = losses.loss(config, module, {"params": params}, batch, 0.0, key)
            return sum(value(term) for term in terms.values())

        found, gradients = jax.value_and_grad(total)(params)
        updates, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), found

    run = jax.jit(functools.partial(jax.lax.scan, step))
    (params, _), curve = run((params, optimizer.init(params)), jax.random.split(jax.random.key(1), 120))
    assert np.mean(curve[-10:]) < 0.3 * np.mean(curve[:10])
    # Trained with g = 1; 0.2 at test time would leave most of the way to go.
    outputs = jax.jit(module.clone(g_test=1.0).apply)({"params": params}, **batch["inputs"])
    assert isinstance(outputs, Outputs)
    good = slice(0, 4)
    before = losses.tiou(batch["inputs"]["proposals_sec"], batch["truths_sec"])[:, good]
    after = losses.tiou(outputs.stages[-1].refined_sec, batch["truths_sec"])[:, good]
    assert after.min() > 0.85 and after.mean() > before.mean() + 0.05
    confidence = outputs.stages[1].confidence
    assert confidence[:, good].min() > confidence[:, 4].max() + 0.2
