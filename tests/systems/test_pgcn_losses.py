"""The losses and the optimizer of P-GCN against the published ones, the curriculum by hand, and that the
system can learn.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tal_jax import curriculum
from tal_jax.ops.segments import tiou
from tal_jax.published.trees import our_path
from tal_jax.systems import pgcn
from tal_jax.systems.pgcn import graph, losses, pools
from tal_jax.systems.pgcn.config import pgcn_config
from tal_jax.systems.pgcn.decode import regress
from tal_jax.systems.pgcn.optimizer import make_optimizer
from tal_jax.systems.pgcn.published import MODULES
from tests.golden import recipe
from tests.golden_case import GoldenCase
from tests.systems.pgcn_case import detect, golden_variables, scores_of
from tests.tiny_config import switch

CLASSES, CHANNELS = 3, 4


def mean_completeness(logits, labels):
    """The completeness loss of V videos, (V * 7, K), as the published code gives it."""
    logits, labels = logits.reshape(-1, 7, logits.shape[-1]), labels.reshape(-1, 7)
    hinges = losses.completeness_hinges(logits, labels, 1)
    total = hinges[:, :1].sum() + losses.hardest(hinges[:, 1:], 0.17).sum()
    return total / losses.completeness_count(len(logits), len(logits), 7, 1, 0.17)


def test_golden_losses_and_gradients():
    case = GoldenCase.load("pgcn/losses")
    arrays, seed = case.arrays, case.info["seed"]
    logits = 1.5 * recipe.array("comp_pred", [35, 20], seed)
    value, gradient = jax.jit(jax.value_and_grad(mean_completeness))(logits, arrays["comp_label"])
    np.testing.assert_allclose(value, arrays["comp_loss"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(gradient, arrays["comp_grad"], rtol=0, atol=1e-6)
    many = jax.jit(mean_completeness)(recipe.array("comp_pred32", [224, 20], seed), arrays["comp_label32"])
    np.testing.assert_allclose(many, arrays["comp_loss32"], rtol=0, atol=1e-5)

    def mean_regression(values):
        return losses.regression_loss(
            values, arrays["reg_label"], recipe.array("reg_tgt", [6, 2], seed)
        ).mean()

    value, gradient = jax.jit(jax.value_and_grad(mean_regression))(
        1.2 * recipe.array("reg_pred", [6, 20, 2], seed)
    )
    np.testing.assert_allclose(value, arrays["reg_loss"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(gradient, arrays["reg_grad"], rtol=0, atol=1e-6)


def values_of(terms):
    return {name: term.sum / jnp.maximum(term.count, 1.0) for name, term in terms.items()}


def total(terms):
    return sum(terms[name].weight * value for name, value in values_of(terms).items())


def test_golden_training_steps():
    """Losses before three SGD updates without dropout, the first gradient, the change of every parameter."""
    case = GoldenCase.load("pgcn/train_step")
    arrays, seed, config = case.arrays, case.info["seed"], pgcn_config()
    config.train.batch_size = 4
    action = recipe.array("train_act_ft", [4, 168, 1024], seed, -0.3, 1).reshape(4, 8, 21, 1024)
    inputs = recipe.array("train_comp_ft", [4, 168, 3072], seed, -0.3, 1).reshape(4, 8, 21, 3072)
    # drawn apart from the completeness features
    inner = np.concatenate([0 * action, action, 0 * action], axis=-1)
    batch = dict(
        types=arrays["type"],
        labels=arrays["label"],
        targets=arrays["reg"],
        sample_mask=np.ones(4, np.float32),
    )
    module, variables = pgcn.build(config, 20), golden_variables()
    optimizer = make_optimizer(config, total_steps=700)

    @jax.jit
    def step(params, state):
        def local_loss(params):
            given = variables | {"params": params}
            outputs = module.apply(given, inputs).replace(
                activity_logits=module.apply(given, inner).activity_logits
            )
            terms = losses.terms_of(config, outputs, batch)
            return total(terms), (terms, outputs)

        (value, (terms, outputs)), gradient = jax.value_and_grad(local_loss, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state, params)
        parts = [values_of(terms)[name] for name in ("activity", "completeness", "regression")]
        return optax.apply_updates(params, updates), state, jnp.stack([*parts, value]), gradient, outputs

    params, state = variables["params"], optimizer.init(variables["params"])
    found, gradients = [], []
    for number in range(3):
        params, state, values, gradient, outputs = step(params, state)
        found.append(values)
        gradients.append(gradient)
        if not number:
            scored = arrays["type"] != pools.INCOMPLETE
            np.testing.assert_allclose(
                outputs.activity_logits[scored], arrays["act_out"], rtol=2e-4, atol=2e-4
            )
            completeness = outputs.completeness_logits[:, :7].reshape(28, 20)
            np.testing.assert_allclose(completeness, arrays["comp_out"], rtol=2e-4, atol=2e-4)
            foreground = arrays["type"] == pools.FOREGROUND
            np.testing.assert_allclose(
                outputs.regression[foreground], arrays["reg_out"], rtol=2e-4, atol=2e-4
            )
    np.testing.assert_allclose(found[0], arrays["loss"], rtol=2e-4)
    np.testing.assert_allclose(found[1:], arrays["loss_after"], rtol=2e-3)
    change = jax.tree.map(np.subtract, params, variables["params"])
    assert_published(gradients[0], case, "grad", norm=1e-3, projection=2e-3)
    assert_published(change, case, "delta", norm=5e-3, projection=5e-3)


def assert_published(tree, case, name, norm, projection):
    """Norm of every leaf to a share of itself, its projection to a share of the norm."""
    for i, theirs in enumerate(case.info["param_order"]):
        path = our_path(theirs, MODULES)
        transposed = path.endswith("head/kernel")
        value = np.asarray(
            functools.reduce(lambda branch, key: branch[key], path.split("/"), tree), np.float64
        )
        expected = case.arrays[f"{name}_norm"][i]
        np.testing.assert_allclose(np.linalg.norm(value), expected, rtol=norm, err_msg=theirs)
        ours = recipe.projection(theirs, value.T if transposed else value, case.info["seed"])
        np.testing.assert_allclose(
            ours, case.arrays[f"{name}_projection"][i], rtol=0, atol=projection * expected, err_msg=theirs
        )


# --- by hand ---


def test_hinges_by_hand():
    # of class 1, of class 2, and a label 0, which means the last class
    logits = jnp.array([[[0.5, 9], [9, 0.5], [0.0, -3]]])
    hinges = losses.completeness_hinges(logits, jnp.array([[1, 2, 0]]), 1)
    np.testing.assert_allclose(hinges, [[0.5, 1.5, 0.0]])
    np.testing.assert_array_equal(losses.hardest(jnp.array([[1.0, 3, 2, 0, 5, 4]]), 0.17), [[5]])
    np.testing.assert_array_equal(losses.hardest(jnp.array([[1.0, 3, 2, 0, 5, 4]]), 0.5), [[5, 4, 3]])
    assert losses.hardest(jnp.zeros((2, 0)), 0.17).shape == (2, 0)


def test_counts_of_devices_add_up():
    """P-GCN divides by V + max(int(6 V * 0.17), 1) over the whole batch."""
    for videos, expected in ((32, 64), (5, 10), (1, 2), (100, 202)):
        np.testing.assert_allclose(losses.completeness_count(videos, videos, 7, 1, 0.17), expected)
        halves = [
            losses.completeness_count(part, videos, 7, 1, 0.17)
            for part in (videos - videos // 2, videos // 2)
        ]
        np.testing.assert_allclose(sum(halves), expected)


def test_tiou_after_regression_by_hand():
    by_hand = [
        ([0, 0], [0, 0], 1.0),
        ([0, 0], [0.5, 0], 0.5 / 1.5),
        ([0, np.log(2)], [0, 0], 0.5),
        ([0, 0], [3, 0], 0.0),
        ([0, 200], [0, 0], 0.0),
        ([0, -200], [0, 0], 0.0),
    ]
    for offsets, targets, expected in by_hand:
        np.testing.assert_allclose(
            losses.offset_tiou(jnp.float32(offsets), jnp.float32(targets)), expected, rtol=1e-6
        )
    # the same as of segments: a proposal from 10 to 29, counted with both ends, and its action from 15 to 40
    (target,) = pools.regression_targets(np.array([[10, 29]]), np.array([[15, 40]]))
    np.testing.assert_allclose(losses.offset_tiou(jnp.zeros(2), jnp.float32(target)), 15 / 31, rtol=1e-6)


def small_config(**curriculum_fields):
    config = pgcn_config("pgcn_dw" if curriculum_fields else "pgcn")
    config.model.hidden = 16
    switch("curriculum", config, **curriculum_fields)
    config.train.batch_size = 2
    return config


@functools.cache
def compiled_terms(batch_size=2, **curriculum_fields):
    """A small config's (outputs, batch, epoch) -> terms, with the weights of these outputs."""
    config = small_config(**curriculum_fields)
    config.train.batch_size = batch_size

    @jax.jit
    def run(outputs, batch, epoch):
        weights = losses.curriculum_weights(config, outputs, batch, epoch)
        return losses.terms_of(config, outputs, batch, weights)

    return run


