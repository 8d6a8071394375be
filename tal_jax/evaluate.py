"""Scores: of a run on the test subset, or of anyone's detections."""

import json
import logging
import pathlib
from typing import NamedTuple

import ml_collections
import numpy as np

from tal_jax import exports
from tal_jax.config import is_two_stage
from tal_jax.data import dataset_annotations, in_classes, load_dataset
from tal_jax.data.annotations import require_times
from tal_jax.data.check import truth_problems
from tal_jax.data.detections_file import read_detections_of, times_problem, write_detections
from tal_jax.data.proposals import Proposals, proposals_of
from tal_jax.data.recording_scores import best_classes, label_recordings, require_labels
from tal_jax.data.streams import aligned
from tal_jax.detect import Detector, Stream
from tal_jax.errors import DataError
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.proposals import evaluate_proposals
from tal_jax.evaluation.recordings import require_actions, scored_recordings
from tal_jax.page import run_page
from tal_jax.runtime import distributed
from tal_jax.runtime.files import replacing, require_apart
from tal_jax.systems import SYSTEMS, require_valid

log = logging.getLogger(__name__)


def evaluate(config, workdir, detections_path="", said=(), export=()):
    """Scores a workdir's checkpoint on the test subset, or, without any model, a file of detections.

    Several processes share the work, all have the result, the first one writes it.

    Args:
      config: the run's config.
      workdir: where the checkpoint is and detections.json and the scores go, see `path_of`.
      detections_path: detections in the ActivityNet format, anyone's; "" runs the checkpoint.
      said: fields that flags name, see `run_config.trained_run`.
      export: names in `exports.FORMATS`: what to write into `<workdir>/exports`, a file for each recording.

    Returns:
      The evaluation (a dict), as in the file of scores.

    Raises:
      DataError: a sentence for the user.
    """
    exports.require_known(export)
    require_inputs_stay(config, workdir, detections_path)
    detector = None
    if detections_path:
        require_valid(config, training=False)
    else:
        detector, streams = load_detector(config, workdir, said, tested=True)
        config = streams[0].config  # the test recordings may be those of training
        require_inputs_stay(config, workdir)
    problems = truth_problems(dataset_annotations(config).subset(config.data.test_subset))
    if problems:
        more = "--mode=check_data lists such problems; here, in the test subset:"
        log.warning("%s %s %d.", problems[0], more, len(problems))
    if detector:
        return evaluate_streams(workdir, detector, streams, export)
    if (pathlib.Path(workdir) / "config.json").exists():
        lost = "holds a trained run, whose scores would be lost"
        raise DataError(f"{workdir} {lost}; choose another --workdir.")
    annotations = scored_annotations(config)
    results = read_detections_of(detections_path, annotations)
    if problem := times_problem(results, annotations):
        log.warning("%s: %s", detections_path, problem)
    return score_results(config, workdir, annotations, results, export=export)


def require_inputs_stay(config, workdir, detections_path=""):
    """Raises DataError if a result of `evaluate` would overwrite a file that it reads."""
    names = ("detections.json", "diagnosis.json", "report.html")
    targets = [*(pathlib.Path(workdir) / name for name in names), path_of(workdir, config.evaluate)]
    require_apart(targets, {"--detections": detections_path} | files_read(config))


def files_read(config):
    """{flag: path, or ""} of the files that a config says to read, besides features and runs."""
    return {
        "--config.data.annotations": config.data.annotations,
        "--config.proposals": config.get("proposals", ""),
        "--config.evaluate.recording_scores": config.evaluate.recording_scores,
    }


class Run(NamedTuple):
    """A trained run.

    Attributes:
      workdir: its folder.
      config: the config to use it with.
      classes: names in index order.
      frame_sec: seconds that a frame lasted in training, see `run_config.remember_run`.
    """

    workdir: str
    config: ml_collections.ConfigDict
    classes: tuple[str, ...]
    frame_sec: float | None


def find_runs(config, workdir, said=()):
    """The Run in a workdir, and the one in `config.evaluate.second_workdir`, if set, to be fused with it.

    Args: see `run_config.trained_run`.

    Raises:
      DataError: a folder holds no run, or one of a field that cannot be; or the two cannot be fused.
    """
    require_valid(config, training=False)
    folders = filter(None, (workdir, config.evaluate.second_workdir))
    first, *others = runs = [
        Run(str(folder), *SYSTEMS[config.system].stored_run(config, folder, said)) for folder in folders
    ]
    for run in runs:  # whose config has the fields of training
        require_valid(run.config, training=True)
    for other in others:
        _require_fusable(first, other)
    return runs


