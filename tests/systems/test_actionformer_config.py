"""The published recipes of ActionFormer, and what a config or data set of it may not be."""

import dataclasses
import functools
import importlib
import json
import math

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tal_jax import check_data
from tal_jax.data import load_dataset
from tal_jax.data.annotations import Annotations
from tal_jax.errors import DataError
from tal_jax.systems import SYSTEMS, actionformer, require_valid
from tal_jax.systems.actionformer.config import actionformer_config, small_config
from tal_jax.systems.actionformer.published import actionformer_from_state_dict
from tests.systems.actionformer_case import load

# Published configuration -> our config file and variant, number of classes, parameters (None: of the case).
PUBLISHED = {
    "thumos_i3d": ("thumos", "actionformer", 20, None),
    "anet_tsp": ("activitynet", "actionformer", 1, None),
    "anet_i3d": ("activitynet", "actionformer,features=i3d", 1, 8_123_145),
    "epic_slowfast_verb": ("epic", "actionformer", 97, 29_763_177),
    "epic_slowfast_noun": ("epic", "actionformer,task=noun", 300, None),
    "ego4d_omnivore_egovlp": ("ego4d", "actionformer,features=omnivore+egovlp", 110, 77_164_152),
    "ego4d_slowfast_omnivore_egovlp": (
        "ego4d", "actionformer,features=slowfast+omnivore+egovlp", 110, None,
    ),
}  # fmt: skip


def get_config(name, variant):
    return importlib.import_module(f"configs.{name}").get_config(variant)


def shapes_of(tree):
    return {"/".join(path): tuple(leaf.shape) for path, leaf in flatten_dict(tree).items()}


@functools.cache
def state_dicts():
    case = load("state_dict")
    return case.info["hyper"]["configs"], case.json_file(case.info["files"][0])


@pytest.mark.parametrize("published", PUBLISHED)
def test_a_config_builds_the_published_network(published):
    name, variant, num_classes, parameters = PUBLISHED[published]
    config = get_config(name, variant)
    inputs = jax.ShapeDtypeStruct((1, config.window.frames, config.data.num_channels), np.float32)
    model = SYSTEMS[config.system].build(config, num_classes)
    found = shapes_of(jax.eval_shape(model.init, jax.random.key(0), inputs)["params"])
    hyper, shapes = state_dicts()
    if published in hyper:
        arrays = {key: np.broadcast_to(np.int8(0), shape) for key, shape in shapes[published].items()}
        assert found == shapes_of(actionformer_from_state_dict(arrays))
    assert sum(map(math.prod, found.values())) == (parameters or hyper[published]["parameters"])


def test_published_features_of_activitynet_make_examples(tmp_path):
    config = get_config("activitynet", "actionformer")
    config.data.update(annotations=str(tmp_path / "labels.json"), features=str(tmp_path))
    database = {}
    for name, subset in (("a", "training"), ("b", "validation")):
        np.save(tmp_path / f"v_{name}.npy", np.ones((30, 512), np.float32))
        again = [{"label": "run", "segment": [4.0, 9.0]}, {"label": "run", "segment": [4.0002, 9.0]}]
        database[name] = {"subset": subset, "duration": 32.0, "annotations": again}
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    dataset, system = load_dataset(config), SYSTEMS[config.system]
    assert dataset.annotations.classes == ("action",)
    items, make = system.examples(config, dataset)
    config.window.crop = ()
    example = make(items[0], np.random.default_rng(0))
    assert items == ["a"] and example["inputs"].shape == (192, 512) and example["labels"].tolist() == [1]
    np.testing.assert_allclose(example["segments_frame"], [[24.0, 54.0]])  # 192 cells of 1/6 s


@pytest.mark.parametrize("variant, sentence", [
    ("activitynet:actionformer,features=clip", "the option features is 'clip'; it must be one of tsp, i3d."),
    ("activitynet:ecm,version=2", "the option version is '2'; it must be one of 1.2, 1.3."),
    ("ego4d:actionformer,features=clip", "the option features is 'clip'; it must be one of slowfast, omni"),
    ("epic:actionformer,task=adverb", "the option task is 'adverb'; it must be one of verb, noun."),
    ("thumos:actionformer,mixer=sum", "the option mixer is 'sum'; it must be one of attention, max, sgp."),
])  # fmt: skip
def test_an_option_that_cannot_be_is_one_sentence(variant, sentence):
    with pytest.raises(DataError) as error:
        get_config(*variant.split(":"))
    assert str(error.value).startswith(sentence)


BOUNDS = actionformer_config().loss.level_bounds


COARSEST = "it must be a multiple of 32, the stride of the coarsest level."
SHARES = "it must be two rising shares such as (0.9, 1.0), or empty."
ODD = "each window must be odd and whole, so that a position is in its middle."
PAIRS = "each entry must be two rising numbers of cells, such as (4, 8)."


