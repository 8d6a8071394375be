"""Checkpoints of a run, in Orbax format: `<workdir>/checkpoints/latest` (the last k) and `.../best`."""

import json
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp

from tal_jax.data.annotations import DataError
from tal_jax.evaluation.detections_file import replacing

MODEL_FIELDS = ("system", "num_classes", "window.frames", "model", "curriculum.auxiliary", "data.samples_per_frame")


class Checkpoints:
    """The checkpoints of one run. Writes are atomic: a run killed at any moment leaves the last whole checkpoint."""

    def __init__(self, workdir, keep=2):
        """workdir: the run's folder; keep: how many of the latest checkpoints stay."""
        folder = pathlib.Path(workdir).resolve() / "checkpoints"
        handler = ocp.StandardCheckpointHandler
        latest = ocp.CheckpointManagerOptions(max_to_keep=keep)
        self._latest = ocp.CheckpointManager(folder / "latest", item_handlers=handler(), options=latest)
        best = ocp.CheckpointManagerOptions(max_to_keep=1, best_fn=lambda metrics: metrics["map_avg"], best_mode="max")
        self._best = ocp.CheckpointManager(folder / "best", item_handlers=handler(), options=best)

    def latest_step(self):
        """Step of the latest checkpoint, None if there is none."""
        return self._latest.latest_step()

    def save(self, step, state):
        """Saves the state (a pytree without device axis) as the latest; a step that is there already stays as it is."""
        if self._latest.latest_step() != step:
            self._latest.save(step, args=ocp.args.StandardSave(state))
            self._latest.wait_until_finished()

    def save_if_best(self, step, state, map_avg):
        """Keeps the state as the best one if its average mAP is higher than that of the best so far."""
        best = self._best.best_step()
        if best is None or map_avg > self._best.metrics(best)["map_avg"]:
            self._best.save(step, args=ocp.args.StandardSave(state), metrics={"map_avg": map_avg})
            self._best.wait_until_finished()

    def restore(self, like):
        """The latest state, in the structure, shapes and dtypes of `like`."""
        step = self._latest.latest_step()
        return self._latest.restore(step, args=ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, like)))

    def restore_params(self, which):
        """The parameters to predict with, of the 'latest' or the 'best' checkpoint, as NumPy arrays.

        Raises:
          DataError: there is none.
        """
        managers = {"latest": self._latest, "best": self._best}
        if which not in managers:
            raise DataError(f"config.evaluate.checkpoint is '{which}'; it must be 'latest' or 'best'.")
        step = managers[which].latest_step()
        if step is None:
            raise DataError(f"No checkpoint in {managers[which].directory}; train first with --mode=train.")
        # Asking for NumPy arrays leaves the devices out that they were saved from: a CPU reads what a GPU has trained.
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), managers[which].item_metadata(step).tree)
        state = managers[which].restore(step, args=ocp.args.StandardRestore(like))
        return state["params"] if state.get("ema") is None else state["ema"]

    def close(self):
        """Waits for writes to end."""
        self._latest.close()
        self._best.close()


def remember_config(config, workdir):
    """Writes `<workdir>/config.json`; if there is one, it must say the same, so that a resumed run stays one run."""
    path = pathlib.Path(workdir) / "config.json"
    _require_same(json.loads(config.to_json()), path, lambda found: found)
    with replacing(path) as temporary:
        temporary.write_text(config.to_json(indent=1))


def require_same_model(config, workdir):
    """Raises DataError if the workdir's run was trained with another model than the config describes."""
    path = pathlib.Path(workdir) / "config.json"
    if not path.exists():
        raise DataError(f"{workdir} holds no trained run (there is no {path.name}); train first with --mode=train.")

    def model_part(found):
        part = {}
        for field in MODEL_FIELDS:
            value = found
            for key in field.split("."):
                value = value.get(key) if isinstance(value, dict) else None
            part[field] = value
        return part

    _require_same(model_part(json.loads(config.to_json())), path, model_part)


def _require_same(new, path, part):
    if not path.exists():
        return
    try:
        differing = _differences(part(json.loads(path.read_text())), new)
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not valid JSON ({error.msg}); delete the folder or choose another --workdir.") from error
    if differing:
        raise DataError(f"{path.parent} holds a run with another config: {'; '.join(differing)}. Choose another --workdir.")


def _differences(old, new, prefix="config"):
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [f"{prefix} was {old}, is now {new}"]
    rows = (_differences(old.get(key), new.get(key), f"{prefix}.{key}") for key in sorted(old.keys() | new.keys()))
    return [line for row in rows for line in row]
