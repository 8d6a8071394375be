"""The diagnosis of a run: made by the settings of its config, kept in its folder."""

import json
import pathlib

from tal_jax.evaluation import diagnosis
from tal_jax.evaluation.characteristics import EDGES
from tal_jax.runtime.files import replacing


def diagnosis_of(config, annotations, results, which):
    """What `diagnosis.diagnose` gives by the settings of a config.

    Args:
      config: of the run.
      annotations: to score against, see `evaluate.scored_annotations`.
      results: {recording: detections}.
      which: dict of `subset`, `left_out` and `missing`, see `evaluate.scored_settings`.

    Raises: as `diagnosis.diagnose`.
    """
    edges = config.data.name if config.data.name in EDGES else "quantiles"
    return diagnosis.diagnose(annotations, results, tious=config.evaluate.tious, edges=edges, **which)


def write_diagnosis(workdir, made):
    """Writes a diagnosis; an interrupted write leaves the old one."""
    with replacing(path_of(workdir)) as temporary:
        temporary.write_text(json.dumps(made, indent=1))


def path_of(workdir):
    """The file of the diagnosis of a run."""
    return pathlib.Path(workdir) / "diagnosis.json"
