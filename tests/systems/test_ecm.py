"""Properties of the parts of ECM, and two recordings that it learns. Against the published code:
test_ecm_golden.py.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tal_jax.errors import DataError
from tal_jax.optimizer import make_optimizer
from tal_jax.systems import require_valid
from tal_jax.systems.ecm import build, losses
from tal_jax.systems.ecm import model as ecm_model
from tal_jax.systems.ecm.config import TABLE_4, ecm_config
from tal_jax.systems.ecm.model import ECM, aggregate, collect_background, conv_over_time, top_k_mean

TERMS = ("pre", "post", "c2c", "a2c")
TINY = dict(num_classes=4, hidden=6, dropout=0.0)


def make_batch(inputs, labels, slots=None):
    return dict(
        inputs=jnp.asarray(inputs),
        labels=jnp.asarray(labels, jnp.float32),
        slots=jnp.asarray(make_slots(labels, slots or int(np.asarray(labels).sum(1).max()))),
        sample_mask=jnp.ones(len(inputs)),
    )


def make_slots(labels, num_slots):
    """The labels (B, K) of recordings as lists (B, num_slots) of fixed length."""
    return np.stack([losses.label_slots(np.flatnonzero(row), num_slots) for row in np.asarray(labels)])


def total(terms):
    return sum(term.weight * term.sum / jnp.maximum(term.count, 1.0) for term in terms.values())


def tiny_problem(labels=((1, 0, 0, 1), (0, 1, 0, 0)), snippets=7, channels=5):
    inputs = np.random.default_rng(0).standard_normal((len(labels), snippets, channels)).astype(np.float32)
    return make_batch(inputs, np.array(labels))


def random_params(model, batch):
    """Parameters in +-0.5 of the shapes that the model asks for."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch["inputs"])["params"]
    random = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: random.uniform(-0.5, 0.5, leaf.shape).astype(np.float32), shapes)


@functools.partial(jax.jit, static_argnums=0)
def train_outputs(model, params, batch, key=None):
    return model.apply(
        {"params": params}, batch["inputs"], batch["slots"], rngs=None if key is None else {"dropout": key}
    )


@pytest.mark.parametrize(
    "formulation, snippets",
    [("products", 1), ("products", 3), ("winograd", 1), ("winograd", 8), ("winograd", 9)],
)
def test_convolution_over_time_is_the_convolution(formulation, snippets):
    random = np.random.default_rng(0)
    x, kernel, weights = (
        random.standard_normal(s).astype(np.float32) for s in ((snippets, 4), (3, 4, 5), (snippets, 5))
    )

    def native(x, kernel):
        return jax.lax.conv_general_dilated(
            x[None], kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )[0]

    def ours(x, kernel):
        return conv_over_time(x, kernel, formulation)

    @jax.jit
    def both(x, kernel):
        runs = [jax.vjp(convolution, x, kernel) for convolution in (ours, native)]
        return [(y, *backward(weights)) for y, backward in runs]

    for mine, other in zip(*both(x, kernel)):
        np.testing.assert_allclose(mine, other, atol=1e-5)


def test_top_k_mean_takes_the_largest_values_and_at_least_one():
    cas = jnp.array([[[1.0, 0.0], [4.0, 0.0], [2.0, 8.0], [3.0, 0.0]]])
    np.testing.assert_allclose(top_k_mean(cas, 0.5), [[3.5, 4.0]])
    np.testing.assert_allclose(top_k_mean(cas, 0.74), [[3.5, 4.0]])  # int(2.96) = 2
    np.testing.assert_allclose(top_k_mean(cas, 0.1), [[4.0, 8.0]])


def test_aggregation_sums_every_third_snippet():
    features = jnp.arange(1.0, 6.0)[None, :, None] * jnp.array([1.0, 10.0])  # (1, 5, 2)
    weights = jnp.array([[[1.0], [0.5], [1.0], [2.0], [0.0]]])
    np.testing.assert_allclose(aggregate(weights, features, 3), [[[[9.0, 90.0], [1.0, 10.0], [3.0, 30.0]]]])


def test_background_of_a_labelled_class_is_its_own_and_of_others_the_mean():
    logits = jnp.array([[[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]], [[1.0, 2.0, 3.0], [9.0, 9.0, 9.0]]])
    slots = jnp.array([[0, 2], [1, -1]])
    np.testing.assert_allclose(collect_background(logits, slots), [[1.0, 4.0, 7.0], [1.0, 2.0, 3.0]])


