"""The page of a run's folder: made at the end of an evaluation, and by --mode=report."""

import json
import logging
import pathlib

from tal_jax.errors import DataError
from tal_jax.evaluation import diagnosis
from tal_jax.evaluation.characteristics import EDGES
from tal_jax.page import content, recordings, run_facts, write
from tal_jax.runtime.files import replacing

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
    page = path_of(workdir)
    parts = dict(scores=scores, page=page, media=recordings.media_of(config, media))
    shown = run_content(config, workdir, annotations, {"": results}, which, **parts)
    made = shown["diagnosis"]
    path = pathlib.Path(workdir) / "diagnosis.json"
    if "problem" in made:
        path.unlink(missing_ok=True)
    else:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(made, indent=1))
    return write.write_page(page, shown)


def run_content(config, workdir, annotations, runs, which, **parts):
    """The content of the page of a run's folder, also of one that is not finished, see `content.of_run`.

    The diagnosis is that of the first of `runs`, {name: results}; {} where nothing is detected yet.
    """
    workdir, scores = pathlib.Path(workdir), parts.get("scores")
    trained = run_facts.training(workdir / "metrics.jsonl", scores)
    name = workdir.resolve().name
    more = [("training", f"{trained['seconds'] / 60:.1f} minutes")] if trained and trained["seconds"] else []
    for results in [*runs.values()][:1]:
        parts["diagnosis"] = diagnosis_of(config, annotations, results, which)
    parts["differences"] = run_facts.differences(config)
    parts |= {"training": trained, "facts": run_facts.facts(config, ("run", name), *more)}
    return content.of_run(name, config, annotations, runs, which, **parts)


def diagnosis_of(config, annotations, results, which):
    """What `diagnosis.diagnose` gives with the settings of a config, or {"problem": why it gives nothing}."""
    edges = config.data.name if config.data.name in EDGES else "quantiles"
    try:
        return diagnosis.diagnose(annotations, results, tious=config.evaluate.tious, edges=edges, **which)
    except (DataError, ValueError) as error:
        return {"problem": str(error)}


def path_of(workdir):
    """The page of a run."""
    return pathlib.Path(workdir) / "report.html"
