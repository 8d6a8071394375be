"""Two stages: what the second makes of odd proposals, of two streams, after a stop, and of one's own
recordings.
"""

import dataclasses
import json
import logging
import math
import shutil

import numpy as np
import pytest

from tal_jax import evaluate, predict, propose, train, trained_run
from tal_jax.data import load_dataset
from tal_jax.data.annotations import load_annotations
from tal_jax.data.proposals import read_proposals
from tal_jax.errors import DataError
from tal_jax.systems import SYSTEMS
from tests import tiny_config
from tests.conftest import FPS, signal
from tests.test_propose import assert_same, saved_run, stop_at
from tests.test_train import last_state, metrics

pytestmark = pytest.mark.usefixtures("compiled_once")

# name -> subset, length in frames, actions, proposals (first and last frame)
ODD = {
    "many": ("train", 220, [("slow", 12, 44), ("fast", 60, 84), ("slow", 110, 150)], None),
    "none": ("train", 100, [("fast", 20, 60)], []),
    "one": ("train", 90, [("slow", 30, 60)], [(28, 63)]),
    "test_many": ("test", 200, [("fast", 8, 40), ("slow", 62, 86)], None),
    "test_none": ("test", 90, [("slow", 10, 40)], []),
    "test_one": ("test", 90, [("fast", 50, 80)], [(45, 78)]),
}


@pytest.fixture(scope="module")
def odd_data(tmp_path_factory):
    """Folder with recordings of two streams, their labels, and proposals.json: many, one or none for a
    recording.
    """
    folder, database, results = tmp_path_factory.mktemp("odd"), {}, {}
    for seed, (name, (subset, num_frames, actions, segments)) in enumerate(ODD.items()):
        for stream in ("rgb", "flow"):
            (folder / stream).mkdir(exist_ok=True)
            np.save(
                folder / stream / f"{name}.npy", signal(num_frames, actions, seed + 10 * (stream == "flow"))
            )
        found = [(label, start / FPS, end / FPS) for label, start, end in actions]
        database[name] = {"subset": subset, "duration": num_frames / FPS}
        database[name]["annotations"] = [{"label": label, "segment": times} for label, *times in found]
        if segments is None:  # each action, moved by a share of its length
            moves = [(a / 5, b / 5) for a in range(-2, 3) for b in range(-2, 3)]
            segments = [(s + a * (e - s), e + b * (e - s)) for a, b in moves for _, s, e in actions]
        scores = np.random.default_rng(seed).uniform(0.1, 1, len(segments))
        if segments:
            rows = [
                {"segment": [s / FPS, e / FPS], "score": score, "label": "slow"}
                for (s, e), score in zip(segments, scores)
            ]
            results[name] = rows
    (folder / "labels.json").write_text(json.dumps({"database": database}))
    (folder / "proposals.json").write_text(json.dumps({"results": results}))
    return folder


def odd_config(system, odd_data, stream="rgb"):
    config = tiny_config.get_config(system)
    config.data.update(
        annotations=str(odd_data / "labels.json"), features=str(odd_data), num_channels=6, stream=stream
    )
    config.proposals = str(odd_data / "proposals.json")
    return config


@pytest.fixture(scope="module", params=["pgcn", "tcanet"])
def odd_run(request, odd_data, tmp_path_factory):
    """(config, workdir, evaluation) of a two-stage system trained on these."""
    config, workdir = odd_config(request.param, odd_data), tmp_path_factory.mktemp(f"odd_{request.param}")
    return config, workdir, train.train(config, workdir)


