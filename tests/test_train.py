import itertools
import json
import math
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import types

import flax.linen as nn
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from tal_jax import evaluate, train
from tal_jax.data import load_dataset
from tal_jax.errors import DataError
from tal_jax.optimizer import make_optimizer
from tal_jax.runtime.parallel import make_parallel
from tal_jax.runtime.writers import MetricWriter
from tal_jax.systems import SYSTEMS
from tal_jax.systems.interface import System, Term
from tests.runtime.test_parallel import first_examples, nobody_stops, run_step

ROOT = pathlib.Path(__file__).parents[1]


def test_the_average_of_parameters(tiny):
    config = tiny("toy", ema_decay=0.35, warmup_steps=0, schedule="constant")
    system = SYSTEMS["toy"]
    model, optimizer, parallel = (
        system.build(config, 2),
        make_optimizer(config, 100),
        make_parallel("pmap", 1),
    )
    batch = first_examples(config, 1, 1)
    state = train.init_state(config, model, optimizer, batch["inputs"])
    average = state.params
    state, step = (
        parallel.replicate(state),
        parallel.compile(train.make_step(config, system, model, optimizer, 1)),
    )
    for decay in (1 / 10, 2 / 11, 3 / 12, 4 / 13, 0.35, 0.35):  # a young average forgets faster
        state, _ = step(state, parallel.shard(nobody_stops(batch)))
        found = parallel.unreplicate(state)
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, found.params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found.ema, average)
        assert all(
            np.abs(a - b).max() > 1e-5
            for a, b in zip(jax.tree.leaves(found.ema), jax.tree.leaves(found.params))
        )
    assert found.inference_variables() == {"params": found.ema}
    config.train.ema_decay = 0.0
    state = train.init_state(config, model, optimizer, batch["inputs"])
    assert state.ema is None and state.inference_variables() == {"params": state.params}


# Small batches that make one update


class Scale(nn.Module):
    """One number w."""

    @nn.compact
    def __call__(self, inputs):
        return self.param("w", nn.initializers.zeros, ()) * inputs


def weighted_sum(config, model, variables, batch, epoch, rng):
    """A loss whose gradient is that of each example's positives: their number times their unit gradient."""
    values = model.apply(variables, batch["inputs"]) * batch["positives"] * batch["sample_mask"]
    return {"loc": Term(1.0, values.sum(), (batch["positives"] * batch["sample_mask"]).sum())}, {}


@pytest.mark.parametrize("accumulate_steps, batch_size", [(1, 2), (2, 1)])
def test_positives_count_alike_in_all_small_batches(tiny, accumulate_steps, batch_size):
    config = tiny("toy", accumulate_steps=accumulate_steps, batch_size=batch_size)
    batch = {"inputs": np.array([1.0, 5.0]), "positives": np.array([99.0, 1.0]), "sample_mask": np.ones(2)}
    system = System(None, None, weighted_sum, None, None)
    parallel, optimizer = make_parallel("pmap", 1), optax.sgd(1.0)
    state = parallel.replicate(train.init_state(config, Scale(), optimizer, batch["inputs"]))
    step = parallel.compile(train.make_step(config, system, Scale(), optimizer, 1))
    state, values = step(state, parallel.shard(nobody_stops(batch)))
    np.testing.assert_allclose(parallel.unreplicate(state).params["w"], -1.04, rtol=1e-6)
    np.testing.assert_allclose(values["gradient_norm"], 1.04, rtol=1e-6)


@pytest.mark.parametrize("num_devices, accumulate_steps", [(1, 4), (2, 2), (2, 4)])
def test_accumulated_batches_are_the_large_batch(tiny, num_devices, accumulate_steps):
    found = []
    # 5 examples in a batch of 8: with 4 small batches some are but filled up
    for number in (1, accumulate_steps):
        config = tiny("toy", accumulate_steps=number, batch_size=8 // number)
        found.append(run_step(config, first_examples(config, 5, 8), "pmap", num_devices, steps=3))
    (state, values), (accumulated, accumulated_values) = found
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state.params, accumulated.params
    )
    assert values.keys() == accumulated_values.keys()
    for name, value in values.items():
        np.testing.assert_allclose(accumulated_values[name], value, rtol=1e-5, err_msg=name)


def test_a_run_of_accumulated_batches_learns_what_large_ones_teach(tiny, tmp_path):
    params = []
    for number in (1, 3):
        config = tiny("toy_sgd", epochs=2, accumulate_steps=number, batch_size=6 // number, ema_decay=0.0)
        examples = len(SYSTEMS["toy"].examples(config, load_dataset(config))[0])
        train.train(config, tmp_path / str(number))
        params.append(SYSTEMS[config.system].variables(config, tmp_path / str(number))["params"])
        steps = [
            json.loads(line)["step"]
            for line in (tmp_path / str(number) / "metrics.jsonl").read_text().splitlines()
        ]
        assert max(steps) == 2 * math.ceil(examples / 6)
    assert examples % 6  # the last group of an epoch is incomplete
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *params)


