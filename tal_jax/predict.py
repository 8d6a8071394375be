"""From one's own recordings to detections: a table, a JSON file and a picture of the timeline for each."""

import dataclasses
import logging
import pathlib

import numpy as np

from tal_jax import evaluate, report
from tal_jax.data import dataset_annotations, load_dataset
from tal_jax.data.annotations import Annotations, DataError, Recording
from tal_jax.data.features import SUFFIXES, build_dataset, read_features
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
      DataError: nothing to read, or no checkpoint.
    """
    dataset = input_dataset(config, source)
    detector = evaluate.make_detector(config, evaluate.load_params(config, workdir))
    folder = pathlib.Path(workdir) / "predictions"
    for name, recording in dataset.annotations.recordings.items():
        detections = evaluate.detect(config, detector, dataset, [name])[name]
        write_detections(folder / f"{name}.json", {name: detections})
        draw_timeline(
            folder / f"{name}.png",
            name,
            detections,
            truths=recording if len(recording.labels) else None,
            duration_sec=recording.duration_sec,
            classes=dataset.annotations.classes,
            min_score=config.predict.min_score,
        )
        report.print_detections(name, [d for d in detections if d["score"] >= config.predict.min_score])
        log.info("Written: %s.json, .png", folder / name)


def input_dataset(config, source):
    """A Dataset of what `--input` names; recordings that the config's annotations know keep their ground truth."""
    if not source:
        raise DataError("Say what to detect in: --input=FILE, --input=FOLDER or --input=NAME of a recording of the data set.")
    known = dataset_annotations(config)
    path = pathlib.Path(source)
    if not path.exists():
        if source not in known.recordings:
            raise DataError(f"--input={source} is neither a file, nor a folder, nor a recording of the config's data set.")
        dataset = load_dataset(config)
        if source not in dataset.annotations.recordings:
            raise DataError(f"The recording '{source}' of the config's data set has no features.")
        return dataclasses.replace(dataset, annotations=Annotations(known.classes, {source: known.recordings[source]}))
    paths = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES) if path.is_dir() else [path]
    if not paths:
        raise DataError(f"The folder {path} holds no {', '.join(SUFFIXES)} file.")
    files = {p.stem: p for p in paths}
    recordings = {}
    for name, file in files.items():
        recording = known.recordings.get(name) or Recording(name, "", None, np.zeros((0, 2)), np.zeros(0, np.int32))
        fps = recording.fps or config.data.fps
        num_frames = (len(read_features(file)) - 1) * config.data.stride_frames + config.data.snippet_frames
        duration_sec = recording.duration_sec or (num_frames / fps if fps else None)
        recordings[name] = dataclasses.replace(recording, subset=config.data.test_subset, duration_sec=duration_sec)
    annotations = Annotations(known.classes, recordings)
    return build_dataset(annotations, lambda name: read_features(files[name]), files, config.data, f"in {path}")