def load_detector(config, workdir, said=(), tested=False):
    """The Detector of `find_runs`, and its Streams: the config's data set in the classes of the run.

    tested: whether only recordings of the test subset need features. Those of a second stage all need them.
    """
    runs = find_runs(config, workdir, said)
    reduced = _without_training if tested and not is_two_stage(config) else lambda config: config
    datasets = [load_dataset(reduced(run.config), run.classes) for run in runs]
    variables = [SYSTEMS[run.config.system].variables(run.config, run.workdir) for run in runs]
    streams = make_streams(runs, variables, datasets)
    return Detector([run.config for run in runs], len(runs[0].classes), shared=True), streams


def _without_training(config):
    """A config whose data set has only the recordings of the test subset."""
    config = config.copy_and_resolve_references()
    for field in {"train_subset", "clips_subset"} & {*config.data}:
        config.data[field] = ""
    return config


def make_streams(runs, variables, datasets):
    """A Stream of each Run, its variables and its Dataset; `data.streams.aligned` gives two one length."""
    datasets = aligned(datasets, " and ".join(run.workdir for run in runs))
    parts = zip(runs, variables, datasets, strict=True)
    return [Stream(run.config, *rest, run.frame_sec) for run, *rest in parts]


def _require_fusable(first, second):
    """Raises DataError for two Runs that cannot be fused.

    They must be of one system, on two streams, with the same windows, curriculum and classes.
    """
    one, two = first.config, second.config
    if SYSTEMS[one.system].max_streams < 2 or two.system != one.system:
        rest = "cannot be fused; clear config.evaluate.second_workdir."
        raise DataError(f"A run of {one.system} and one of {two.system} {rest}")
    what = ""
    if (two.data.input, two.data.stream) == (one.data.input, one.data.stream):
        what = f"on {two.data.stream or two.data.input} too; name one on the other stream"
    elif _trained_as(one) != _trained_as(two):
        what = "of another window length, curriculum or reading; train it as the first"
    elif second.classes != first.classes:
        classes = f"{', '.join(second.classes)}, and {first.workdir} one on {', '.join(first.classes)}"
        what = f"on the classes {classes}; train both on the same annotations"
    if what:
        raise DataError(f"config.evaluate.second_workdir holds a run {what}.")


def _trained_as(config):
    """(window length, curriculum, recipe, readings) of a run: two runs that are fused have the same."""
    readings = [entry for entry in config.readings if not entry.startswith("decode.")]
    return config.window.frames, config.get("curriculum"), config.get("recipe"), readings


def evaluate_streams(workdir, detector, streams, export=(), page=True):
    """Detects in the test subset and scores what is found, see `evaluate`.

    Args:
      workdir: where detections.json and the scores go.
      detector: a Detector.
      streams: a Stream of each of its networks.
      export: as for `evaluate`.
      page: whether the page and the diagnosis are made.

    Returns, Raises: as `evaluate`.
    """
    config, dataset = streams[0].config, streams[0].dataset
    missing = {name for stream in streams for name in stream.dataset.missing}
    names = [name for name in test_recordings(config, dataset) if name not in missing]
    if not names:
        of_subset = f"of the recordings of the subset '{config.data.test_subset}'"
        raise DataError(f"None {of_subset} has features; nothing can be evaluated.")
    annotations = scored_annotations(config, dataset, names)
    log.info("Evaluating on %d recordings.", len(names))
    results = detector.detect(streams, names)
    settings = config.evaluate
    if settings.recording_scores and dataset.recording_scores is None:
        best = best_classes(settings.recording_scores, settings.classes_per_recording)
        results = label_recordings(results, best, settings.recording_score_power)
    return score_results(config, workdir, annotations, results, dataset, export, page=page)


def test_recordings(config, dataset):
    """The names of the recordings of the test subset that have features."""
    recordings = dataset.annotations.recordings
    return [name for name in recordings if recordings[name].subset == config.data.test_subset]


def scored_annotations(config, dataset=None, names=()):
    """The annotations to score against; of one class where nothing tells classes apart.

    Args:
      config: any config.
      dataset: the data set that a system detects in, in the classes of the system; None: detections come from
        a file.
      names: of its recordings, those to detect in.

    Raises:
      DataError: what only the end of an evaluation needs cannot be: a name in `left_out`, the class scores of
        a recording, times.
    """
    annotations = dataset_annotations(config)
    settings = scored_settings(config, annotations)
    require_times(annotations.subset(config.data.test_subset).recordings, "scoring")
    recordings, _ = scored_recordings(annotations, annotations.recordings, **settings)
    labels = np.concatenate([recording.labels for recording in recordings.values()])
    require_actions(labels, config.data.test_subset)
    scores = config.evaluate.recording_scores
    if dataset and scores and dataset.recording_scores is None:
        require_labels(scores, names, annotations.classes, config.evaluate.classes_per_recording)
    if config.data.class_agnostic:
        return annotations if scores else annotations.class_agnostic()
    return in_classes(annotations, dataset.annotations.classes) if dataset else annotations