@pytest.mark.parametrize("background_weights", ["w*(1-w)", "1-w"])
def test_background_scores_class_by_class(background_weights):
    model, batch = ECM(**TINY, background_weights=background_weights), tiny_problem()
    params = random_params(model, batch)
    outputs = jax.tree.map(np.asarray, train_outputs(model, params, batch))
    inputs = np.asarray(batch["inputs"])
    classify = jax.jit(
        lambda sums: model.apply({"params": params}, sums[None], method=lambda m, x: m.classifier(x, False))[
            0
        ]
    )
    recording, scores = 0, np.zeros((2, 4))
    for number, labelled in enumerate((0, 3)):
        for k in range(4):
            left_over = 1 - outputs.weights[recording, :, labelled]
            if background_weights == "w*(1-w)":
                left_over = left_over * outputs.weights[recording, :, k]
            sums = np.stack([(left_over[:, None] * inputs[recording])[fold::3].sum(0) for fold in range(3)])
            scores[number, k] = classify(sums)[:, k].mean()
    expected = [scores[0, 0], scores[:, 1].mean(), scores[:, 2].mean(), scores[1, 3]]
    np.testing.assert_allclose(outputs.background_logits[recording], expected, rtol=1e-4, atol=1e-5)


def test_one_weight_for_all_classes_is_the_same_weight_for_each():
    batch = tiny_problem()
    agnostic, specific = ECM(**TINY, class_specific_weights=False), ECM(**TINY)
    params = random_params(agnostic, batch)
    dense = params["transition"]["dense"]
    repeated = {"dense": {"kernel": np.tile(dense["kernel"], (1, 4)), "bias": np.tile(dense["bias"], 4)}}
    ours = train_outputs(agnostic, params, batch)
    other = train_outputs(specific, params | {"transition": repeated}, batch)
    assert ours.weights.shape == (2, 7, 1)
    for name in ("post_logits", "background_logits"):
        np.testing.assert_allclose(getattr(ours, name), getattr(other, name), rtol=1e-4, atol=1e-5)


def test_a_classifier_of_its_own_scores_the_post_stream_and_background_only():
    batch = tiny_problem()
    shared, own = ECM(**TINY), ECM(**TINY, shared_classifier=False)
    params = random_params(own, batch)
    once = train_outputs(own, params | {"post_classifier": params["classifier"]}, batch)
    expected = train_outputs(shared, {name: params[name] for name in ("classifier", "transition")}, batch)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), once, expected)
    different = train_outputs(own, params, batch)
    np.testing.assert_array_equal(different.pre_logits, once.pre_logits)
    assert (different.post_logits != once.post_logits).all() and (
        different.background_logits != once.background_logits
    ).all()


def test_neither_parts_nor_what_is_done_again_change_the_gradient(monkeypatch):
    batch = tiny_problem(labels=np.eye(4)[[0, 1, 2, 3, 0]], snippets=9)
    params = random_params(ECM(**TINY), batch)

    def gradient(**settings):
        outputs = functools.partial(
            ECM(**TINY | settings).apply, inputs=batch["inputs"], slots=batch["slots"]
        )

        def whole(params):
            found = outputs({"params": params})
            return sum(
                jnp.square(scores).sum()
                for scores in (found.pre_logits, found.post_logits, found.background_logits)
            )

        return jax.jit(jax.grad(whole))(params)

    expected = gradient(remat=False)
    # two of the five recordings, two more, and then one
    monkeypatch.setattr(ecm_model, "CPU_SNIPPETS_AT_ONCE", 25)
    ours = gradient(remat=True, on_cpu=True)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), ours, expected)


def test_no_array_has_the_features_of_every_class_and_snippet():
    batch = tiny_problem(labels=np.eye(20)[[0, 1]], snippets=60, channels=64)
    model = ECM(**TINY | dict(num_classes=20, hidden=64))
    params = random_params(model, batch)

    def whole(params):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(train_outputs(model, params, batch)))

    shapes = re.findall(r"f32\[([\d,]+)\]", str(jax.make_jaxpr(jax.grad(whole))(params)))
    assert max(np.prod([int(size) for size in shape.split(",")]) for shape in shapes) < 0.2 * 2 * 20 * 60 * 64


