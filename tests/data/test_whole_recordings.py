"""Whole recordings: the part that a training example shows, the padded test window, and times of both."""

import dataclasses
import types

import jax
import ml_collections
import numpy as np
import pytest

from tal_jax.data import load_dataset, whole_recordings
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.dataset import Dataset
from tal_jax.data.features import data_config
from tal_jax.data.loader import stack_windows
from tal_jax.data.timeline import Timeline
from tal_jax.data.windows import Decoded
from tal_jax.detect import Detector, Stream, to_results
from tal_jax.errors import DataError
from tal_jax.ranges import require_fields
from tal_jax.systems import SYSTEMS, candidates
from tests.golden_case import GoldenCase
from tests.toy_system import TOY

WINDOWS = GoldenCase.load("actionformer/training_windows")
GRID = GoldenCase.load("actionformer/time_grid")


def make_config(**window):
    config = ml_collections.ConfigDict(dict(system="toy", data=data_config()))
    config.augment = ml_collections.ConfigDict(dict(scale=0.0, noise=0.0, rotation_deg=0.0))
    config.window = ml_collections.ConfigDict(dict(frames=64, min_inside=0.5, draws=1, resized=False))
    config.window.crop = ()
    config.window.update(window)
    return config


def make_dataset(features, actions, timeline=None, classes=("run", "jump")):
    """A Dataset of training recordings. features, actions: {name: (T, C)}, {name: [(label, start, end)]}."""
    recordings = {}
    for name, rows in actions.items():
        segments = np.array([row[1:] for row in rows], np.float64).reshape(-1, 2)
        labels = np.array([row[0] for row in rows], np.int32)
        recordings[name] = Recording(name, "train", None, segments, labels)
    of_name = lambda name: timeline or Timeline(1.0, 1, 1)
    return Dataset(Annotations(classes, recordings), features.__getitem__, of_name)


@pytest.mark.parametrize("name", WINDOWS.info["hyper"]["sub_cases"])
def test_parts_are_the_published_ones(name):
    case = WINDOWS.info["hyper"]["sub_cases"][name]
    draws = iter(WINDOWS.input(f"{name}_draws").tolist())

    def draw(*ends):
        low, high, value = next(draws)
        assert ends == (low, high)
        return value

    window = make_config(frames=case["max_seq_len"], min_inside=case["trunc_thresh"]).window
    window.crop = tuple(case["crop_ratio"] or ())
    cells, labels = WINDOWS.input(f"{name}_segments") + 0.5, WINDOWS.input(f"{name}_labels")
    offset, length, segments, labels = whole_recordings.draw_part(
        cells, labels, case["feat_len"], case["offset"], window=window, draw=draw
    )
    assert next(draws, None) is None
    np.testing.assert_array_equal((offset, length), WINDOWS.arrays[f"{name}_window"])
    np.testing.assert_array_equal(labels, WINDOWS.arrays[f"{name}_kept_labels"])
    tolerance = WINDOWS.info["tolerances"]["segments"]
    np.testing.assert_allclose(segments - 0.5, WINDOWS.arrays[f"{name}_kept_segments"], **tolerance)


@pytest.fixture(params=GRID.info["hyper"]["sub_cases"])
def grid(request):
    """(name, case, config, dataset) of a case; the annotated actions are those of recording "a"."""
    name, case = request.param, GRID.info["hyper"]["sub_cases"][request.param]
    rate, fps = case["downsample_rate"], case["default_fps"]
    features = GRID.input(f"{name}_features")[::rate]
    if case["feat_stride"] > 0:
        timeline = Timeline(fps, case["feat_stride"] * rate, case["num_frames"])
    else:  # spread evenly over the recording
        apart = case["duration"] * fps / len(features)
        timeline = Timeline(fps, apart, apart)
    resized = case["force_upsampling"]
    config = make_config(frames=case["max_seq_len"], min_inside=case["trunc_thresh"], resized=resized)
    rows = zip(GRID.input(f"{name}_labels"), *GRID.input(f"{name}_seconds").T, strict=True)
    dataset = make_dataset({"a": features}, {"a": [*rows]}, timeline, ("x", "y", "z"))
    recording = dataclasses.replace(dataset.annotations.recordings["a"], duration_sec=case["duration"])
    annotations = Annotations(dataset.annotations.classes, {"a": recording})
    return name, case, config, dataclasses.replace(dataset, annotations=annotations)


