"""Scores: of a run on the test subset, or of anyone's detections."""

import json
import logging
import pathlib
from typing import NamedTuple

import ml_collections
import numpy as np

from tal_jax.data import dataset_annotations, in_classes, load_dataset
from tal_jax.data.annotations import require_times
from tal_jax.data.check import truth_problems
from tal_jax.data.detections_file import read_detections_of, times_problem, write_detections
from tal_jax.data.proposals import Proposals, proposals_of
from tal_jax.data.recording_scores import best_classes, require_labels, require_positive, require_recordings
from tal_jax.data.streams import aligned
from tal_jax.detect import Detector, Stream
from tal_jax.errors import DataError
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.proposals import evaluate_proposals
from tal_jax.evaluation.recordings import require_actions, scored_recordings
from tal_jax.ranges import require_fields
from tal_jax.run_config import trained_run
from tal_jax.runtime import distributed
from tal_jax.runtime.checkpoints import Checkpoints
from tal_jax.runtime.files import replacing, require_apart
from tal_jax.systems import SYSTEMS

log = logging.getLogger(__name__)


def evaluate(config, workdir, detections_path=""):
    """Scores a workdir's checkpoint on the test subset, or, without any model, a file of detections.

    Several processes share the work, all have the result, the first one writes it.

    Args:
      config: the run's config.
      workdir: where the checkpoint is and detections.json and the scores go, see `path_of`.
      detections_path: detections in the ActivityNet format, anyone's; "" runs the checkpoint.

    Returns:
      The evaluation (a dict), as in the file of scores.

    Raises:
      DataError: a sentence for the user.
    """
    require_fields(config)
    require_inputs_stay(config, workdir, detections_path)
    if not detections_path:
        detector, streams = load_detector(config, workdir)
        _warn_of_truths(config)
        return evaluate_streams(workdir, detector, streams)
    if (pathlib.Path(workdir) / "config.json").exists():
        raise DataError(
            f"{workdir} holds a trained run, whose scores would be lost; choose another --workdir."
        )
    annotations = scored_annotations(config)
    results = read_detections_of(detections_path, annotations)
    _warn_of_truths(config)
    if problem := times_problem(results, annotations):
        log.warning("%s: %s", detections_path, problem)
    _write_detections(workdir, results)
    return _score(config, workdir, annotations, results)


def _warn_of_truths(config):
    """Says the first problem of the times to score against, and how many there are."""
    problems = truth_problems(dataset_annotations(config).subset(config.data.test_subset))
    if problems:
        more = "--mode=check_data lists such problems; here, in the test subset:"
        log.warning("%s %s %d.", problems[0], more, len(problems))


def require_inputs_stay(config, workdir, detections_path=""):
    """Raises DataError if what `evaluate` writes is a file that it reads: the detections, or one of
    `files_read`.
    """
    targets = [pathlib.Path(workdir) / "detections.json", path_of(workdir, config.evaluate)]
    require_apart(targets, {"--detections": detections_path} | files_read(config))


def files_read(config):
    """{flag: path, or ""} of the files that a config says to read, besides features and runs."""
    return {
        "--config.data.annotations": config.data.annotations,
        "--config.proposals": config.get("proposals", ""),
        "--config.evaluate.recording_scores": config.evaluate.recording_scores,
    }


class Run(NamedTuple):
    """A trained run: its folder, the config to use it with, its classes in index order, what a frame lasted
    in training.
    """

    workdir: str
    config: ml_collections.ConfigDict
    classes: tuple[str, ...]
    frame_sec: float | None


def find_runs(config, workdir):
    """The Run in a workdir, and that in `config.evaluate.second_workdir`, if it is set, to be fused with it.
    Raises DataError.
    """
    folders = filter(None, (workdir, config.evaluate.second_workdir))
    runs = [Run(str(folder), *trained_run(config, folder)) for folder in folders]
    _require_fusable(runs)
    return runs


