import os
import signal

import pytest

from tests.launch.conftest import wait_until

# A Slurm of fakes: scancel reaches the task, and a SIGTERM to srun kills it.

SRUN = """
echo "srun $*" >> "$FAKES/calls.txt"
shift  # --kill-on-bad-exit=0
trap 'echo "srun killed its task"; kill -KILL $task' TERM  # as the real one at SIGTERM
"$@" &
task=$!
echo $task > "$FAKES/task"
wait $task
code=$?
exit $((code > ${OTHER_TASK-0} ? code : ${OTHER_TASK-0}))
"""
PROGRAM = """
case $WHAT in
  train) trap 'sleep 0.3; echo saved; exit 0' TERM; echo ready; for i in {1..600}; do sleep 0.1; done ;;
  *) exit "$WHAT" ;;
esac
"""


@pytest.fixture
def slurm(fakes):
    """Function (what, **environment) -> running slurm.sbatch; calls of scontrol and scancel are in
    fakes.calls.
    """
    fakes.add("srun", SRUN)
    fakes.add("program", PROGRAM)
    fakes.add("scancel", 'echo "scancel $*" >> "$FAKES/calls.txt"; kill -TERM "$(cat "$FAKES/task")"')
    fakes.add("scontrol", 'echo "scontrol $*" >> "$FAKES/calls.txt"')
    fakes.add("squeue", 'echo "squeue $*" >> "$FAKES/calls.txt"; echo "${STATE-RUNNING}"')

    def start(what, **environment):
        environment = (
            fakes.environment | {"PYTHON": "program", "SLURM_JOB_ID": "17", "WHAT": what} | environment
        )
        return fakes.start("bash", "launch/slurm.sbatch", "--config=a b", "--workdir=c", env=environment)

    return start


def end(process):
    output, _ = process.communicate(timeout=20)
    return process.returncode, output


@pytest.mark.parametrize("code", [0, 1])
def test_a_finished_job_and_one_to_mend_do_not_go_back(fakes, slurm, code):
    assert end(slurm(str(code)))[0] == code
    assert fakes.calls == [
        "srun --kill-on-bad-exit=0 launch/stoppable.sh program -m tal_jax.main --join_timeout_sec=300 "
        "--config=a b --workdir=c"
    ]


def test_a_sentence_of_one_task_counts_for_more_than_the_loss_that_others_see(fakes, slurm):
    assert end(slurm("1", OTHER_TASK="134"))[0] == 1
    assert not any(call.startswith("scontrol") for call in fakes.calls)


def stopped(process):
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    return end(process)


def test_before_the_time_limit_it_saves_and_goes_back_into_the_queue(fakes, slurm):
    code, output = stopped(slurm("train"))
    assert code == 143 and "saved" in output and "killed" not in output
    assert fakes.calls[1:] == [
        "scancel --signal=TERM 17",
        "squeue --noheader --jobs=17 --format=%T",
        "scontrol requeue 17",
    ]


def test_a_cancelled_job_stays_cancelled(fakes, slurm):
    code, output = stopped(slurm("train", STATE="COMPLETING"))
    assert code == 143 and "saved" in output
    assert not any(call.startswith("scontrol") for call in fakes.calls)


def test_a_task_that_was_stopped_without_this_script_is_not_finished(fakes, slurm):
    process = slurm("train")
    assert process.stdout.readline() == "ready\n"
    os.kill(int(wait_until((fakes.folder / "task").read_text)), signal.SIGTERM)
    assert end(process)[0] == 143
    assert fakes.calls[-1] == "scontrol requeue 17"


@pytest.mark.parametrize("restarts, goes_back", [(None, True), ("9", True), ("10", False)])
def test_a_lost_job_goes_back_a_number_of_times(fakes, slurm, restarts, goes_back):
    code, output = end(slurm("134", **({"SLURM_RESTART_COUNT": restarts} if restarts else {})))
    assert code == 134 and "A task ended with 134" in output
    assert ("scontrol requeue 17" in fakes.calls) == goes_back == ("Given up" not in output)


def test_without_python_it_says_so(fakes, slurm):
    code, output = end(slurm("0", PYTHON="no/python"))
    assert code == 1 and output.startswith("Error: there is no no/python in ") and not fakes.calls
