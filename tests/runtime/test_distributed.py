import concurrent.futures
import json
import os
import shutil
import signal
import socket
import time

import numpy as np
import pytest

from launch.local import free_port
from tal_jax.errors import DataError, ProcessLost
from tal_jax.runtime import distributed
from tal_jax.runtime.distributed import meet
from tests.processes import end, run, start
from tests.test_train import last_state, metrics, saved_steps


def fields(data, workdir, system="toy_sgd", **values):
    """Arguments of a training of 2 windows a step, 6 or 7 windows an epoch, so that the last batch is short."""
    values = {
        "train.batch_size": 4,
        "parallel.max_devices": 0,
        "train.save_every_steps": 10,
        "train.log_every_steps": 5,
    } | values
    place = [
        f"--config.data.annotations={data}/labels.json",
        f"--config.data.features={data}",
        f"--workdir={workdir}",
    ]
    return [
        f"--config=tests/tiny_config.py:{system}",
        *place,
        *(f"--config.{name}={value}" for name, value in values.items()),
    ]


def assert_same_state(found, expected, tolerance=0.0):
    assert found.keys() == expected.keys() and found
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


# How they meet


def meet_all(calls, timeout_sec=5):
    """What every process gets to hear, "" if all is well. calls: (coordinator, num_processes, process_id) of
    each.
    """

    def heard(call):
        try:
            meet(*call, timeout_sec)
        except (DataError, ProcessLost) as error:
            return str(error)
        return ""

    with concurrent.futures.ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(heard, calls))


def test_processes_meet_in_any_order():
    address = f"127.0.0.1:{free_port()}"
    assert meet_all([(address, 3, i) for i in (2, 0, 1)]) == ["", "", ""]
    assert meet_all([(address, 1, 0)]) == [""]  # and the port is free again


def test_a_process_may_be_late_and_strangers_do_not_disturb():
    port = free_port()
    address = f"localhost:{port}"

    def late():
        time.sleep(0.5)
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b""):
            with socket.create_connection(("localhost", port)) as stranger:
                stranger.sendall(said)
        meet(address, 2, 1, 5)

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        for meeting in [threads.submit(meet, address, 2, 0, 5), threads.submit(late)]:
            meeting.result(timeout=20)


def test_the_same_id_twice_is_said_to_all():
    address = f"127.0.0.1:{free_port()}"
    sentence = "Two processes say that they are process 1; give each its own --process_id."
    assert meet_all([(address, 3, i) for i in (0, 1, 1)]) == [sentence] * 3


def test_the_same_id_twice_is_said_to_who_comes_later():
    address = f"127.0.0.1:{free_port()}"

    def late():
        time.sleep(1)
        return meet_all([(address, 3, 2)])[0]

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        heard = [threads.submit(meet_all, [(address, 3, i) for i in (0, 1, 1)]), threads.submit(late)]
        *first, last = [*heard[0].result(timeout=20), heard[1].result(timeout=20)]
    assert (
        set(first) == {last} == {"Two processes say that they are process 1; give each its own --process_id."}
    )


def test_a_process_that_was_started_again_is_no_second_one():
    port = free_port()
    address = f"127.0.0.1:{port}"

    def killed_and_started_again():
        time.sleep(0.5)
        with socket.create_connection(("127.0.0.1", port)) as killed:
            killed.sendall(b'{"process_id": 1, "num_processes": 3}\n')
            time.sleep(0.5)
        time.sleep(0.5)
        return meet_all([(address, 3, 1), (address, 3, 2)])

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        heard = [threads.submit(meet_all, [(address, 3, 0)], 15), threads.submit(killed_and_started_again)]
        assert [answer.result(timeout=20) for answer in heard] == [[""], ["", ""]]


def test_two_first_processes():
    address = f"127.0.0.1:{free_port()}"
    heard = sorted(meet_all([(address, 2, 0), (address, 2, 0)], timeout_sec=1))
    assert heard[0].startswith("Of 2 processes there is no sign of process 1")
    assert (
        heard[1].startswith("Process 0 cannot listen on port")
        and "is there another with --process_id=0" in heard[1]
    )


