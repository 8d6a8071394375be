"""The network, the losses and the training of ECM against the published ones."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tal_jax.optimizer import make_optimizer
from tal_jax.systems.ecm import build, losses
from tal_jax.systems.ecm.config import ecm_config
from tests.golden import recipe
from tests.golden_case import GoldenCase
from tests.systems.test_ecm import TERMS, make_batch, total

PATHS = {  # PyTorch name -> ours
    "base_module.conv_1.weight": ("classifier", "conv_1", "kernel"),
    "base_module.conv_1.bias": ("classifier", "conv_1", "bias"),
    "base_module.conv_2.weight": ("classifier", "conv_2", "kernel"),
    "base_module.conv_2.bias": ("classifier", "conv_2", "bias"),
    "classifier_module.conv.weight": ("classifier", "kernel"),
    "attention_module.conv_1.weight": ("transition", "dense", "kernel"),
    "attention_module.conv_1.bias": ("transition", "dense", "bias"),
}


def golden_params(case):
    """Parameters of a case: weights (out, in, taps) -> (taps, in, out), without the axis of a single tap."""
    params = {}
    for name, shape in case.info["parameters"].items():
        value = recipe.param(name, shape, case.info["seed"])
        if value.ndim == 3:
            value = value.transpose(2, 1, 0)[0] if shape[-1] == 1 else value.transpose(2, 1, 0)
        *parents, leaf = PATHS[name]
        functools.reduce(lambda tree, key: tree.setdefault(key, {}), parents, params)[leaf] = value
    return params


def to_published(tree, name, shape):
    """The leaf of ours that PyTorch calls `name`, in PyTorch's layout."""
    value = np.asarray(functools.reduce(lambda t, key: t[key], PATHS[name], tree), np.float64)
    return value.reshape(shape) if len(shape) == 1 else value.reshape(shape[::-1]).transpose(2, 1, 0)


def assert_published_tree(tree, case, norms, projections, tolerance, err_msg=""):
    """Norm and projection of every parameter's gradient or change, both relative to the golden norm."""
    for name, norm, projection in zip(case.info["parameters"], norms, projections, strict=True):
        value = to_published(tree, name, case.info["parameters"][name])
        message = f"{err_msg} {name}"
        np.testing.assert_allclose(np.linalg.norm(value), norm, rtol=tolerance, atol=1e-9, err_msg=message)
        ours = recipe.projection(name, value, case.info["seed"])
        np.testing.assert_allclose(ours, projection, rtol=0, atol=tolerance * norm + 1e-9, err_msg=message)


def golden_config(case):
    """The config of a case: its sizes, its loss weights, no dropout."""
    asked, config = case.info["hyper_parameters"], ecm_config()
    config.model.update(hidden=asked["hidden"], dropout=0.0, top_k_ratio=asked["k"] / asked["num_snippets"])
    config.loss.update(
        c2c_weight=asked["loss_weights"]["c2c"], a2c_weight=float(asked["loss_weights"]["a2c"])
    )
    return config


