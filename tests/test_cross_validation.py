"""Folds by subject, and what is trained, pooled and scored."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from configs import folder
from tal_jax import cross_validation, diagnose, plan, planned_run, report_page, run_config, train
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.detections_file import write_detections
from tal_jax.runtime.checkpoints import Checkpoints
from tests.runtime.test_checkpoints import make_state


def recording(name, count, subject=""):
    return Recording(name, "train", 10.0, np.zeros((count, 2)), np.zeros(count, int), subject=subject)


def test_folds_keep_subjects_whole_and_share_the_actions():
    counts = {
        "a1": (9, "a"),
        "a2": (9, "a"),
        "b": (10, "b"),
        "c": (8, ""),
        "d": (3, ""),
        "e": (2, ""),
        "f": (1, ""),
    }
    folds = cross_validation.folds_of({name: recording(name, *of) for name, of in counts.items()})
    assert sorted(map(sorted, folds)) == [["a1", "a2"], ["b"], ["c"], ["d"], ["e", "f"]]
    few = {"a": recording("a", 3), "b": recording("b", 2), "c": recording("c", 0), "d": recording("d", 0)}
    assert sorted(map(sorted, cross_validation.folds_of(few))) == [["a"], ["b", "c", "d"]]
    one = {
        name: recording(name, count, of) for name, count, of in (("x", 3, "a"), ("y", 2, "a"), ("z", 0, "b"))
    }
    assert cross_validation.folds_of(one) == []
    labels = {
        name: dataclasses.replace(recording(name, 3), segments_sec=np.full((3, 2), np.nan)) for name in "ab"
    }
    assert cross_validation.folds_of(labels) == []


@pytest.fixture
def planned(tmp_path):
    """A planned config of six recordings of three subjects, all for training."""
    rng, database = np.random.default_rng(0), {}
    (tmp_path / "features").mkdir()
    for i in range(6):
        np.save(tmp_path / "features" / f"r{i}.npy", rng.normal(0, 1, (400, 2)).astype(np.float32))
        actions = [{"label": "x", "segment": [3.0 * j, 3.0 * j + 2]} for j in range(6)]
        entry = {"subset": "train", "fps": 20, "duration": 20.0, "subject": i // 2, "annotations": actions}
        database[f"r{i}"] = entry
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    config = folder.get_config()
    config.data.update(annotations=str(tmp_path / "labels.json"), features=str(tmp_path / "features"))
    return config


def test_each_fold_is_found_by_a_training_without_it(planned, tmp_path, monkeypatch):
    trained = []

    def fake(config, workdir, begun=lambda: None, scored=True):
        """A training that finds all actions but the first of each test recording."""
        database = json.loads(open(config.data.annotations).read())["database"]
        subsets = {name: entry["subset"] for name, entry in database.items()}
        trained.append((subsets, scored, config.window.frames))
        begun()
        if not scored:
            return {}
        found = {
            name: [action | {"score": 0.9} for action in entry["annotations"][1:]]
            for name, entry in database.items()
            if entry["subset"] == "test"
        }
        write_detections(workdir / "detections.json", found)
        return {"map_avg": 80.0 + len(trained)}

    monkeypatch.setattr(train, "train", fake)
    assert planned_run.is_cross_validated(planned)
    config, lines = plan.make_plan(planned, ())
    begun = []
    result = cross_validation.cross_validate(planned, config, tmp_path / "run", (), lambda: begun.append(1))
    held_out = [
        sorted(name for name, subset in subsets.items() if subset == "test") for subsets, *_ in trained
    ]
    assert sorted(held_out[:3]) == [["r0", "r1"], ["r2", "r3"], ["r4", "r5"]] and held_out[3] == []
    assert [scored for _, scored, _ in trained] == [True, True, True, False] and begun == [1]
    assert {frames for *_, frames in trained} == {config.window.frames}
    assert result["folds"] == [81.0, 82.0, 83.0]
    assert result["counts"]["ground_truths"] == 36 and result["map_avg"] == pytest.approx(100 * 5 / 6)
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text()) == result
    run_config.remember_run(config, ("x",), tmp_path / "run")  # as a training does
    made = diagnose.diagnose(planned, tmp_path / "run", said=["data.annotations"])
    assert made == json.loads((tmp_path / "run" / "diagnosis.json").read_text())
    page = report_page.report(planned, tmp_path / "run").read_bytes()
    assert b"r5" in page


def test_a_fold_goes_on_where_its_folder_is_called_otherwise(planned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for fold in (pathlib.Path("cv/folds/1"), tmp_path / "cv/folds/1", tmp_path / "moved/folds/1"):
        if fold.parts[-3] == "moved":
            (tmp_path / "cv").rename(tmp_path / "moved")
        planned.data.annotations = str(fold / "annotations.json")
        fold.mkdir(parents=True, exist_ok=True)
        (fold / "annotations.json").write_text("{}")
        run_config.remember_run(planned, ("x",), fold)
        checkpoints = Checkpoints(fold)
        checkpoints.save(1, make_state(1))
        checkpoints.close()
        assert run_config.stored_config(fold).data.annotations == str(fold / "annotations.json")


def test_data_with_a_test_subset_have_no_folds(planned):
    path = planned.data.annotations
    content = json.loads(open(path).read())
    content["database"]["r0"]["subset"] = "test"
    open(path, "w").write(json.dumps(content))
    assert not planned_run.is_cross_validated(planned)


def test_recordings_that_are_left_out_are_in_no_fold(planned, tmp_path):
    planned.data.left_out = ("r0",)
    (tmp_path / "features" / "r1.npy").unlink()
    planned.data.allow_missing = True
    assert [*cross_validation.training_recordings(planned)] == ["r2", "r3", "r4", "r5"]


def test_labels_without_times_are_learnt_but_not_scored(planned, tmp_path, monkeypatch, caplog):
    content = json.loads(open(planned.data.annotations).read())
    for entry in content["database"].values():
        entry["annotations"] = [{"label": "x"}]
    open(planned.data.annotations, "w").write(json.dumps(content))
    monkeypatch.setattr(train, "train", lambda config, workdir, begun, scored: {} if not scored else None)
    config, _ = plan.make_plan(planned, ())
    assert config.system == "ecm" and planned_run.is_cross_validated(planned)
    assert cross_validation.cross_validate(planned, config, tmp_path / "run", (), lambda: None) == {}
    assert cross_validation.NOTHING_SCORED in caplog.text


def test_folds_are_trained_scored_and_used(planned, tmp_path, compiled_once):
    content = json.loads(open(planned.data.annotations).read())
    for i, entry in enumerate(content["database"].values()):
        entry["subject"] = f"s{i % 2}"
    open(planned.data.annotations, "w").write(json.dumps(content))
    planned.backbone.update(channels=8, heads=2, branch_blocks=1)
    planned.update(
        loss=dict(level_bounds=((0, 4), (4, 100))), train=dict(epochs=1, batch_size=2, warmup_epochs=0)
    )
    planned.parallel.max_devices = 1
    of_network = ("backbone.branch_blocks", "loss.level_bounds")
    said = (*of_network, "train.epochs", "train.batch_size", "train.warmup_epochs")
    config, lines = planned_run.planned(planned, tmp_path / "run", said)
    begun = lambda: planned_run.write_plan(tmp_path / "run", lines)
    result = cross_validation.cross_validate(planned, config, tmp_path / "run", said, begun)
    assert len(result["folds"]) == 2 and result["counts"]["recordings"] == 6
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text()) == result
    found = json.loads((tmp_path / "run" / "detections.json").read_text())["results"]
    of_folds = [tmp_path / "run" / "folds" / fold / "detections.json" for fold in "12"]
    assert found == {
        name: rows for path in of_folds for name, rows in json.loads(path.read_text())["results"].items()
    }
    again = cross_validation.cross_validate(planned, config, tmp_path / "run", said, begun)
    assert again == result  # a run that is over has nothing left to train


def test_classes_that_only_one_fold_has_are_named():
    recordings = {"a": recording("a", 3), "b": recording("b", 3)}
    recordings["b"] = dataclasses.replace(recordings["b"], labels=np.array([0, 2, 2]))
    annotations = Annotations(("jump", "walk", "swim"), recordings)
    assert cross_validation.only_in(annotations, ["b"]) == ["swim"]
    assert cross_validation.only_in(annotations, ["a"]) == []
