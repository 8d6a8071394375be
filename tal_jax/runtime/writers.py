"""Where the numbers of a run go: always `<workdir>/metrics.jsonl`, and TensorBoard where it is installed."""

import json
import logging
import operator
import pathlib

from tal_jax.errors import DataError
from tal_jax.runtime import distributed
from tal_jax.runtime.files import replacing

log = logging.getLogger(__name__)


class MetricWriter:
    """Appends one JSON object a line: {"step": 100, "loss": 1.2, ...}.

    Lines after `start_step` of an earlier try are dropped; none is written twice. Of several processes the
    first one writes.
    """

    def __init__(self, workdir, start_step=0):
        self._path, self._tensorboard, self._kept = pathlib.Path(workdir) / "metrics.jsonl", None, []
        if not distributed.is_first():
            return
        self._kept = _lines_until(self._path, start_step)
        with replacing(self._path) as temporary:
            temporary.write_text("".join(self._kept))
        try:
            from clu import metric_writers  # it imports TensorFlow, which takes seconds

            self._tensorboard = metric_writers.SummaryWriter(str(workdir))
        except ImportError:
            log.info("TensorBoard files are off: install requirements-tf.txt to have them.")

    def has(self, step, name):
        """Whether an earlier try has written this value of this step. Only the first process knows."""
        return any(line["step"] == step and name in line for line in map(json.loads, self._kept))

    def write(self, step, values):
        """Writes scalars (name -> float) of one step."""
        if not distributed.is_first():
            return
        line = json.dumps({"step": step, **values}) + "\n"
        if line in self._kept:  # a finished run, started once more
            return
        with self._path.open("a") as file:
            file.write(line)
        if self._tensorboard:
            self._tensorboard.write_scalars(step, values)

    def close(self):
        """Ends the TensorBoard file."""
        if self._tensorboard:
            self._tensorboard.close()


def _lines_until(path, last_step):
    """The whole lines of the file up to a step; one cut short by a kill is left out.

    Raises:
      DataError: the file is no text, or a line of it has no step.
    """
    kept, line = [], "a text that is not UTF-8"
    try:
        for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
            if line.endswith("\n") and operator.index(json.loads(line)["step"]) <= last_step:
                kept.append(line)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"{line.strip():.60} is no line of it; remove the line, or the file"
        raise DataError(f"{path} is damaged: {what}.") from error
    return kept