def example(seed=0):
    """Outputs of 2 x 8 centres, and their batch: a video as usual, one whose second slot is a foreground
    proposal.
    """
    rng = np.random.default_rng(seed)
    types = np.array([[0, 1, 1, 1, 1, 1, 1, 2], [0, 0, 1, 1, 1, 1, 1, 2]], np.int32)
    labels = np.where(types == 2, 0, rng.integers(1, CLASSES + 1, (2, 8))).astype(np.int32)
    targets = np.where(types[..., None] == 0, rng.standard_normal((2, 8, 2)), 0).astype(np.float32)
    batch = dict(
        types=types, labels=labels, targets=targets, sample_mask=np.ones(2, np.float32),
        target_mean=np.full((2, 2), 0.1, np.float32), target_std=np.full((2, 2), 0.5, np.float32),
    )  # fmt: skip
    regression = rng.standard_normal((2, 8, CLASSES, 2)).astype(np.float32)
    outputs = pgcn.model.Outputs(
        activity_logits=rng.standard_normal((2, 8, CLASSES + 1)).astype(np.float32),
        completeness_logits=rng.standard_normal((2, 8, CLASSES)).astype(np.float32),
        regression=regression,
        offsets=0.5 * regression + 0.1,
        auxiliary_logits=rng.standard_normal((2, 8)).astype(np.float32),
        action_features=None, completeness_features=None, action_adjacency=None, completeness_adjacency=None,
    )  # fmt: skip
    return outputs, batch


