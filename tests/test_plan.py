"""The rules of a plan on hand-made fingerprints, and plans of files."""

import json
import math
import types

import numpy as np
import pytest

from benchmarks import programs
from configs import folder
from tal_jax import data, fingerprint, plan, planned_run, run_config, step_cost
from tal_jax.check_data import check_dataset
from tal_jax.errors import DataError
from tal_jax.runtime import parallel
from tal_jax.systems import require_valid


def seen_of(lengths_sec, rows_a_sec=50.0, channels=6, hours=4.0, recording_sec=400.0):
    """A Fingerprint of actions of these lengths."""
    return fingerprint.Fingerprint(
        recordings={"train": 40, "test": 20},
        rows_a_sec=rows_a_sec,
        channels=channels,
        offsets=(0.5,) * channels,
        scales=(2.0,) * channels,
        still=0,
        missing=0.0,
        lost={},
        seconds=3600 * hours,
        recording_sec=recording_sec,
        lengths_sec=np.sort(np.asarray(lengths_sec, float)),
    )


def fields_of(seen, said=(), config=None):
    """{field: value} of the plan of a fingerprint."""
    config = config or folder.get_config()
    lines = plan.lines_of(seen, config, said)
    require_valid(config, training=True)
    assert all(line.reason for line in lines)
    return {line.field: line.value for line in lines}


def test_walks_and_turns_of_a_phone():
    """A tenth of the actions lasts 3.2 s, the longest 40 s: 8 cells of 0.4 s, windows of 256 cells."""
    fields = fields_of(seen_of([3.2] * 20 + [20.0] * 60 + [40.0]))
    assert fields["data.samples_per_frame"] == 20 and fields["data.statistics_samples"] == 64
    assert (fields["window.frames"], fields["train.batch_size"]) == (256, 4)
    assert fields["loss.level_bounds"] == ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 10000))
    # 4 hours are 36,000 cells, 141 windows, 36 steps of 4
    assert fields["train.epochs"] == 34 and fields["data.channel_scales"] == (2.0,) * 6


def test_a_short_recording_keeps_its_own_mean():
    lengths = [3.2] * 20 + [20.0] * 60 + [40.0]
    assert fields_of(seen_of(lengths))["data.standardised"]
    assert not fields_of(seen_of(lengths, recording_sec=60.0))["data.standardised"]


def test_feature_vectors_are_cells():
    fields = fields_of(seen_of([2.0, 5.0, 9.0], rows_a_sec=1.875, channels=2048))
    assert (fields["data.samples_per_frame"], fields["data.statistics_samples"]) == (1, 0)
    assert not fields["data.standardised"]


@pytest.mark.parametrize("seed", range(30))
def test_any_actions_have_a_config_that_trains(seed):
    """Short actions take cells enough, and the longest fits into a window and into the last level."""
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.uniform(-4, 1) + rng.uniform(0.1, 1.5) * rng.standard_normal(100))
    rate, channels = float(10 ** rng.uniform(0, 3)), int(rng.integers(1, 100))
    seen = seen_of(lengths, rate, channels, hours=rng.uniform(0.01, 10))
    fields = fields_of(seen)
    cell_sec = fields["data.samples_per_frame"] / rate
    assert fields["data.samples_per_frame"] == 1 or seen.quantile_sec(0.1) > 2.5 * cell_sec
    longest = lengths.max() / cell_sec
    assert fields["window.frames"] >= min(longest, 4 * plan.MOST_CELLS)
    assert 1 <= fields["train.warmup_epochs"] < fields["train.epochs"]


def test_eye_movements_of_milliseconds_are_samples_beside_their_statistics():
    rng = np.random.default_rng(0)
    fields = fields_of(seen_of([*rng.uniform(0.016, 0.06, 500), *rng.uniform(0.2, 4, 500)], 500.0, 2))
    assert fields["data.samples_per_frame"] < 4 and fields["window.frames"] >= 1024
    assert (fields["data.statistics_samples"], fields["data.samples_beside"]) == (16, True)
    features = fields_of(seen_of([3.2] * 20, 2.5, 2048))
    assert (features["data.statistics_samples"], features["data.samples_beside"]) == (0, False)


