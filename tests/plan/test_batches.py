"""Batches of a plan by the memory of devices, and epochs by their speed."""

import json
import math

import numpy as np
import pytest

from benchmarks import programs
from configs import folder
from tal_jax import data, plan, planned_run, step_cost
from tal_jax.errors import DataError
from tal_jax.runtime import parallel
from tests.plan.cases import fields_of, of_devices, relabel, seen_of


@pytest.mark.parametrize("annotations", [None, [{"label": "x"}]])
def test_minutes_say_how_many_epochs(files, monkeypatch, annotations):
    """10 minutes less 6 s of compilation, at 3 s an epoch; the warm-up is an eighth of these epochs."""
    folder_of_run, config = files
    if annotations:
        relabel(folder_of_run, annotations)
    monkeypatch.setattr(planned_run, "step_cost", lambda *_: step_cost.StepCost(0.5, 6.0, 6, 2**30))
    config.plan.minutes = 10.0
    made, lines = planned_run.planned(config, folder_of_run / "run", ())
    assert made.train.epochs == 198 and made.train.get("warmup_epochs", 25) == 25
    (line,) = (line for line in lines if line.field == "train.epochs")
    assert line.value == 198 and line.reason == "10 minutes on this machine, 500 ms a step"


def test_a_batch_is_a_multiple_of_the_devices(files, monkeypatch):
    folder_of_run, config = files
    config.window.frames = 256
    for devices, batch in ((1, 2), (3, 3), (8, 8)):  # two windows
        of_devices(monkeypatch, devices, 2**40)
        made, _ = planned_run.planned(config, folder_of_run / "run", ["window.frames"])
        assert made.train.batch_size == batch


@pytest.mark.parametrize("devices, fitting, batch, parts", [
    (1, 4.5, 4, 1), (1, 3.5, 2, 2), (1, 1.5, 1, 4), (1, 0.1, 1, 4), (3, 1.5, 3, 2), (3, 2.5, 6, 1),
])  # fmt: skip
def test_a_batch_that_does_not_fit_is_split_and_makes_the_same_updates(
    monkeypatch, devices, fitting, batch, parts
):
    seen, whole = seen_of([3.2] * 20 + [40.0]), folder.get_config()
    of_devices(monkeypatch, 1, 2**40)
    fields = fields_of(seen, config=whole)
    each = plan.window_bytes(fields["window.frames"], seen, whole)
    of_devices(monkeypatch, devices, fitting * each / plan.MEMORY_SHARE)
    split = fields_of(seen)
    assert (split["train.batch_size"], split.get("train.accumulate_steps", 1)) == (batch, parts)
    if devices == 1:
        assert split["train.epochs"] == fields["train.epochs"]


@pytest.mark.parametrize("batch", [1, 2])  # 1 is what the plan would say, too
def test_a_batch_that_is_set_by_hand_is_an_update_also_when_the_plan_is_read_again(files, monkeypatch, batch):
    folder_of_run, config = files
    said, workdir = ["train.batch_size", "window.frames"], folder_of_run / "run"
    of_devices(monkeypatch, 1, 2**20)
    config.train.batch_size, config.window.frames = batch, 64
    made, lines = planned_run.planned(config, workdir, said)
    assert (made.train.batch_size, made.train.accumulate_steps) == (batch, 1)
    workdir.mkdir()
    planned_run.write_plan(workdir, lines)
    assert planned_run.planned(config, workdir, said)[0] == made


@pytest.mark.parametrize("memory, batch", [(2**20, 1), (2**40, 2)])
def test_the_batches_of_an_update_that_are_set_by_hand_stay(monkeypatch, memory, batch):
    seen, config = seen_of([3.2] * 20 + [40.0]), folder.get_config()
    config.train.accumulate_steps = 2
    of_devices(monkeypatch, 1, memory)
    fields = fields_of(seen, ["train.accumulate_steps"], config)
    assert (fields["train.batch_size"], fields["train.accumulate_steps"]) == (batch, 2)


def test_processes_plan_for_the_least_memory_and_the_least_speed(files, monkeypatch):
    folder_of_run, config = files
    others = lambda value: [value, 2**20 if isinstance(value, int) else [4, 900.0]]
    monkeypatch.setattr(plan.distributed, "gather", others)
    monkeypatch.setattr(planned_run, "step_cost", lambda *_: step_cost.StepCost(0.5, 6.0, 6, 2**30))
    of_devices(monkeypatch, 1, 2**40)
    config.plan.minutes = 10.0
    made, lines = planned_run.planned(config, folder_of_run / "run", ())
    assert made.train.accumulate_steps > 1 and made.train.epochs == 4
    (line,) = (line for line in lines if line.field == "train.epochs")
    assert line.reason == "10 minutes on this machine, 900 ms a step"


def test_a_window_that_is_too_long_for_the_memory_is_said(monkeypatch):
    of_devices(monkeypatch, 1, 2**20)
    lines = {line.field: line for line in plan.lines_of(seen_of([3.2] * 20), folder.get_config(), ())}
    number = lines["train.accumulate_steps"].value
    assert lines["train.batch_size"].reason == (
        "1 window of 128 cells, about 10 MiB of a device's 1 MiB; a window is too long for it"
    )
    assert lines["train.accumulate_steps"].reason == f"{number} windows at once take too much memory"