def test_terms_by_hand():
    outputs, batch = example()
    terms = compiled_terms()(outputs, batch, 0)
    assert set(terms) == {"activity", "completeness", "regression"}
    log_p, entropies, regression, completeness = jax.nn.log_softmax(outputs.activity_logits), [], [], 0.0
    for video in range(2):
        negatives = []
        for slot in range(8):
            kind, label = batch["types"][video, slot], batch["labels"][video, slot]
            if kind != 1:
                entropies.append(-log_p[video, slot, label])
            if kind == 0:
                error = np.abs(outputs.regression[video, slot, label - 1] - batch["targets"][video, slot])
                regression.extend(np.where(error < 1, 0.5 * error**2, error - 0.5))
            z = outputs.completeness_logits[video, slot, label - 1]
            if slot == 0:
                completeness += max(0, 1 - z)
            elif slot < 7:  # the foreground proposal in the second slot is a negative here
                negatives.append(max(0, 1 + z))
        completeness += max(negatives)
    values = values_of(terms)
    np.testing.assert_allclose(values["activity"], np.mean(entropies), rtol=1e-5)
    np.testing.assert_allclose(values["completeness"], completeness / 4, rtol=1e-5)
    np.testing.assert_allclose(values["regression"], 2 * np.mean(regression), rtol=1e-5)
    assert [terms[name].weight for name in values] == [1.0, 0.5, 0.5]