def test_the_system_and_its_reason():
    config = folder.get_config()
    reason = lambda **fields: plan.lines_of(seen_of([3.2])._replace(**fields), config, ())[0].reason
    assert reason(of_classes=(7, 7)) == "actions have times; 7 of each class"
    assert reason(of_classes=(7, 2, 9), overlap=True) == (
        "actions have times, and some overlap; 3 classes of 2 to 9"
    )


def test_a_cell_is_no_longer_than_the_shortest_recording():
    seen = seen_of([30.0] * 20)
    assert fields_of(seen)["data.samples_per_frame"] == 188
    assert fields_of(seen._replace(shortest_rows=30))["data.samples_per_frame"] == 30


def test_levels_that_are_set_by_hand_have_their_bounds():
    config = folder.get_config()
    config.backbone.branch_blocks = 4
    fields = fields_of(seen_of([3.2] * 20), ["backbone.branch_blocks"], config)
    assert len(fields["loss.level_bounds"]) == 5


def test_a_very_long_recording_without_times_is_one_window():
    seen = seen_of([], recording_sec=2.0)._replace(longest_rows=10**6)
    config = planned_run.plan.of_labels(folder.get_config(), ())
    lines = {line.field: line.value for line in plan.lines_of(seen, config, ())}
    assert lines["window.frames"] == 0


def test_sound_without_times_keeps_to_the_ranges_of_fields():
    for seen in (
        seen_of([], rows_a_sec=44100.0, channels=1, recording_sec=150.0)._replace(longest_rows=44100 * 150),
        seen_of([], rows_a_sec=1000.0, channels=70)._replace(longest_rows=5 * 10**6),
    ):
        config = planned_run.plan.of_labels(folder.get_config(), ())
        plan.lines_of(seen, config, ())
        require_valid(config, training=False)


def test_times_that_are_no_seconds_are_said_before_a_plan(files):
    folder_of_run, config = files
    relabel(folder_of_run, [{"label": "x", "segment": [2000.0, 4000.0]}])
    with pytest.raises(DataError, match="give the times of the annotations in seconds"):
        fingerprint.fingerprint(config)


def test_recordings_of_many_actions_keep_as_many_detections():
    few, many = fields_of(seen_of([3.2] * 20)), fields_of(seen_of([3.2] * 20)._replace(most_actions=2000))
    limits = ("decode.max_per_recording", "decode.max_per_level")
    assert [few[field] for field in limits] == [200, 2000]
    assert [many[field] for field in limits] == [40_000, 80_000]


def test_a_field_set_by_hand_stays_and_later_rules_build_on_it():
    config = folder.get_config()
    config.data.samples_per_frame = 10
    fields = fields_of(seen_of([3.2] * 20 + [40.0]), ["data.samples_per_frame"], config)
    assert fields["data.samples_per_frame"] == 10 and fields["data.statistics_samples"] == 32
    assert fields["window.frames"] == 512


@pytest.fixture
def files(tmp_path):
    """Two recordings of two channels, one of which does not vary, 20 samples a second."""
    rng, database = np.random.default_rng(0), {}
    (tmp_path / "features").mkdir()
    for name, subset in (("a", "train"), ("b", "test")):
        rows = np.stack([rng.normal(7, 3, 2000), np.full(2000, 5.0)], axis=1)
        np.save(tmp_path / "features" / f"{name}.npy", rows.astype(np.float32))
        actions = [{"label": "x", "segment": [5.0 * i, 5.0 * i + 2]} for i in range(1, 15)]
        database[name] = {"subset": subset, "fps": 20, "duration": 100.0, "annotations": actions}
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    config = folder.get_config()
    config.data.update(annotations=str(tmp_path / "labels.json"), features=str(tmp_path / "features"))
    return tmp_path, config


