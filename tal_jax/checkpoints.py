"""Checkpoints of a run, in Orbax format: `<workdir>/checkpoints/latest` (the last k) and `.../best`."""

import pathlib

import jax
import orbax.checkpoint as ocp

from tal_jax.data.annotations import DataError


class Checkpoints:
    """The checkpoints of one run. Writes are atomic: a run killed at any moment leaves the last whole checkpoint."""

    def __init__(self, workdir, keep=2):
        """workdir: the run's folder; keep: how many of the latest checkpoints stay."""
        folder = pathlib.Path(workdir).resolve() / "checkpoints"
        self._latest = ocp.CheckpointManager(folder / "latest", options=ocp.CheckpointManagerOptions(max_to_keep=keep))
        best = ocp.CheckpointManagerOptions(max_to_keep=1, best_fn=lambda metrics: metrics["map_avg"], best_mode="max")
        self._best = ocp.CheckpointManager(folder / "best", options=best)

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

    def restore(self, like, which="latest"):
        """The state of the latest or best checkpoint.

        Args:
          like: a pytree of the same structure, shapes and dtypes.
          which: 'latest' or 'best'.

        Raises:
          DataError: there is none, or it was made with another model.
        """
        manager = {"latest": self._latest, "best": self._best}[which]
        step = manager.latest_step()
        if step is None:
            raise DataError(f"No {which} checkpoint in {manager.directory}; train first with --mode=train.")
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            return manager.restore(step, args=ocp.args.StandardRestore(abstract))
        except ValueError as error:
            reason = str(error).strip().splitlines()[0]
            raise DataError(f"The checkpoint {manager.directory / str(step)} does not fit the config's model: {reason}") from error

    def close(self):
        """Waits for writes to end."""
        self._latest.close()
        self._best.close()
