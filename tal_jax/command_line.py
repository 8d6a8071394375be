"""The command line of main.py: flags and config, and one sentence for what is wrong with them."""

import os
import re
import sys
import traceback

from absl import app, flags
from ml_collections import config_flags

from tal_jax import exports
from tal_jax.config import flag_problem, known_configs
from tal_jax.errors import plain
from tal_jax.systems import SYSTEMS

FLAGS = flags.FLAGS
MODES_OF = {
    "detections": ("evaluate", "diagnose", "report"),
    "runs": ("report",),
    "host": ("watch",),
    "port": ("watch",),
    "input": ("predict", "propose", "extract", "report", "watch", "shots"),
    "draw": ("predict",),
    "export": ("predict", "evaluate"),
    "figures": ("evaluate", "diagnose"),
    "weights": ("shots",),
}
HELP = """Temporal action localization: which actions a long recording holds, and when each starts and ends.

  tal-jax --config=sbhar                              trains, then scores on the test recordings
  tal-jax --config=sbhar --mode=predict --input=FILE  detects with what was trained
  tal-jax --config=folder --config.data.annotations=FILE --config.data.features=FOLDER   on your own data
  tal-jax look VIDEO                                  400 daily actions in any video, without training
  tal-jax --mode=shots --input=VIDEO                  the cuts of any video, without training

Configs: {configs}; or a file. The head of configs/NAME.py lists its variants.
Modes: {modes}; README.md has a line on each.
Fields of a config: docs/fields.md; any of them is a flag: --config.train.epochs=3.
"""
WITHOUT_CONFIG = ("shots",)  # modes that need none
PROBLEMS = (
    AttributeError, KeyError, flags.Error, OSError, RecursionError, SyntaxError, TypeError, ValueError,
)  # fmt: skip


def parse(argv):
    """Parses the flags, and loads the config that they name.

    Args:
      argv: the words of the command line, the program first.

    Returns:
      The words that are no flags: the program alone.

    A command line that cannot be used ends the process with a sentence and exit code 1, --help with 0.
    """
    if any(re.fullmatch("--?(h|help|helpshort)", word) for word in argv[1:]):
        known = {"configs": ", ".join(known_configs()), "modes": ", ".join(FLAGS["mode"].parser.enum_values)}
        print(HELP.format(**known), FLAGS.module_help(FLAGS.find_module_defining_flag("mode")), sep="\n")
        sys.exit(0)
    argv = [re.sub(r"^(--?config\.plan)(?==|$)", r"\1.file", word) for word in _spelt_out(argv)]
    sys.argv = argv  # config_flags finds the fields there
    try:
        rest = FLAGS(argv)
        _require_usable(rest, argv)
        _keep_readings(argv)
        return rest
    except SystemExit as error:
        sys.exit(_why_exit(error))
    except PROBLEMS as error:
        sys.exit(f"Error: {_why_refused(error, argv)}")


def _spelt_out(argv):
    """`tal-jax look FILE` as flags: --mode=predict by a config that needs no training. Other words stay, also
    flags with a "=" before it.
    """
    at = next((i for i, word in enumerate(argv[1:], 1) if not re.match("--?[a-z_.]+=", word)), len(argv))
    if argv[at : at + 1] != ["look"]:
        return argv
    source, *others = argv[at + 1 :] or [""]
    if not source or source.startswith("-"):
        hint = f" A file of that name is ./{source}." if os.path.exists(source) else ""
        sys.exit(f"Error: say what to look at: tal-jax look FILE, a video or a folder of videos.{hint}")
    flags_of_look = ["--config=kinetics", "--mode=predict", f"--input={source}"]
    return [argv[0], *flags_of_look, *argv[1:at], *others]


def said_fields():
    """The names of the config's fields that flags name, such as ("data.fps", "first_stage.seed")."""
    return tuple(config_flags.get_override_values(FLAGS["config"]))


def _require_usable(rest, argv):
    """Raises flags.Error or DataError for flags that are parsed but cannot be used.

    rest: the words that are no flags.
    """
    if len(rest) > 1:
        raise flags.Error(f"unknown argument '{rest[1]}'; --help lists modes and flags.")
    if FLAGS.config is None and FLAGS.mode not in WITHOUT_CONFIG:
        raise flags.Error("say which config, for example --config=sbhar; --help lists modes and flags.")
    for name in ("workdir", "detections", "input", "weights"):
        if FLAGS[name].value and not FLAGS[name].value.strip():
            raise flags.Error(f"--{name} is '{FLAGS[name].value}', a name that nobody sees; name another.")
    for name, modes in MODES_OF.items():
        if FLAGS[name].value != FLAGS[name].default and FLAGS.mode not in modes:
            add = "add one of them" if modes[1:] else "add it"
            what_to_do = "leave it out, or choose another mode" if FLAGS["mode"].present else add
            raise flags.Error(f"--{name} is for --mode={', '.join(modes)}; {what_to_do}.")
    exports.require_known(FLAGS.export)
    if FLAGS.config is None:
        return
    system = FLAGS.config.system  # a config file that could not be loaded says so here
    if system not in SYSTEMS:
        file = _config_file(argv)
        where = f"the head of {known_configs().get(file, file)} lists its variants"
        raise flags.Error(f"the system '{system}' is not one of {', '.join(SYSTEMS)}; {where}.")


def _keep_readings(argv):
    """Keeps the readings of the config itself that --config.readings says nothing about."""
    if said := FLAGS.config and FLAGS.config.get("readings"):
        points = [str(entry).partition("=")[0] for entry in said]
        own = FLAGS["config"].parser.parse(_config_spec(argv)).readings
        FLAGS.config.readings = (*(entry for entry in own if entry.partition("=")[0] not in points), *said)


def _why_refused(error, argv):
    """The sentence for an error that the flags, or the config file that they name, have raised."""
    if isinstance(error, flags.UnrecognizedFlagError):
        of_config = error.flagname.startswith("config.")
        return f"{error}{'. Say first which config, for example --config=sbhar.' if of_config else ''}"
    unknown = _unknown_field(error, argv) if isinstance(error, (AttributeError, KeyError)) else ""
    return unknown or flag_problem(error, _config_file(argv))


def _why_exit(error):
    """0 where --help or its kin ends the parser, else a sentence: the config file ends the program."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if frame.f_globals["__name__"] == app.__name__:
        return 0
    said = error.code
    if not isinstance(said, str):
        said = f"it calls sys.exit({'' if said is None else said})"
    return f"Error: the config file ends the program: {plain(said)}"


def _config_spec(argv):
    """The config that the command line names last, a file or a name, with its variant."""
    return [*re.findall("^--?config[=\n](.*)", "\n".join(argv), re.MULTILINE), ""][-2:][0]


def _config_file(argv):
    """The config that the command line names last, a file or a name, without its variant."""
    return _config_spec(argv).split(":")[0]


def _unknown_field(error, argv):
    """The sentence for --config.train.epoch=3. error: it names the last part of the field, and at times a
    better one.
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