def test_other_counts_are_said_to_all():
    address = f"127.0.0.1:{free_port()}"
    sentence = "Process 1 says --num_processes=3, process 0 says 2; they must say the same."
    assert meet_all([(address, 2, 0), (address, 3, 1)]) == [sentence] * 2


def test_a_missing_process_is_named_to_all():
    address = f"127.0.0.1:{free_port()}"
    sentence = "Of 4 processes there is no sign of process 1, 3; start it too, or see why it ended."
    assert meet_all([(address, 4, 0), (address, 4, 2)], timeout_sec=1) == [sentence] * 2


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", ":80", "127.0.0.1:99999"])
def test_an_address_that_is_none(address):
    assert meet_all([(address, 2, 1)]) == [
        f"--coordinator is '{address}'; it must be HOST:PORT, for example 10.0.0.1:1234."
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_coordinator_that_is_not_there(host):
    address, begin = f"{host}:{free_port()}", time.monotonic()
    (heard,) = meet_all([(address, 2, 1)], timeout_sec=1)
    assert heard.startswith(f"Process 1 does not reach process 0 at {address} (")
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("numbers", [(2, 2), (2, -1), (0, 0)])
def test_numbers_that_cannot_be(numbers):
    with pytest.raises(DataError, match="a run of N processes has those from 0 to N - 1"):
        distributed.join("127.0.0.1:1", *numbers)


def test_an_address_without_numbers():
    with pytest.raises(DataError, match="^--coordinator also needs --num_processes=N and --process_id=I.$"):
        distributed.join("127.0.0.1:1")


@pytest.mark.parametrize("numbers", [(2, 1), (0, 1), (0, 0), (2, -1)])
def test_numbers_without_an_address(numbers):
    with pytest.raises(DataError, match="need --coordinator=HOST:PORT"):
        distributed.join("", *numbers)


def test_one_process_gathers_its_own():
    value = {"a": [1, "x", np.arange(3)]}
    assert distributed.gather(value) == [value]
    assert (distributed.index(), distributed.count(), distributed.is_first()) == (0, 1, True)
    distributed.require_same("The number", 3)
    distributed.wait()


# What cannot be, at the front door


def test_what_is_wrong_is_one_sentence_in_a_minute(tiny_data, tmp_path):
    begin = time.monotonic()
    port = free_port()
    second_of_two = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2", "--process_id=1"]
    cases = {
        "batch": start(fields(tiny_data, tmp_path / "a", **{"train.batch_size": 5}), 2),
        "workdir": start(
            [*fields(tiny_data, tmp_path), (f"--workdir={tmp_path}/0", f"--workdir={tmp_path}/1")], 2
        ),
        "alone": start([*fields(tiny_data, tmp_path), *second_of_two, "--join_timeout_sec=2"], 1),
    }
    errors = {name: end(processes, timeout=60) for name, processes in cases.items()}
    assert time.monotonic() - begin < 60
    for ended in errors["batch"]:
        assert (
            ended.code == 1
            and "config.train.batch_size is 5; it must be a multiple of the 2 devices" in ended.err
        )
    first, second = errors["workdir"]
    # JAX may be the first to see it, and aborts
    assert first.code in (distributed.LOST, -signal.SIGABRT) and second.code == 1
    assert f"Process 1 does not see {tmp_path}/1/config.json, which process 0 has written" in second.err
    (ended,) = errors["alone"]
    assert (
        ended.code == distributed.LOST
        and f"Error: Process 1 does not reach process 0 at 127.0.0.1:{port}" in ended.err
    )
    assert not any("Traceback" in ended.err for all_ended in errors.values() for ended in all_ended)


def test_one_id_twice_and_other_configs(tiny_data, tmp_path):
    port = free_port()
    numbers = [
        f"--coordinator=127.0.0.1:{port}",
        "--num_processes=3",
        ("--process_id=0", "--process_id=1", "--process_id=1"),
    ]
    cases = [
        start([*fields(tiny_data, tmp_path / "a"), *numbers], 3),
        start(
            [*fields(tiny_data, tmp_path / "b"), ("--config.train.epochs=3", "--config.train.epochs=4")], 2
        ),
    ]
    twice, configs = (end(processes, timeout=60) for processes in cases)
    for ended in twice:
        assert ended.code == 1
        assert (
            ended.err == "Error: Two processes say that they are process 1; give each its own --process_id.\n"
        )
    for ended in configs:
        assert ended.code == 1
        assert (
            "The config's train.epochs must be the same in all processes; in process 0 it is 3, in process 1 "
            "4." in ended.err
        )


def test_a_broken_file_that_one_process_meets_ends_all(alone, tiny_data, tmp_path):
    data, workdir = tmp_path / "data", tmp_path / "run"
    shutil.copytree(tiny_data, data)
    shutil.copytree(alone, workdir)
    features = np.load(data / "tuesday.npy")
    features[-1] = np.nan  # in the last windows alone
    np.save(data / "tuesday.npy", features)
    more = {"data.test_subset": "train", "data.train_subset": "test", "evaluate.batch_size": 5}
    ended = end(start([*fields(data, workdir, **more), "--mode=evaluate"], 2), timeout=60)
    assert (
        "Recording 'tuesday' has features that are NaN or beyond 1e15, the first in row 199" in ended[1].err
        and ended[1].code == 1
    )
    assert ended[0].code in (distributed.LOST, -signal.SIGABRT)


# Training


@pytest.fixture(scope="module")
def alone(tiny_data, tmp_path_factory):
    """Workdir of 50 steps by one process with one device."""
    workdir = tmp_path_factory.mktemp("alone")
    run(fields(tiny_data, workdir, **{"train.epochs": 25, "train.batch_size": 4}), 1)
    assert saved_steps(workdir)[-1] == 50
    return workdir


@pytest.mark.parametrize("impl", ["pmap", "shard_map"])
def test_two_processes_learn_what_one_does(alone, tiny_data, tmp_path, impl):
    ended = run(
        fields(tiny_data, tmp_path, **{"train.epochs": 25, "train.batch_size": 4, "parallel.impl": impl}),
        2,
        devices=2,
    )
    assert "4 device(s)" in ended[0].err
    assert "mAP" in ended[0].out and "mAP" not in ended[1].out + ended[1].err
    assert saved_steps(tmp_path) == saved_steps(alone)
    assert_same_state(last_state(tmp_path), last_state(alone), tolerance=1e-5)
    found, expected = metrics(tmp_path), metrics(alone)
    assert [line["step"] for line in found] == [line["step"] for line in expected]
    np.testing.assert_allclose(
        [line["total"] for line in found[:-1]], [line["total"] for line in expected[:-1]], rtol=1e-4
    )


@pytest.fixture(scope="module")
def uninterrupted(tiny_data, tmp_path_factory):
    """Workdir of 120 steps by two processes."""
    workdir = tmp_path_factory.mktemp("uninterrupted")
    run(fields(tiny_data, workdir, "toy", **{"train.epochs": 60}), 2)
    return workdir


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_one_process(uninterrupted, tiny_data, tmp_path, victim, signal_number):
    arguments = fields(tiny_data, tmp_path, "toy", **{"train.epochs": 60})
    processes = start(arguments, 2)
    while saved_steps(tmp_path)[-1:] < [20]:
        assert all(process.poll() is None for process in processes), [
            process.stderr.read() for process in processes
        ]
        time.sleep(0.01)
    os.kill(processes[victim].pid, signal_number)
    ended, steps = end(processes, timeout=60), saved_steps(tmp_path)
    assert steps[-1] < 120
    if signal_number == signal.SIGTERM:
        assert [process.code for process in ended] == [0, 0]
        assert (
            f"Stopped by a signal; saved at step {steps[-1]}." in ended[0].err
            and ended[1].err.count("Stopped") == 0
        )
    else:
        # The program says that it has lost one, or JAX is the first to see it and aborts.
        assert ended[1 - victim].code in (distributed.LOST, -signal.SIGABRT)
    if victim == 1:  # two go on as if nothing had been
        run(arguments, 2)
        assert_same_state(last_state(tmp_path), last_state(uninterrupted))
        assert (tmp_path / "detections.json").read_text() == (uninterrupted / "detections.json").read_text()
    else:  # one goes on from what two have saved
        (done,) = run(arguments, 1)
        assert f"Resuming from step {steps[-1]} of 120" in done.err
        assert saved_steps(tmp_path)[-1] == 120


def test_a_signal_before_the_first_step_ends_the_process(tiny_data, tmp_path):
    processes = start(fields(tiny_data, tmp_path, "toy"), 2)
    while not (tmp_path / "config.json").exists():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGTERM)
    ended = end(processes, timeout=60)
    assert ended[1].code in (0, -signal.SIGTERM) and ended[0].code in (0, distributed.LOST, -signal.SIGABRT)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("mode", ["train", "evaluate"])