def test_examples_lie_on_the_published_grid(grid):
    name, _, config, dataset = grid
    items, make_example = whole_recordings.examples(config, dataset)
    assert items == ["a"]
    example = make_example("a", np.random.default_rng(0))
    expected, labels = GRID.arrays[f"{name}_grid"], GRID.arrays[f"{name}_kept_labels"]
    tolerances = GRID.info["tolerances"]
    np.testing.assert_array_equal(
        example["labels"], np.pad(labels + 1, (0, len(example["labels"]) - len(labels)))
    )
    np.testing.assert_allclose(example["segments_frame"][: len(labels)] - 0.5, expected, **tolerances["grid"])
    assert not example["segments_frame"][len(labels) :].any()
    inputs = GRID.arrays[f"{name}_input"].T
    assert example["num_frames"] == len(inputs) and example["inputs"].shape[0] == config.window.frames
    np.testing.assert_allclose(example["inputs"][: len(inputs)], inputs, **tolerances["input"])
    assert not example["inputs"][len(inputs) :].any()


def test_test_windows_and_times_are_the_published_ones(grid):
    name, _, config, dataset = grid
    (make,) = whole_recordings.test_windows(config, dataset, "a")
    window, tolerances = make(), GRID.info["tolerances"]
    inputs = GRID.arrays[f"{name}_input"].T
    assert window.num_features == window.inputs["num_frames"] == len(inputs) and window.offset == 0
    np.testing.assert_allclose(window.inputs["inputs"][: len(inputs)], inputs, **tolerances["input"])

    _, timeline = whole_recordings.seen_features(config, dataset, "a")
    stride, num_frames, fps, duration = GRID.arrays[f"{name}_meta"]
    np.testing.assert_allclose(timeline.stride_frames, stride, **tolerances["meta"])
    np.testing.assert_allclose(timeline.snippet_frames, num_frames, **tolerances["meta"])
    np.testing.assert_allclose(timeline.fps, fps, **tolerances["meta"])
    assert dataset.duration_sec("a") == duration

    cells = np.concatenate([GRID.arrays[f"{name}_grid"], [[-3, 2], [5, 1e6]]]) + 0.5
    count, decoded = len(cells), Decoded(0, len(inputs), dict(window.info))
    found = candidates.of_windows(
        [decoded], dataset.timeline("a"), lambda _: (cells, np.zeros(count, int), np.ones(count))
    )
    results = to_results(dataset, "a", found)
    np.testing.assert_allclose(
        [result["segment"] for result in results], GRID.arrays[f"{name}_back"], **tolerances["back"]
    )


def test_an_epoch_has_each_recording_as_often_as_is_asked():
    features = {"a": np.ones((150, 2)), "b": np.ones((64, 2)), "c": np.ones((10, 2))}
    dataset = make_dataset(features, {"a": [(0, 1, 5)], "b": [], "c": []})
    for draws, items in ((1, "abc"), (2, "aabbcc"), (0, "aaabc")):
        assert whole_recordings.examples(make_config(draws=draws), dataset)[0] == list(items)


def test_a_recording_without_action_is_all_negative():
    features = {"a": np.ones((40, 2)), "b": np.full((100, 2), 2.0)}
    dataset = make_dataset(features, {"a": [(1, 1, 5), (0, 2, 9)], "b": []})
    _, make_example = whole_recordings.examples(make_config(), dataset)
    example = make_example("b", np.random.default_rng(0))
    assert example["num_frames"] == 64 and (example["inputs"] == 2).all()
    np.testing.assert_array_equal(example["labels"], [0, 0])
    np.testing.assert_array_equal(make_example("a", np.random.default_rng(0))["labels"], [2, 1])


def test_parts_show_what_is_annotated_there_and_are_augmented():
    signal = np.zeros((300, 3), np.float32)
    signal[100:120] = 1.0
    dataset = make_dataset({"a": signal}, {"a": [(0, 100, 120)]})
    config = make_config(crop=(0.5, 1.0))
    _, make_example = whole_recordings.examples(config, dataset)
    for seed in range(20):
        example = make_example("a", np.random.default_rng(seed))
        start, end = example["segments_frame"][0]
        inside = np.flatnonzero(example["inputs"][:, 0])
        assert inside[0] == max(start, 0) and inside[-1] + 1 == min(end, 64) and end - start >= 10
    config.augment.noise = 0.1
    noisy = make_example("a", np.random.default_rng(seed))["inputs"]
    assert 0.05 < (noisy - example["inputs"]).std() < 0.2


@pytest.mark.parametrize(
    "num_frames, window, multiple, length",
    [
        (1, 64, 8, 64), (64, 64, 8, 64), (65, 64, 8, 80), (80, 64, 8, 80), (81, 64, 8, 96), (112, 64, 8, 112),
        (113, 64, 8, 128), (128, 64, 8, 128), (129, 64, 8, 160), (256, 64, 8, 256), (257, 64, 8, 320),
        (65, 64, 32, 96), (4609, 2304, 32, 5760), (7, 6, 1, 8),
    ],
)  # fmt: skip
def test_lengths_of_test_windows_are_few(num_frames, window, multiple, length):
    assert whole_recordings.padded_length(num_frames, window, multiple) == length


