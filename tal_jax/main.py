"""The front door: python -m tal_jax.main --config=sbhar [--mode=train|evaluate|predict|propose|…]."""

import logging
import os
import re
import signal
import sys
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports just ends the process

import absl.logging
import jax
from absl import app, flags

from tal_jax import evaluate, extract, predict, propose, report, train
from tal_jax.check_data import check_dataset
from tal_jax.config import define_config, flag_problem, known_configs
from tal_jax.errors import DataError, ProcessLost, TrainingError, plain, sentence_of
from tal_jax.runtime import devices, distributed
from tal_jax.runtime.files import remove_unfinished
from tal_jax.systems import SYSTEMS, require_valid

log = logging.getLogger("tal_jax")
_CONFIG = define_config(
    flags.FLAGS,
    "Config, by its name or its file, and after a colon the variant: sbhar:afsd, configs/sbhar.py:afsd. "
    "Any field: --config.train.epochs=3.",
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "predict", "propose", "check_data", "extract"],
    "train evaluates at its end; propose writes proposals.json, for two-stage systems.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    "",
    "Folder of checkpoints and results; default: runs/<config name>, or runs/scored_detections.",
)
_DETECTIONS = flags.DEFINE_string(
    "detections", "", "For --mode=evaluate: score this file (ActivityNet format), without a model."
)
_INPUT = flags.DEFINE_string(
    "input",
    "",
    "A feature file, a video, a folder of either or, to predict, a recording of the data set; to propose, a "
    "folder of actionness, or proposals of others.",
)
_DRAW = flags.DEFINE_enum(
    "draw",
    "detections",
    ["detections", "cas"],
    "cas: predict also draws and writes class activation sequences: as the system thresholds or regresses "
    "on them.",
)
# Flags that the other modes refuse.
_MODES_OF = {"detections": ("evaluate",), "input": ("predict", "propose", "extract"), "draw": ("predict",)}
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    "",
    "Of several processes: HOST:PORT where process 0 listens. Not on TPU pods, not under Slurm: "
    "docs/launch.md.",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", 0, "How many processes there are, with --coordinator.")
_PROCESS_ID = flags.DEFINE_integer("process_id", -1, "Which of them this is, from 0.")
_JOIN_TIMEOUT_SEC = flags.DEFINE_integer(
    "join_timeout_sec", 50, "How long the processes wait for each other at the start.", 1
)


def main(_):
    """Runs one mode, as one of several processes if there are; a sentence and exit code 1 for what the user
    can mend.

    Of several processes one that is left alone, or crashes, ends with distributed.LOST: all are worth
    starting again.
    """
    try:
        distributed.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value, _JOIN_TIMEOUT_SEC.value)
        if not distributed.is_first():  # the first one says what concerns all
            logging.getLogger("tal_jax").setLevel(logging.CRITICAL)
        code = run_mode(_CONFIG.value)
        distributed.wait()
    except (DataError, TrainingError, OSError) as error:
        distributed.leave(1, f"Error: {_why_full(error) or sentence_of(error)}")
    except ProcessLost as error:
        distributed.leave(distributed.LOST, f"Error: {error}")
    except Exception as error:
        if _why_full(error):
            distributed.leave(1, f"Error: {_why_full(error)}")
        if not jax.distributed.is_initialized():
            raise
        if not distributed.is_loss(error):
            distributed.leave(distributed.LOST, traceback.format_exc())
        sentence = "Error: another process was lost. Start all again: they go on from what was saved."
        distributed.leave(distributed.LOST, f"{sentence} ({distributed.first_line(error)})")
    sys.exit(code)


def _why_full(error):
    """`devices.why_full`, and what the same command does then."""
    then = ": it goes on from the last checkpoint, which is whole" if _MODE.value == "train" else ""
    return devices.why_full(error, then)


def _interrupted(*_):
    """Ctrl-C: ends from where it is, for a KeyboardInterrupt is lost in a callback of JAX."""
    remove_unfinished()
    distributed.leave(1, "Interrupted. The same command begins again, or goes on from what was saved.")


def run_mode(config):
    """Runs --mode; returns the exit code."""
    workdir = _WORKDIR.value or os.path.join(
        "runs", "scored_detections" if _DETECTIONS.value else config.name
    )
    devices.require_local("--workdir", workdir)
    require_valid(config, training=_MODE.value == "train")
    if _MODE.value != "check_data" and not _DETECTIONS.value:
        log.info("%s", devices.describe_devices())
        if unused := devices.unused_accelerator():
            log.warning("%s", unused)
    if _MODE.value == "predict":
        devices.keep_compiled()
    if _MODE.value not in ("train", "evaluate", "propose"):
        return _run_in(workdir, config)
    with distributed.only_run(workdir, f"--mode={_MODE.value}"):
        return _run_in(workdir, config)