def load_detector(config, workdir):
    """(Detector, Streams) of `find_runs` on the config's data set, in the classes of the run, whatever others
    are annotated.
    """
    runs = find_runs(config, workdir)
    datasets = [load_dataset(run.config, run.classes) for run in runs]
    streams = make_streams(runs, load_all_variables(runs), datasets)
    return Detector([run.config for run in runs], len(runs[0].classes), shared=True), streams


def load_all_variables(runs):
    """The variables of each Run, see `load_variables`."""
    return [load_variables(run.config, run.workdir) for run in runs]


def make_streams(runs, variables, datasets):
    """A Stream of each Run, its variables and what it is to see; two are read to one length, see
    `data.streams.aligned`.
    """
    datasets = aligned(datasets, " and ".join(run.workdir for run in runs))
    return [
        Stream(run.config, *rest, run.frame_sec) for run, *rest in zip(runs, variables, datasets, strict=True)
    ]


def _require_fusable(runs):
    """Raises DataError for two runs whose systems are not fused, of one kind, of other classes, or that look
    at other windows.
    """
    first, *others = (run.config for run in runs)
    for other in others:
        if SYSTEMS[first.system].max_streams < len(runs) or other.system != first.system:
            raise DataError(
                f"A run of {first.system} and one of {other.system} cannot be fused; clear "
                f"config.evaluate.second_workdir."
            )
        if (other.data.input, other.data.stream) == (first.data.input, first.data.stream):
            stream = other.data.stream or other.data.input
            raise DataError(
                f"config.evaluate.second_workdir holds a run on {stream} too; name one on the other stream."
            )
        if (other.window.frames, other.get("curriculum")) != (first.window.frames, first.get("curriculum")):
            raise DataError(
                "config.evaluate.second_workdir holds a run of another window length or curriculum; train it "
                "as the first."
            )
    for run in runs[1:]:
        if run.classes != runs[0].classes:
            raise DataError(
                f"config.evaluate.second_workdir holds a run on the classes {', '.join(run.classes)}, and "
                f"{runs[0].workdir} "
                f"one on {', '.join(runs[0].classes)}; train both on the same annotations."
            )


def evaluate_streams(workdir, detector, streams):
    """As `evaluate`, for a detector and its streams in hand; writes detections.json as well."""
    config, dataset = streams[0].config, streams[0].dataset
    missing = {name for stream in streams for name in stream.dataset.missing}
    names = [name for name in test_recordings(config, dataset) if name not in missing]
    if not names:
        raise DataError(
            f"None of the recordings of the subset '{config.data.test_subset}' has features; nothing can be "
            f"evaluated."
        )
    annotations = scored_annotations(config, dataset, names)
    log.info("Evaluating on %d recordings.", len(names))
    results = labelling(config)(dataset, detector.detect(streams, names))
    _write_detections(workdir, results)
    proposals = None if dataset.proposals is None else score_proposals(config, dataset, results)
    return _score(config, workdir, annotations, results, proposals)


def _write_detections(workdir, results):
    if distributed.is_first():
        write_detections(pathlib.Path(workdir) / "detections.json", results)


def test_recordings(config, dataset):
    """The names of the recordings of the test subset that have features."""
    return [
        name
        for name, recording in dataset.annotations.recordings.items()
        if recording.subset == config.data.test_subset
    ]


