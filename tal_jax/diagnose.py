"""Why a score is what it is: the diagnosis of a run's detections, or of anyone's."""

import logging
import pathlib

from tal_jax import evaluate
from tal_jax.data.detections_file import read_detections_of
from tal_jax.diagnosis_file import (
    diagnosis_of,
    named_detections,
    path_of,
    require_evaluated,
    write_diagnosis,
)
from tal_jax.evaluation.detection import precision_recall
from tal_jax.evaluation.figures import write_figures
from tal_jax.runtime.files import require_apart
from tal_jax.runtime.json_files import read_json
from tal_jax.systems import require_valid

log = logging.getLogger(__name__)


def diagnose(config, workdir, detections_path="", said=(), figures=None, again=True):
    """Writes `<workdir>/diagnosis.json` and returns its content, see `diagnosis.diagnose`.

    Args:
      config: the run's config; of another one, what says which recordings are scored.
      workdir: of the run, whose detections.json is diagnosed.
      detections_path: anyone's detections instead.
      said: fields that flags name, see `run_config.trained_run`.
      figures: one of `figures.ENDINGS`, of the figures to write into `<workdir>/figures`; None: none.
      again: False takes the diagnosis.json that an evaluation of these detections has just written, if any.

    Raises:
      DataError: there are no detections, or nothing to score them against.
    """
    require_valid(config, training=False)
    workdir = pathlib.Path(workdir)
    config, path = named_detections(config, workdir, detections_path, said, "diagnosis")
    require_evaluated(workdir, detections_path, path)
    require_apart(
        [path_of(workdir), workdir / "figures"], {"--detections": str(path)} | evaluate.files_read(config)
    )
    annotations = evaluate.scored_annotations(config)
    results = read_detections_of(path, annotations)
    which = evaluate.scored_settings(config, annotations)
    if again or not path_of(workdir).exists():
        write_diagnosis(workdir, diagnosis_of(config, annotations, results, which))
    made = read_json(path_of(workdir), "diagnosis")
    if figures:
        fields = "tious", "protocol", "devkit_keep", "other_recordings"
        how = which | {name: config.evaluate[name] for name in fields}
        curves = precision_recall(annotations, results, **how)
        names = write_figures(workdir / "figures", figures, annotations, results, made, curves)
        log.info("Written to %s: %s", workdir / "figures", ", ".join(names))
    return made