def test_bytes_in_words():
    assert [plan.in_bytes(number) for number in (2**19, 73 * 2**20, 23.5 * 2**30, 1.5 * 2**40)] == [
        *("1 MiB", "73 MiB"),
        *("23.5 GiB", "1,536.0 GiB"),
    ]


def test_an_update_has_no_more_windows_than_there_are(files):
    """One recording of 100 s at 20 Hz."""
    folder_of_run, config = files
    config.parallel.max_devices = 1
    made, _ = planned_run.planned(config, folder_of_run / "run", ())
    assert made.train.batch_size == math.ceil(100 * 20 / made.data.samples_per_frame / made.window.frames)


def test_the_batch_of_labels_without_times_is_split_too(files, monkeypatch):
    folder_of_run, config = files
    content = json.loads((folder_of_run / "labels.json").read_text())
    content["database"]["a"]["annotations"] = [{"label": "x"}]
    rows = np.load(folder_of_run / "features" / "a.npy")
    for i in range(8):
        content["database"][f"a{i}"] = content["database"]["a"]
        np.save(folder_of_run / "features" / f"a{i}.npy", rows)
    (folder_of_run / "labels.json").write_text(json.dumps(content))
    of_devices(monkeypatch, 1, 2**40)
    made, _ = planned_run.planned(config, folder_of_run / "run", ())
    assert (made.train.batch_size, made.train.accumulate_steps) == (9, 1)
    of_devices(monkeypatch, 1, 2**20)
    split, _ = planned_run.planned(config, folder_of_run / "run", ())
    assert split.train.batch_size < 9 <= split.train.batch_size * split.train.accumulate_steps
    assert split.train.epochs == made.train.epochs


def test_a_batch_by_hand_replaces_the_batches_of_a_plan_file(files):
    folder_of_run, config = files
    rows = {
        "system": "actionformer",
        "data.samples_per_frame": 1,
        "train.batch_size": 1,
        "train.accumulate_steps": 4,
        "train.epochs": 9,
    }
    rows = [{"field": field, "value": value, "reason": ""} for field, value in rows.items()]
    config.plan.file = str(folder_of_run / "other.json")
    (folder_of_run / "other.json").write_text(json.dumps(rows))
    made, _ = planned_run.planned(config, folder_of_run / "run", ())
    assert (made.train.batch_size, made.train.accumulate_steps) == (1, 4)
    config.train.batch_size = 4
    made, lines = planned_run.planned(config, folder_of_run / "run", ["train.batch_size"])
    assert (made.train.batch_size, made.train.accumulate_steps) == (4, 1)
    assert "train.accumulate_steps" not in {line.field for line in lines}


@pytest.mark.parametrize("variant", ["plan", "ecm"])
def test_the_memory_of_a_window_is_about_that_of_a_compiled_step(variant):
    seen, config = seen_of([3.2] * 20, channels=200)._replace(of_classes=(5,) * 8), folder.get_config(variant)
    config.data.update(samples_per_frame=1, statistics_samples=0)
    if variant == "plan":
        config.backbone.update(branch_blocks=2, channels=64, heads=2)
        config.loss.level_bounds = ((0, 8), (8, 16), (16, 100))
    config.window.update(frames=128, **({"snippets": 128} if variant == "ecm" else {}))
    made = programs.of_config(config, len(seen.of_classes), seen.channels, batch_size=32)
    of_one = parallel.make_parallel("shard_map", 1)
    shapes = of_one.shapes(made.state), of_one.shapes(made.batch, split=True)
    needed = of_one.compile(made.step).lower(*shapes).compile().memory_analysis().temp_size_in_bytes
    assert 0.6 < plan.window_bytes(32 * 128, seen, config) / needed < 1.7


def test_a_step_is_measured(files):
    folder_of_run, config = files
    config.backbone.update(channels=16, heads=2, branch_blocks=1)
    config.update(window=dict(frames=64), train=dict(batch_size=2), parallel=dict(max_devices=1))
    config.loss.level_bounds = ((0, 8), (8, 100))
    cost = step_cost.step_cost(config, data.load_dataset(config))
    assert 0 < cost.seconds < 5 and cost.compile_sec > cost.seconds
    assert cost.an_epoch == 16  # 2,000 rows are 32 windows
    assert 2**24 < cost.bytes < 2**40
    said = step_cost.StepCost(0.5, 6.0, 60, 3 * 2**29).sentence(10, 0)
    steps, memory = "about 5.1 minutes (600 steps of 500 ms)", "and 1.5 GiB of memory."
    assert said == f"On this machine training takes {steps}, {memory}"


def test_minutes_and_epochs_exclude_each_other(files):
    folder_of_run, config = files
    config.plan.minutes = 1.0
    with pytest.raises(DataError, match=r"config.plan.minutes and config.train.epochs both say how long"):
        planned_run.planned(config, folder_of_run / "run", ["train.epochs"])