def numbers_in(tree):
    """All numbers in a tree of dicts and lists."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return [number for branch in tree for number in numbers_in(branch)]
    return [tree] if isinstance(tree, (int, float)) else []


def detections(workdir):
    return json.loads((workdir / "detections.json").read_text())["results"]


# What the second stage makes of odd proposals


def test_bad_rows_are_dropped_and_counted(tiny, tmp_path, caplog):
    caplog.set_level(logging.INFO, "tal_jax")
    good, bad = [1.0, 3.0], [[3.0, 1.0], [2.0, 2.0], [30.0, 40.0], [float("nan"), 2.0]]
    results = {
        "monday": [{"segment": s} for s in (good, *bad)],
        "nobody": [{"segment": good}],
        "tuesday": [{"segment": [19, 25]}],
    }
    (tmp_path / "odd.json").write_text(json.dumps({"results": results}))
    config = tiny("pgcn")
    config.proposals = str(tmp_path / "odd.json")
    found = load_dataset(config).proposals
    assert {name: p.segments_sec.tolist() for name, p in found.items()} == {
        "monday": [[1.0, 3.0]],
        "tuesday": [[19.0, 20.0]],
        "sunday": [],
    }
    assert caplog.messages[-1] == (
        f"{tmp_path}/odd.json: 7 proposals read, 2 kept, in 2 of 3 recordings; dropped: 1 of recordings that "
        f"the annotations lack, "
        "1 not finite, 2 empty or reversed, 1 outside their recording; cut at an end of their recording: 1. "
        "Not in the annotations: nobody."
    )


def test_recordings_with_no_proposal_and_with_one(odd_run):
    config, workdir, result = odd_run
    numbers = numbers_in(result) + numbers_in(metrics(workdir)) + numbers_in(detections(workdir))
    assert len(numbers) > 100 and all(math.isfinite(number) for number in numbers)
    assert all(np.isfinite(leaf).all() for leaf in last_state(workdir).values())
    found = {name: len(rows) for name, rows in detections(workdir).items()}
    # of one proposal at most one a class
    assert found["test_none"] == 0 < found["test_one"] <= 2 < found["test_many"]
    assert result["counts"]["recordings"] == 3 and result["counts"]["ground_truths"] == 4
    for row in (row for rows in detections(workdir).values() for row in rows):
        assert 0 <= row["segment"][0] < row["segment"][1] <= 20


def test_no_recording_of_the_test_subset_has_a_proposal(odd_run, tmp_path):
    config, workdir, _ = odd_run
    config = config.copy_and_resolve_references()
    config.proposals = str(tmp_path / "training.json")
    (tmp_path / "training.json").write_text(
        json.dumps({"results": {"many": [{"segment": [1, 2], "label": "slow"}]}})
    )
    before = (workdir / "detections.json").read_text()
    result = evaluate.evaluate(config, workdir)
    assert result["map_avg"] == 0 and all(math.isfinite(number) for number in numbers_in(result))
    assert not any(detections(workdir).values())
    (workdir / "detections.json").write_text(before)


def test_a_stopped_run_on_proposals_goes_on_as_if_nothing_had_been(odd_run, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "tal_jax")
    config, expected, _ = odd_run
    stop_at(monkeypatch, 3)
    assert train.train(config, tmp_path) is None
    assert train.train(config, tmp_path)
    assert any(message.startswith("Resuming from step 3 of ") for message in caplog.messages)
    found, wanted = last_state(tmp_path), last_state(expected)
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    assert detections(tmp_path) == detections(expected)


def test_two_streams_are_trained_apart_and_fused(odd_data, tmp_path):
    runs = {stream: odd_config("pgcn", odd_data, stream) for stream in ("rgb", "flow")}
    for stream, config in runs.items():
        train.train(config, tmp_path / stream)
    alone = [detections(tmp_path / stream) for stream in runs]
    assert alone[0] != alone[1]
    config = runs["rgb"]
    config.evaluate.second_workdir = str(tmp_path / "flow")
    result = evaluate.evaluate(config, tmp_path / "rgb")
    assert all(math.isfinite(number) for number in numbers_in(result))
    fused = detections(tmp_path / "rgb")
    assert fused not in alone and fused["test_none"] == [] and len(fused["test_one"])
    config.evaluate.second_workdir = str(tmp_path / "nowhere")
    with pytest.raises(
        DataError, match=r"nowhere holds no trained run \(there is no config.json\); train first"
    ):
        evaluate.evaluate(config, tmp_path / "rgb")


# One's own recordings


def test_predict_runs_both_stages(tiny, tmp_path):
    config = tiny("pgcn")
    assert propose.with_first_stage(config, tmp_path, "train")
    train.train(config, tmp_path)
    np.save(tmp_path / "new.npy", signal(150, [("slow", 30, 70)], seed=9))
    for source in ("sunday", tmp_path / "new.npy"):
        predict.predict(config, tmp_path, str(source))
    found = {
        name: json.loads((tmp_path / "predictions" / f"{name}.json").read_text())["results"][name]
        for name in ("sunday", "new")
    }
    assert found["sunday"] == detections(tmp_path)["sunday"]
    assert found["new"] and all(0 <= row["segment"][0] < row["segment"][1] <= 15 for row in found["new"])


def test_predict_takes_proposals_of_a_file(odd_run, odd_data):
    config, workdir, _ = odd_run
    predict.predict(config, workdir, str(odd_data / "rgb" / "test_one.npy"))
    found = json.loads((workdir / "predictions" / "test_one.json").read_text())["results"]
    assert found["test_one"] == detections(workdir)["test_one"]
    predict.predict(config, workdir, str(odd_data / "rgb" / "test_none.npy"))
    assert json.loads((workdir / "predictions" / "test_none.json").read_text())["results"] == {
        "test_none": []
    }
    np.save(workdir / "new.npy", np.ones((150, 6)))
    with pytest.raises(DataError, match="/proposals.json has no proposals of 'new'.$"):
        predict.predict(config, workdir, str(workdir / "new.npy"))


def test_a_file_of_proposals_is_read_once(odd_data, tmp_path, monkeypatch):
    read, read_blocks = [], trained_run.read_blocks
    monkeypatch.setattr(trained_run, "read_blocks", lambda path: read.append(path) or read_blocks(path))
    config, source, classes = odd_config("pgcn", odd_data), str(odd_data / "rgb"), ("fast", "slow")
    inputs = trained_run.TrainedRun([evaluate.Run(str(tmp_path), config, classes, None)]).inputs(source)
    assert inputs.keys() == ODD.keys()
    found = [inputs[name]()[0].proposals for name in ("one", "test_one")]
    assert [list(one) for one in found] == [["one"], ["test_one"]]
    np.testing.assert_allclose(found[1]["test_one"].segments_sec, [[4.5, 7.8]])
    assert read == [config.proposals]


def test_predict_gives_the_classes_of_recordings_as_evaluate_does(odd_run, odd_data, tmp_path):
    """Of a recording of the data set and of a file; scores of the one recording do for that."""
    config, workdir, _ = odd_run
    config, workdir = config.copy_and_resolve_references(), shutil.copytree(workdir, tmp_path / "run")
    labels = {d["label"] for d in detections(workdir)["test_one"]}
    config.decode.update(
        {"recording_classes": 1} if config.system == "pgcn" else {"classes": "recording", "top_classes": 1}
    )
    scores = {name: [0.9, 0.1] for name in ("test_many", "test_none", "test_one")}
    config.evaluate.recording_scores = str(tmp_path / "scores.json")
    (tmp_path / "scores.json").write_text(json.dumps({"class": ["fast", "slow"], "results": scores}))
    evaluate.evaluate(config, workdir)
    expected = detections(workdir)["test_one"]
    assert {d["label"] for d in expected} == {"fast"} != labels
    (tmp_path / "scores.json").write_text(
        json.dumps({"class": ["slow", "fast"], "results": {"test_one": [0.1, 0.9]}})
    )
    for source in ("test_one", str(odd_data / "rgb" / "test_one.npy")):
        shutil.rmtree(workdir / "predictions", ignore_errors=True)
        predict.predict(config, workdir, source)
        assert json.loads((workdir / "predictions" / "test_one.json").read_text())["results"] == {
            "test_one": expected
        }
    with pytest.raises(
        DataError, match="config.evaluate.recording_scores lacks 1 of 1 recordings; the first is 'test_many'"
    ):
        predict.predict(config, workdir, "test_many")


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_predict_takes_the_classes_of_the_first_stage_by_name(tiny, tmp_path, class_agnostic):
    """As from a file: the second stage knows none of those that the first one gives all actions alike."""
    config, classes = tiny("pgcn"), ("slow", "fast")
    first, folder = config.first_stage, tmp_path / "first_stage"
    first.data.class_agnostic = class_agnostic
    saved_run(first, folder)
    propose.propose(first, folder)
    config.proposals = str(folder / "proposals.json")
    annotations = dataclasses.replace(load_annotations(config.data.annotations), classes=classes)
    expected = read_proposals(config.proposals, annotations)[0]["sunday"]
    inputs = trained_run.TrainedRun([evaluate.Run(str(tmp_path), config, classes, None)]).inputs("sunday")
    (dataset,) = inputs["sunday"]()
    assert_same(dataset.proposals, {"sunday": expected})
    assert {*expected.labels} == {-1 if class_agnostic else 0}  # slow, which the first stage counts as 1


def test_a_two_stage_system_without_proposals_is_one_sentence(tiny):
    config = tiny("tcanet")
    with pytest.raises(
        DataError,
        match="^tcanet starts from proposals; set --config.proposals=FILE. --mode=propose makes them",
    ):
        SYSTEMS["tcanet"].examples(config, load_dataset(config))
