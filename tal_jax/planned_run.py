"""The plan of a run: made once, kept as plan.json, and read again."""

import json
import logging
import pathlib

import ml_collections

from tal_jax import data, plan, run_config
from tal_jax.errors import DataError
from tal_jax.ranges import require_fields
from tal_jax.runtime import distributed
from tal_jax.runtime.files import replacing
from tal_jax.runtime.json_files import read_json
from tal_jax.step_cost import step_cost

log = logging.getLogger(__name__)

PLAN = "plan.json"
ALWAYS = ("data.samples_per_frame", "train.epochs")  # fields that each plan has
OWN_PLAN = "Put back the file, or choose another --workdir."


def plan_config():
    """The section `config.plan`, of configs whose fields are planned."""
    section = ml_collections.ConfigDict()
    section.file = ""  # a plan.json of another run, in place of the rules; --config.plan=FILE says the same
    section.minutes = 0.0  # of training on this machine, whose speed is measured; 0: as long as the rules say
    return section


def planned(config, workdir, said, trains=True):
    """The config with the fields of its plan, and the lines of it.

    A run that has begun keeps its plan. A config without the section `plan` stays as it is.

    Args:
      config: any config.
      workdir: folder of the run.
      said: names of the fields that flags name, see `command_line.said_fields`.
      trains: whether a training follows. If not, the data of other recordings are planned anew.

    Returns:
      (config, list of Line).

    Raises:
      DataError: the data have no plan; a plan cannot be read; the run in the workdir is of other recordings.
    """
    if "plan" not in config:
        return config, []
    own = pathlib.Path(workdir) / PLAN
    if config.plan.minutes and "train.epochs" in said:
        raise DataError("config.plan.minutes and config.train.epochs both say how long to train; name one.")
    if config.plan.minutes and config.plan.file:
        what = "config.plan.minutes and config.plan.file both say how long to train"
        raise DataError(f"{what}; leave one out, or name --config.train.epochs beside the file.")
    if config.plan.file:
        return read_plan(config.plan.file, config, said, "Name another file, or leave it out.")
    others = run_config.other_recordings(config, workdir, said) if _has_run(workdir) else {}
    if trains and {*others} - {*run_config.FOLDERS}:
        other = ", ".join(f"config.{field}={value}" for field, value in others.items())
        what = f"{workdir} holds a run of other recordings, not of {other:.300}"
        raise DataError(f"{what}. Choose another --workdir.")
    if own.exists() and (trains or not others):
        log.info("The plan is that of %s; another --workdir plans anew.", own)
        return read_plan(own, config, said, OWN_PLAN)
    if not config.plan.minutes:
        return plan.make_plan(config, said)
    asked = config.copy_and_resolve_references()
    asked.train.epochs, reason = _epochs_within(plan.make_plan(config, said)[0])
    config, lines = plan.make_plan(asked, (*said, "train.epochs"))
    return config, [line._replace(reason=reason) if line.field == "train.epochs" else line for line in lines]


def is_cross_validated(config):
    """Whether a config is planned, and its annotations have no recording of the test subset."""
    if "plan" not in config:
        return False
    subsets = {recording.subset for recording in data.dataset_annotations(config).recordings.values()}
    return config.data.train_subset in subsets and config.data.test_subset not in subsets


def scored_config(config):
    """The config by which a run is scored: a cross-validated one on its training recordings."""
    if is_cross_validated(config):
        config = config.copy_and_resolve_references()
        config.data.test_subset = config.data.train_subset
    return config


def _has_run(workdir):
    return (pathlib.Path(workdir) / "config.json").exists()


def _epochs_within(config):
    """(epochs that a planned config trains within `plan.minutes` on this machine, 2 at least; the reason)."""
    cost = step_cost(config, data.load_dataset(config))
    seconds = 60 * config.plan.minutes - cost.compile_sec
    epochs = max(2, int(seconds / (cost.an_epoch * cost.seconds)))
    epochs, step_ms = min(distributed.gather([epochs, 1e3 * cost.seconds]))  # those of the slowest process
    unit = "minute" if config.plan.minutes == 1 else "minutes"
    return epochs, f"{config.plan.minutes:g} {unit} on this machine, {step_ms:.3g} ms a step"


def of_run(config, workdir, said):
    """The config with the plan of the run in a workdir, if it has one: of fields that do not come back with
    a run, too.

    Args: see `planned`.
    """
    path = pathlib.Path(workdir) / PLAN
    return read_plan(path, config, said, OWN_PLAN)[0] if "plan" in config and path.exists() else config


def write_plan(workdir, lines):
    """Writes `<workdir>/plan.json`, a list of {"field", "value", "reason"}; nothing without lines."""
    if not lines:
        return
    with replacing(pathlib.Path(workdir) / PLAN) as temporary:
        temporary.write_text(json.dumps([line._asdict() for line in lines], indent=1))


def read_plan(path, config, said, what_to_do):
    """The config with the plan that `write_plan` has written to a file.

    Args:
      path: of the file.
      config: see `make_plan`.
      said: see `make_plan`; what flags name stays.
      what_to_do: last sentence of an error.

    Returns:
      (config, list of Line).

    Raises:
      DataError: the file is no plan for this config.
    """
    entries = read_json(path, "plan")
    try:
        lines = [
            plan.Line(entry["field"], _tuples(entry["value"]), str(entry["reason"])) for entry in entries
        ]
        system = dict([lines[0][:2]])["system"]
        if lacking := {*ALWAYS} - {line.field for line in lines}:
            raise KeyError(*lacking)
    except (KeyError, TypeError, IndexError) as error:
        what = f"{path} is no plan that this version of tal_jax has written"
        raise DataError(f"{what}. {what_to_do}") from error
    lines = [line for line in lines if plan.is_planned(line.field, said)]
    config = config.copy_and_resolve_references()
    if system != config.system:
        config = plan.of_labels(config, said)
    if system != config.system:
        raise DataError(f"{path} plans the system '{system!s:.60}', which no plan is for. {what_to_do}")
    for i, line in enumerate(lines):
        try:
            now = plan.value_of(config, line.field)
            if hasattr(now, "items"):
                raise TypeError
            if line.field in said:
                lines[i] = line = line._replace(value=now, reason="set by hand")
            elif line.field == "train.warmup_epochs" and line.value >= config.train.epochs:  # set by hand
                lines[i] = line = line._replace(
                    value=config.train.epochs - 1, reason="there are no more epochs"
                )
            config.update_from_flattened_dict({line.field: line.value})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            what = f"{path} is no plan for this config: {line.field!s:.60} cannot be {line.value!s:.60}"
            raise DataError(f"{what}. {what_to_do}") from error
    try:
        require_fields(config)
    except DataError as error:
        raise DataError(f"{path}: {error} {what_to_do}") from error
    return config, lines


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