def test_a_run_whose_checkpoints_are_gone(alone, tiny_data, tmp_path, mode, count):
    shutil.copytree(alone, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints")
    before = sorted(tmp_path.iterdir())
    ended = end(start([*fields(tiny_data, tmp_path), f"--mode={mode}"], count), timeout=60)
    sentence = {
        "train": f"Error: {tmp_path} holds a run, but its folder checkpoints/latest is gone. Put it back to go on, or choose",
        "evaluate": f"Error: No checkpoint in {tmp_path}/checkpoints/latest; train first with --mode=train.",
    }
    assert ended[0].code == 1 and sentence[mode] in ended[0].err and "Traceback" not in ended[0].err
    assert sorted(tmp_path.iterdir()) == before


def test_two_processes_go_on_from_what_one_has_saved(alone, tiny_data, tmp_path):
    shutil.copytree(alone, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "checkpoints" / "latest").iterdir():
        if path.name == "50":
            shutil.rmtree(path)
    first, _ = run(fields(tiny_data, tmp_path, **{"train.epochs": 25, "train.batch_size": 4}), 2)
    assert "Resuming from step 40 of 50" in first.err
    assert_same_state(last_state(tmp_path), last_state(alone), tolerance=1e-5)


@pytest.mark.slow
def test_two_processes_train_both_stages(tiny_data, tmp_path):
    arguments = [
        argument for argument in fields(tiny_data, tmp_path, "pgcn") if "max_devices" not in argument
    ]
    first, second = run([*arguments, "--config.train.batch_size=2"], 2)
    assert "Making proposals on 3 recordings." in first.err and "mAP" in first.out and "mAP" not in second.out
    found = (tmp_path / "detections.json").read_text()
    run([*arguments, "--config.train.batch_size=2", "--mode=evaluate"], 1)
    assert (tmp_path / "detections.json").read_text() == found


# Evaluation and prediction


def test_any_number_of_processes_detects_the_same(alone, tiny_data, tmp_path):
    """Three batches of windows, so that one of two processes runs two of them, the other one."""
    found = {}
    for count in (1, 2, 3):
        workdir = tmp_path / str(count)
        shutil.copytree(alone, workdir)
        (workdir / "detections.json").unlink()
        more = {"data.test_subset": "train", "data.train_subset": "test", "evaluate.batch_size": 2}
        run([*fields(tiny_data, workdir, **more), "--mode=evaluate"], count)
        found[count] = [(workdir / name).read_bytes() for name in ("detections.json", "evaluation.json")]
    assert found[1] == found[2] == found[3]
    results = json.loads(found[1][0])["results"]
    assert sorted(results) == ["monday", "tuesday"] and all(
        len(detections) > 5 for detections in results.values()
    )


def test_any_number_of_processes_predicts_the_same(alone, tiny_data, tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for name in ("monday", "tuesday", "sunday"):
        shutil.copy(tiny_data / f"{name}.npy", inputs)
    (inputs / "broken.npy").write_bytes(b"nothing")
    found = {}
    for count in (1, 2):
        workdir = tmp_path / str(count)
        shutil.copytree(alone, workdir)
        ended = end(start([*fields(tiny_data, workdir), "--mode=predict", f"--input={inputs}"], count))
        assert [process.code for process in ended] == [1] * count
        assert "1 of 4 recordings could not be used, see above: broken." in ended[0].err
        assert [name for name in ("sunday", "monday", "tuesday") if name in ended[0].out] == [
            "sunday",
            "monday",
            "tuesday",
        ]
        files = sorted((workdir / "predictions").iterdir())
        names = [
            f"{name}.{kind}" for name in ("monday", "sunday", "tuesday") for kind in ("html", "json", "png")
        ]
        assert [path.name for path in files] == names
        found[count] = [path.read_bytes() for path in files if path.suffix == ".json"]
    assert found[1] == found[2]
