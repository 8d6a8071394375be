"""What stands in for a trained run: the published weights of I3D, and the classes that it knows."""

import difflib
import functools
import pathlib

import numpy as np

from tal_jax.errors import DataError
from tal_jax.published.i3d import backbone_variables
from tal_jax.published.packages import I3D, TRANSNET
from tal_jax.published.weight_files import read_weights
from tal_jax.systems.sliding.model import NUM_CLASSES

CLASSES_FILE = pathlib.Path(__file__).parents[2] / "data" / "files" / "kinetics400" / "classes.txt"


@functools.cache
def kinetics_classes():
    """The 400 names of Kinetics-400 in the order of I3D's logits, a tuple."""
    return tuple(CLASSES_FILE.read_text().splitlines())


def class_rows(classes):
    """(K,) int: which of the 400 logits are those of these names; () means all.

    Raises DataError for a name that Kinetics-400 lacks; the sentence has the nearest ones.
    """
    known = {name: row for row, name in enumerate(kinetics_classes())}
    if not classes:
        return np.arange(len(known))
    rows = []
    for name in classes:
        if name not in known:
            hint = f"near it are {', '.join(nearest(name))}; {CLASSES_FILE} has all"
            raise DataError(f"config.classes names '{name:.60}', which is no class of Kinetics-400; {hint}.")
        if known[name] not in rows:
            rows.append(known[name])
    return np.array(rows)


def nearest(name):
    """The three classes whose name, or a word of it, is most like a text."""

    def likeness(known):
        parts = known, *known.split()
        return max(difflib.SequenceMatcher(None, name.lower(), part).ratio() for part in parts)

    return sorted(kinetics_classes(), key=likeness, reverse=True)[:3]


def stored_run(config, workdir, said=()):
    """The config, the class names and no frame length, see `System.stored_run`; the workdir is not read."""
    del workdir, said
    I3D.path(config.weights, "config.weights")  # raises DataError now, not after a video is opened
    if config.cuts:
        TRANSNET.path(config.cuts, "config.cuts")
    names = kinetics_classes()
    return config, tuple(names[row] for row in class_rows(config.classes)), None


def variables(config, workdir):
    """The variables of `model.Sliding`, see `System.variables`. Raises DataError if weights are missing."""
    del workdir
    path = I3D.path(config.weights, "config.weights")
    found = backbone_variables(read_weights(path), path)
    head = found["params"].pop("logits", None)
    channels = found["params"]["Conv3d_1a_7x7"]["conv"]["kernel"].shape[3]
    if channels != 3 or head is None or head["bias"].shape != (NUM_CLASSES,):
        raise DataError(f"{path} is not I3D of RGB with the {NUM_CLASSES} classes of Kinetics-400.")
    return {
        "params": {"backbone": found["params"], "logits": head},
        "batch_stats": {"backbone": found["batch_stats"]},
    }
