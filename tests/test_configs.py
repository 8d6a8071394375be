"""Every variant that a config file offers can be built, other ones are refused; published files make examples
and detections.
"""

import importlib
import json
import pathlib

import numpy as np
import pytest

from configs.ego4d import WIDTHS as EGO4D_FEATURES
from tal_jax.data import load_dataset
from tal_jax.data.annotations import Annotations, load_annotations
from tal_jax.data.proposals import Proposals, write_proposals
from tal_jax.data.sets import thumos14
from tal_jax.detect import Detector, Stream
from tal_jax.errors import DataError
from tal_jax.run_config import remember_run, trained_run
from tal_jax.systems import SYSTEMS
from tal_jax.systems.ecm.config import TABLE_4
from tal_jax.systems.kt_mgfn.config import ABLATION
from tests.systems.tcanet_golden import random_variables

ECM_ROWS, KT_MGFN_ROWS = (f"ecm,row={row}" for row in TABLE_4), (f"kt_mgfn,row={row}" for row in ABLATION)
VARIANTS = {
    "sbhar": ["dw_afsd", "afsd", "demo", "actionformer", "dw_actionformer,mixer=max", *ECM_ROWS, *KT_MGFN_ROWS, "pgcn", "pgcn_dw,row=no_contextual", "tcanet"],
    "thumos": [
        "dw_afsd", "afsd,input=flow", "dw_afsd,input=features", "ecm", "ecm,row=pre", "pgcn", "pgcn_dw,input=flow", "pgcn,row=mlp_mlp",
        "tcanet", "actionformer", "dw_actionformer", "actionformer,mixer=max",
    ],
    "activitynet": [
        "dw_afsd", "afsd,input=flow", "ecm", "ecm,version=1.2", "ecm,version=1.2,row=post", "pgcn,input=flow,row=gcn_mean", "tcanet",
        "actionformer", "dw_actionformer,features=i3d",
    ],
    "epic": ["actionformer", "dw_actionformer", "actionformer,task=noun"],
    "ego4d": [*(f"actionformer,features={features}" for features in EGO4D_FEATURES), "dw_actionformer"],
    "multithumos": ["actionformer", "dw_actionformer", "actionformer,mixer=max"],
    "hacs": ["kt_mgfn", "kt_mgfn,row=cascade", "tcanet"],
    "folder": ["dw_afsd", "afsd,input=rgb", "actionformer", "dw_actionformer,mixer=max", "ecm", "ecm,row=pre", "linear"],
    "kinetics": ["sliding"],
    "shapes": ["dw_afsd", "afsd"],
}  # fmt: skip


def get_config(name, *variant):
    return importlib.import_module(f"configs.{name}").get_config(*variant)


@pytest.mark.parametrize(
    "name, variant", [(name, variant) for name, variants in VARIANTS.items() for variant in variants]
)
def test_a_variant_builds(name, variant):
    config = get_config(name, variant)
    assert config.system in SYSTEMS and config.name.startswith(name)
    SYSTEMS[config.system].build(config, 3)


@pytest.mark.parametrize("name", VARIANTS)
def test_other_systems_and_options_are_refused(name):
    with pytest.raises(
        DataError, match="the system 'foo' is not one of (.*afsd|kt_mgfn|actionformer|sliding)"
    ):
        get_config(name, "foo")
    with pytest.raises(DataError, match="'foo' is no option of the variant"):
        get_config(name, f"{VARIANTS[name][0]},foo=1")


@pytest.mark.parametrize("system, rows", [("ecm", TABLE_4), ("kt_mgfn", ABLATION)])
def test_a_run_of_any_row_is_used_with_the_default_config(tmp_path, system, rows):
    for row in rows:
        remember_run(get_config("sbhar", f"{system},row={row}"), ("a", "b"), tmp_path / row)
        config, classes, _ = trained_run(get_config("sbhar", system), tmp_path / row)
        SYSTEMS[system].build(config, len(classes))
    with pytest.raises(DataError, match=f"holds a run of {system}; name it after the config file"):
        trained_run(get_config("sbhar"), tmp_path / row)


def test_what_only_a_test_reads_may_change_after_training(tmp_path):
    found = {}
    for system, field, value in (("pgcn", "sampled", True), ("tcanet", "confidence_stage", 3)):
        remember_run(get_config("sbhar", system), ("a", "b"), tmp_path / system)
        config = get_config("sbhar", system)
        config.decode[field] = value
        found[system], *_ = trained_run(config, tmp_path / system)
    assert found["pgcn"].decode.sampled and found["tcanet"].decode.confidence_stage == 3


def test_streams_have_their_learning_rates_and_no_other_names():
    assert [
        get_config("thumos", f"pgcn,input={stream}").train.learning_rate for stream in ("rgb", "flow")
    ] == [0.001, 0.01]
    with pytest.raises(
        DataError, match="pgcn has no input 'both'; it learns from the features of 'rgb' or of 'flow'"
    ):
        get_config("activitynet", "pgcn,input=both")