# A run that is interrupted


def command(system, data, workdir, *more):
    """The command line of a short training with every augmentation, and of few steps between two checkpoints."""
    fields = dict(train=dict(epochs=15, batch_size=1, save_every_steps=10, log_every_steps=5))
    fields["augment"] = dict(crop=0.5, jitter_frames=8, scale=0.1, noise=0.1, rotation_deg=20.0)
    flags = [f"--config.{part}.{name}={value}" for part, row in fields.items() for name, value in row.items()]
    place = [
        f"--config.data.annotations={data}/labels.json",
        f"--config.data.features={data}",
        f"--workdir={workdir}",
    ]
    return [
        sys.executable,
        "-m",
        "tal_jax.main",
        f"--config=tests/tiny_config.py:{system}",
        *place,
        *flags,
        *more,
    ]


def run_to_the_end(*arguments):
    done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def stop_at(step, signal_number, *arguments):
    """Starts a run, sends it the signal when that step has been saved, and returns (exit code, stderr)."""
    process = subprocess.Popen(
        command(*arguments), cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    workdir = pathlib.Path(arguments[2])
    while saved_steps(workdir)[-1:] < [step]:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal_number)
    _, errors = process.communicate(timeout=100)
    return process.returncode, errors


def saved_steps(workdir, which="latest"):
    return sorted(
        int(path.name) for path in (workdir / "checkpoints" / which).glob("*") if path.name.isdigit()
    )


def last_state(workdir):
    """Every array of the latest checkpoint, by name."""
    folder = workdir / "checkpoints" / "latest" / str(saved_steps(workdir)[-1]) / "default"
    with ocp.StandardCheckpointer() as checkpointer:
        return {
            jax.tree_util.keystr(path): leaf
            for path, leaf in jax.tree.leaves_with_path(checkpointer.restore(folder))
        }


def metrics(workdir):
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    clock = ("data_wait_share", "seconds_per_step")
    return [{name: value for name, value in line.items() if name not in clock} for line in lines]


@pytest.fixture(scope="module", params=["toy", pytest.param("dw_afsd", marks=pytest.mark.slow)])
def uninterrupted(request, tiny_data, tmp_path_factory):
    """(system, workdir) of a run from start to end."""
    workdir = tmp_path_factory.mktemp("uninterrupted")
    run_to_the_end(request.param, tiny_data, workdir)
    return request.param, workdir


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_goes_on_as_if_nothing_had_been(uninterrupted, tiny_data, tmp_path, signal_number):
    system, expected = uninterrupted
    code, errors = stop_at(30, signal_number, system, tiny_data, tmp_path)
    steps = saved_steps(tmp_path)
    end = saved_steps(expected)[-1]
    assert 30 <= steps[-1] < end, "the signal came too late to test anything"
    if signal_number == signal.SIGTERM:
        assert code == 0
        assert f"Stopped by a signal; saved at step {steps[-1]}." in errors
    else:
        assert code == -signal.SIGKILL
    assert not (tmp_path / "evaluation.json").exists()

    done = run_to_the_end(system, tiny_data, tmp_path)
    assert f"Resuming from step {steps[-1]} of {end}" in done.stderr
    assert saved_steps(tmp_path)[-1] == end
    found, wanted = last_state(tmp_path), last_state(expected)
    assert found.keys() == wanted.keys() and any("mu" in name for name in found)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    for name in ("detections.json", "evaluation.json"):
        assert (tmp_path / name).read_text() == (expected / name).read_text()
    if steps[-1] % 5 == 0:  # lines average over the steps since the last one, or since the start
        assert metrics(tmp_path) == metrics(expected)


def test_another_run_of_a_finished_one_only_evaluates(uninterrupted, tiny_data, tmp_path):
    system, expected = uninterrupted
    shutil.copytree(expected, tmp_path, dirs_exist_ok=True)
    (tmp_path / "evaluation.json").unlink()
    done = run_to_the_end(system, tiny_data, tmp_path)
    assert "mAP" in done.stdout
    assert (tmp_path / "evaluation.json").read_text() == (expected / "evaluation.json").read_text()
    assert metrics(tmp_path) == metrics(expected)


@pytest.mark.parametrize("reads", range(6))
def test_a_signal_at_any_moment_saves_where_it_stops(tiny, tmp_path, monkeypatch, compiled_once, reads):
    class Stop:
        """As StopSignal; the signal comes after so many looks."""

        looks = 0

        @property
        def received(self):
            self.looks += 1
            return self.looks > reads

        def restore(self):
            pass

    monkeypatch.setattr(train, "StopSignal", Stop)
    assert train.train(tiny("toy", log_every_steps=100, save_every_steps=100), tmp_path) is None
    # The flag goes into the step after the looks, whose values are read after the next one.
    assert saved_steps(tmp_path) == [reads + 2] == [last_state(tmp_path)["['step']"]]


