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
from tal_jax.runtime.devices import describe_devices
from tal_jax.runtime.files import replacing
from tal_jax.runtime.json_files import read_json

log = logging.getLogger(__name__)

TO_DO = "Choose another --workdir."
APPEAR_SEC = 10  # until a file of one process appears for all on a shared file system

# Fields that are as the config says, whatever a run was trained with. All others come back with the run.
FREE_FIELDS = (
    *("decode", "localize", "evaluate", "extract", "predict", "propose", "parallel", "plan"),
    *("window.test_stride_frames", "train.log_every_steps", "train.save_every_steps"),
)
# Folders, which may move while a run goes on.
FOLDERS = ("data.features", "data.frames")
# Fields that say which recordings to read, and how. They come back too, but for those that a flag names.
RECORDING_FIELDS = (
    *("data.name", "data.annotations", *FOLDERS, "data.file_prefix"),
    *("data.csv_columns", "data.csv_time_column", "data.csv_skip_lines"),
    *("data.fps", "data.stride_frames", "data.snippet_frames"),
    *("data.train_subset", "data.clips_subset", "data.test_subset"),
    *("data.ignored_labels", "data.duplicate_sec", "data.left_out", "data.allow_missing"),
)
# Free fields on which the proposals of a run depend. A second stage learns from these; in its first stage
# they stay.
PROPOSAL_FIELDS = (
    *("decode", "localize", "propose", "window.test_stride_frames"),
    *("evaluate.checkpoint", "evaluate.second_workdir"),
)


def remember_run(config, classes, workdir, frame_sec=None, channels=None):
    """Writes what a run is to `<workdir>/config.json`; files within the workdir as paths from there.

    Args:
      config: the run's config.
      classes: names in index order.
      workdir: folder of the run.
      frame_sec: seconds that a frame lasts in all its training recordings; None: they differ, or nobody
        knows.
      channels: names of the channels in the order of training, () where files do not say; None: as before.

    Raises:
      DataError: the workdir has a checkpoint of a run with another config (but for FREE_FIELDS and FOLDERS),
        other classes or channels; its checkpoints are gone; several processes have different configs, or do
        not see the same workdir.
    """
    path = pathlib.Path(workdir) / "config.json"
    new = {"classes": list(classes), "frame_sec": frame_sec, "devices": describe_devices()}
    new |= {"config": json.loads(config.to_json())} | ({} if channels is None else {"channels": channels})
    _name_from_workdir(workdir, new["config"])
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
        "on a file system that all processes share."
    )


def _write_run(path, new):
    """Writes config.json. Raises DataError if the checkpoints beside it are gone, or of another run."""
    folder, latest = path.parent, path.parent / "checkpoints" / "latest"
    if path.exists() and not latest.exists():
        raise DataError(
            f"{folder} holds a run, but its folder {latest.relative_to(folder)} is gone. Put it back to go "
            "on, or choose another --workdir to begin again."
        )
    if Checkpoints.exist(folder):
        old = _read_run(path)
        for what in ("classes", "channels"):
            was, now = old[what], list(new.get(what, ())) or old[what]
            if was != now and (was or what == "classes"):
                found = f"the {what} were {', '.join(was)}, are now {', '.join(now)}"
                raise DataError(f"{folder} holds a run with another config: {found:.1000}. {TO_DO}")
        _name_from_workdir(folder, old["config"])
        _require_same(path, *(_lasting(run["config"]) for run in (old, new)))
        new["channels"] = new.get("channels") or old["channels"]
    latest.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(new, indent=1))


def _require_same(path, old, new):
    """Raises DataError with what differs between the fields of the run in a workdir and those that are asked
    for.
    """
    # Another system, or other inputs, have other fields in any version.
    other = [key for key in ("system", "data.input") if old.get(key) != new.get(key)]
    other = [key for key in other if key == "system" or old.keys() != new.keys()]
    if not other:
        _require_same_version(path, old, new, "Go on with that version")
    differing = other or [key for key in sorted(new) if old[key] != new[key]]
    if differing:
        found = "; ".join(f"config.{key} was {old.get(key)}, is now {new[key]}" for key in differing)
        raise DataError(f"{path.parent} holds a run with another config: {found:.1000}. {TO_DO}")


def _require_same_version(path, old, new, what_to_do):
    """Raises DataError if the config in a file has other fields than the one that is asked for."""
    for verb, fields in (("has", old.keys() - new.keys()), ("lacks", new.keys() - old.keys())):
        if fields:
            raise DataError(
                f"{path} is of another version of tal_jax: it {verb} config.{min(fields):.100}. "
                f"{what_to_do}, or choose another --workdir."
            )


