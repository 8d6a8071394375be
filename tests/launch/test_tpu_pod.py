import os
import re
import shutil
import signal
import subprocess

import pytest

from tests.launch.conftest import ROOT, wait_until

# A pod of two hosts, which are folders: state READY, PREEMPTED, …; ssh runs the command in each; a preempted
# pod is cut off.
GCLOUD = r"""
cd "$FAKES"
verb=$4
echo "$verb ${*:5}" >> calls.txt
case $verb in
  create) [[ ! -e full ]] || { rm full; echo "no more capacity" >&2; exit 1; }
          echo READY > state; mkdir host0 host1 ;;
  describe) cat state 2> /dev/null ;;
  delete) for pid in host*/tal_jax/run.pid; do kill -KILL -- "-$(< "$pid")" 2> /dev/null; done; rm -rf host0 host1 state ;;
  scp) cp "$5" host0 && cp "$5" host1 ;;
  ssh)
    [[ $(< state) == READY ]] || exit 255
    for option in "$@"; do [[ $option != --command=* ]] || command=${option#*=}; done
    code=0
    for host in host0 host1; do (cd $host && HOME=$PWD HOST=$host bash -c "$command") || code=$?; done
    exit $code
    ;;
esac
"""
# The hosts' Python: makes an environment whose python does what the file `what` says.
PYTHON = r"""
mkdir -p .venv/bin
cat > .venv/bin/python << 'END'
#!/usr/bin/env bash
echo "$HOST: $(printf '<%s>' "$@")" >> "$FAKES/programs.txt"
[[ $2 != pip ]] || exit 0
what=$(cat "$FAKES/what.$HOST" 2> /dev/null || cat "$FAKES/what")
case $what in
  train) trap 'echo saved; exit 0' TERM; for i in {1..600}; do sleep 0.1; done ;;
  *) exit "$what" ;;
esac
END
chmod +x .venv/bin/python
"""
POD = ["--name=pod", "--zone=zone-a"]
PROGRAM = ["--", "--config=configs/sbhar.py", "--workdir=/mnt/a b"]
TRAIN = ["train", *POD, "--type=v4-16", "--version=runtime", "--spot", "--poll_sec=0.2", *PROGRAM]