def test_dropout_acts_in_training_in_every_pass_on_its_own():
    batch = tiny_problem()
    model = ECM(**TINY | dict(dropout=0.5, hidden=64))
    params = random_params(model, batch)
    keys = jax.random.split(jax.random.key(0), 200)
    many = jax.jit(jax.vmap(lambda batch, key: train_outputs(model, params, batch, key), (None, 0)))
    outputs = many(batch, keys)
    for name in ("pre_logits", "post_logits", "background_logits"):
        assert np.var(getattr(outputs, name), axis=0).min() > 0
    # the label of the second recording in both of its slots
    twice = many(batch | dict(slots=batch["slots"].at[1].set(1)), keys)
    variances = [np.var(run.background_logits[:, 1, 0]) for run in (twice, outputs)]
    # the mean of two scores with masks of their own, not of the same score twice
    assert variances[0] < 0.75 * variances[1]
    tested = jax.jit(lambda: model.apply({"params": params}, batch["inputs"]))().cas
    undropped = train_outputs(ECM(**TINY | dict(hidden=64)), params, batch).cas
    np.testing.assert_allclose(tested, undropped, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("row", TABLE_4)
def test_every_row_of_table_4_trains_what_it_has(row):
    config = ecm_config()
    config.update_from_flattened_dict(TABLE_4[row])
    config.model.update(hidden=6)
    model, batch = build(config, 4), tiny_problem()
    params = random_params(model, batch)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradients(params):
        terms, state = losses.loss(config, model, {"params": params}, batch, 0, jax.random.key(1))
        return total(terms), (terms, state)

    gradient, (terms, state) = gradients(params)
    assert state == {}
    expected = dict(pre={"pre"}, post={"post"}, shared={"pre", "post"}, shared_a2c={"pre", "post", "a2c"})
    assert set(terms) == expected.get(row, set(TERMS))
    parts = {"classifier"} if row == "pre" else {"classifier", "transition"}
    assert set(params) == parts | ({"post_classifier"} if row == "not_shared" else set())
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))
    tested = jax.eval_shape(model.apply, {"params": params}, batch["inputs"])
    assert tested.cas.shape == (2, 7, 4) and tested.recording_logits.shape == (2, 4)
    assert (tested.post_logits is None) == (row != "post")
    trained = jax.eval_shape(functools.partial(train_outputs, model), params, batch, jax.random.key(1))
    assert (trained.background_logits is None) == ("a2c" not in terms)


def test_parameters_are_as_many_as_published_and_start_within_their_bounds():
    for num_classes, expected in ((20, 25_211_300), (100, 25_384_820), (200, 25_619_720)):
        model = build(ecm_config(), num_classes)
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 9, 2048)))
        assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == expected
    small = ECM(num_classes=50, hidden=40)
    params = jax.jit(small.init)(jax.random.key(0), jnp.zeros((1, 9, 30)))["params"]
    fan_ins = {"conv_1": 3 * 30, "conv_2": 3 * 40}
    leaves = [(leaf, fan_ins[name]) for name in fan_ins for leaf in params["classifier"][name].values()]
    leaves += [
        (params["classifier"]["kernel"], 40),
        *((leaf, 50) for leaf in params["transition"]["dense"].values()),
    ]
    for leaf, fan_in in leaves:
        assert 0.85 / fan_in**0.5 < np.abs(leaf).max() <= 1 / fan_in**0.5
        assert abs(np.mean(leaf)) < 0.3 / fan_in**0.5


def test_padding_of_slots_and_of_the_batch_changes_no_loss():
    config = ecm_config()
    config.model.update(hidden=6, dropout=0.0)
    model, batch = build(config, 4), tiny_problem()
    params = random_params(model, batch)

    @jax.jit
    def value(batch):
        return total(losses.loss(config, model, {"params": params}, batch, 0, jax.random.key(0))[0])

    padded = {name: jnp.concatenate([array, array[:1]]) for name, array in batch.items()}
    padded["inputs"] = padded["inputs"].at[2].set(100.0)
    padded["slots"] = jnp.pad(padded["slots"], ((0, 0), (0, 2)), constant_values=-1)
    padded["sample_mask"] = jnp.array([1.0, 1.0, 0.0])
    np.testing.assert_allclose(value(padded), value(batch), rtol=1e-6)
    assert value(padded | dict(sample_mask=jnp.ones(3))) != pytest.approx(float(value(batch)))