def test_weights_and_auxiliary_loss_by_hand():
    outputs, batch = example()
    config, plain = small_config(weights=True), values_of(compiled_terms()(outputs, batch, 0))
    epoch = 7.0
    w = np.zeros((2, 8))
    alpha = 0.6 * np.exp(-epoch / np.sqrt(70)) + 0.4
    for video, slot in ((0, 0), (1, 0), (1, 1)):
        label = batch["labels"][video, slot]
        p = jax.nn.softmax(outputs.activity_logits[video, slot])[label]
        target = 0.5 * batch["targets"][video, slot] + 0.1
        s = losses.offset_tiou(outputs.offsets[video, slot, label - 1], target)
        w[video, slot] = (1 - alpha) * s + alpha * p
    foreground = batch["types"] == 0
    found = jax.jit(functools.partial(losses.curriculum_weights, config))(outputs, batch, epoch)
    np.testing.assert_allclose(found[foreground], w[foreground], rtol=1e-5)

    terms = compiled_terms(weights=True)(outputs, batch, epoch)
    values, c = values_of(terms), jax.nn.sigmoid(outputs.auxiliary_logits)
    cross_entropy = -w * np.log(c) - (1 - w) * np.log(1 - c)
    auxiliary = np.where(foreground, np.abs(c - w) * cross_entropy, -c * np.log(1 - c)).sum()
    np.testing.assert_allclose(values["auxiliary"], auxiliary / 3, rtol=1e-5)  # N: foreground proposals
    of_all = compiled_terms(weights=True, auxiliary_normaliser="all")(outputs, batch, epoch)
    np.testing.assert_allclose(values_of(of_all)["auxiliary"], auxiliary / 16, rtol=1e-5)
    regression = losses.regression_loss(outputs.regression, batch["labels"], batch["targets"])
    np.testing.assert_allclose(values["regression"], (w * regression)[foreground].sum() / 3, rtol=1e-5)
    entropies = losses.activity_loss(outputs.activity_logits, batch["labels"])
    scored = batch["types"] != 1
    np.testing.assert_allclose(
        values["activity"], (np.where(foreground, w, 1) * entropies)[scored].mean(), rtol=1e-5
    )
    hinges = losses.completeness_hinges(outputs.completeness_logits[:, :7], batch["labels"][:, :7], 1)
    # the first slot alone: a foreground proposal in another is a negative
    lost = ((1 - w[:, 0]) * hinges[:, 0]).sum() / 4
    np.testing.assert_allclose(values["completeness"], plain["completeness"] - lost, rtol=1e-5)


def test_switches_of_the_curriculum():
    outputs, batch = example()

    def run(epoch=0, **fields):
        return values_of(compiled_terms(**fields)(outputs, batch, epoch))

    off = run()  # without the curriculum at all
    assert set(off) == {"activity", "completeness", "regression"}
    auxiliary_alone = run(weights=False)
    assert set(auxiliary_alone) - set(off) == {"auxiliary"} and all(
        auxiliary_alone[name] == off[name] for name in off
    )
    everything = run(weights=True)
    for name in ("completeness", "regression"):
        one = run(weights=True, weighted=name)
        np.testing.assert_array_equal(one[name], everything[name])
        assert one[name] != off[name] and all(one[other] == off[other] for other in off if other != name)
    constant = [run(epoch, weights=True, schedule=False)["regression"] for epoch in (0, 60)]
    assert constant[0] == constant[1] != everything["regression"]
    assert everything["regression"] != run(60, weights=True)["regression"]
    later = run(1, weights=True), run(0, weights=True, first_epoch=1)
    assert later[0] == later[1] != everything


@pytest.mark.parametrize("alpha, scores", [(1.0, "activity_logits"), (0.0, "offsets")])
def test_dynamic_weights_are_of_a_pass_without_dropout(alpha, scores, monkeypatch):
    """One foreground proposal: the regression loss and its gradient are w times the plain ones."""
    monkeypatch.setattr(curriculum, "CONSTANT_ALPHA", alpha)
    variables, batch = one_video()
    fields = dict(schedule=False, auxiliary="none")

    def regression(weights):
        config = small_config(weights=weights, **fields)
        module = pgcn.build(config, CLASSES)

        def value(variables, seed):
            terms, _ = losses.loss(config, module, variables, batch, 0.0, jax.random.key(seed))
            return terms["regression"].sum

        return module, jax.jit(jax.value_and_grad(value))

    (module, weighted), (_, plain) = regression(True), regression(False)
    statistics = {"mean": batch["target_mean"][0], "std": batch["target_std"][0]}
    still = jax.jit(module.apply)(variables | {"target_statistics": statistics}, batch["inputs"])
    by_hand = {
        "activity_logits": jax.nn.softmax(still.activity_logits[0, 0])[2],
        "offsets": losses.offset_tiou(still.offsets[0, 0, 1], batch["targets"][0, 0]),
    }[scores]
    assert 0.05 < by_hand < 0.95
    for seed in (0, 1):
        (found, found_slope), (expected, slope) = weighted(variables, seed), plain(variables, seed)
        np.testing.assert_allclose(found / expected, by_hand, rtol=1e-5)
        for ours, theirs in zip(jax.tree.leaves(found_slope), jax.tree.leaves(slope), strict=True):
            np.testing.assert_allclose(ours, by_hand * theirs, rtol=1e-4, atol=1e-6)


