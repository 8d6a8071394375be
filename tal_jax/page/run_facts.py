"""What a run is, for its page: how it was trained, of what config, by which versions."""

import datetime
import importlib.metadata
import json
import pathlib
import platform

from absl import flags

from tal_jax import __version__
from tal_jax.config import define_config, known_configs

MOST_POINTS, MOST_VALUE = 300, 1e300  # of a curve of training
PACKAGES = ("jax", "flax", "numpy")


def training(path):
    """The losses and scores over steps of the metrics.jsonl at a path, thinned; None without one.

    Returns:
      {"losses": {name: [[step, value]]}, "map": [[step, percent]], "seconds": of all steps}.
    """
    path, losses, found = pathlib.Path(path), {}, []
    if not path.exists():
        return None
    seconds = before = 0
    for line in path.read_text(errors="replace").splitlines():
        try:
            values = {name: value for name, value in json.loads(line).items() if _is_number(value)}
            step = int(values.pop("step"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # a damaged line, or one that is just being written
        if "map_avg" in values:
            found.append([step, values["map_avg"]])
            continue
        seconds += (step - before) * values.get("seconds_per_step", 0)
        before = step
        for name, value in values.items():
            if name not in ("epoch", "data_wait_share", "seconds_per_step", "gradient_norm"):
                losses.setdefault(name, []).append([step, float(f"{value:.4g}")])
    return {
        "losses": {name: _thin(points) for name, points in losses.items()},
        "map": found,
        "seconds": seconds,
    }


def _is_number(value):
    """Whether a JSON value is a number that can be drawn."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MOST_VALUE


def _thin(points):
    """At most MOST_POINTS of some points, with the last of them."""
    step = -(-(len(points) - 1) // (MOST_POINTS - 1)) if len(points) > MOST_POINTS else 1
    return points[:-1:step] + points[-1:]


def facts(config, *more):
    """[(what, value)] of a run: system, config, time, versions; and `more`."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    made = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    return [
        ("system", config.system),
        ("config", config.get("name", "")),
        *more,
        ("page made", made),
        ("versions", f"tal_jax {__version__}, {versions}, Python {platform.python_version()}"),
    ]


def differences(config):
    """[(field, default, value)] of a config whose fields differ from those of the config it is named after.

    None where no config that comes with tal_jax is called so.
    """
    default = _default_of(config.get("name", ""))
    if default is None:
        return None
    return differing([default, config])


def differing(configs):
    """[(field, its text in each config)] of the fields in which configs differ; "" where one lacks it."""
    flat = [_flat(json.loads(one.to_json())) for one in configs]
    text = lambda value: "" if value is None else value if isinstance(value, str) else json.dumps(value)
    fields = sorted({field for one in flat for field in one})
    rows = [(field, *(text(one.get(field)) for one in flat)) for field in fields]
    return [row for row in rows if len({*row[1:]}) > 1]


def _default_of(name):
    """The config that comes with tal_jax and is called so, or None: sbhar_ecm_full is that of sbhar:ecm."""
    for stem, file in known_configs().items():
        words = name.removeprefix(stem).strip("_").split("_")
        if not name.startswith(stem):
            continue
        for count in range(len(words), -1, -1):
            values = flags.FlagValues()
            define_config(values, "")
            variant = "_".join(words[:count])
            try:
                values(["", f"--config={file}{':' * bool(variant)}{variant}"])
                found = values["config"].value
            except Exception:  # what a config file raises for a variant that it does not know
                continue
            if found is not None and found.get("name") == name:
                return found
    return None


def _flat(config, prefix=""):
    """Nested dicts -> {"train.epochs": 16, …}."""
    flat = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