def test_losses_by_hand():
    labels = jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]))
    np.testing.assert_allclose(losses.classification_loss(logits, labels), [1.5 * np.log(2), 0.0], rtol=1e-6)
    np.testing.assert_allclose(
        losses.agreement_loss(jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[1.0, 4.0, 2.0]])), [5 / 3]
    )
    probabilities = jnp.array([[0.5, 0.25, 0.1, 0.0, 0.5, 0.9], [0.1] * 6])
    np.testing.assert_allclose(losses.separation_loss(probabilities, labels), [np.log(2), 0.0], rtol=1e-6)
    zeros = jnp.zeros((1, 3))
    np.testing.assert_allclose(
        losses.action_background_probabilities(zeros, zeros, "softmax"), np.full((1, 6), 1 / 6)
    )
    np.testing.assert_allclose(
        losses.action_background_probabilities(zeros, zeros, "sigmoid"), np.full((1, 6), 0.5)
    )


def test_slots_list_the_labelled_classes():
    labels = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    slots = make_slots(labels, 3)
    np.testing.assert_array_equal(slots, [[1, 3, -1], [0, -1, -1], [-1, -1, -1]])
    assert slots.dtype == np.int32
    np.testing.assert_array_equal(make_slots(labels[:, :1], 2), [[-1, -1], [0, -1], [-1, -1]])
    with pytest.raises(ValueError, match="negative"):
        losses.label_slots([1, 3], 1)


def test_two_recordings_are_learned_and_their_actions_found():
    """Each recording holds an action of its class between other snippets, which look the same in both."""
    config = ecm_config()
    config.model.update(hidden=48)
    config.train.learning_rate = 1e-2
    inputs = 0.1 * np.random.default_rng(0).standard_normal((2, 24, 6)).astype(np.float32)
    inputs[:, :, 2] += 1.0
    inputs[0, 3:9, :] += [2, 0, -1, 0, 0, 0]
    inputs[1, 12:18, :] += [0, 2, -1, 0, 0, 0]
    batch = make_batch(inputs, np.eye(2))
    model, optimizer = build(config, 2), make_optimizer(config, 60)
    params = jax.jit(model.init)(jax.random.key(0), batch["inputs"])["params"]

    def step(carry, key):
        params, state = carry
        value, gradient = jax.value_and_grad(
            lambda params: total(losses.loss(config, model, {"params": params}, batch, 0, key)[0])
        )(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    keys = jax.random.split(jax.random.key(0), 60)
    (params, _), values = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), keys))(params)
    assert np.mean(values[-5:]) < 0.1 * values[0]
    outputs = jax.jit(model.apply)({"params": params}, batch["inputs"])
    assert (jax.nn.softmax(outputs.recording_logits) > 0.9 * np.eye(2)).all()
    for recording, action in ((0, slice(3, 9)), (1, slice(12, 18))):
        cas, weights = outputs.cas[recording, :, recording], outputs.weights[recording, :, recording]
        inside = np.zeros(24, bool)
        inside[action] = True
        assert cas[inside].min() > cas[~inside].max()
        assert weights[inside].mean() > weights[~inside].mean()


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("model.streams", "neither", "config.model.streams is 'neither'; it must be one of both, pre, post"),
        ("model.streams", "pre", "c2c_weight is 0.05, which compares two streams"),
        ("readings", ("background_weights=w",), "background_weights=w.; it may have"),
        ("readings", ("a2c_score=raw",), "a2c_score=raw.; it may have"),
        ("model.folds", 0, "folds is 0; it must be at least 1"),
        ("model.dropout", 1.0, "dropout is 1.0"),
        ("model.top_k_ratio", 0.0, "top_k_ratio is 0.0"),
        ("loss.a2c_weight", -1.0, "a2c_weight is -1.0"),
        ("train.batch_size", 0, "batch_size is 0"),
        ("train.warmup_steps", -1, "config.train.warmup_steps is -1; it must be at least 0"),
        (
            "train.decay_epochs",
            (0, 3),
            r"config.train.decay_epochs is \(0, 3\); each of its whole numbers must be above 0",
        ),
    ],
)
def test_a_bad_config_is_refused_in_a_sentence(field, value, message):
    config = ecm_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(DataError, match=message):
        require_valid(config, training=True)


def test_streams_that_a_loss_needs():
    config = ecm_config()
    config.model.streams, config.loss.c2c_weight = "pre", 0.0
    with pytest.raises(DataError, match="no background scores"):
        require_valid(config, training=True)
    config.loss.a2c_weight, config.model.shared_classifier = 0.0, False
    with pytest.raises(DataError, match="a classifier of its own"):
        require_valid(config, training=True)


def test_config_has_the_published_thresholds():
    config = ecm_config()
    np.testing.assert_allclose(
        config.localize.thresholds, [0.01, 0.035, 0.06, 0.085, 0.11, 0.135, 0.16, 0.185]
    )
