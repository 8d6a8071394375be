"""From one's own recordings to detections: a table, a JSON file and a picture of the timeline for each."""

import dataclasses
import functools
import logging
import pathlib

import numpy as np

from tal_jax import evaluate, report
from tal_jax.checkpoints import trained_run
from tal_jax.data import dataset_annotations, load_dataset
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.features import SUFFIXES, build_dataset, read_features
from tal_jax.errors import DataError
from tal_jax.evaluation.detections_file import write_detections
from tal_jax.evaluation.plots import draw_timeline

log = logging.getLogger(__name__)


def predict(config, workdir, source):
    """Detects in recordings and writes `<workdir>/predictions/<name>.json` and `.png`.

    Args:
      config: the run's config.
      workdir: folder of the trained run.
      source: a feature or signal file (.npy, .npz, .csv; any length), a folder of them, or the name of a recording of the
        config's data set.

    Raises:
      DataError: nothing to read, or no checkpoint; at the end, if some files of a folder could not be used.
    """
    config, classes = trained_run(config, workdir)
    inputs = input_datasets(config, source, classes)
    detector, params = evaluate.make_detector(config, len(classes)), evaluate.load_params(config, workdir)
    folder, failed = pathlib.Path(workdir) / "predictions", []
    for name, make_dataset in inputs.items():
        try:
            dataset = make_dataset()
            detections = evaluate.detect(config, detector, params, dataset, [name])[name]
        except DataError as error:
            if len(inputs) == 1:
                raise
            log.error("%s", error)
            failed.append(name)
            continue
        recording = dataset.annotations.recordings[name]
        write_detections(folder / f"{name}.json", {name: detections})
        draw_timeline(
            folder / f"{name}.png",
            name,
            detections,
            truths=recording if len(recording.labels) else None,
            duration_sec=recording.duration_sec,
            classes=classes,
            min_score=config.predict.min_score,
        )
        report.print_detections(name, [d for d in detections if d["score"] >= config.predict.min_score])
        log.info("Written: %s.json, .png", folder / name)
    if failed:
        raise DataError(f"{len(failed)} of {len(inputs)} recordings could not be used, see above: {', '.join(failed)}.")


def input_datasets(config, source, classes):
    """What `--input` names: dict recording name -> function that makes its Dataset, of one recording.

    Recordings that the config's annotations know keep their ground truth.

    Raises:
      DataError: `source` names nothing; the functions raise it for a file that cannot be read.
    """
    if not source:
        raise DataError("Say what to detect in: --input=FILE, --input=FOLDER or --input=NAME of a recording of the data set.")
    has_annotations = config.data.annotations or config.data.name != "folder"
    known = _known_recordings(dataset_annotations(config), classes) if has_annotations else {}
    path = pathlib.Path(source)
    if path.exists():
        files = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES) if path.is_dir() else [path]
        if not files:
            raise DataError(f"The folder {path} holds no {', '.join(SUFFIXES)} file.")
        if len({file.stem for file in files}) < len(files):
            raise DataError(f"The folder {path} holds two files for one recording; keep one of them.")
        return {file.stem: functools.partial(_file_dataset, config, file, classes, known) for file in files}
    if source not in known:
        raise DataError(f"--input={source} is neither a file, nor a folder, nor a recording of the config's data set.")
    dataset = load_dataset(config)
    if source not in dataset.annotations.recordings:
        raise DataError(f"The recording '{source}' of the config's data set has no features.")
    return {source: lambda: dataclasses.replace(dataset, annotations=Annotations(classes, {source: known[source]}))}


def _known_recordings(annotations, classes):
    """The annotated recordings, their labels as indices into the run's classes; actions of other classes left out."""
    index = np.array([classes.index(name) if name in classes else -1 for name in annotations.classes], np.int32)
    known = {}
    for name, recording in annotations.recordings.items():
        labels = index[recording.labels]
        known[name] = dataclasses.replace(recording, segments_sec=recording.segments_sec[labels >= 0], labels=labels[labels >= 0])
    return known


def _file_dataset(config, file, classes, known):
    """The Dataset of one feature file, read once."""
    data, name, features = config.data, file.stem, read_features(file)
    recording = known.get(name) or Recording(name, "", None, np.zeros((0, 2)), np.zeros(0, np.int32))
    fps = recording.fps or data.fps
    num_frames = (len(features) - 1) * data.stride_frames + data.snippet_frames
    duration_sec = recording.duration_sec or (num_frames / fps if fps else None)
    recording = dataclasses.replace(recording, subset=data.test_subset, duration_sec=duration_sec)
    return build_dataset(Annotations(classes, {name: recording}), lambda _: features, {name}, data, f"in {file}")