def test_the_fingerprint_of_files(files):
    _, config = files
    seen = fingerprint.fingerprint(config)
    assert (seen.rows_a_sec, seen.channels, seen.seconds) == (20, 2, pytest.approx(100))
    assert seen.offsets[0] == pytest.approx(7, abs=0.3) and seen.offsets[1] == 5
    assert seen.scales[0] == pytest.approx(3, abs=0.2) and (seen.scales[1], seen.still) == (1, 1)
    assert seen.recordings == {"train": 1, "test": 1}
    np.testing.assert_allclose(seen.lengths_sec, [2.0] * 14)
    assert (seen.of_classes, seen.most_actions, seen.overlap) == ((14,), 14, False)
    relabel(files[0], [{"label": "x", "segment": [1.0, 9.0]}, {"label": "y", "segment": [3.0, 4.0]}])
    assert fingerprint.fingerprint(config).overlap


def test_lost_channels_and_gaps_are_filled(files):
    folder_of_run, config = files
    rows = np.random.default_rng(0).normal(7, 3, (2000, 2)).astype(np.float32)
    rows[:500, 0], rows[:, 1] = np.nan, np.inf
    np.save(folder_of_run / "features" / "a.npy", rows)
    seen = fingerprint.fingerprint(config)
    assert seen.missing == pytest.approx(0.625) and seen.lost == {2: 1}
    assert seen.offsets == (pytest.approx(7, abs=0.3), 0) and seen.scales == (pytest.approx(3, abs=0.2), 1)
    made, lines = planned_run.planned(config, folder_of_run / "run", ())
    (line,) = (line for line in lines if line.field == "data.fill_missing")
    assert made.data.fill_missing
    assert line.reason == (
        "0.62 of the values are NaN, put on the line between their neighbours; lost all over recordings: "
        "channel 2 in 1"
    )
    assert np.isfinite(data.load_dataset(made).read("a")).all()
    assert check_dataset(made)[1] == [
        "Note: recording 'a' has NaN, or a value beyond 1e15, in 62.50% of its values, each put on the line "
        "between its neighbours.",
        "Note: these channels, counted from 1, never change in any recording: 2.",
    ]
    rows[:, 0] = np.nan
    np.save(folder_of_run / "features" / "a.npy", rows)
    with pytest.raises(DataError, match="No value of the training recording 'a' is a number; correct"):
        fingerprint.fingerprint(config)


