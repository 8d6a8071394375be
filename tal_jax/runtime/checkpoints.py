"""Checkpoints of a run, in Orbax format: `<workdir>/checkpoints/latest` (the last k) and `.../best`."""

import contextlib
import errno
import logging
import os
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp

from tal_jax.errors import DataError, sentence_of
from tal_jax.runtime import devices, distributed

log = logging.getLogger(__name__)

_WHAT_TO_DO = (
    "Put back what was there, delete this folder where an earlier checkpoint is beside it, or choose another "
    "--workdir."
)

# Files that are gone, or are something else.
_ERRORS_OF_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL)
_ERRORS_IN_WORDS = [
    os.strerror(getattr(errno, name)) for name in "EACCES EPERM EMFILE ENFILE ENOMEM EIO ESTALE".split()
]


class Checkpoints:
    """The checkpoints of one run. Writes are atomic: a run killed at any moment leaves the last whole
    checkpoint.

    Of several processes all do the same with it; the first one writes. Checkpoints hold NumPy arrays, which
    any number of devices and processes reads.
    """

    def __init__(self, workdir, keep=2):
        """
        Args:
          workdir: the run's folder.
          keep: how many of the latest checkpoints stay.

        Raises:
          DataError: the folder is damaged.
        """
        folder = pathlib.Path(workdir).resolve() / "checkpoints"
        handler, options = ocp.StandardCheckpointHandler, ocp.CheckpointManagerOptions
        latest = options(max_to_keep=keep)
        best = options(max_to_keep=1, best_fn=lambda metrics: metrics["map_avg"], best_mode="max")
        with _whole(folder):
            self._latest = ocp.CheckpointManager(folder / "latest", item_handlers=handler(), options=latest)
            self._best = ocp.CheckpointManager(folder / "best", item_handlers=handler(), options=best)

    @staticmethod
    def exist(workdir):
        """Whether the workdir has a whole checkpoint."""
        folder = pathlib.Path(workdir) / "checkpoints" / "latest"
        return folder.is_dir() and any(path.name.isdigit() for path in folder.iterdir())

    def save(self, step, state):
        """Saves the state (a pytree without device axis) as the latest; a checkpoint of that step stays as it
        is.
        """
        if self._latest.latest_step() != step:
            _save(self._latest, step, state)

    def save_if_best(self, step, state, map_avg):
        """Keeps the state as the best one if its average mAP is higher than that of the best so far."""
        with _whole(self._best.directory):
            best = self._best.best_step()
            better = best is None or map_avg > self._best.metrics(best)["map_avg"]
        if distributed.gather(better)[0]:
            _save(self._best, step, state, metrics={"map_avg": map_avg})

    def restore(self, like):
        """The latest state, in the structure, shapes and dtypes of `like`, as NumPy arrays; None if there is
        none.

        Raises:
          DataError: the checkpoint is damaged, or that of another network.
        """
        return _read(self._latest, like)

    def restore_variables(self, which):
        """The variables to predict with, of the 'latest' or the 'best' checkpoint, as NumPy arrays.

        Raises:
          DataError: there is none, or it is damaged.
        """
        manager = {"latest": self._latest, "best": self._best}[which]
        state = _read(manager)
        if state is None:
            raise DataError(f"No checkpoint in {manager.directory}; train first with --mode=train.")
        params = state["params"] if state.get("ema") is None else state["ema"]
        return {"params": params, **(state.get("model_state") or {})}

    def close(self):
        """Waits for writes to end."""
        self._latest.close()
        self._best.close()


def _save(manager, step, state, **options):
    """Writes a checkpoint and waits until it is whole. options: of `CheckpointManager.save`."""
    manager.save(step, args=ocp.args.StandardSave(jax.device_get(state)), **options)
    manager.wait_until_finished()


