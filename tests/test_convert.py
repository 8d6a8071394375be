"""Parameters of the published AFSD under our names. That they compute the same is tested with the network."""

import flax.traverse_util
import jax
import numpy as np
import pytest

from tal_jax.convert import afsd_from_state_dict
from tal_jax.errors import DataError
from tal_jax.systems.afsd.model import AFSD
from tests.golden_case import GoldenCase

HEAD = "coarse_pyramid_detection."


@pytest.mark.parametrize(
    "case, settings, maps",
    [
        ("pyramid_and_heads", dict(num_classes=20, window=256), ("Mixed_4f", "Mixed_5c")),
        ("anet_pyramid_and_heads", dict(num_classes=1, window=768, top_down=False), (None, "Mixed_5c")),
    ],
)
def test_every_published_parameter_has_its_place(case, settings, maps):
    case = GoldenCase.load(f"afsd/{case}")
    shapes = {entry["name"]: entry["shape"] for entry in case.info["inputs"]}
    maps = [name and jax.ShapeDtypeStruct([shapes[name][axis] for axis in (0, 2, 3, 4, 1)], np.float32) for name in maps]
    wanted = jax.eval_shape(AFSD(**settings).init, jax.random.key(0), maps)["params"]

    # Parameter number i holds nothing but i, which tells where it went.
    named = {p["name"]: np.full(p["shape"], i, np.float32) for i, p in enumerate(case.info["parameters"])}
    found = afsd_from_state_dict(named, top_down=settings.get("top_down", True))
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    assert jax.tree.map(np.shape, found) == jax.tree.map(lambda leaf: leaf.shape, wanted)
    scales = found.pop("scales")
    np.testing.assert_array_equal(scales, [named[f"{HEAD}loc_heads.{level}.scale"][0] for level in range(6)])
    numbers = [leaf.ravel()[0] for leaf in jax.tree.leaves(found)]
    assert sorted([*numbers, *scales]) == list(range(len(named)))


def test_a_convolution_becomes_time_in_out():
    weight = np.arange(24.0).reshape(2, 4, 3)
    params = afsd_from_state_dict({f"{HEAD}conf_head.conv1d.weight": weight})
    kernel = params["cls_head"]["conv"]["kernel"]
    assert kernel.shape == (3, 4, 2)
    assert kernel[1, 3, 0] == weight[0, 3, 1]


def test_a_convolution_over_a_whole_map_becomes_a_product_with_the_flattened_map():
    rng = np.random.default_rng(0)
    weight, features = rng.normal(size=(5, 4, 1, 2, 3)), rng.normal(size=(7, 2, 3, 4))  # features: time, height, width, channel
    params = afsd_from_state_dict({f"{HEAD}pyramids.0.0.conv3d.weight": weight})
    kernel = params["pyramid"]["project_0"]["conv"]["conv"]["kernel"]
    assert kernel.shape == (1, 2 * 3 * 4, 5)
    np.testing.assert_allclose(features.reshape(7, -1) @ kernel[0], np.einsum("thwc,ochw->to", features, weight[:, :, 0]))


def test_level_1_is_a_projection_for_thumos_and_a_convolution_for_activitynet():
    named = {f"{HEAD}pyramids.1.1.bias": np.zeros(8)}
    assert list(afsd_from_state_dict(named, top_down=True)["pyramid"]) == ["project_1"]
    assert list(afsd_from_state_dict(named, top_down=False)["pyramid"]) == ["down_1"]


def test_other_parts_are_left_alone():
    bias = np.ones(2, np.float32)
    params = afsd_from_state_dict({"backbone._model.Conv3d_1a_7x7.bn.weight": np.ones(64), f"{HEAD}loc_head.conv1d.bias": bias})
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    np.testing.assert_array_equal(flat.pop("loc_head/conv/bias"), bias)
    assert list(flat) == ["scales"] and flat["scales"].size == 0


def test_all_unknown_names_are_listed():
    strange = [f"{HEAD}mystery.weight", f"{HEAD}loc_tower.0.0.conv1d.gamma", f"{HEAD}deconv.2.weight"]
    named = dict.fromkeys([*strange, f"{HEAD}loc_head.conv1d.bias", "backbone.mystery"], np.zeros(2))
    with pytest.raises(DataError) as error:
        afsd_from_state_dict(named)
    assert str(error.value) == f"These names are not of a published AFSD checkpoint: {', '.join(strange)}."