# A run that goes wrong


def test_not_a_number_stops_the_run_and_spares_the_last_checkpoint(tiny_data, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    features = np.load(data / "tuesday.npy")
    features[-20:, 1] = np.nan  # in the last windows of one recording, so that some steps go well
    np.save(data / "tuesday.npy", features)
    arguments = command(
        "toy", data, tmp_path / "run", "--config.train.save_every_steps=1", "--config.train.epochs=3"
    )
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    message = done.stderr.splitlines()[-1]
    found = re.match(
        r"Error: Step (\d+): 'action' is nan, 'rest' is nan\. Training stops; the last good checkpoint",
        message,
    )
    assert found, message
    assert "config.train.learning_rate" in message and "--mode=check_data" in message
    assert saved_steps(tmp_path / "run")[-1] == int(found[1]) - 1 > 0
    for name, leaf in last_state(tmp_path / "run").items():
        assert np.isfinite(leaf).all(), name


def test_what_is_not_finite():
    train.require_finite(3, {"loc": 1.0, "total": 1e30})
    for values, found in [
        (
            {"cls": math.inf, "gradient_norm": math.nan, "loc": 1.0, "total": math.inf},
            "Step 7: 'cls' is inf. ",
        ),
        ({"cls": 1.0, "gradient_norm": math.inf, "total": 1.0}, "Step 7: 'gradient_norm' is inf. "),
    ]:
        with pytest.raises(train.TrainingError, match=f"^{re.escape(found)}"):
            train.require_finite(7, values)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"evaluate.tious": (0.5, 50.0)},
            r"config.evaluate.tious is \(0.5, 50.0\); each of its numbers must be above 0 and at most 1\.",
        ),
        (
            {"data.test_subset": "testing"},
            "No recording has the subset 'testing'; the annotations have 'test', 'train'",
        ),
        ({"data.num_channels": 4}, "Recording 'monday' .* has 3 channels, but config.data.num_channels is 4"),
        ({"train.schedule": "linear"}, "config.train.schedule is 'linear'"),
        (
            {"window.train_stride_frames": 500, "data.train_subset": "test", "window.frames": 16},
            "All 2 actions of the subset 'test' are longer than a training window of 16 frames; set "
            "--config.window.frames=",
        ),
    ],
)
def test_what_can_be_said_before_training_is_said_then(tiny, tmp_path, change, message):
    config = tiny("toy")
    config.update_from_flattened_dict(change)
    with pytest.raises(DataError, match=message):
        train.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_bad_test_recording_is_found_before_training(tiny, tiny_data, tmp_path):
    for path in tiny_data.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    np.save(tmp_path / "sunday.npy", np.ones((200, 4), np.float32))
    config = tiny("toy")
    config.data.update(features=str(tmp_path), annotations=str(tmp_path / "labels.json"))
    with pytest.raises(
        DataError, match="Recording 'sunday' .* has 4 channels, but config.data.num_channels is 3"
    ):
        train.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# What a run leaves behind


def test_metrics_of_a_resumed_run(tmp_path):
    writer = MetricWriter(tmp_path)
    for step in (5, 10, 15):
        writer.write(step, {"total": step / 2})
    writer.close()
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 20, "tot')  # as a kill may leave it
    writer = MetricWriter(tmp_path, start_step=10)
    assert metrics(tmp_path) == [{"step": 5, "total": 2.5}, {"step": 10, "total": 5.0}]
    writer.write(15, {"total": 7.0})
    assert metrics(tmp_path)[-1] == {"step": 15, "total": 7.0}
    MetricWriter(tmp_path)
    assert metrics(tmp_path) == []


@pytest.mark.parametrize("line", [b"{", b"3", b'{"loss": 1}', b'{"step": "1"}', b"[" * 100_000, b"\xff\xfe"])
def test_damaged_metrics_are_one_sentence_and_stay(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 5}\n' + line + b"\n")
    with pytest.raises(DataError, match="metrics.jsonl is damaged: .*; remove the "):
        MetricWriter(tmp_path, start_step=10)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b'{"step": 5}\n' + line + b"\n"


def test_metrics_of_a_run(uninterrupted):
    _, workdir = uninterrupted
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    *steps, last = lines
    assert [line["step"] for line in steps] == list(range(5, steps[-1]["step"] + 1, 5))
    for line in steps:
        assert 0 <= line["data_wait_share"] <= 1 and line["seconds_per_step"] > 0
        assert line["epoch"] == line["step"] / 8  # windows of one example each
        assert line["total"] > 0 and line["gradient_norm"] > 0
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    assert last == {"step": steps[-1]["step"], "map_avg": evaluation["map_avg"]} | {
        f"map@{tiou}": value for tiou, value in evaluation["map"].items()
    }