def _run_in(workdir, config):
    first = distributed.is_first()
    if not propose.with_first_stage(config, workdir, _MODE.value):
        return 0
    if _MODE.value in ("train", "evaluate"):
        training = _MODE.value == "train"
        result = (
            train.train(config, workdir)
            if training
            else evaluate.evaluate(config, workdir, _DETECTIONS.value)
        )
        if first:
            report.print_evaluation(result, evaluate.path_of(workdir, config.evaluate))
    elif _MODE.value == "predict":
        predict.predict(config, workdir, _INPUT.value, _DRAW.value)
    elif _MODE.value == "propose":
        result = propose.propose(config, workdir, _INPUT.value)
        if first:
            report.print_proposals(result, propose.path_of(workdir))
    elif _MODE.value == "extract":
        extract.extract(config, workdir, _INPUT.value)
    elif first:
        return report.print_check(*check_dataset(config))
    return 0


def _parse(argv):
    """Flags and config, with a sentence for a misspelt field or an unreadable config file."""
    try:
        rest = flags.FLAGS(argv)
        if _CONFIG.value is None:
            raise flags.Error("say which config, for example --config=sbhar.")
        if len(rest) > 1:
            raise flags.Error(f"unknown argument '{rest[1]}'.")
        for name in ("workdir", *_MODES_OF):
            if flags.FLAGS[name].value and not flags.FLAGS[name].value.strip():
                raise flags.Error(
                    f"--{name} is '{flags.FLAGS[name].value}', a name that nobody sees; name another."
                )
        for name, modes in _MODES_OF.items():
            if flags.FLAGS[name].value != flags.FLAGS[name].default and _MODE.value not in modes:
                add = "add one of them" if modes[1:] else "add it"
                what_to_do = "leave it out, or choose another mode" if _MODE.present else add
                raise flags.Error(f"--{name} is for --mode={', '.join(modes)}; {what_to_do}.")
        system = _CONFIG.value.system  # a config file that could not be loaded says so here
        if system not in SYSTEMS:
            file = _config_file(argv)
            head = f"the head of {known_configs().get(file, file)} lists its variants"
            raise flags.Error(f"the system '{system}' is not one of {', '.join(SYSTEMS)}; {head}.")
    except SystemExit as error:
        sys.exit(_why_exit(error))
    except (AttributeError, KeyError) as error:
        sys.exit(f"Error: {_unknown_field(error, argv) or flag_problem(error, _config_file(argv))}")
    except flags.UnrecognizedFlagError as error:
        hint = (
            ". Say first which config, for example --config=sbhar."
            if error.flagname.startswith("config.")
            else ""
        )
        sys.exit(f"Error: {error}{hint}")
    except (flags.Error, OSError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        sys.exit(f"Error: {flag_problem(error, _config_file(argv))}")
    return rest


def _why_exit(error):
    """What to exit with where the parser exits: 0 behind --help and its kin, else the sentence of a config
    file.
    """
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if frame.f_globals["__name__"] == app.__name__:
        return 0
    said = error.code
    if not isinstance(said, str):
        said = f"it calls sys.exit({'' if said is None else said})"
    return f"Error: the config file ends the program: {plain(said)}"


def _config_file(argv):
    """The config, a file or a name, that the command line names last, without its variant."""
    found = ""
    for word, following in zip(argv, [*argv[1:], ""]):
        flag, _, value = word.lstrip("-").partition("=")
        if flag == "config" and word.startswith("-"):
            found = value or following
    return found.split(":")[0]


def _unknown_field(error, argv):
    """The sentence for --config.train.epoch=3, of which the error names the last part, and at times a better
    one.
    """
    text = str(error.args[0].args[0] if isinstance(error.args[0], KeyError) else error.args[0])
    key = text.split("\n")[0].strip("'")
    for argument in argv:
        path = argument.split("=")[0].lstrip("-")
        if path.startswith("config.") and key in path.split("."):
            better = re.search('Did you mean "(.+)" instead', text)
            parts = [better[1] if better and part == key else part for part in path.split(".")]
            hint = f" Did you mean {'.'.join(parts)}?" if better else ""
            return f"{path} is not a field of the config.{hint}"
    return "" if "get_config" in text else f"bad config: {text}"


def _unraisable(event):
    """Reports an error that nobody can catch, but not those of TensorStore's threads behind a checkpoint that
    could not be written.
    """
    if str(event.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(event)


class _Plain(logging.Formatter):
    """A message as a terminal can show it, whatever the files that it quotes hold."""

    def formatMessage(self, record):
        return plain(record.message)


def run():
    """Entry point of `python -m tal_jax.main` and of the `tal-jax` command."""
    absl.logging.get_absl_handler().setFormatter(_Plain())
    logging.getLogger("tal_jax").setLevel(logging.INFO)
    # the libraries' own: what they log as errors they raise too
    absl.logging.set_verbosity(absl.logging.FATAL)
    # not of a shell whose Ctrl-C is not for this process
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_DFL):
        signal.signal(signal.SIGINT, _interrupted)  # while training the loop sees to it
    sys.unraisablehook = _unraisable
    app.run(main, flags_parser=_parse)


if __name__ == "__main__":
    run()
