"""Cross-validation of a planned run whose data have no test recordings, then a training on all of them."""

import functools
import json
import logging
import pathlib

import numpy as np

from tal_jax import data, evaluate, planned_run, train
from tal_jax.data.detections_file import read_detections
from tal_jax.errors import plain
from tal_jax.page import run_page
from tal_jax.runtime import distributed
from tal_jax.runtime.files import replacing
from tal_jax.runtime.json_files import read_json

log = logging.getLogger(__name__)

FOLDS = 5
NOTHING_SCORED = (
    "no recording is for the test, and the actions with times are of fewer than two subjects, or recordings: "
    "nothing is scored."
)


def training_recordings(config):
    """name -> Recording of the training subset that is used: it has features, and is not left out."""
    return data.load_dataset(config).annotations.subset(config.data.train_subset).recordings


def folds_of(recordings):
    """The folds of recordings: lists of names, FOLDS of them, or fewer so that each has actions.

    A group is the recordings of one subject, or a recording without a subject. Groups are whole. The one with
    most actions goes first, always to the fold with the fewest. There is no fold where fewer than two groups
    have actions with times.

    recordings: name -> Recording.
    """
    groups = {}
    for name, recording in recordings.items():
        groups.setdefault(recording.subject or f"recording {name}", []).append(name)
    count = lambda names: sum(np.isfinite(recordings[name].segments_sec).all(axis=1).sum() for name in names)
    with_actions = sum(count(names) > 0 for names in groups.values())
    folds = [[] for _ in range(min(FOLDS, with_actions))] if with_actions > 1 else []
    for names in sorted(groups.values(), key=count, reverse=True) if folds else []:
        min(folds, key=lambda fold: (count(fold), len(fold))).extend(names)
    return folds


def only_in(annotations, held_out):
    """The names of the classes that only these recordings have. held_out: names of recordings."""
    inside, others = set(), set()
    for name, recording in annotations.recordings.items():
        (inside if name in held_out else others).update(recording.labels.tolist())
    return [annotations.classes[label] for label in sorted(inside - others)]


def cross_validate(asked, config, workdir, said, begun):
    """Trains without each fold and detects in it, scores the detections of all folds together, trains on all.

    Args:
      asked: a config that is cross-validated (`planned_run.is_cross_validated`), before its fields are
        planned: each fold is planned by itself.
      config: the same, planned from all recordings.
      workdir: of the run of all recordings; those of the folds are in `<workdir>/folds`.
      said: see `planned_run.planned`.
      begun: see `train.train`.

    Returns:
      The evaluation of the pooled detections, as `evaluate.evaluate` returns it, with `folds`, the mAP of
      each; {} where nothing can be scored; None if a signal stopped a training.
    """
    workdir, pooled, scores = pathlib.Path(workdir), {}, []
    annotations = data.load_dataset(config).annotations.subset(config.data.train_subset)
    folds = folds_of(annotations.recordings)
    if not folds:
        log.warning("Note: %s", NOTHING_SCORED)
        return train.train(config, workdir, begun, scored=False)
    for k, held_out in enumerate(folds):
        log.info("Fold %d of %d: %d recordings held out.", k + 1, len(folds), len(held_out))
        if names := plain(", ".join(only_in(annotations, held_out))):
            log.warning("No other recording has %s: the fold cannot learn it, its score says little.", names)
        of_fold, folder = asked.copy_and_resolve_references(), workdir / "folds" / str(k + 1)
        of_fold.data.annotations = str(_write_fold(config, folder, held_out))
        of_fold.data.left_out = ()  # the file does not have them
        of_fold, lines = planned_run.planned(of_fold, folder, said)
        result = train.train(of_fold, folder, functools.partial(planned_run.write_plan, folder, lines))
        if result is None:
            return None
        scores.append(result["map_avg"])
        pooled |= read_detections(folder / "detections.json")
    log.info("All recordings, after mAP %.2f ± %.2f over the folds.", np.mean(scores), np.std(scores, ddof=1))
    if train.train(config, workdir, begun, scored=False) is None:
        return None
    everything = config.copy_and_resolve_references()
    everything.data.test_subset = config.data.train_subset
    annotations = evaluate.scored_annotations(everything)
    result = evaluate.score_results(everything, workdir, annotations, pooled, folds=scores, page=False)
    if distributed.is_first():
        which = evaluate.scored_settings(everything, annotations)
        page = everything, workdir, annotations, pooled, which, result
        run_page.write_or_warn(lambda: run_page.write_report(*page))
    return result


def _write_fold(config, folder, held_out):
    """Writes the annotations of a fold, in which the recordings held out are the test; returns the path."""
    content = read_json(config.data.annotations, "annotation file")
    entries = {}
    for name in training_recordings(config):
        subset = config.data.test_subset if name in held_out else config.data.train_subset
        entries[name] = content["database"][name] | {"subset": subset}
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "annotations.json") as temporary:
        temporary.write_text(json.dumps(content | {"database": entries}))
    return folder / "annotations.json"
