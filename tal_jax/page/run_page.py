"""The page of a run's folder: made at the end of an evaluation, and by --mode=report."""

import logging
import pathlib

from tal_jax import diagnosis_file
from tal_jax.errors import DataError, sentence_of
from tal_jax.page import content, recordings, run_facts, write
from tal_jax.run_config import devices_of_training

log = logging.getLogger(__name__)


def write_report(config, workdir, annotations, results, which, scores, media=""):
    """Writes `<workdir>/diagnosis.json` and `<workdir>/report.html`. Returns the path of the page.

    Where the diagnosis is not defined, the page says why, and no diagnosis.json is left.

    Args:
      config: of the run.
      workdir: its folder.
      annotations: to score against, see `evaluate.scored_annotations`.
      results: {recording: detections}.
      which: dict of `subset`, `left_out` and `missing`, see `evaluate.scored_settings`.
      scores: what `evaluate_detections` returns.
      media: folder of videos and sounds of the recordings, besides those of the config.
    """
    shown = run_content(config, workdir, annotations, {"": results}, which, scores=scores, media=media)
    if "problem" in shown["diagnosis"]:
        diagnosis_file.path_of(workdir).unlink(missing_ok=True)
    else:
        diagnosis_file.write_diagnosis(workdir, shown["diagnosis"])
    return write.write_page(path_of(workdir), shown)


def write_or_warn(make, then=""):
    """Calls `make`, which makes the page at the end of a training; a failure of it is a warning.

    then: what to do, the end of the sentence.
    """
    try:
        make()
    except Exception as error:
        why = f"{type(error).__name__}: {sentence_of(error)}"
        log.warning("The page could not be made, all else is saved (%s)%s.", why.rstrip("."), then)


def run_content(config, workdir, annotations, runs, which, *, scores=None, media="", notes=()):
    """The content of the page of a run's folder, also of one that is not finished.

    The diagnosis is that of the first of `runs`.

    Args:
      config, workdir, annotations, which, media: see `write_report`.
      runs: {name: results}; {} where nothing is detected yet.
      scores: of the first run, or None.
      notes: sentences at the end of the page.
    """
    workdir = pathlib.Path(workdir)
    trained = run_facts.training(workdir / "metrics.jsonl")
    name = workdir.resolve().name
    first, more = next(iter(runs.values()), None), []
    if trained and trained["seconds"]:
        more.append(("training", f"{trained['seconds'] / 60:.1f} minutes"))
    if trained and (devices := devices_of_training(workdir)):
        more.append(("trained on", devices))
    return content.of_run(
        name,
        config,
        annotations,
        runs,
        which,
        scores=scores,
        diagnosis=None if first is None else _diagnosis_or_why(config, annotations, first, which),
        training=trained,
        facts=run_facts.facts(config, ("run", name), *more),
        differences=run_facts.differences(config),
        notes=notes,
        media=recordings.media_of(config, media),
        page=path_of(workdir),
    )


def _diagnosis_or_why(config, annotations, results, which):
    """The diagnosis, or {"problem": why there is none}."""
    try:
        return diagnosis_file.diagnosis_of(config, annotations, results, which)
    except (DataError, ValueError) as error:
        return {"problem": str(error)}


def path_of(workdir):
    """The page of a run."""
    return pathlib.Path(workdir) / "report.html"
