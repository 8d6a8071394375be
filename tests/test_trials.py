"""Trials of a planned run: which noises are tried, on which recordings, and what is kept."""

import json

import numpy as np
import pytest

from configs import folder
from tal_jax import plan, planned_run, train, trials


@pytest.fixture
def config(tmp_path):
    """A config of nine recordings of nine persons for training, and one for the test."""
    rng, database = np.random.default_rng(0), {}
    (tmp_path / "features").mkdir()
    for i in range(10):
        np.save(tmp_path / "features" / f"r{i}.npy", rng.normal(0, 1, (400, 2)).astype(np.float32))
        actions = [{"label": "x", "segment": [3.0 * j, 3.0 * j + 2]} for j in range(6)]
        subset = "train" if i < 9 else "test"
        database[f"r{i}"] = {"subset": subset, "fps": 20, "duration": 20.0, "annotations": actions}
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    config = folder.get_config()
    config.data.update(annotations=str(tmp_path / "labels.json"), features=str(tmp_path / "features"))
    return config


@pytest.mark.parametrize(
    "scores, tried, best",
    [
        ({0.1: 90.0, 0.3: 90.9, 1.0: 99.0}, [0.1, 0.3], 0.1),  # a gain below a point is chance
        ({0.1: 47.0, 0.3: 50.0, 1.0: 54.0}, [0.1, 0.3, 1.0], 1.0),
        ({0.1: 47.0, 0.3: 50.0, 1.0: 50.5}, [0.1, 0.3, 1.0], 0.3),
    ],
)
def test_the_noise_is_raised_while_validation_gains(config, tmp_path, monkeypatch, scores, tried, best):
    runs = []

    def fake(config, workdir, begun=lambda: None, scored=True):
        database = json.loads(open(config.data.annotations).read())["database"]
        runs.append((config, {name: entry["subset"] for name, entry in database.items()}))
        workdir.mkdir(parents=True, exist_ok=True)
        begun()
        return {"map_avg": scores[config.augment.noise]}

    monkeypatch.setattr(train, "train", fake)
    planned, lines = plan.make_plan(config, ())
    trials.train_best(planned, lines, tmp_path / "run")
    *of_trials, (last, subsets) = runs
    assert [trial.augment.noise for trial, _ in of_trials] == tried
    for trial, held_out in of_trials:  # without the test recording; a third is held out
        assert "r9" not in held_out and [*held_out.values()].count("test") == 3
        assert trial.train.epochs == planned.train.epochs // 2
    assert last.augment.noise == best and last.train.epochs == planned.train.epochs
    assert subsets["r9"] == "test"
    again, kept = planned_run.planned(config, tmp_path / "run", ())
    assert again.augment.noise == best and not again.plan.trials  # a run that goes on tries nothing again
    (line,) = (line for line in kept if line.field == "augment.noise")
    assert f"{scores[best]:.1f} with {best:g}" in line.reason and "3 recordings held out" in line.reason


def test_a_trial_that_is_stopped_leaves_no_plan(config, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "train", lambda *_: None)
    assert trials.train_best(*plan.make_plan(config, ()), tmp_path / "run") is None
    assert not (tmp_path / "run" / planned_run.PLAN).exists()