def _read(manager, like=None):
    """The last state that all processes find, as NumPy arrays; None if there is none.

    Args:
      manager: of the latest or the best checkpoints.
      like: a pytree of the same structure, shapes and dtypes; None: nested dicts, as they were saved.

    Raises:
      DataError: the processes find different ones; the checkpoint is damaged, or that of another network.
    """
    step = manager.latest_step()
    distributed.require_same(f"The last checkpoint in {manager.directory}", "none" if step is None else step)
    if step is None:
        return None
    folder = manager.directory / str(step)
    log.info("The checkpoint is %s.", folder)
    with _whole(folder):
        stored = getattr(manager.item_metadata(step), "tree", None)
        if not isinstance(stored, dict) or not stored.get("params"):
            raise ValueError("its metadata name no parameters")
        if like is not None and (differing := misfit(stored["params"], like.params)):
            what = f"is of another network than its run: {differing}"
            raise DataError(f"The checkpoint {folder} {what}. {_WHAT_TO_DO}")
        # Asking for NumPy arrays leaves the devices out that they were saved from: a CPU reads what a GPU has
        # trained.
        like = stored if like is None else like
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
        return manager.restore(step, args=ocp.args.StandardRestore(like))


@contextlib.contextmanager
def _whole(folder):
    """Turns any error that Orbax raises for a damaged folder into a DataError that names the folder."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if distributed.count() > 1 and distributed.is_loss(error) or devices.why_full(error):
            raise
        if system := _error_of_the_system(error) or _unreadable(folder):
            what_to_do = "It may be whole: see to this first, and delete nothing."
            raise DataError(f"{folder} cannot be read: {system}. {what_to_do}") from error
        what = f"{distributed.first_line(error):.200}"
        raise DataError(f"{folder} is damaged ({what}). {_WHAT_TO_DO}") from error


def _error_of_the_system(error):
    """The words of the system for a file that it does not open, though the file may be whole, or "".

    TensorStore's errors hold them in their text alone, and Orbax wraps some errors.
    """
    while error:
        if isinstance(error, OSError) and error.errno and error.errno not in _ERRORS_OF_DAMAGE:
            return sentence_of(error).removesuffix(".")
        for text in _ERRORS_IN_WORDS:
            if text in str(error):
                return text
        error = error.__cause__ or error.__context__
    return ""


def _unreadable(folder):
    """The words of the system for the first path in a folder that this user may not read, or "".

    Orbax takes such a path for one that is gone.
    """
    for path in (pathlib.Path(folder), *sorted(pathlib.Path(folder).rglob("*"))):
        if path.exists() and not os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK):
            return f"{os.strerror(errno.EACCES)}, {path}"
    return ""


def misfit(found, expected):
    """How two trees of arrays differ: the end of a sentence that names the first array; "" where they do not.

    Args:
      found: tree of a checkpoint.
      expected: tree of the network.
    """
    found, expected = _shapes(found), _shapes(expected)
    for verb, names in (("has", found.keys() - expected.keys()), ("lacks", expected.keys() - found.keys())):
        if names:
            return f"it {verb} {min(names)}"
    for name, shape in expected.items():
        if found[name] != shape:
            return f"its {name} has the shape {found[name]}, not {shape}"
    return ""


def trained_channels(found, expected, channels):
    """How many channels the network of a checkpoint takes, where it differs from another in nothing else; or
    None.

    Args:
      found: tree of the checkpoint.
      expected: tree of the other network.
      channels: how many the other network takes.
    """
    found, expected = _shapes(found), _shapes(expected)
    outer = lambda shapes: {name: (len(s), s[:-2], s[-1:]) for name, s in shapes.items()}
    if outer(found) != outer(expected):
        return None
    differ = [name for name in found if found[name] != expected[name]]
    if any(expected[name][-2] != channels for name in differ):
        return None
    return next((found[name][-2] for name in differ), None)


def _shapes(tree):
    """The shapes of a tree of arrays by name: {"layer/kernel": (3, 8, 4), …}."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
        for path, leaf in jax.tree.leaves_with_path(tree)
    }