VIDEOS = {  # of ActivityNet 1.3, from its annotations
    "nwznKOuZM7w": ("training", 31.649, [("Waxing skis", 1.153, 30.015)]),
    "GGSY1Qvo990": ("validation", 18.16, [("Clean and jerk", 5.824, 16.199)]),
}
THUMOS_VIDEOS = {"video_validation_0000986": 603, "video_test_0000846": 816}  # frames


def annotated(path, videos):
    """Writes the annotation file of videos like VIDEOS; returns its path and what it holds."""
    database = {
        name: {
            "subset": subset,
            "duration": duration_sec,
            "annotations": [{"label": label, "segment": [start, end]} for label, start, end in actions],
        }
        for name, (subset, duration_sec, actions) in videos.items()
    }
    path.write_text(json.dumps({"database": database}))
    return str(path), load_annotations(path)


def proposed(path, annotations, labelled=False):
    """Writes proposals: the actions shifted by a tenth, and the middle of the video; returns the path."""
    found = {}
    for name, recording in annotations.recordings.items():
        segments, end = recording.segments_sec + 0.1 * np.diff(recording.segments_sec), recording.duration_sec
        segments = np.minimum(np.concatenate([segments, [[0.4 * end, 0.6 * end]]]), end)
        labels = np.append(recording.labels, recording.labels[:1]) if labelled else None
        found[name] = Proposals(segments, np.linspace(1, 0.5, len(segments)), labels)
    {".txt": write_list, "": write_csv_folder}.get(path.suffix, write_proposals)(path, found, annotations)
    return str(path)


def write_list(path, proposals, annotations):
    """Writes the list of P-GCN's published code, in frames, without the truths, whose columns are not read."""
    blocks = []
    for i, (name, found) in enumerate(proposals.items(), 1):
        recording = annotations.recordings[name]
        num_frames = recording.num_frames or round(recording.fps * recording.duration_sec)
        frames = np.rint(found.segments_sec / recording.duration_sec * num_frames).astype(int).tolist()
        rows = [f"0 0 0 {start} {end}" for start, end in frames]
        blocks += [f"# {i}", name, str(num_frames), "1", "0", str(len(rows)), *rows]
    path.write_text("\n".join(blocks) + "\n")


def write_csv_folder(path, proposals, annotations):
    """Writes NAME.csv of each recording, as BMN's published proposals: xmin, xmax in seconds, score."""
    path.mkdir()
    for name, found in proposals.items():
        rows = [f"{start},{end},{score}" for (start, end), score in zip(found.segments_sec, found.scores)]
        (path / f"{name}.csv").write_text("\n".join(["xmin,xmax,score", *rows]) + "\n")


def scored(path, names, classes):
    """Writes class scores of whole recordings, the last class the best; returns the path."""
    row = np.arange(len(classes)) / len(classes)
    path.write_text(json.dumps({"class": list(classes), "results": {name: row.tolist() for name in names}}))
    return str(path)


def of_two_streams(folder, num_features):
    """Writes rgb/NAME.npy and flow/NAME.npy (T, 1024); those of RGB are negative, those of flow positive."""
    random = np.random.default_rng(0)
    for stream, sign in (("rgb", -1), ("flow", 1)):
        (folder / stream).mkdir()
        for name, count in num_features.items():
            np.save(folder / stream / f"{name}.npy", sign * random.random((count, 1024), np.float32))