def scored_annotations(config, dataset=None, names=()):
    """The annotations to score against: of one class where neither the detector nor anybody else tells
    classes apart.

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
    require_actions(
        np.concatenate([recording.labels for recording in recordings.values()]), config.data.test_subset
    )
    if dataset and config.evaluate.recording_scores and dataset.recording_scores is None:
        require_labels(config.evaluate.recording_scores, names, annotations.classes)
    if config.data.class_agnostic:
        return annotations if config.evaluate.recording_scores else annotations.class_agnostic()
    return in_classes(annotations, dataset.annotations.classes) if dataset else annotations


def load_variables(config, workdir):
    """Variables for inference from the workdir's checkpoint (`config.evaluate.checkpoint`: 'latest' or
    'best').
    """
    if not Checkpoints.exist(workdir):  # and none of its folders is made
        raise DataError(
            f"No checkpoint in {pathlib.Path(workdir) / 'checkpoints' / 'latest'}; train first with "
            f"--mode=train."
        )
    checkpoints = Checkpoints(workdir)
    try:
        return checkpoints.restore_variables(config.evaluate.checkpoint)
    finally:
        checkpoints.close()


def score_proposals(config, dataset, results):
    """How many actions are found by the proposals that a system started from, and by its detections, whatever
    their class.

    Args:
      config: the run's config.
      dataset: the data set with proposals.
      results: detections of the test recordings, as `Detector.detect` returns them.

    Returns:
      {"proposals", "detections": see `evaluate_proposals`}. Between the two is the system's suppression,
      which by itself raises the recall of few proposals.
    """
    most = slice(config.decode.proposals)
    proposals = {name: proposals_of(config, dataset, name).take(most) for name in results}
    detections = {name: as_proposals(found) for name, found in results.items()}
    annotations = scored_annotations(config)
    return {
        what: evaluate_proposals(annotations, found, **scored_settings(config, annotations))
        for what, found in (("proposals", proposals), ("detections", detections))
    }


def scored_settings(config, annotations):
    """Arguments of `evaluate_detections` and `evaluate_proposals` that say which recordings are scored.

    The names in `config.data.left_out` may be of any subset, those in `config.evaluate.left_out` of the test
    subset.
    """
    recordings = annotations.subset(config.data.test_subset).recordings
    left_out = {*config.evaluate.left_out, *(name for name in config.data.left_out if name in recordings)}
    return dict(subset=config.data.test_subset, left_out=left_out, missing=config.evaluate.missing)


def as_proposals(detections):
    """Detections of a recording as Proposals without labels; a segment of several classes is there once, with
    the best score.
    """
    best = {}
    for detection in detections:
        segment = tuple(detection["segment"])
        best[segment] = max(detection["score"], best.get(segment, detection["score"]))
    return Proposals(
        np.array(list(best), np.float64).reshape(-1, 2), np.array(list(best.values()), np.float64)
    )


def _score(config, workdir, annotations, results, proposals=None):
    result = evaluate_detections(
        annotations,
        results,
        tious=config.evaluate.tious,
        protocol=config.evaluate.protocol,
        other_recordings=config.evaluate.other_recordings,
        devkit_keep=config.evaluate.devkit_keep,
        **scored_settings(config, annotations),
    )
    if proposals:
        result["proposals"] = proposals
    if distributed.is_first():
        with replacing(path_of(workdir, config.evaluate)) as temporary:
            temporary.write_text(json.dumps(result, indent=1))
    return result


def path_of(workdir, settings):
    """Where scores are: evaluation.json; by the devkit evaluation_thumos14.json, or
    evaluation_thumos14_keep0.5.json.

    Args:
      workdir: folder.
      settings: `config.evaluate`, of which `protocol` and `devkit_keep` tell.
    """
    suffix = "" if settings.protocol == "activitynet" else f"_{settings.protocol}"
    if suffix and settings.devkit_keep != 1:
        suffix += f"_keep{float(settings.devkit_keep)}"
    return pathlib.Path(workdir) / f"evaluation{suffix}.json"


def labelling(config):
    """Function (dataset, results of `Detector.detect`) -> results with the labels of
    `config.evaluate.recording_scores`.

    It labels as `label_recordings` does. It gives results as they are where no file is set, and where the
    system has used the scores itself. It reads the file at once.
    """
    best = best_classes(config.evaluate.recording_scores) if config.evaluate.recording_scores else {}

    def label(dataset, results):
        if not config.evaluate.recording_scores or dataset.recording_scores is not None:
            return results
        return label_recordings(results, best)

    return label


def label_recordings(results, best):
    """ActivityNet, as published: all detections of a recording get its best class, and that class's score as
    a factor.

    Args:
      results: as `Detector.detect` returns them.
      best: as `best_classes` returns them; a recording that is not there, or has a negative score, raises
        DataError.
    """
    require_recordings(best, results)
    require_positive({name: np.float64(best[name][1]) for name in results}, results)
    return {
        name: [d | {"label": best[name][0], "score": d["score"] * best[name][1]} for d in detections]
        for name, detections in results.items()
    }
