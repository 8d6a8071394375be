"""A published checkpoint of ActionFormer becomes a run that evaluates and detects."""

import numpy as np
import pytest

import tal_jax
from tal_jax import convert, evaluate
from tal_jax.data import features
from tal_jax.errors import DataError
from tal_jax.systems import SYSTEMS
from tests.golden import recipe
from tests.published.test_weight_files import pickled, tensor, write_zip
from tests.systems.actionformer_case import load, small_config

HEAD = "cls_head.cls_head.conv.weight"


@pytest.fixture
def small(tiny_data):
    """(config, arrays by published names) of a small network for the tiny data set."""
    case = load("forward_small")
    config, _ = small_config(case)
    config.name = "small"
    config.data = features.data_config(annotations=str(tiny_data / "labels.json"), fps=10.0)
    config.data.features = str(tiny_data)
    named = {p["name"]: recipe.param(p["name"], p["shape"]) for p in case.info["parameters"]}
    first = "backbone.embd.0.conv.weight"
    bias = np.zeros(2, np.float32)
    named |= {first: named[first][:, :3], HEAD: named[HEAD][:2], "cls_head.cls_head.conv.bias": bias}
    return config, named


def checkpoint(path, named):
    """A file as the published code writes it; the parameters themselves are not those of the running mean."""
    storages = {}

    def stored(name, array):
        if array.size == 1:
            array = array.reshape(())
        elif array.ndim == 1 and not name.endswith("conv.bias"):
            array = array.reshape(1, -1, 1)
        key, array = str(len(storages)), np.ascontiguousarray(array, np.float32)
        storages[key] = array
        strides = tuple(step // array.itemsize for step in array.strides)
        return tensor(key, "Float", array.size, array.shape, strides)

    def saved(arrays):
        return {f"module.{name}": stored(name, array) for name, array in arrays.items()}

    moments = {number: {"step": 7, "exp_avg": stored("", np.ones(3))} for number in range(2)}
    tree = {
        "epoch": 35,
        "state_dict": saved({name: 0 * array for name, array in named.items()}),
        "scheduler": {"last_epoch": 7, "verbose": False, "gamma": None},
        "optimizer": {"state": moments, "param_groups": [{"params": [0, 1], "foreach": None}]},
        "state_dict_ema": saved(named),
    }
    return write_zip(path, pickled(tree), storages)


def test_a_published_checkpoint_evaluates_and_detects(tmp_path, small, tiny_data, capsys):
    config, named = small
    workdir = tmp_path / "run"
    convert.convert_detector(checkpoint(tmp_path / "epoch_035.pth.tar", named), config, workdir)
    assert "ActionFormer, classes: fast, slow." in capsys.readouterr().out

    params = SYSTEMS[config.system].variables(config, workdir)["params"]  # those of the running mean
    np.testing.assert_array_equal(params["heads"]["cls_out"]["kernel"], named[HEAD].transpose(2, 1, 0))
    assert params["heads"]["scales"].all()
    result = evaluate.evaluate(config, workdir)
    assert np.isfinite(result["map_avg"])
    run = tal_jax.load_run(workdir)
    with pytest.raises(DataError, match="has 4 channels"):
        run.detect(np.ones((90, 4), np.float32))
    found = run.detect(np.load(tiny_data / "sunday.npy"))
    assert found and {row["label"] for row in found} <= {"fast", "slow"}
    assert all(0 <= row["segment"][0] < row["segment"][1] <= 9.0 for row in found)


def test_what_does_not_fit_is_one_sentence(tmp_path, small):
    config, named = small
    source = tmp_path / "x.tar"

    def refusal(arrays=None, **fields):
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
        with pytest.raises(DataError) as error:
            convert.convert_detector(checkpoint(source, arrays or named), changed, tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return str(error.value).removeprefix(str(source))

    width, says = config.backbone.channels, "but the config says"
    has = " has a network of config."
    assert refusal(backbone__channels=2 * width) == f"{has}backbone.channels={width}, {says} {2 * width}."
    assert refusal(data__num_channels=7) == f"{has}data.num_channels=3, {says} 7."
    inputs = dict(backbone__input_channels=(1, 2), backbone__projected_channels=(8, 8))
    assert refusal(**inputs) == f"{has}backbone.input_channels=(), {says} (1, 2)."
    three = np.repeat(named[HEAD][:1], 3, axis=0)
    assert refusal(named | {HEAD: three}) == (
        " does not fit the network: of another shape (1): "
        f"params/heads/cls_out/kernel (3, {width}, 3) instead of (3, {width}, 2)."
    )
    scale = "reg_head.scale.0.scale"
    assert "params/heads/scales (5,) instead of (4,)" in refusal(named | {scale: np.ones(2)})
    assert refusal(named | {"extra.weight": three}).startswith("These names are not of a published ActionF")
    assert "params/heads/cls_out/kernel (2, 32) instead of" in refusal(named | {HEAD: named[HEAD][:, :, 0]})
    assert "nothing in it is called backbone.embd.0.conv.weight" in refusal({HEAD: three})