def thumos_pgcn(folder):
    config = get_config("thumos", "pgcn_dw,input=flow")
    of_two_streams(folder, {name: (frames - 64) // 8 + 1 for name, frames in THUMOS_VIDEOS.items()})
    bundled = thumos14.bundled_annotations()
    annotations = Annotations(bundled.classes, {name: bundled.recordings[name] for name in THUMOS_VIDEOS})
    config.proposals = proposed(folder / "proposals.txt", annotations)
    return config


def thumos_tcanet(folder):
    config = get_config("thumos", "tcanet")
    for name, frames in THUMOS_VIDEOS.items():
        np.save(
            folder / f"{name}.npy",
            np.random.default_rng(0).random(((frames - 16) // 4 + 1, 2048), np.float32),
        )
    bundled = thumos14.bundled_annotations()
    annotations = Annotations(bundled.classes, {name: bundled.recordings[name] for name in THUMOS_VIDEOS})
    config.proposals = proposed(folder / "proposals.json", annotations, labelled=True)
    config.evaluate.recording_scores = scored(folder / "scores.json", THUMOS_VIDEOS, bundled.classes)
    return config


def activitynet_pgcn(folder):
    config = get_config("activitynet", "pgcn")
    config.data.annotations, annotations = annotated(folder / "labels.json", VIDEOS)
    of_two_streams(folder, {f"v_{name}": 70 for name in VIDEOS})
    config.proposals = proposed(folder / "proposals.json", annotations)
    config.evaluate.recording_scores = scored(folder / "scores.json", VIDEOS, annotations.classes)
    return config


def activitynet_tcanet(folder):
    config = get_config("activitynet", "tcanet")
    config.data.annotations, annotations = annotated(folder / "labels.json", VIDEOS)
    for name in VIDEOS:
        np.savez(
            folder / f"v_{name}.npz",
            feat_spa=np.ones((200, 80), np.float32),
            feat_tem=np.ones((200, 80), np.float32),
        )
    config.proposals = proposed(folder / "proposals.json", annotations, labelled=True)
    config.decode.classes = "proposals"
    return config


def hacs_tcanet(folder):
    config = get_config("hacs", "tcanet")
    damaged = {
        name: ("validation" if i % 2 else "training", 20.0, [("run", 2.0, 9.0)])
        for i, name in enumerate(config.data.left_out)
    }
    config.data.annotations, annotations = annotated(folder / "labels.json", VIDEOS | damaged)
    for name, recording in annotations.recordings.items():
        count = int(recording.duration_sec * 15 / 8)
        np.save(folder / f"{name}.npy", np.random.default_rng(0).random((count, 2304), np.float32))
    config.proposals = proposed(folder / "bmn", annotations)
    config.data.class_agnostic = True
    return config


@pytest.mark.parametrize(
    "corpus, inputs, length_sec, labels",
    [
        # each proposal in all of them
        (thumos_pgcn, (8, 21, 3072), None, set(thumos14.bundled_annotations().classes)),
        (thumos_tcanet, (256, 2048), 256 * 4 / 30, {"VolleyballSpiking", "ThrowDiscus"}),
        (activitynet_pgcn, (8, 21, 3072), None, {"Clean and jerk", "Waxing skis"}),
        (activitynet_tcanet, (100, 400), 31.649, {"Clean and jerk"}),
        (hacs_tcanet, (1000, 2304), 1000 * 8 / 15, {"action"}),
    ],
)
def test_published_files_make_examples_and_detections(corpus, inputs, length_sec, labels, tmp_path):
    """inputs: their shape; length_sec: covered by the features of TCANet; labels: of the detections on the
    test video.
    """
    config = corpus(tmp_path)
    config.data.update(features=str(tmp_path), allow_missing=True)
    config.decode.proposals = 10
    config.evaluate.batch_size = 1
    config.parallel.max_devices = 1
    config.model.hidden = 8
    if config.system == "tcanet":
        config.model.channels = 16
    dataset, system = load_dataset(config), SYSTEMS[config.system]
    assert len(dataset.annotations.recordings) == 2
    items, make_example = system.examples(config, dataset)
    example = make_example(items[0], np.random.default_rng(0))
    found = example["inputs"]["features"] if config.system == "tcanet" else example["inputs"]
    assert found.shape == inputs and np.isfinite(found).all()
    if config.system == "tcanet":
        assert example["inputs"]["covered_sec"] == pytest.approx(length_sec, rel=1e-5)
        assert example["inputs"]["proposal_mask"].sum() >= 2
    else:
        assert (found > 0).all() if config.data.stream == "flow" else (found < 0).all()

    module = system.build(config, len(dataset.annotations.classes))
    variables = random_variables(module, **batched(example["inputs"]))
    detector = Detector([config], len(dataset.annotations.classes))
    (name,) = dataset.annotations.subset(config.data.test_subset).recordings
    detections = detector.detect([Stream(config, variables, dataset)], [name])[name]
    assert detections and all(0 <= d["segment"][0] < d["segment"][1] for d in detections)
    assert max(d["segment"][1] for d in detections) <= dataset.annotations.recordings[name].duration_sec
    assert {d["label"] for d in detections} == labels


def test_features_have_two_streams(tmp_path):
    config = thumos_pgcn(tmp_path)
    config.data.update(features=str(tmp_path), allow_missing=True, stream="both")
    with pytest.raises(
        DataError, match="config.data.stream is 'both'; it must be one of rgb, flow, or empty"
    ):
        load_dataset(config)
    config.data.update(stream="rgb", allow_missing=False)
    with pytest.raises(
        DataError, match="408 of 410 recordings have no feature file .* put rgb/VIDEO.npy and flow/VIDEO.npy"
    ):
        load_dataset(config)


def batched(inputs):
    """The inputs of a module, each with a leading dimension."""
    return {
        key: value[None]
        for key, value in (inputs if isinstance(inputs, dict) else {"inputs": inputs}).items()
    }


def test_an_option_is_said_once_and_a_config_file_is_short():
    with pytest.raises(DataError, match="says an option twice"):
        get_config("thumos", "afsd,input=rgb,input=flow")
    for path in pathlib.Path(importlib.import_module("configs.sbhar").__file__).parent.glob("*.py"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 110 and max(map(len, lines)) <= 110, path
