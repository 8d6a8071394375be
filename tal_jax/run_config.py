"""config.json of a run: what it remembers, and what may change of it."""

import json
import logging
import math
import os
import pathlib
import time

import ml_collections

from tal_jax.errors import DataError
from tal_jax.ranges import require_fields
from tal_jax.runtime import distributed
from tal_jax.runtime.checkpoints import Checkpoints
from tal_jax.runtime.files import replacing
from tal_jax.runtime.json_files import read_json

log = logging.getLogger(__name__)

APPEAR_SEC = 10  # until a file of one process appears for all on a shared file system

# Fields that a trained model cannot do without, and fields that may change while a run goes on.
MODEL_FIELDS = (
    "system", "window.frames", "window.normalise_by", "model", "graph", "curriculum.auxiliary", "curriculum.auxiliary_features",
    "data.input", "data.frame_pixels", "data.crop_pixels",
    "data.samples_per_frame", "data.statistics_samples", "data.standardised", "data.num_channels", "data.csv_columns",
    "data.stream", "data.class_agnostic", "window.snippets", "window.sampling", "oic", "loss.iou_thresholds",
)  # fmt: skip
# those of the model that say how a file is read: what is asked for goes first
FILE_FIELDS = ("data.csv_columns",)
FREE_FIELDS = (
    "data.features", "data.frames", "decode", "localize", "evaluate", "extract", "predict", "propose", "parallel", "window.test_stride_frames",
    "train.log_every_steps", "train.save_every_steps",
)  # fmt: skip
# Those of these on which the proposals of a run depend: of a first stage they are not free, its second stage
# learns from them.
PROPOSAL_FIELDS = (
    "decode", "localize", "propose", "window.test_stride_frames", "evaluate.checkpoint", "evaluate.second_workdir",
)  # fmt: skip


def remember_run(config, classes, workdir, frame_sec=None):
    """Writes what a run is to `<workdir>/config.json`; proposals within the workdir as a path from there.

    Args:
      config: the run's config.
      classes: names in index order.
      workdir: folder of the run.
      frame_sec: seconds that a frame lasts in all its training recordings; None: they differ, or nobody
        knows.

    Raises:
      DataError: the workdir has a checkpoint of a run with another config (but for FREE_FIELDS) or other
        classes; its checkpoints are gone; several processes have different configs, or do not see the same
        workdir.
    """
    path = pathlib.Path(workdir) / "config.json"
    new = {"classes": list(classes), "frame_sec": frame_sec, "config": json.loads(config.to_json())}
    if new["config"].get("proposals"):
        new["config"]["proposals"] = _from_workdir(workdir, new["config"]["proposals"])
    distributed.require_same("The config", _lasting(new["config"]))
    if distributed.is_first():
        _write_run(path, new)
    distributed.wait()
    for _ in range(APPEAR_SEC):
        if path.parent.is_dir() and path.name in os.listdir(path.parent):
            return
        time.sleep(1)
    raise DataError(
        f"Process {distributed.index()} does not see {path}, which process 0 has written; --workdir must be "
        f"on a file system "
        "that all processes share."
    )


def _write_run(path, new):
    """Writes config.json. Raises DataError if it would be of another run than the checkpoints beside it, or
    these are gone.
    """
    latest = path.parent / "checkpoints" / "latest"
    if path.exists() and not latest.exists():
        raise DataError(
            f"{path.parent} holds a run, but its folder {latest.relative_to(path.parent)} is gone. Put it "
            f"back to go on, or "
            "choose another --workdir to begin again."
        )
    if Checkpoints.exist(path.parent):
        old = _read_run(path)
        _require_same(path, "classes", old["classes"], new["classes"])
        _require_same(path, "config", *(_lasting(run["config"]) for run in (old, new)))
    latest.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(new, indent=1))


def proposal_settings(config):
    """{"propose.most": 300, …}: the fields of a config on which the proposals of its run depend."""
    return _only(json.loads(config.to_json()), PROPOSAL_FIELDS)


def trained_run(config, workdir):
    """The config to use the run in the workdir with, the run's class names in index order, and `frame_sec` of
    `remember_run`.

    The fields that make the model (MODEL_FIELDS) are those it was trained with, whatever `config` says, but
    for FILE_FIELDS that `config` sets; the others are those of `config`.

    Raises:
      DataError: there is no run.
    """
    path, run = pathlib.Path(workdir) / "config.json", _run_in(workdir)
    config = config.copy_and_resolve_references()
    trained, asked = (_only(c, MODEL_FIELDS) for c in (run["config"], json.loads(config.to_json())))
    trained |= {field: asked[field] for field in FILE_FIELDS if field in trained and asked.get(field)}
    differing = [field for field in trained if trained[field] != asked.get(field)]
    if differing:
        log.info(
            "As the run in %s was trained: %s.",
            workdir,
            ", ".join(f"config.{f}={trained[f]}" for f in differing),
        )
    systems = {"dw_afsd": "afsd", "pgcn_dw": "pgcn"}
    if systems.get(trained["system"], trained["system"]) != systems.get(asked["system"], asked["system"]):
        raise DataError(
            f"{workdir} holds a run of {trained['system']:.60}; name it after the config file: "
            f"--config=….py:{trained['system']:.60}."
        )
    stream = trained.get("data.input", asked["data.input"])
    if stream != asked["data.input"] and trained.keys() != asked.keys():
        raise DataError(
            f"{workdir} holds a run that was trained with data.input={stream!s:.60}; name it after the "
            f"config "
            f"file: --config=….py:{trained['system']:.60},input={stream!s:.60}."
        )
    for verb, fields in (
        ("it has", trained.keys() - asked.keys()),
        ("it lacks", asked.keys() - trained.keys()),
    ):
        if fields:
            raise DataError(
                f"{path} is of another version of tal_jax: {verb} config.{min(fields):.100}. Use the version "
                f"that "
                "wrote it, or choose another --workdir."
            )
    try:
        config.update_from_flattened_dict({field: trained[field] for field in differing})
        require_fields(config)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is damaged: {_first_line(error):.300} Put back the file, or choose another --workdir."
        ) from error
    return config, tuple(run["classes"]), run["frame_sec"]


