"""Cross-validation of a planned run whose data have no test recordings, then a training on all of them."""

import logging
import pathlib

import numpy as np

from tal_jax import data, evaluate, planned_run, trials
from tal_jax.data.detections_file import read_detections
from tal_jax.folds import folds_of, of_fold, training_recordings

log = logging.getLogger(__name__)

FOLDS = 5
NOTHING_SCORED = (
    "no recording is for the test, and the actions with times are of fewer than two subjects, or recordings: "
    "nothing is scored."
)


def applies(config):
    """Whether a config is planned, and its annotations have no recording of the test subset."""
    if "plan" not in config:
        return False
    subsets = {recording.subset for recording in data.dataset_annotations(config).recordings.values()}
    return config.data.train_subset in subsets and config.data.test_subset not in subsets


def trainings_of(config):
    """(number of folds of a planned config, 0 without a cross-validation; whether trials come first)."""
    folds = folds_of(training_recordings(config), FOLDS) if applies(config) else []
    return len(folds), config.plan.trials


def cross_validate(asked, config, lines, workdir, said):
    """Trains without each fold and detects in it, scores the detections of all folds together, trains on all.

    Args:
      asked: a config for which `applies`, before its fields are planned: each fold is planned by itself.
      config, lines: the same, planned from all recordings, see `planned_run.planned`.
      workdir: of the run of all recordings; those of the folds are in `<workdir>/folds`.
      said: see `planned_run.planned`.

    Returns:
      The evaluation of the pooled detections, as `evaluate.evaluate` returns it, with `folds`, the mAP of
      each; {} where nothing can be scored; None if a signal stopped a training.
    """
    workdir, pooled, scores = pathlib.Path(workdir), {}, []
    folds = folds_of(training_recordings(config), FOLDS)
    if not folds:
        log.warning("Note: %s", NOTHING_SCORED)
        return trials.train_best(config, lines, workdir, scored=False)
    for k, held_out in enumerate(folds):
        log.info("Fold %d of %d: %d recordings held out.", k + 1, len(folds), len(held_out))
        folder = workdir / "folds" / str(k + 1)
        planned = planned_run.planned(of_fold(asked, folder, held_out), folder, said)
        result = trials.train_best(*planned, folder)
        if result is None:
            return None
        scores.append(result["map_avg"])
        pooled |= read_detections(folder / "detections.json")
    log.info("All recordings, after mAP %.2f ± %.2f over the folds.", np.mean(scores), np.std(scores, ddof=1))
    if trials.train_best(config, lines, workdir, scored=False) is None:
        return None
    everything = config.copy_and_resolve_references()
    everything.data.test_subset = config.data.train_subset
    annotations = evaluate.scored_annotations(everything)
    return evaluate.score_results(everything, workdir, annotations, pooled, folds=scores)