def test_an_evaluation_that_is_interrupted_is_made_when_the_run_goes_on(tiny, tmp_path, monkeypatch):
    config = tiny("toy", epochs=3)
    config.train.update(evaluate_every_epochs=1, save_every_steps=4)
    evaluate_streams = evaluate.evaluate_streams
    monkeypatch.setattr(evaluate, "evaluate_streams", lambda *_, **__: sys.exit())
    with pytest.raises(SystemExit):  # as killed after the step is saved
        train.train(config, tmp_path)
    monkeypatch.setattr(evaluate, "evaluate_streams", evaluate_streams)
    train.train(config, tmp_path)
    assert [line["step"] for line in metrics(tmp_path) if "map_avg" in line] == [4, 8, 12]


def test_the_best_of_several_evaluations_is_kept(tiny, tmp_path):
    train.train(tiny("toy", epochs=5, batch_size=8, evaluate_every_epochs=2, learning_rate=0.1), tmp_path)
    scores = {line["step"]: line["map_avg"] for line in metrics(tmp_path) if "map_avg" in line}
    assert list(scores) == [2, 4, 5]
    assert saved_steps(tmp_path, "best") == [max(scores, key=scores.get)]  # the first of equals
    assert json.loads((tmp_path / "evaluation.json").read_text())["map_avg"] == scores[5]


def test_averages_are_over_the_steps_since_the_last_line(tiny, tmp_path, monkeypatch, caplog):
    seconds = (1, 2, 3, 4, 4, 4, 9, 9)  # of each step, of which a quarter of one is spent waiting for data
    clock = itertools.chain.from_iterable((0, 0.25, of_step) for of_step in seconds)
    monkeypatch.setattr(train, "time", types.SimpleNamespace(perf_counter=clock.__next__))
    values_of = {}
    monkeypatch.setattr(train, "require_finite", values_of.__setitem__)
    with caplog.at_level("INFO"):
        train.train(tiny("toy", epochs=2, batch_size=2, log_every_steps=3), tmp_path)
    *lines, _ = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 8] and list(values_of) == [*range(1, 9)]
    assert [line["data_wait_share"] for line in lines] == [0.125, 0.0625, 0.5 / 18]
    assert [line["seconds_per_step"] for line in lines] == [2, 4, 9]
    for first, line in zip((1, 4, 7), lines):
        for name in values_of[1]:
            of_steps = [values_of[step][name] for step in range(first, line["step"] + 1)]
            np.testing.assert_allclose(line[name], np.mean(of_steps), rtol=1e-6)

    params = SYSTEMS["toy"].variables(tiny("toy"), tmp_path)["params"]
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    assert (
        f"The network has {sum(sizes):,} parameters in {len(sizes)} arrays: {tmp_path / 'parameters.txt'}."
        in [record.getMessage() for record in caplog.records]
    )
    assert all(f"{name}/kernel" in (tmp_path / "parameters.txt").read_text() for name in params)


# The real thing


@pytest.fixture(scope="module")
def overfitted(tiny_data, tmp_path_factory):
    """{system: workdir} of runs that are evaluated on what they were trained on; side by side, for they
    mostly compile.
    """
    workdirs = {system: tmp_path_factory.mktemp(system) for system in ("afsd", "dw_afsd")}
    fields = dict(epochs=40, batch_size=2, log_every_steps=40, save_every_steps=1000)
    options = [
        "--config.data.test_subset=train",
        *(f"--config.train.{name}={value}" for name, value in fields.items()),
    ]
    options += [f"--config.data.annotations={tiny_data}/labels.json", f"--config.data.features={tiny_data}"]
    runs = []
    for system, workdir in workdirs.items():
        arguments = [f"--config=tests/tiny_config.py:{system}", f"--workdir={workdir}", *options]
        streams = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        runs.append(subprocess.Popen([sys.executable, "-m", "tal_jax.main", *arguments], cwd=ROOT, **streams))
    for run in runs:
        _, errors = run.communicate(timeout=300)
        assert run.returncode == 0, errors
    return workdirs


@pytest.mark.parametrize("system", ["afsd", "dw_afsd"])
def test_overfits_two_recordings(overfitted, system):
    result = json.loads((overfitted[system] / "evaluation.json").read_text())
    assert result["counts"]["recordings"] == 2 and result["counts"]["ground_truths"] == 8
    assert result["map"]["0.5"] > 90
    losses = [line["total"] for line in metrics(overfitted[system])[:-1]]
    assert losses[-1] < 0.5 * losses[0]