def one_video():
    """(variables, batch) of one video: a foreground proposal of class 2, seven others; large parameters."""
    rng = np.random.default_rng(0)
    batch = dict(
        inputs=rng.standard_normal((1, 8, 21, 3 * CHANNELS)).astype(np.float32),
        types=np.array([[0, 1, 1, 1, 1, 1, 1, 2]]), labels=np.array([[2, 1, 1, 1, 1, 1, 1, 0]]),
        targets=np.tile(np.float32([0.3, -0.2]), (1, 8, 1)), sample_mask=np.ones(1, np.float32),
        target_mean=np.zeros((1, 2), np.float32), target_std=np.ones((1, 2), np.float32),
    )  # fmt: skip
    module = pgcn.build(small_config(weights=True), CLASSES)
    shapes = jax.eval_shape(module.init, jax.random.key(0), batch["inputs"])["params"]
    params = jax.tree.map(lambda leaf: 0.3 * rng.standard_normal(leaf.shape).astype(np.float32), shapes)
    return {"params": params}, batch


@pytest.mark.parametrize(
    "curriculum_fields, model, passes",
    [
        (dict(weights=True), {}, [True, False]),
        (dict(weights=False), {}, [True, False]),  # the auxiliary head needs its target
        (dict(weights=False, auxiliary="none"), {}, [True]),
        (dict(weights=True), dict(dropout=0.0), [True, False]),
        (dict(weights=True), dict(branch_dropout=0.0), [True, False]),
        (dict(weights=True), dict(dropout=0.0, branch_dropout=0.0), [True]),
    ],
)
def test_a_second_pass_only_where_the_weights_need_it(monkeypatch, curriculum_fields, model, passes):
    config, (_, batch) = small_config(**curriculum_fields), one_video()
    config.model.update(model)
    module, made = pgcn.build(config, CLASSES), []
    variables = jax.eval_shape(module.init, jax.random.key(0), batch["inputs"])
    apply = pgcn.PGCN.apply

    def counted(self, *arguments, train=False, **named):
        made.append(train)
        return apply(self, *arguments, train=train, **named)

    monkeypatch.setattr(pgcn.PGCN, "apply", counted)
    jax.eval_shape(lambda v: losses.loss(config, module, v, batch, 0.0, jax.random.key(0)), variables)
    assert made == passes


def test_no_gradient_flows_through_the_weights():
    outputs, batch = example()
    slope = jax.grad(lambda o: losses.curriculum_weights(small_config(weights=True), o, batch, 3).sum())(
        outputs
    )
    assert not any(leaf.any() for leaf in jax.tree.leaves(slope))


def test_a_masked_video_counts_for_nothing():
    outputs, batch = example()
    compiled = compiled_terms(batch_size=1, weights=True)
    masked = compiled(outputs, batch | {"sample_mask": np.float32([1, 0])}, 2)
    alone = compiled(*jax.tree.map(lambda leaf: leaf[:1], (outputs, batch)), 2)
    for name, term in alone.items():
        np.testing.assert_allclose(masked[name].sum, term.sum, rtol=1e-6)
        np.testing.assert_allclose(masked[name].count, term.count, rtol=1e-6)


def test_optimizer_by_hand():
    """PyTorch's SGD: momentum of gradient and decay, biases with twice the rate and no decay, a tenth after
    15 of 70 epochs.
    """
    config = pgcn_config()
    optimizer = make_optimizer(config, total_steps=70)
    params = {
        "layer_1_kernel": jnp.array(2.0),
        "layer_1_bias": jnp.array(2.0),
        "head": {"kernel": jnp.array(1.0), "bias": jnp.array(1.0)},
    }
    state, step = optimizer.init(params), jax.jit(optimizer.update)
    gradient, p, momentum = (
        jax.tree.map(lambda _: jnp.array(0.3), params),
        {"kernel": 2.0, "bias": 2.0},
        dict(kernel=0.0, bias=0.0),
    )
    for number in range(17):
        updates, state = step(gradient, state, params)
        params = optax.apply_updates(params, updates)
        rate = 0.01 if number < 15 else 0.001
        for name, factor, decay in (("kernel", 1, 5e-4), ("bias", 2, 0)):
            momentum[name] = 0.9 * momentum[name] + 0.3 + decay * p[name]
            p[name] -= factor * rate * momentum[name]
    np.testing.assert_allclose(
        [params["layer_1_kernel"], params["layer_1_bias"]], [p["kernel"], p["bias"]], rtol=1e-5
    )
    assert params["head"]["bias"] < params["head"]["kernel"]