def score_proposals(config, dataset, results):
    """Average recall of the proposals that a system started from, and of its detections as proposals.

    Args:
      config: the run's config.
      dataset: the data set with proposals.
      results: detections of the test recordings, as `Detector.detect` returns them.

    Returns:
      {"proposals", "detections": see `evaluate_proposals`}. Between the two is the system's suppression,
      which by itself raises the recall of few proposals.
    """
    most, annotations = slice(config.decode.proposals), scored_annotations(config)
    found = {
        "proposals": {name: proposals_of(config, dataset, name).take(most) for name in results},
        "detections": {name: as_proposals(detections) for name, detections in results.items()},
    }
    settings = scored_settings(config, annotations)
    return {what: evaluate_proposals(annotations, of_all, **settings) for what, of_all in found.items()}


def scored_settings(config, annotations):
    """Arguments of `evaluate_detections` and `evaluate_proposals` that say which recordings are scored."""
    recordings = annotations.subset(config.data.test_subset).recordings
    left_out = {name for name in config.data.left_out if name in recordings}
    return dict(subset=config.data.test_subset, left_out=left_out, missing=config.evaluate.missing)


def as_proposals(detections):
    """Detections of a recording as Proposals without labels: each segment once, with its best score."""
    best = {}
    for detection in detections:
        segment = tuple(detection["segment"])
        best[segment] = max(detection["score"], best.get(segment, detection["score"]))
    segments_sec = np.array([*best], np.float64).reshape(-1, 2)
    return Proposals(segments_sec, np.array([*best.values()], np.float64))


def score_results(config, workdir, annotations, results, dataset=None, export=(), folds=(), page=True):
    """Writes detections.json, scores, exports, diagnosis and page of `results`; returns the scores, see
    `evaluate`.

    Args:
      config, workdir, export: see `evaluate`.
      annotations: see `scored_annotations`.
      results: name -> detections, as in a detections file.
      dataset: that a system has detected in; None: the detections come from a file.
      folds: mAP of each fold of a cross-validation, kept with the scores as "folds".
      page: see `evaluate_streams`.
    """
    if distributed.is_first():
        write_detections(pathlib.Path(workdir) / "detections.json", results)
    result = scores_of(config, annotations, results)
    if dataset and dataset.proposals is not None:
        result["proposals"] = score_proposals(config, dataset, results)
    result |= {"folds": list(folds)} if folds else {}
    if distributed.is_first():
        with replacing(path_of(workdir, config.evaluate)) as temporary:
            temporary.write_text(json.dumps(result, indent=1))
        if export:
            _export(config, pathlib.Path(workdir) / "exports", annotations, results, dataset, export)
        if page:
            which = scored_settings(config, annotations)
            run_page.write_report(config, workdir, annotations, results, which, result)
    return result


def scores_of(config, annotations, results):
    """The scores of detections by the settings of a config, see `evaluate_detections` and `score_results`."""
    settings, which = config.evaluate, scored_settings(config, annotations)
    which["other_recordings"] = settings.other_recordings
    how = dict(tious=settings.tious, recall_at=settings.recall_at)
    how |= dict(protocol=settings.protocol, devkit_keep=settings.devkit_keep)
    result = evaluate_detections(annotations, results, **which, **how)
    if config.data.duplicate_sec:
        result["protocol"]["duplicate_sec"] = config.data.duplicate_sec
    return result


def _export(config, folder, annotations, results, dataset, export):
    """Writes the results of each recording to a folder, in formats. dataset: see `score_results`."""
    media = exports.media_files(config.data.get("features"), config.data.file_prefix)
    min_score, written = config.predict.min_score, 0
    for name, found in results.items():
        known = annotations.recordings.get(name)
        duration_sec = dataset.duration_sec(name) if dataset else known and known.duration_sec
        written += exports.write(folder, name, found, export, min_score, duration_sec, media.get(name))
    what = f"{', '.join(export)} of {len(results)} recordings"
    count = f"{written} of {sum(map(len, results.values()))} detections"
    log.info("Written to %s: %s, %s (config.predict.min_score is %g).", folder, what, count, min_score)


def path_of(workdir, settings):
    """The file of scores, such as evaluation.json or evaluation_thumos14_keep0.5.json.

    Args:
      workdir: folder.
      settings: `config.evaluate`, whose `protocol` and `devkit_keep` name the file.
    """
    suffix = "" if settings.protocol == "activitynet" else f"_{settings.protocol}"
    if settings.protocol == "thumos14" and settings.devkit_keep != 1:
        suffix += f"_keep{float(settings.devkit_keep)}"
    return pathlib.Path(workdir) / f"evaluation{suffix}.json"