@pytest.mark.parametrize("field, value, sentence", [
    ("window.frames", 2310, f"is 2310; {COARSEST}"),
    ("window.frames", 0, f"is 0; {COARSEST}"),
    ("window.crop", (0.9,), f"is (0.9,); {SHARES}"),
    ("window.crop", (1.0, 0.9), f"is (1.0, 0.9); {SHARES}"),
    ("window.crop", (0.9, 1.5), "is (0.9, 1.5); each of its numbers must be above 0 and at most 1."),
    ("backbone.windows", (18,), f"is (18,); {ODD}"),
    ("backbone.windows", (9.0,), "is (9.0,); each of its whole numbers must be at least 0."),
    ("backbone.windows", (9.5,), "is (9.5,); each of its whole numbers must be at least 0."),
    ("backbone.windows", (9, 9), "has 2 entries; it must have one, or one for each of the 6 levels."),
    ("backbone.mixer", "sum", "is 'sum'; it must be one of attention, max, sgp, conv."),
    ("backbone.input_channels", (3, 4), "and config.backbone.projected_channels must have as many entries."),
    ("loss.level_bounds", BOUNDS[:5], "has 5 entries; it must have one for each of the 6 levels."),
    ("loss.level_bounds", (*BOUNDS[:5], (64, 64)), f"has (64, 64); {PAIRS}"),
    ("loss.level_bounds", (*BOUNDS[:5], 64), f"is {(*BOUNDS[:5], 64)}; each of its entries must be two numbers."),
    ("train.warmup_epochs", 35, "is 35; it must be below config.train.epochs (35)."),
    ("curriculum.weight_norm", "sum", "is 'sum'; it must be one of none, mean, floor."),
])  # fmt: skip
def test_a_field_that_cannot_be_is_one_sentence(field, value, sentence):
    config = actionformer_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(DataError) as error:
        require_valid(config, True)
    assert str(error.value) == f"config.{field} {sentence}"


def test_blocks_of_tridet_have_windows_and_groups():
    config = actionformer_config()
    config.backbone.update(mixer="sgp", windows=(0,))
    with pytest.raises(
        DataError, match=r"windows is \(0,\); with .*mixer=sgp each must be 1 or more, such as"
    ):
        require_valid(config, True)
    config.backbone.update(windows=(1,), channels=40)
    with pytest.raises(DataError, match="channels is 40; with .*mixer=sgp it must be a multiple of 16"):
        require_valid(config, True)


def test_heads_share_the_channels():
    config = actionformer_config()
    config.backbone.heads = 7
    with pytest.raises(DataError) as error:
        require_valid(config, True)
    said = "config.backbone.channels is 512; it must be a multiple of config.backbone.heads (7)."
    assert str(error.value) == said


@pytest.mark.parametrize("empty, num_classes, sentence", [
    ((2, 5), 5, "config.model.empty_classes has 5; the 5 classes have the numbers 0 to 4."),
    ((0.5,), 5, "config.model.empty_classes has 0.5; the 5 classes have the numbers 0 to 4."),
    ((), 0, "The annotations have no class, so there is nothing to detect; annotate actions."),
])  # fmt: skip
def test_classes_that_are_none_are_refused(empty, num_classes, sentence):
    config = actionformer_config()
    config.model.empty_classes = empty
    with pytest.raises(DataError) as error:
        actionformer.build(config, num_classes)
    assert str(error.value) == sentence


def on_tiny_data(tiny_data):
    """A config of ActionFormer for the tiny data set."""
    config = small_config()
    config.name = "small"
    config.data = get_config("folder", "actionformer").data
    config.data.update(annotations=str(tiny_data / "labels.json"), features=str(tiny_data), fps=10.0)
    config.parallel.max_devices = 1
    return config


def test_features_of_another_width_are_refused(tiny_data):
    config = on_tiny_data(tiny_data)
    config.backbone.update(input_channels=(2, 2), projected_channels=(8, 8))
    inputs = jax.ShapeDtypeStruct((1, 512, 3), np.float32)
    with pytest.raises(DataError) as error:
        jax.eval_shape(actionformer.build(config, 2).init, jax.random.key(0), inputs)
    said = "The features have 3 channels, but config.backbone.input_channels are (2, 2), 4 in all"
    assert str(error.value) == f"{said}; make the two agree."
    assert check_data.check_dataset(config)[1] == [str(error.value)]
    config.data.num_channels = 4
    with pytest.raises(DataError, match="has 3 channels, but config.data.num_channels is 4"):
        load_dataset(config).read("monday")


def test_check_data_says_what_is_too_short_and_which_classes_are_empty(tiny_data):
    config = on_tiny_data(tiny_data)
    assert check_data.check_dataset(config)[1] == []
    dataset = load_dataset(config)
    recordings = dict(dataset.annotations.recordings)
    monday = recordings["monday"]
    instants = monday.segments_sec[:, :1] + [0.0, 0.05]  # half a frame
    recordings["monday"] = dataclasses.replace(monday, segments_sec=instants)
    annotations = Annotations((*dataset.annotations.classes, "none"), recordings)
    found = actionformer.problems(config, dataclasses.replace(dataset, annotations=annotations))
    short = "training actions of the class 'fast' are shorter than a frame, so they are hardly learnt"
    assert [sentence for sentence in found if short in sentence]
    assert found[-1] == (
        "Note: config.model.empty_classes is (), but the classes without a training action have the numbers "
        "2; set --config.model.empty_classes=2."
    )
    config.model.empty_classes = (2,)
    sentence = "config.model.empty_classes has 2; the 2 classes have the numbers 0 to 1."
    assert check_data.check_dataset(config)[1] == [sentence]
    config.model.empty_classes = (1,)
    assert actionformer.problems(config, dataset)[-1] == (
        "Note: config.model.empty_classes is (1,), but each class has a training action; set "
        "--config.model.empty_classes=."
    )