def test_a_damaged_file_and_small_units_do_not_stop_a_plan(files):
    """Volts of muscles vary by millionths; a file that cannot be read is named by what reads all of them."""
    folder_of_run, config = files
    rows = np.random.default_rng(0).normal(0, 1e-7, (2000, 2)).astype(np.float32)
    np.save(folder_of_run / "features" / "a.npy", rows)
    content = json.loads((folder_of_run / "labels.json").read_text())
    content["database"] = {"0": content["database"]["a"], **content["database"]}
    (folder_of_run / "labels.json").write_text(json.dumps(content))
    (folder_of_run / "features" / "0.npy").write_bytes(b"no array")
    seen = fingerprint.fingerprint(config)
    assert seen.still == 0 and seen.scales[0] == pytest.approx(1e-7, rel=0.1)
    (folder_of_run / "features" / "a.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="0.npy"):
        fingerprint.fingerprint(config)


def test_a_plan_is_kept_with_its_run_and_made_again_from_its_file(files):
    folder_of_run, config = files
    made, lines = planned_run.planned(config, folder_of_run / "run", ())
    assert config.window.frames != made.window.frames  # the given config stays as it is
    (folder_of_run / "run").mkdir()
    planned_run.write_plan(folder_of_run / "run", lines)
    again, of_file = planned_run.planned(config, folder_of_run / "run", ())
    assert again == made and of_file == lines
    config.plan.file = str(folder_of_run / "run" / planned_run.PLAN)
    config.train.epochs = 3
    other, _ = planned_run.planned(config, folder_of_run / "other", ["train.epochs"])
    assert other.train.epochs == 3 and other.window.frames == made.window.frames
    assert other.train.warmup_epochs == 2 < made.train.warmup_epochs


def test_the_plan_of_a_run_is_not_that_of_other_recordings(files):
    folder_of_run, config = files
    workdir, said = folder_of_run / "run", ["data.annotations"]
    made, lines = planned_run.planned(config, workdir, said)
    run_config.remember_run(made, ("move",), workdir)
    planned_run.write_plan(workdir, lines)
    assert planned_run.planned(config, workdir, said) == (made, lines)
    inside = workdir / "labels.json"  # annotations in the workdir, by any spelling of it
    inside.write_bytes((folder_of_run / "labels.json").read_bytes())
    config.data.annotations = str(inside)
    run_config.remember_run(config, ("move",), workdir)
    config.data.annotations = str(workdir / ".." / "run" / "labels.json")
    assert planned_run.planned(config, workdir, said)[1] == lines
    other = folder_of_run / "other.json"
    content = json.loads((folder_of_run / "labels.json").read_text())
    for recording in content["database"].values():  # actions end earlier
        for action in recording["annotations"]:
            action["segment"][1] = action["segment"][0] + 1.0
    other.write_text(json.dumps(content))
    config.data.annotations = str(other)
    with pytest.raises(
        DataError, match="holds a run of other recordings, not of config.data.annotations=.*other.json"
    ):
        planned_run.planned(config, workdir, said)
    assert planned_run.planned(config, workdir, said, trains=False)[1] != lines


def test_the_plan_refuses_what_it_cannot_read(files):
    folder_of_run, config = files
    path = folder_of_run / "other.json"
    values = {"system": "actionformer", "data.samples_per_frame": 1, "train.epochs": 9}
    rows = [{"field": field, "value": value, "reason": ""} for field, value in values.items()]
    config.plan.file, system, rows = str(path), json.dumps(rows)[1:-1], json.dumps(rows[:1])
    for content in (
        "3",
        "[3]",
        "[]",
        '{"a": 1}',
        '[{"field": "train.epochs", "value": 3, "reason": ""}]',
        rows,
    ):
        path.write_text(content)
        with pytest.raises(
            DataError, match="other.json is no plan that this version of tal_jax has written. Name"
        ):
            planned_run.planned(config, folder_of_run, ())
    path.write_text(f'[{system}, {{"field": "train.epoch", "value": 3, "reason": ""}}]')
    with pytest.raises(
        DataError, match=r"other.json is no plan for this config: .*epoch.* Name another file"
    ):
        planned_run.planned(config, folder_of_run, ())
    for entry, sentence in (
        ('{"field": "data", "value": {}, "reason": ""}', "is no plan for this config: data cannot be {}"),
        (
            '{"field": "train.epochs", "value": -4, "reason": 5}',
            "config.train.epochs is -4; it must be at least",
        ),
        ('{"field": 3, "value": 4, "reason": ""}', "is no plan for this config: 3 cannot be 4"),
    ):
        path.write_text(f"[{system}, {entry}]")
        with pytest.raises(DataError, match=sentence):
            planned_run.planned(config, folder_of_run, ())
    config.plan.minutes = 3.0
    with pytest.raises(
        DataError, match="config.plan.minutes and config.plan.file both say how long to train"
    ):
        planned_run.planned(config, folder_of_run, ())
    config.plan.minutes = 0.0
    path.write_text(f"[{system.replace('actionformer', 'pgcn')}]")
    with pytest.raises(DataError, match="other.json plans the system 'pgcn', which no plan is for"):
        planned_run.planned(config, folder_of_run, ())
    relabel(folder_of_run, [])
    config.plan.file = ""
    with pytest.raises(DataError, match="No recording of the subset 'train' has a label, from which a plan"):
        planned_run.planned(config, folder_of_run, ())


def relabel(folder_of_run, annotations):
    """Gives the training recording of `files` other annotations."""
    content = json.loads((folder_of_run / "labels.json").read_text())
    content["database"]["a"]["annotations"] = annotations
    (folder_of_run / "labels.json").write_text(json.dumps(content))


def test_labels_without_times_are_for_ecm(files):
    folder_of_run, config = files
    relabel(folder_of_run, [{"label": "x"}])
    config.train.epochs = 7
    made, lines = planned_run.planned(config, folder_of_run / "run", ["train.epochs"])
    require_valid(made, training=True)
    assert (made.system, made.train.epochs, made.data.features) == ("ecm", 7, config.data.features)
    # 100 s at 20 Hz are 50 cells of 40 samples; a longer recording is seen in parts of as many
    assert (made.data.samples_per_frame, made.data.statistics_samples) == (40, 256)
    assert (made.window.frames, made.window.test_stride_frames, made.window.snippets) == (51, 16, 50)
    assert made.model.streams == "pre" and made.readings == ("decode.activations=softmax",)
    (folder_of_run / "run").mkdir()
    planned_run.write_plan(folder_of_run / "run", lines)
    assert planned_run.of_run(config, folder_of_run / "run", []) == made  # what localises its actions, too
    assert made.localize.outer_ratio == 0.15
    config.plan.file = str(folder_of_run / "run" / planned_run.PLAN)
    again, of_file = planned_run.planned(config, folder_of_run / "other", ["train.epochs"])
    assert again.system == "ecm" and of_file == lines
    config.plan.file = ""
    with pytest.raises(DataError, match="config.backbone.channels is no field of ECM; labels have no times"):
        planned_run.planned(config, folder_of_run / "other", ["backbone.channels"])


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
        monkeypatch.setattr(plan, "make_parallel", lambda *_: types.SimpleNamespace(num_devices=devices))
        made, _ = planned_run.planned(config, folder_of_run / "run", ["window.frames"])
        assert made.train.batch_size == batch


def of_devices(monkeypatch, number, memory):
    """Plans for so many devices of so many bytes."""
    monkeypatch.setattr(plan, "make_parallel", lambda *_: types.SimpleNamespace(num_devices=number))
    monkeypatch.setattr(plan, "memory_bytes", lambda _: int(memory))


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


def test_batches_that_are_set_by_hand(monkeypatch):
    seen, config = seen_of([3.2] * 20 + [40.0]), folder.get_config()
    of_devices(monkeypatch, 1, 2**20)
    config.train.batch_size = 2
    assert "train.accumulate_steps" not in fields_of(seen, ["train.batch_size"], config)
    for memory in (2**20, 2**40):
        config = folder.get_config()
        config.train.accumulate_steps = 2
        of_devices(monkeypatch, 1, memory)
        fields = fields_of(seen, ["train.accumulate_steps"], config)
        batch = 1 if memory == 2**20 else 2
        assert (fields["train.batch_size"], fields["train.accumulate_steps"]) == (batch, 2)


def test_a_window_that_is_too_long_for_the_memory_is_said(monkeypatch):
    of_devices(monkeypatch, 1, 2**20)
    lines = {line.field: line for line in plan.lines_of(seen_of([3.2] * 20), folder.get_config(), ())}
    assert lines["train.batch_size"].reason.endswith("; a window is too long for this device")
    assert "would take over half of the memory at once" in lines["train.accumulate_steps"].reason


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


def test_values_that_are_too_large_for_a_mean_are_said(files):
    folder_of_run, config = files
    np.save(folder_of_run / "features" / "a.npy", np.full((2000, 2), 1e36, np.float32))
    with pytest.raises(
        DataError, match="Recording 'a' has values up to 1e[+]36, more than 1e[+]15, too large"
    ):
        fingerprint.fingerprint(config)