@pytest.mark.parametrize("name", ["network_small", "network_t100_anet", "network_full_thumos"])
def test_network_gives_the_published_outputs_losses_and_gradients(name):
    case = GoldenCase.load(f"ecm/{name}")
    asked, config = case.info["hyper_parameters"], golden_config(case)
    shape = (asked["batch"], asked["feat_dim"], asked["num_snippets"])
    bound = {"network_small": 0.5, "network_t100_anet": 0.4, "network_full_thumos": 0.12}[name]
    inputs = recipe.array("feature", shape, case.info["seed"], -bound, bound).transpose(0, 2, 1)
    model, params = build(config, asked["num_classes"]), golden_params(case)
    batch = make_batch(inputs, case.arrays["labels"])
    weights = np.array([1.0, 1.0, config.loss.c2c_weight, config.loss.a2c_weight], np.float32)
    parts = {"total": weights}
    if name != "network_full_thumos":  # there one pass back through 25 million parameters is enough
        parts |= dict(zip(TERMS, np.eye(4, dtype=np.float32)))
    shares = np.stack(list(parts.values()))

    def run(params, batch):
        def values(params):
            terms, _ = losses.loss(config, model, {"params": params}, batch, 0, jax.random.key(0))
            return jnp.stack([terms[name].sum / terms[name].count for name in TERMS])

        single, backward = jax.vjp(values, params)
        gradients = jax.vmap(lambda shares: backward(shares)[0])(shares)
        trained = model.apply({"params": params}, batch["inputs"], batch["slots"])
        return single, gradients, trained, model.apply({"params": params}, batch["inputs"])

    single, gradients, trained, tested = jax.jit(run)(params, batch)

    def close(value, golden):
        np.testing.assert_allclose(value, case.arrays[golden], **case.info["tolerance"], err_msg=golden)

    close(trained.pre_logits, "score_pre")
    close(trained.post_logits, "score_post")
    close(
        losses.action_background_probabilities(trained.post_logits, trained.background_logits, "softmax"),
        "score_agg",
    )
    close(jax.nn.softmax(tested.recording_logits), "test_score")
    if "cas" in case.arrays:
        close(tested.cas.transpose(0, 2, 1), "cas")
        close(tested.weights.transpose(0, 2, 1), "w_action")
        close(trained.aggregated.transpose(0, 1, 3, 2).reshape(case.arrays["aggregated"].shape), "aggregated")
    else:
        close(tested.cas[:, ::10].transpose(0, 2, 1), "cas_every_10")
        close(tested.cas.mean(1), "cas_class_mean")
    close([*single, np.dot(weights, single)], "losses")

    assert case.info["gradient_order"] == list(case.info["parameters"])
    for row, part in enumerate(parts):
        norms, projections = case.arrays["grad_norm"], case.arrays["grad_projection"]
        if part != "total":
            norms, projections = case.arrays["grad_per_loss"][TERMS.index(part)].T
        assert_published_tree(
            jax.tree.map(operator.itemgetter(row), gradients), case, norms, projections, 1e-3, part
        )


def test_losses_are_the_published_ones():
    case = GoldenCase.load("ecm/losses")
    pre, post, probabilities, labels = (
        jnp.asarray(case.arrays[n]) for n in ("score_pre", "score_post", "score_agg", "labels")
    )
    alpha, beta = case.info["hyper_parameters"]["alpha"], case.info["hyper_parameters"]["beta"]

    def all_losses(pre, post, probabilities):
        single = [
            losses.classification_loss(pre, labels).mean(), losses.classification_loss(post, labels).mean(),
            losses.agreement_loss(pre, post).mean(), losses.separation_loss(probabilities, labels).mean(),
        ]  # fmt: skip
        whole = single[0] + single[1] + alpha * single[2] + beta * single[3]
        return whole, jnp.stack([*single, whole])

    gradients, values = jax.jit(jax.grad(all_losses, argnums=(0, 1, 2), has_aux=True))(
        pre, post, probabilities
    )
    np.testing.assert_allclose(values, case.arrays["losses"], **case.info["tolerance"])
    for gradient, name in zip(gradients, ("pre", "post", "agg")):
        # the last recording is saturated: there PyTorch's gradient is an artefact
        rows = slice(3) if name == "agg" else slice(4)
        np.testing.assert_allclose(
            gradient[rows], case.arrays[f"grad_score_{name}"][rows], **case.info["tolerance"]
        )
    assert np.isfinite(gradients[2]).all()


def test_three_steps_of_adam_are_the_published_ones():
    case = GoldenCase.load("ecm/adam_three_steps")
    asked, config = case.info["hyper_parameters"], golden_config(case)
    assert (config.train.learning_rate, config.train.weight_decay) == (asked["lr"], asked["weight_decay"])
    model, optimizer = build(config, asked["num_classes"]), make_optimizer(config, 3)
    first = params = jax.tree.map(jnp.asarray, golden_params(case))
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, batch):
        def whole(params):
            return total(losses.loss(config, model, {"params": params}, batch, 0, jax.random.key(0))[0])

        value, gradient = jax.value_and_grad(whole)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    values = []
    for number in range(3):
        shape = (asked["batch"], asked["feat_dim"], asked["num_snippets"])
        inputs = recipe.array(f"feature_step{number}", shape, case.info["seed"], -0.5, 0.5).transpose(0, 2, 1)
        params, state, value = step(params, state, make_batch(inputs, case.arrays["labels"]))
        values.append(value)
    np.testing.assert_allclose(
        values, case.arrays["total_loss"], rtol=case.info["tolerance"]["total_loss rtol"]
    )
    change = jax.tree.map(jnp.subtract, params, first)
    assert_published_tree(change, case, case.arrays["delta_norm"], case.arrays["delta_projection"], 1e-2)
    attention = to_published(params, "attention_module.conv_1.weight", (8, 8, 1))
    # a step moves it by 2e-4
    np.testing.assert_allclose(attention, case.arrays["attention_weight"], rtol=0, atol=2e-6)