def test_features_that_are_not_finite_are_refused():
    features = np.ones((80, 2), np.float32)
    features[7, 1] = np.nan
    (make,) = whole_recordings.test_windows(make_config(), make_dataset({"a": features}, {"a": []}), "a")
    with pytest.raises(
        DataError, match="Recording 'a' has features that are NaN or beyond 1e15, the first in row 7"
    ):
        make()


@pytest.mark.parametrize("data, sentence", [
    ({}, "No recording of the subset 'train' has an action to learn from; annotate them."),
    ({"ignored_sec": np.array([[1.0, 2.0]])}, "All 1 annotations of the subset 'train' have a label that is"),
    ({"segments_sec": np.full((1, 2), np.nan), "labels": np.zeros(1, np.int32)}, "Recording 'a' has a label"),
])  # fmt: skip
def test_nothing_to_learn_from_is_refused(data, sentence):
    dataset = make_dataset({"a": np.ones((10, 2))}, {"a": []})
    recording = dataclasses.replace(dataset.annotations.recordings["a"], **data)
    dataset = dataclasses.replace(dataset, annotations=Annotations(("run",), {"a": recording}))
    for function in (whole_recordings.examples, whole_recordings.problems):
        with pytest.raises(DataError, match=sentence):
            function(make_config(), dataset)


def test_what_is_not_learnt_is_said():
    actions = {
        "a": [(0, 10, 20), (0, 10, 90), (0, 0, 300), (1, 5, 5.5), (2, 500, 510), (2, 9, 4)],
        "b": [(3, 1, 2)],
    }
    features = {"a": np.ones((320, 2)), "b": np.ones((30, 2))}
    dataset = make_dataset(features, actions, classes=("run", "jump", "sit", "fine"))
    assert whole_recordings.problems(make_config(), dataset) == [
        "1 of the 3 training actions of the class 'run' are never seen by 0.5 in a window of 64 frames, so not "
        "learnt; set --config.window.frames=192, or a smaller config.window.min_inside.",
        "Note: 1 of the 3 training actions of the class 'run' are longer than a window of 64 frames, so they "
        "are learnt in parts; set --config.window.frames=128.",
        "1 of the 1 training actions of the class 'jump' are shorter than a frame, so they are hardly learnt; "
        "use features that are less far apart.",
        "2 of the 2 training actions of the class 'sit' are never seen by 0.5 in a window of 64 frames, so not "
        "learnt; correct their times.",
    ]
    resized = whole_recordings.problems(make_config(resized=True, frames=128), dataset)
    assert [sentence for sentence in resized if "'run'" in sentence] == []


def test_shorter_windows_are_padded_in_a_batch():
    windows = [dict(inputs=np.ones((n, 2), np.float32), num_frames=np.int32(n)) for n in (3, 5)]
    batch = stack_windows(windows)
    np.testing.assert_array_equal(batch["num_frames"], [3, 5])
    assert batch["inputs"].shape == (2, 5, 2) and batch["inputs"].sum() == 16
    with pytest.raises(ValueError, match="same shape"):  # a network that is not told would see the padding
        stack_windows([window["inputs"] for window in windows])


@pytest.mark.parametrize("batch_size, devices", [(3, 1), (2, 4)])
def test_recordings_of_different_lengths_share_a_batch(tiny, batch_size, devices, monkeypatch):
    config = tiny()
    config.window.update(frames=64)
    window = types.SimpleNamespace(**config.window, resized=False)
    monkeypatch.setitem(SYSTEMS, "toy", dataclasses.replace(TOY, windows=lambda config, dataset, name: (
        whole_recordings.test_windows(types.SimpleNamespace(window=window), dataset, name, multiple=16)
    )))  # fmt: skip
    dataset = load_dataset(config)
    names = ["monday", "sunday", "tuesday"]
    variables = TOY.build(config, 2).init(jax.random.key(0), np.zeros((1, 64, 3), np.float32))

    def found():
        return Detector([config], 2).candidates([Stream(config, variables, dataset)], names)

    config.evaluate.batch_size = 1
    alone = found()
    config.evaluate.batch_size, config.parallel.max_devices = batch_size, devices
    together = found()
    for name in names:
        assert len(alone[name].scores) and (alone[name].classes == together[name].classes).all()
        np.testing.assert_allclose(together[name].segments_sec, alone[name].segments_sec)
        np.testing.assert_allclose(together[name].scores, alone[name].scores, rtol=1e-5)


@pytest.mark.parametrize("field, value, sentence", [
    ("crop", (0.0, 1.0), r"config.window.crop is \(0.0, 1.0\); each of its numbers must be above 0 and at most 1"),
    ("min_inside", 0.0, "config.window.min_inside is 0.0; it must be above 0 and at most 1"),
    ("draws", -1, "config.window.draws is -1; it must be at least 0"),
])  # fmt: skip
def test_fields_have_ranges(field, value, sentence):
    with pytest.raises(DataError, match=sentence):
        require_fields(make_config(**{field: value}))
    require_fields(make_config())