def proposal_settings(config):
    """{"propose.most": 300, …}: the fields of a config on which the proposals of its run depend."""
    of_decoding = {"readings": _of_decoding(config.readings)}
    return _only(_flat(json.loads(config.to_json())), PROPOSAL_FIELDS) | of_decoding


def other_recordings(config, workdir, said):
    """{"data.annotations": "other.json", …}: what flags say of RECORDING_FIELDS otherwise than the run in a
    workdir was trained with.

    Args, Raises: as `trained_run`.
    """
    named = [field for field in RECORDING_FIELDS if field in said]
    trained, asked = _run_in(workdir)["config"] if named else {}, json.loads(config.to_json())
    trained, asked = (_flat(_name_from_workdir(workdir, fields)) for fields in (trained, asked))
    return {field: asked[field] for field in named if asked[field] != trained.get(field)}


def trained_run(config, workdir, said=()):
    """The config to use the run in a workdir with, its class names in index order, and its `frame_sec`.

    Its fields are those of training. As `config` says are: FREE_FIELDS, the proposals and the first stage;
    of RECORDING_FIELDS those that a flag names, paths that are gone, and all of them on another data set.

    Args:
      config: what is asked for.
      workdir: folder of the run.
      said: names of the fields that flags name, such as "data.fps", see `command_line.said_fields`.

    Raises:
      DataError: there is no run, its config.json is damaged, or it is of another system, input or version.
    """
    path, run = pathlib.Path(workdir) / "config.json", _run_in(workdir)
    config = config.copy_and_resolve_references()
    asked, trained = _flat(json.loads(config.to_json())), _flat(run["config"])
    system, stream = trained["system"], trained.get("data.input", asked["data.input"])
    hint = f"name it after the config file: --config=….py:{system:.60}"
    if system != asked["system"]:
        raise DataError(f"{workdir} holds a run of {system:.60}; {hint}.")
    other = trained.get("data.name") != asked["data.name"]
    free = [*FREE_FIELDS, "proposals", "first_stage"]
    free += [field for field in RECORDING_FIELDS if other or field in said]
    for field in ("data.annotations", *FOLDERS):
        known = str(trained.get(field, ""))
        if field not in free and not os.path.exists(known):
            free.append(field)
            if known and known != asked.get(field):
                gone = "The run in %s was trained with %s, which is gone; now config.%s=%s."
                log.info(gone, workdir, known, field, asked.get(field))
    old, new = (_without(fields, free) for fields in (trained, asked))
    if stream != asked["data.input"] and old.keys() != new.keys():
        raise DataError(
            f"{workdir} holds a run that was trained with data.input={stream!s:.60}; "
            f"{hint},input={stream!s:.60}."
        )
    _require_same_version(path, old, new, "Use the version that wrote it")
    old["readings"] = _of_training(trained["readings"]) + _of_decoding(asked["readings"])
    old |= _ignored_of_first(trained, said)
    differing = {field: value for field, value in old.items() if value != asked[field]}
    if differing:
        changes = ", ".join(f"config.{field}={value}" for field, value in differing.items())
        log.info("As the run in %s was trained: %s.", workdir, changes)
    try:
        config.update_from_flattened_dict(differing)
        require_fields(config)
        if run["channels"] and not other:
            with config.unlocked():  # a field of trained runs alone, see `features.build_dataset`
                config.data.channel_names = tuple(run["channels"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    return config, tuple(run["classes"]), run["frame_sec"]


def _ignored_of_first(trained, said):
    """{"first_stage.model.channels": 64, …}: what flags name of a first stage, and its training has fixed."""
    named = {field for field in said if field.startswith("first_stage.")}
    free = [f"first_stage.{field}" for field in (*FREE_FIELDS, *RECORDING_FIELDS, "readings")]
    return {field: trained[field] for field in named & _without(trained, free).keys()}


def stored_config(workdir):
    """The config that the run in a workdir was trained with, as its config.json holds it: a ConfigDict.

    Raises:
      DataError: there is no run, or its config.json is damaged.
    """
    try:
        return ml_collections.ConfigDict(_with_tuples(_run_in(workdir)["config"]))
    except (TypeError, ValueError) as error:
        raise _damaged(pathlib.Path(workdir) / "config.json", error) from error


def devices_of_training(workdir):
    """The devices that the run in a workdir was last trained on, in words; "" where nothing says."""
    path = pathlib.Path(workdir) / "config.json"
    devices = read_json(path, "config of a run").get("devices", "") if path.exists() else ""
    return devices if isinstance(devices, str) else ""


def _damaged(path, error):
    """The DataError for a config.json whose fields raise an error."""
    line = str(error.args[0] if error.args else error).partition("\n")[0].removesuffix(".")
    return DataError(f"{path} is damaged: {line:.300}. Put back the file, or choose another --workdir.")


def _with_tuples(value):
    """A value of a JSON file as a config has it: tuples for lists."""
    if isinstance(value, dict):
        return {key: _with_tuples(entry) for key, entry in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _run_in(workdir):
    """{"classes", "frame_sec", "channels", "config"} of the run in a workdir. Raises DataError if it holds
    none, or a damaged one.
    """
    path = pathlib.Path(workdir) / "config.json"
    if not path.exists():
        raise DataError(
            f"{workdir} holds no trained run (there is no {path.name}); train first with --mode=train."
        )
    run = _read_run(path)
    data = run["config"].get("data")
    if isinstance(data, dict) and isinstance(data.get("annotations"), str) and data["annotations"]:
        inside = pathlib.Path(workdir) / data["annotations"]  # an absolute path stays as it is
        data["annotations"] = str(inside) if inside.exists() else data["annotations"]
    return run


def _read_run(path):
    """{"classes", "frame_sec", "channels", "config"} of a config.json. Raises DataError for what
    `remember_run` does not write.
    """
    try:
        run = read_json(path, "config of a run")
        classes, frame_sec, config = run["classes"], run.get("frame_sec"), run["config"]
        channels = run.get("channels", [])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is missing or damaged; choose another --workdir, or delete this one."
        ) from error
    problem = ""
    if not isinstance(config, dict) or not isinstance(config.get("system"), str):
        problem = "its config names no system"
    elif not all(isinstance(entry, str) for entry in _entries(config.get("readings", []))):
        problem = "its readings are no list of texts"
    elif not isinstance(config.get("first_stage", {}), dict):
        problem = "its first_stage is no config"
    elif not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        problem = f"its classes must be a list of names, and are {classes!r:.60}"
    elif len(set(classes)) < len(classes):
        problem = "it names a class twice"
    elif not isinstance(channels, list) or not all(isinstance(name, str) for name in channels):
        problem = f"its channels must be a list of names, and are {channels!r:.60}"
    elif frame_sec is not None and not (isinstance(frame_sec, int | float) and 0 < frame_sec < math.inf):
        problem = f"its frame_sec must be a number of seconds, and is {frame_sec!r:.60}"
    if problem:
        raise _damaged(path, ValueError(problem))
    return {"classes": classes, "frame_sec": frame_sec, "channels": channels, "config": config}


def _entries(value):
    """A list's entries; [None] for anything else."""
    return value if isinstance(value, list) else [None]


def _flat(config, prefix=""):
    """Nested dicts -> {"train.epochs": 16, ...}."""
    flat = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _only(flat, fields):
    """The part of a flat config that some fields, or sections, name."""
    sections = tuple(f"{field}." for field in fields)
    return {key: value for key, value in flat.items() if key in fields or key.startswith(sections)}


def _without(flat, fields):
    """A flat config without some fields and sections."""
    named = _only(flat, fields)
    return {key: value for key, value in flat.items() if key not in named}


def _lasting(config):
    """The fields that may not change while a run goes on: all but FREE_FIELDS and FOLDERS, of its first
    stage too.
    """
    first = _flat(config.get("first_stage", {}))
    below = _without(first, (*FREE_FIELDS, *FOLDERS)) | _only(first, PROPOSAL_FIELDS)
    lasting = _without(_flat(config), (*FREE_FIELDS, *FOLDERS, "first_stage"))
    lasting["readings"] = _of_training(lasting.get("readings", []))
    return lasting | {f"first_stage.{key}": value for key, value in below.items()}


def _of_training(readings):
    """The entries of `config.readings` that matter in training; the others are free."""
    return [entry for entry in readings if entry not in _of_decoding(readings)]


def _of_decoding(readings):
    return [entry for entry in readings if entry.startswith("decode.")]


def _name_from_workdir(workdir, config):
    """Names the files in a config as seen from the workdir, see `_from_workdir`. Returns the config."""
    for section, field in ((config, "proposals"), (config.get("data"), "annotations")):
        if isinstance(section, dict) and isinstance(section.get(field), str) and section[field]:
            section[field] = _from_workdir(workdir, section[field])
    return config


def _from_workdir(workdir, path):
    """A path within the workdir as seen from there, so that the workdir may be moved; any other path as it
    is.
    """
    absolute, folder = pathlib.Path(path).resolve(), pathlib.Path(workdir).resolve()
    return str(absolute.relative_to(folder)) if absolute.is_relative_to(folder) else path