# --- learning ---


FRAMES = 160
ACTIONS = [(40, 70), (50, 80)]  # of class 0 in the first video, of class 1 in the second


def telling_features(segments, k):
    """(N, 12) features of proposals of video k that tell all about them: class and tIoU, shift, size."""
    truth = np.array([ACTIONS[k]])
    overlap = tiou(segments, truth)
    shift, size = (segments.mean(1) - truth.mean()) / 30, np.diff(segments)[:, 0] / 30
    return np.tile(np.stack([overlap * (k == 0), overlap * (k == 1), shift, size], axis=1), 3).astype(
        np.float32
    )


def two_videos(config):
    """[segments of video k], and a batch of both."""
    starts = np.arange(0, 120, 4)
    segments = np.concatenate([np.stack([starts, starts + length], axis=1) for length in (8, 24, 34)])
    videos = []
    for k, action in enumerate(ACTIONS):
        videos.append(pools.label_video(segments, [action], [k + 1], FRAMES))
    collected, rng = [pools.make_pools(config.pools, video) for video in videos], np.random.default_rng(0)
    mean, std = statistics = pools.target_statistics(collected)
    examples = []
    for k, pool in enumerate(collected):
        neighbours = graph.candidates(pool.segments)
        draw = pools.draw_trees(config.pools, pool, neighbours, config.model.sampled, statistics, rng)
        inputs = telling_features(pool.segments, k)[draw.pop("nodes")]
        given = dict(
            inputs=inputs, target_mean=np.float32(mean), target_std=np.float32(std), sample_mask=np.float32(1)
        )
        examples.append(given | draw)
    return [video.segments for video in videos], jax.tree.map(lambda *leaves: np.stack(leaves), *examples)


@pytest.mark.parametrize("variant", ["pgcn", "pgcn_dw"])
def test_two_videos_are_learned_by_heart(variant):
    """The best detection of each video is of its class, and foreground proposals are moved towards its
    action.
    """
    config, steps = pgcn_config(variant), 300
    config.model.update(hidden=32, dropout=0.0, branch_dropout=0.0)
    config.pools.update(background_tiou=0.1, foreground=16, incomplete=16, background=8)
    config.train.update(epochs=steps, batch_size=2, learning_rate=0.05, decay_epochs=())
    segments, batch = two_videos(config)
    module, optimizer = pgcn.build(config, 2), make_optimizer(config, steps)
    params = jax.jit(module.init)(jax.random.key(0), batch["inputs"])["params"]

    def step(carry, epoch):
        params, state = carry

        def local_loss(params):
            terms, collections = losses.loss(
                config, module, {"params": params}, batch, epoch, jax.random.key(0)
            )
            return total(terms), (values_of(terms), collections)

        gradient, found = jax.grad(local_loss, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), found

    run = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(float(steps))))
    (params, _), (history, collections) = run((params, optimizer.init(params)))
    for name, values in history.items():
        assert values[-1] < 0.5 * values[0], name
    collections = jax.tree.map(lambda leaf: leaf[-1], collections)
    np.testing.assert_array_equal(collections["target_statistics"]["std"], batch["target_std"][0])

    apply = jax.jit(module.apply)
    for k, rows in enumerate(segments):
        counts = graph.neighbour_counts(graph.candidates(rows), len(rows))
        outputs = jax.tree.map(
            np.asarray, apply({"params": params, **collections}, telling_features(rows, k), counts)
        )
        fields = (
            outputs.activity_logits,
            outputs.completeness_logits,
            outputs.offsets,
            outputs.auxiliary_logits,
        )
        found = detect(config, scores_of(*fields), rows / FRAMES)
        assert found.classes[found.scores.argmax()] == k
        before = tiou(rows, np.asarray(ACTIONS[k]))
        after = tiou(FRAMES * regress(rows / FRAMES, outputs.offsets[:, k]), np.asarray(ACTIONS[k]))
        assert before[before > 0.7].mean() < 0.85 and after[before > 0.7].mean() > 0.9
