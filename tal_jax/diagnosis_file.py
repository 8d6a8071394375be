"""The diagnosis of a run: of which detections, by the settings of its config, kept in its folder."""

import json
import pathlib

from tal_jax.errors import DataError
from tal_jax.evaluation import diagnosis
from tal_jax.evaluation.characteristics import EDGES
from tal_jax.planned_run import scored_config
from tal_jax.run_config import trained_run
from tal_jax.runtime.files import replacing


def named_detections(config, workdir, detections_path, said, result):
    """(config, path) of the detections to look at: those of the run in a workdir, by its config, or anyone's.

    Args:
      config, workdir: of the mode; the path need not exist.
      detections_path: anyone's detections, or "".
      said: fields that flags name, see `run_config.trained_run`.
      result: what is written, such as "page".

    Raises:
      DataError: anyone's detections would replace the result of the run in the workdir.
    """
    workdir = pathlib.Path(workdir)
    if (workdir / "config.json").exists():
        if detections_path:
            lost = f"holds a trained run, whose {result} would be lost"
            raise DataError(f"{workdir} {lost}; choose another --workdir.")
        config = scored_config(trained_run(config, workdir, said)[0])
    return config, pathlib.Path(detections_path or workdir / "detections.json")


def require_evaluated(workdir, detections_path, path):
    """Raises DataError where a workdir has no detections of its own, and nobody else's are named."""
    if not detections_path and not path.exists():
        what_to_do = "run --mode=evaluate first, or name --detections=FILE"
        raise DataError(f"{workdir} holds no detections.json; {what_to_do}.")


def diagnosis_of(config, annotations, results, which):
    """Diagnoses detections by the settings of a config, see `diagnosis.diagnose`.

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
