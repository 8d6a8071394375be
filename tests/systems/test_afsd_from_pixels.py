"""The whole detector at its full size, I3D included, against the published one: from a clip to outputs,
losses and gradients.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tal_jax.backbones.i3d import I3D
from tal_jax.optimizer import make_optimizer
from tal_jax.published.i3d import i3d_from_state_dict
from tal_jax.systems import SYSTEMS
from tal_jax.systems.afsd.config import afsd_config
from tal_jax.systems.afsd.model import AFSD
from tal_jax.systems.afsd.published import afsd_from_state_dict
from tests.golden import recipe
from tests.golden_case import GoldenCase
from tests.systems.test_afsd_model import THUMOS, assert_published_outputs


def detector_variables(state_dict):
    """Variables of the detector of a state_dict with I3D in it."""
    backbone = i3d_from_state_dict(state_dict)
    params = {**afsd_from_state_dict(state_dict), "backbone": backbone["params"]}
    return {"params": params, "batch_stats": {"backbone": backbone["batch_stats"]}}


def published_layout(tree, state_dict):
    """{published name: array in the published layout} of a tree of arrays like the parameters.

    Each entry of the parameters is numbered, the numbers are converted, and so say where each entry of the
    tree belongs. They are converted in two parts that float32 holds exactly.
    """
    sizes = np.array([value.size for value in state_dict.values()])
    ends = np.cumsum(sizes)
    numbers = {
        name: np.arange(end - v.size, end).reshape(v.shape)
        for (name, v), end in zip(state_dict.items(), ends)
    }
    parts = [
        {name: part(v).astype(np.float32) for name, v in numbers.items()}
        for part in (lambda v: v // 4096, lambda v: v % 4096)
    ]
    high, low = (detector_variables(part)["params"] for part in parts)
    flat = np.full(ends[-1], np.nan)

    def put(high, low, value):
        np.put(flat, np.asarray(high, np.int64) * 4096 + np.asarray(low, np.int64), value)

    jax.tree.map(put, high, low, tree)
    return {
        name: flat[end - value.size : end].reshape(value.shape)
        for (name, value), end in zip(state_dict.items(), ends)
    }


def test_network_from_pixels_gives_the_published_outputs():
    case = GoldenCase.load("afsd/bdnet_forward")
    model = AFSD(backbone=I3D(), **THUMOS)
    clip = case.input("clip").transpose(0, 2, 3, 4, 1)
    with jax.default_matmul_precision("highest"):
        outputs = jax.jit(model.apply)(detector_variables(case.parameters()), clip)
    assert_published_outputs(case, outputs, THUMOS["window"])


@pytest.mark.slow
@pytest.mark.parametrize("boundary_pool_grad", ["exact", "reference"])
def test_training_step_is_the_published_one(boundary_pool_grad):
    case = GoldenCase.load("afsd/train_step")
    tolerances, state_dict = case.info["tolerances"], case.parameters()
    config = afsd_config("afsd", of_frames=True)
    config.data = dict(input="rgb")
    config.backbone.remat, config.readings = True, (f"boundary_pool_grad={boundary_pool_grad}",)
    system = SYSTEMS["afsd"]
    model = system.build(config, 20)
    variables = jax.tree.map(jnp.asarray, detector_variables(state_dict))
    batch = dict(
        inputs=case.input("clip").transpose(0, 2, 3, 4, 1),
        num_frames=np.array([256]),
        segments_frame=case.arrays["target"][None, :, :2] * 256,
        labels=case.arrays["target"][None, :, 2].astype(np.int32),
        boundary_labels=case.arrays["scores"],
        frame_map=case.arrays["ssl_frame_map"][None],
        proposals_frame=case.arrays["ssl_proposals"][None],
        rearranged=np.ones(1, np.float32),
        sample_mask=np.ones(1, np.float32),
    )

    @jax.jit
    def step(params):
        def total(params):
            terms, _ = system.loss(config, model, {**variables, "params": params}, batch, 0.0, None)
            values = {name: term.sum / jnp.maximum(term.count, 1) for name, term in terms.items()}
            return sum(terms[name].weight * value for name, value in values.items()), values

        return jax.value_and_grad(total, has_aux=True)(params)

    with jax.default_matmul_precision("highest"):
        (total, values), gradients = step(variables["params"])
    names = ("loc", "cls", "refined_loc", "refined_cls", "quality", "start", "end")
    np.testing.assert_allclose([values[name] for name in names], case.arrays["terms"], **tolerances["terms"])
    np.testing.assert_allclose(values["triplet"], case.arrays["triplet"][0], **tolerances["terms"])
    np.testing.assert_allclose(total, case.arrays["total"], rtol=1e-3)

    def assert_same_norms(tree, which, rtol, atol):
        found = published_layout(tree, state_dict)
        golden = dict(zip(case.info["grad_names"], case.arrays[f"{which}_norm"]))
        compared = [name for name, value in found.items() if np.isfinite(value).all()]
        assert len(compared) == 157  # all but the BatchNorms of I3D
        for name in compared:
            np.testing.assert_allclose(
                np.linalg.norm(found[name]), golden[name], rtol=rtol, atol=atol, err_msg=name
            )
        return found

    found = assert_same_norms(gradients, f"grad_{boundary_pool_grad}", **tolerances["gradient norms"])
    projections = dict(zip(case.info["grad_names"], case.arrays[f"grad_{boundary_pool_grad}_projection"]))
    for name, gradient in found.items():
        if np.isfinite(gradient).all():
            limit = 0.06 * np.linalg.norm(gradient) / np.sqrt(gradient.size) + 1e-7
            assert abs(recipe.projection(name, gradient, case.info["seed"]) - projections[name]) <= limit, (
                name
            )

    if boundary_pool_grad == "exact":
        hyper = case.info["hyper"]
        config.train.update(learning_rate=hyper["lr"], weight_decay=hyper["weight_decay"])
        optimizer = make_optimizer(config, 100)
        updates, _ = jax.jit(lambda p, g: optimizer.update(g, optimizer.init(p), p))(
            variables["params"], gradients
        )
        before, after = variables["params"], optax.apply_updates(variables["params"], updates)
        assert_same_norms(
            jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), after, before),
            "adam_delta",
            rtol=0.01,
            atol=0,
        )