def stored_config(workdir):
    """The config that the run in a workdir was trained with, as its config.json holds it: a ConfigDict.

    Raises:
      DataError: there is no run, or its config.json is damaged.
    """
    try:
        return ml_collections.ConfigDict(_with_tuples(_run_in(workdir)["config"]))
    except (TypeError, ValueError) as error:
        path = pathlib.Path(workdir) / "config.json"
        raise DataError(
            f"{path} is damaged: {_first_line(error):.300} Put back the file, or choose another run."
        ) from error


def _with_tuples(value):
    """A value of a JSON file as a config has it: tuples for lists."""
    if isinstance(value, dict):
        return {key: _with_tuples(entry) for key, entry in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _run_in(workdir):
    """What `_read_run` returns of a workdir. Raises DataError if it holds no run."""
    path = pathlib.Path(workdir) / "config.json"
    if not path.exists():
        raise DataError(
            f"{workdir} holds no trained run (there is no {path.name}); train first with --mode=train."
        )
    return _read_run(path)


def _read_run(path):
    """{"classes", "frame_sec", "config"} of a config.json. Raises DataError for what `remember_run` does not
    write.
    """
    try:
        run = read_json(path, "config of a run")
        classes, frame_sec, config = run["classes"], run.get("frame_sec"), run["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is missing or damaged; choose another --workdir, or delete this one."
        ) from error
    problem = ""
    if not isinstance(config, dict) or not isinstance(config.get("system"), str):
        problem = "its config names no system"
    elif not isinstance(config.get("first_stage", {}), dict):
        problem = "its first_stage is no config"
    elif not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        problem = f"its classes must be a list of names, and are {classes!r:.60}"
    elif len(set(classes)) < len(classes):
        problem = "it names a class twice"
    elif frame_sec is not None and not (isinstance(frame_sec, int | float) and 0 < frame_sec < math.inf):
        problem = f"its frame_sec must be a number of seconds, and is {frame_sec!r:.60}"
    if problem:
        raise DataError(f"{path} is damaged: {problem}. Put back the file, or choose another --workdir.")
    return {"classes": classes, "frame_sec": frame_sec, "config": config}


def _first_line(error):
    """The first line of an error's text, as a sentence."""
    line = str(error.args[0] if error.args else error).partition("\n")[0]
    return line if line.endswith(".") else f"{line}."


def _flat(config, prefix=""):
    """Nested dicts -> {"train.epochs": 16, ...}."""
    flat = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _only(config, fields):
    return {
        key: value
        for key, value in _flat(config).items()
        if key.startswith(tuple(f"{f}." for f in fields)) or key in fields
    }


def _without(config, fields):
    chosen = _only(config, fields)
    return {key: value for key, value in _flat(config).items() if key not in chosen}


def _lasting(config):
    """The fields that may not change while a run goes on: all but FREE_FIELDS, of its first stage too."""
    first = config.get("first_stage", {})
    below = _without(first, FREE_FIELDS) | _only(first, PROPOSAL_FIELDS)
    return _without(config, (*FREE_FIELDS, "first_stage")) | {
        f"first_stage.{key}": value for key, value in below.items()
    }


def _from_workdir(workdir, path):
    """A path within the workdir as seen from there, so that the workdir may be moved and spelt in any way;
    others as they are.
    """
    absolute, folder = pathlib.Path(path).resolve(), pathlib.Path(workdir).resolve()
    return str(absolute.relative_to(folder)) if absolute.is_relative_to(folder) else path


def _require_same(path, what, old, new):
    """Raises DataError with what differs between the run in a workdir and the one asked for."""
    if old == new:
        return
    if isinstance(new, dict):
        # Another system, or other inputs, have other fields in any version.
        other = [key for key in ("system", "data.input") if old.get(key) != new.get(key)]
        other = [key for key in other if key == "system" or old.keys() != new.keys()]
        for verb, fields in (("it has", old.keys() - new.keys()), ("it lacks", new.keys() - old.keys())):
            if fields and not other:
                raise DataError(
                    f"{path} is of another version of tal_jax: {verb} {what}.{min(fields):.100}. Go on with "
                    f"that version, or choose "
                    "another --workdir."
                )
        keys = other or [key for key in sorted(new) if old.get(key) != new[key]]
        found = "; ".join(f"{what}.{key} was {old.get(key)}, is now {new[key]}" for key in keys)
    else:
        found = f"the {what} were {', '.join(old)}, are now {', '.join(new)}"
    raise DataError(
        f"{path.parent} holds a run with another config: {found:.1000}. Choose another --workdir."
    )
