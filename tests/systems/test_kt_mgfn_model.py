"""The classification networks of KT-MGFN: golden cases, erasing by hand, and the parts that each row of the
ablation has.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.errors import DataError
from tal_jax.systems import kt_mgfn, require_valid
from tal_jax.systems.kt_mgfn import erasing, model
from tal_jax.systems.kt_mgfn.config import ABLATION, kt_mgfn_config
from tal_jax.systems.kt_mgfn.decode import decode, localize
from tal_jax.systems.kt_mgfn.losses import classification_loss
from tests.golden import recipe
from tests.golden_case import GoldenCase


def golden(name):
    """(arrays, tolerances), float32."""
    case = GoldenCase.load(f"kt_mgfn/{name}")
    return {key: value.astype(np.float32) for key, value in case.arrays.items()}, case.info["tolerance"][
        "float32"
    ]


def time_first(values):
    """(..., K, T) of a case -> (..., T, K)."""
    return values.swapaxes(-1, -2)


def golden_parameters(info):
    """The parameters of the case in the tree of MultiDilatedStage."""
    value = {name: recipe.param(name, shape, info["seed"]) for name, shape in info["parameters"].items()}

    def conv(name):
        return {"kernel": value[f"{name}.weight"].transpose(2, 1, 0), "bias": value[f"{name}.bias"]}

    tree = {f"base_{i}": conv(f"base.conv_{i + 1}") for i in range(2)}
    for branch in (f"branch_{i}" for i in range(4)):
        classifier = {"kernel": value[f"{branch}.fc.weight"].T}
        tree[branch] = {
            "conv": conv(f"{branch}.conv"),
            "classifier": classifier,
            "bias": value[f"{branch}.fc.bias"],
        }
    return tree


def test_golden_stage_of_dilated_branches():
    case = GoldenCase.load("kt_mgfn/mdc_forward")
    expected, tolerance = golden("mdc_forward")
    hyper = case.info["hyper_parameters"]
    inputs = time_first(recipe.array("feature", (3, 20, 40), case.info["seed"]))
    stage = model.MultiDilatedStage(hyper["classes"], hyper["width"], hyper["dilations"])
    params = golden_parameters(case.info)
    outputs = jax.jit(stage.apply)({"params": params}, inputs)
    np.testing.assert_allclose(outputs.logits, expected["logits"].swapaxes(0, 1), **tolerance)
    np.testing.assert_allclose(outputs.pooled, expected["gap"].swapaxes(0, 1), **tolerance)
    np.testing.assert_allclose(
        outputs.branch_cas, time_first(expected["H_branch"]).swapaxes(0, 1), **tolerance
    )
    np.testing.assert_allclose(outputs.cas, time_first(expected["H"]), **tolerance)

    losses = [classification_loss(outputs.logits[:, i : i + 1], expected["labels"]).mean() for i in range(4)]
    np.testing.assert_allclose(losses, expected["branch_loss"], **tolerance)
    gradient = jax.grad(lambda logits: classification_loss(logits, expected["labels"]).mean())(outputs.logits)
    np.testing.assert_allclose(gradient, expected["grad_logits"].swapaxes(0, 1), **tolerance)


def test_golden_fusion_of_branches():
    arrays, tolerance = golden("mdc_fusion")
    fused = model.fuse_branches(time_first(arrays["H_branch"]).swapaxes(0, 1))
    np.testing.assert_allclose(fused, time_first(arrays["H"]), **tolerance)
    alone = time_first(arrays["H_branch"])[:1].swapaxes(0, 1)
    np.testing.assert_array_equal(model.fuse_branches(alone), alone[:, 0])


@pytest.mark.parametrize("threshold", [0.4, 0.6])
def test_golden_erasing(threshold):
    arrays, tolerance = golden("erasing_mask")
    cas, inputs = time_first(arrays["H"]), time_first(arrays["feature"])
    np.testing.assert_allclose(erasing.normalise_over_time(cas), time_first(arrays["H_norm"]), **tolerance)
    mask = erasing.erasing_mask(cas, arrays["labels"], threshold)
    np.testing.assert_array_equal(mask, arrays[f"mask_{threshold}"])
    np.testing.assert_allclose(
        erasing.erase(inputs, mask), time_first(arrays[f"erased_{threshold}"]), **tolerance
    )


def test_golden_fusion_of_stages():
    arrays, tolerance = golden("cascade_fusion")
    stages = [time_first(arrays["H"]), time_first(arrays["H_bar"])]
    np.testing.assert_allclose(
        erasing.fuse_stages(stages, normalised=False), time_first(arrays["max_raw"]), **tolerance
    )
    np.testing.assert_allclose(
        erasing.fuse_stages(stages, normalised=True), time_first(arrays["max_norm"]), **tolerance
    )


def test_the_snippets_of_erasing_classes_are_erased():
    cas = np.zeros((1, 5, 3), np.float32)
    cas[0, :, 0] = [0, 2, 3, 4, 8]  # normalised: 0, 0.25, 0.375, 0.5, 1
    cas[0, :, 1] = [-3, -7, -7, -7, -7]
    cas[0, :, 2] = 4  # constant
    for classes, expected in {
        (1, 0, 0): [0, 0, 0, 1, 1],
        (0, 1, 0): [1, 0, 0, 0, 0],
        (1, 1, 1): [1, 0, 0, 1, 1],
        (0, 0, 1): [0, 0, 0, 0, 0],
        (0, 0, 0): [0, 0, 0, 0, 0],
    }.items():
        np.testing.assert_array_equal(erasing.erasing_mask(cas, np.float32([classes]), 0.5), [expected])


def test_likely_classes_are_those_of_half_or_the_best_one():
    probabilities = np.float32([[0.5, 0.2, 0.9], [0.4, 0.1, 0.3]])
    np.testing.assert_array_equal(erasing.likely_classes(probabilities), [[1, 0, 1], [1, 0, 0]])


def test_no_gradient_flows_through_the_mask():
    cas = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 3)), jnp.float32)
    slope = jax.grad(lambda cas: erasing.erasing_mask(cas, jnp.ones((2, 3)), 0.6).sum())(cas)
    assert not slope.any()

    stage = functools.partial(model.MultiDilatedStage, 3, 4, (1, 2))
    classifier = model.Classifier(stage, cascade=True, erase_threshold=0.6, normalised_fusion=True)
    variables = jax.jit(classifier.init)(jax.random.key(0), cas)

    def second_logits(variables):
        outputs = classifier.apply(variables, cas, jnp.ones((2, 3)))
        return outputs.second.logits.sum() + 0 * outputs.first.logits.sum()

    gradients = jax.jit(jax.grad(second_logits))(variables)["params"]
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradients["first"]))
    assert any(leaf.any() for leaf in jax.tree.leaves(gradients["second"]))


def tiny_config(row="boundary"):
    config = kt_mgfn_config(row)
    config.model.update(width=8, predictor_width=8, anchors=(2.0, 4.0))
    return config


@functools.cache
def built(row):
    """(config, module, variables, inputs, outputs) of a tiny network of 3 classes."""
    config = tiny_config(row)
    module = kt_mgfn.build(config, 3)
    inputs = jnp.asarray(np.random.default_rng(0).standard_normal((2, 12, 5)), jnp.float32)
    variables = jax.jit(module.init)(jax.random.key(0), inputs)
    return config, module, variables, inputs, jax.jit(module.apply)(variables, inputs)


def test_each_row_of_the_ablation_has_the_parameters_that_it_needs():
    parts = {row: built(row)[2]["params"] for row in ABLATION}
    whole_stage = {"base_0", "base_1", "branch_0", "branch_1", "branch_2", "branch_3"}
    assert {row: set(params) for row, params in parts.items()} == {
        "simple": {"target"},
        "multi_dilated": {"target"},
        "cascade": {"target"},
        "transfer": {"source", "target"},
        "boundary": {"source", "target", "boundary"},
    }
    assert set(parts["simple"]["target"]) == {"first"}
    assert set(parts["simple"]["target"]["first"]) == {"base_0", "base_1", "branch_0"}
    assert set(parts["multi_dilated"]["target"]) == {"first"}
    assert set(parts["multi_dilated"]["target"]["first"]) == whole_stage
    for row in ("cascade", "transfer", "boundary"):
        assert set(parts[row]["target"]) == {"first", "second"}
        assert set(parts[row]["target"]["second"]) == whole_stage
    shapes = [jax.tree.map(jnp.shape, parts["boundary"][part]) for part in ("source", "target")]
    assert shapes[0] == shapes[1]
    assert set(parts["boundary"]["boundary"]) == {"conv_0", "conv_1", "conv_2", "head"}


@pytest.mark.parametrize("row", ABLATION)
def test_outputs_of_each_row_and_what_is_localized(row):
    config, _, _, _, outputs = built(row)
    last = row == "boundary"
    assert outputs.first.cas.shape == outputs.fused_cas.shape == (2, 12, 3)
    assert (
        outputs.second is None
        if row in ("simple", "multi_dilated")
        else outputs.second.cas.shape == (2, 12, 3)
    )
    assert (outputs.segments is not None) == last
    assert 0 <= outputs.fused_cas.min() and outputs.fused_cas.max() <= 1
    arrays = jax.tree.map(np.asarray, jax.jit(functools.partial(decode, config))(outputs))
    assert {name: array.shape for name, array in arrays.items()} == {
        "cas": (2, 12, 3), "probabilities": (2, 3), **({"segments": (2, 3, 12, 2), "contrast": (2, 3, 12)} if last else {}),
    }  # fmt: skip
    segments, classes, scores = localize(
        config, {name: array[0] for name, array in arrays.items()}, num_frames=60
    )
    assert segments.shape == (len(scores), 2) == (len(classes), 2) and len(scores) > 0
    assert 0 <= segments.min() and segments.max() <= 60
    assert set(classes) <= set(
        np.flatnonzero(arrays["probabilities"][0] >= min(0.5, arrays["probabilities"][0].max()))
    )


def test_outputs_belong_together():
    config, module, variables, inputs, outputs = built("boundary")
    first, second = outputs.first, outputs.second
    bias = jnp.stack([variables["params"]["target"]["first"][f"branch_{i}"]["bias"] for i in range(4)])
    np.testing.assert_allclose(first.branch_cas.mean(axis=2), first.logits - bias, atol=1e-5)
    logits = jnp.concatenate([first.logits, second.logits], axis=1)
    np.testing.assert_allclose(outputs.probabilities, jax.nn.sigmoid(logits).mean(axis=1), rtol=1e-6)
    assert outputs.pooled.shape == (2, 8, 8)

    likely = erasing.likely_classes(jax.nn.sigmoid(first.logits).mean(axis=1))
    np.testing.assert_array_equal(outputs.erased, erasing.erasing_mask(first.cas, likely, 0.6))
    with_labels = functools.partial(module.apply, variables, inputs, method="classify")
    np.testing.assert_array_equal(with_labels(likely).second.cas, second.cas)
    nothing_erased = with_labels(jnp.zeros((2, 3)))
    assert not nothing_erased.erased.any() and (nothing_erased.second.cas != second.cas).any()

    params = variables["params"]["boundary"]["head"]
    assert not params["bias"].any() and 0.005 < params["kernel"].std() < 0.02
    np.testing.assert_allclose(
        outputs.segments.mean(-1)[:, :, 0], jnp.tile(jnp.arange(12) + 0.5, (2, 1)), atol=0.2
    )


def test_raw_fusion_is_the_maximum_of_the_stages():
    config, _, variables, inputs, _ = built("cascade")
    config = config.copy_and_resolve_references()
    config.readings = ("normalised_fusion=False",)
    outputs = jax.jit(kt_mgfn.build(config, 3).apply)(variables, inputs)
    np.testing.assert_array_equal(outputs.fused_cas, jnp.maximum(outputs.first.cas, outputs.second.cas))


def test_half_precision_gives_nearly_the_same():
    config, _, variables, inputs, outputs = built("boundary")
    config = config.copy_and_resolve_references()
    config.train.mixed_precision = True
    halved = jax.jit(kt_mgfn.build(config, 3).apply)(variables, inputs)
    assert halved.probabilities.dtype == halved.segments.dtype == halved.fused_cas.dtype == jnp.float32
    np.testing.assert_allclose(halved.first.cas, outputs.first.cas, atol=0.05)
    np.testing.assert_allclose(halved.segments, outputs.segments, atol=0.05)


@pytest.mark.parametrize(
    "field, value, sentence",
    [
        ("model.dilations", (2, 3), r"config.model.dilations is \(2, 3\); it must be 1, then"),
        ("model.dilations", (1, 1), r"config.model.dilations is \(1, 1\)"),
        ("model.anchors", (), "config.model.anchors is empty; it must have at least one entry"),
        ("readings", ("mmd_kernel=cosine",), "may have mmd_kernel=gaussians or mmd_kernel=gaussian or mmd_kernel=linear"),
        ("stages.source_epochs", 0, "config.stages.source_epochs is 0; it must be at least 1"),
        ("train.epochs", 9, r"config.train.epochs is 9, but it is the sum of .*target_epochs \(30\), .* set these instead"),
    ],
)  # fmt: skip
def test_a_bad_config_is_named(field, value, sentence):
    config = kt_mgfn_config()
    require_valid(config, training=True)
    config.update_from_flattened_dict({field: value})
    with pytest.raises(DataError, match=sentence):
        require_valid(config, training=True)


def test_epochs_are_those_of_the_stages_in_use():
    assert [kt_mgfn_config(row).train.epochs for row in ABLATION] == [30, 30, 30, 60, 76]
    config = kt_mgfn_config()
    config.stages.update(source_epochs=2, target_epochs=3, boundary_epochs=5)
    assert config.train.epochs == 10
    config.update_from_flattened_dict({"model.boundary": False, "stages.target_epochs": 4})
    assert config.train.epochs == 6 and json.loads(config.to_json())["train"]["epochs"] == 6