@pytest.fixture
def project(tmp_path):
    """A small clone of the project, in which a crash is final at the second time."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "launch", folder / "launch", ignore=shutil.ignore_patterns("__pycache__"))
    host = folder / "launch" / "tpu_host.sh"
    host.write_text(host.read_text().replace("MOST_FAILURES=10", "MOST_FAILURES=1"))
    (folder / "requirements.txt").write_text("jax\n")
    (folder / "untracked").write_text("not for the hosts")
    for command in (["init", "--quiet"], ["add", "launch", "requirements.txt"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


@pytest.fixture
def pod(fakes, project):
    """The fakes, with `what` the program does and a function `tpu(*arguments)` -> running tpu_pod.sh."""
    fakes.add("gcloud", GCLOUD)
    fakes.add("python3.11", PYTHON)
    fakes.add("sudo", 'echo "$HOST: sudo $*" >> "$FAKES/programs.txt"')
    started = []

    def tpu(*arguments, **options):
        started.append(fakes.start("launch/tpu_pod.sh", *arguments, cwd=project, **options))
        return started[-1]

    fakes.tpu = tpu
    fakes.programs = lambda: [
        line for line in read(fakes.folder / "programs.txt").splitlines() if "<pip>" not in line
    ]
    fakes.what = lambda what, host="": (fakes.folder / f"what{host}").write_text(what)
    fakes.what("train")
    yield fakes
    for process in started:
        process.kill()
    subprocess.run(["gcloud", "compute", "tpus", "tpu-vm", "delete"], env=fakes.environment, check=False)


def read(path):
    return path.read_text() if path.exists() else ""


def end(process):
    output, _ = process.communicate(timeout=30)
    return process.returncode, output


def verbs(pod):
    return [call.split()[0] for call in pod.calls if not re.match(r"describe|ssh .* status", call)]


def run(host, arguments="<--config=configs/sbhar.py><--workdir=/mnt/a b>"):
    return f"host{host}: <-m><tal_jax.main><--join_timeout_sec=300>{arguments}"


# Dry runs


def dry(fakes, *arguments):
    """What a dry run prints, with ARCHIVE in place of a temporary folder; and no gcloud is called."""
    fakes.add("gcloud", 'echo called >> "$FAKES/calls.txt"')
    code, output = fakes.run("launch/tpu_pod.sh", *arguments, "--dry_run", *PROGRAM, stderr=subprocess.STDOUT)
    assert code == 0 and not fakes.calls
    return re.sub(r"/\S+/tal_jax\.tar\.gz", "ARCHIVE", re.sub(r"/\S+/files\b", "FILES", output)).splitlines()


def gcloud(text):
    return f"+ gcloud compute tpus tpu-vm {text} --zone=zone-a"


CREATE = gcloud("create pod --accelerator-type=v4-16 --version=runtime --spot")
COPY = [
    "+ tar -czf ARCHIVE --null -T FILES",
    gcloud("scp ARCHIVE pod: --worker=all"),
    gcloud(
        r"ssh pod --worker=all "
        r"--command=mkdir\ -p\ tal_jax\ \&\&\ tar\ -xzf\ tal_jax.tar.gz\ -C\ tal_jax\ \&\&\ "
        r"tal_jax/launch/tpu_host.sh\ install"
    ),
]
HOST = r"ssh pod --worker=all --command=tal_jax/launch/tpu_host.sh\ "
RUN = gcloud(HOST + r"start\ --config=configs/sbhar.py\ --workdir=/mnt/a\\\ b")


@pytest.mark.parametrize(
    "command, expected",
    [
        (["create", "--type=v4-16", "--version=runtime", "--spot"], [CREATE]),
        (["copy"], COPY),
        (["copy", "--setup=mount it"], [gcloud(r"ssh pod --worker=all --command=mount\ it"), *COPY]),
        (["run"], [RUN]),
        (["logs"], [gcloud(HOST + "logs")]),
        (["stop"], [gcloud(HOST + "stop")]),
        (["delete"], [gcloud("delete pod --quiet")]),
        (["delete", "--project=mine"], [gcloud("delete pod --quiet") + " --project=mine"]),
    ],
    ids=lambda value: value[0] if isinstance(value[0], str) else "",
)
def test_a_dry_run_prints_each_command(fakes, command, expected):
    assert dry(fakes, *command, *POD) == expected


def test_a_dry_run_of_all_of_it(fakes):
    lines = dry(fakes, "train", *POD, "--type=v4-16", "--version=runtime", "--spot")
    assert lines[:5] == [CREATE, *COPY, RUN]
    assert lines[5].startswith("[tpu_pod] Then, every 30 s, ")
    assert lines[6:] == [
        gcloud(r"describe pod --format=value\(state\)"),
        gcloud(HOST + "status"),
        gcloud("delete pod --quiet"),
    ]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["dance"], "'dance' is not a command; launch/tpu_pod.sh help lists them."),
        (["run"], "say which pod: --name=NAME."),
        (["run", "--name=pod"], "say in which zone: --zone=ZONE."),
        (["run", *POD], "say what to run: -- --config=configs/thumos.py --workdir=/mnt/shared/run."),
        (["train", *POD], "say what to train: -- --config=configs/thumos.py --workdir=/mnt/shared/run."),
        (["train", *POD, *PROGRAM], "say which pod to create: --type=v4-16 --version=RUNTIME."),
        (["create", *POD], "say which pod to create: --type=v4-16 --version=RUNTIME."),
        (
            ["run", *POD, "--config=c"],
            "--config=c is not an option; options are written --name=VALUE, and arguments",
        ),
    ],
)
def test_what_is_missing_is_a_sentence(pod, arguments, sentence):
    code, output = end(pod.tpu(*arguments))
    assert (
        code == 1
        and output.startswith(f"Error: {sentence}")
        and len(output.splitlines()) == 1
        and not pod.calls
    )


def test_without_gcloud_it_says_so(fakes, tmp_path):
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name))
    code, output = fakes.run("bash", "launch/tpu_pod.sh", "logs", *POD, env={"PATH": str(tmp_path)})
    assert code == 1 and output.startswith("Error: gcloud is not installed;")


def test_help(fakes):
    for arguments in ([], ["help"], ["--help"]):
        code, output = fakes.run("launch/tpu_pod.sh", *arguments)
        assert code == 0 and output.startswith("Usage: launch/tpu_pod.sh COMMAND")


# On the pod of folders


def test_a_preempted_pod_is_replaced_until_the_training_is_finished(pod):
    (pod.folder / "full").touch()  # the first creation fails
    process = pod.tpu(*TRAIN, stderr=subprocess.STDOUT)
    wait_until(lambda: len(pod.programs()) == 2)
    first = {int(path.read_text()) for path in pod.folder.glob("host*/tal_jax/run.pid")}
    assert len(first) == 2
    pod.what("0")
    (pod.folder / "state").write_text("PREEMPTED\n")
    code, output = end(process)
    assert code == 0, output
    assert (
        "The pod could not be created" in output
        and "The pod was preempted" in output
        and "The training is finished." in output
    )
    once = ["create", "scp", "ssh", "ssh"]  # after scp: install, start
    assert verbs(pod) == ["create", *once, "delete", *once]
    assert sorted(pod.programs()) == sorted([run(0), run(1)] * 2)
    assert not (pod.folder / "host0" / "tal_jax" / "untracked").exists()


def test_what_the_user_must_mend_ends_it_and_stops_the_others(pod):
    pod.what("1", ".host1")
    process = pod.tpu(*TRAIN)
    code, output = end(process)
    assert code == 1 and "a process ended with a sentence that says what to correct" in output
    wait_until(lambda: read(pod.folder / "host0" / "tal_jax" / "run.code") == "143\n")
    assert "saved" in read(pod.folder / "host0" / "tal_jax" / "run.log")
    for host in ("", ".host1"):  # mended
        pod.what("0", host)
    code, output = end(pod.tpu(*TRAIN))
    assert code == 0 and sorted(pod.programs()[2:]) == [run(0), run(1)] and verbs(pod).count("create") == 1


def test_a_lost_process_is_started_again_on_its_host_and_not_forever(pod):
    pod.what("134")
    code, output = end(pod.tpu(*TRAIN))
    assert code == 1 and "the program failed again and again, the last time with 134" in output
    assert sorted(pod.programs()) == [run(0)] * 2 + [run(1)] * 2
    assert "ended with 134; it is started again in 1 s (failure 1 of at most 1)." in read(
        pod.folder / "host0/tal_jax/run.log"
    )


def test_a_program_that_a_host_stopped_goes_on(pod):
    process = pod.tpu(*TRAIN)
    wait_until(lambda: len(pod.programs()) == 2)
    pod.what("0")
    for pid in pod.folder.glob("host*/tal_jax/run.pid"):
        os.killpg(int(pid.read_text()), signal.SIGTERM)
    code, output = end(process)
    assert code == 0 and "it goes on from where it saved" in output and len(pod.programs()) == 4


def test_a_host_that_went_down_is_set_up_again(pod):
    pod.tpu("train", "--setup=sudo mount shared", *TRAIN[1:])
    wait_until(lambda: len([line for line in pod.programs() if "main" in line]) == 2)
    os.killpg(int((pod.folder / "host0/tal_jax/run.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: pod.programs().count(run(0)) == 2)
    assert pod.programs().count(run(1)) == 1  # it runs there, and still does
    assert pod.programs().count("host0: sudo mount shared") == 2


def test_run_stop_and_run_once_more(pod):
    for command in (["create", "--type=v4-16", "--version=runtime"], ["copy"], ["run", *PROGRAM]):
        code, output = end(pod.tpu(command[0], *POD, *command[1:]))
        assert code == 0, output
    wait_until(lambda: len(pod.programs()) == 2)
    assert end(pod.tpu("run", *POD, *PROGRAM))[1].count("The program runs already.") == 2
    assert end(pod.tpu("stop", *POD))[0] == 0
    wait_until(
        lambda: [read(pod.folder / host / "tal_jax/run.code") for host in ("host0", "host1")] == ["143\n"] * 2
    )
    wait_until(lambda: end(pod.tpu("stop", *POD))[1].count("The program does not run.") == 2)
    assert end(pod.tpu("run", *POD, *PROGRAM))[0] == 0
    wait_until(lambda: len(pod.programs()) == 4)
    assert end(pod.tpu("delete", *POD))[0] == 0 and not (pod.folder / "host0").exists()


def test_a_stop_in_the_pause_is_a_stop(pod, project):
    (project / ".venv" / "bin").mkdir(parents=True)
    subprocess.run(["python3.11", "-m", "venv"], cwd=project, env=pod.environment, check=True)
    pod.what("134")
    log = project / "run.log"
    with log.open("w") as file:
        process = pod.start("launch/tpu_host.sh", "run", cwd=project, stdout=file, start_new_session=True)
    wait_until(lambda: "started again in 1 s" in read(log))
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=20)
    assert read(project / "run.code") == "143\n" and len(pod.programs()) == 1


def test_the_logs_name_the_host_and_have_no_bars(pod, project):
    (project / "run.log").write_text("10%\r20%\nend\n")
    process = pod.start("launch/tpu_host.sh", "logs", cwd=project, start_new_session=True)
    assert [process.stdout.readline().rpartition(": ")[2] for _ in range(3)] == ["10%\n", "20%\n", "end\n"]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
