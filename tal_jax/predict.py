"""From one's own recordings and videos to detections: a table, a JSON file and a picture of the timeline for each."""

import dataclasses
import functools
import json
import logging
import pathlib
import tempfile

import numpy as np
from tqdm import tqdm

from tal_jax import distributed, evaluate, propose, report
from tal_jax.checkpoints import trained_run
from tal_jax.data import dataset_annotations, load_dataset, proposals, recording_scores
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.detections_file import write_detections
from tal_jax.data.features import SUFFIXES, build_dataset, read_features
from tal_jax.data.frames import read_frames
from tal_jax.data.loader import chunks
from tal_jax.data.proposal_files import read_blocks
from tal_jax.data.video import SUFFIXES as VIDEO_SUFFIXES
from tal_jax.data.video import store_video, stored_files
from tal_jax.detect import Stream, activation_sequences, detect, make_detector
from tal_jax.errors import DataError
from tal_jax.evaluation.plots import draw_timeline
from tal_jax.files import replacing
from tal_jax.systems import SYSTEMS

log = logging.getLogger(__name__)


def predict(config, workdir, source, draw="detections"):
    """Detects in recordings and writes `<workdir>/predictions/<name>.json` and `.png`.

    Several processes see one recording each, the first one writes.

    Args:
      config: the run's config.
      workdir: folder of the trained run.
      source: a feature or signal file (.npy, .npz, .csv; any length) or, for a network that sees frames, a video; a folder of
        them, or the name of a recording of the config's data set.
      draw: 'cas' also draws the class activation sequences of a weakly supervised system, and writes `<name>.cas.npz`: cas
        (T, K), as the system scales it (see its `decode`), times_sec (T,) the middle of each feature, classes (K,) names.

    Raises:
      DataError: nothing to read, or no checkpoint, or no sequences to draw; at the end, if some files of a folder could not be
        used.
    """
    config, classes = trained_run(config, workdir)
    if draw == "cas" and SYSTEMS[config.system].localize is None:
        raise DataError(
            f"The system '{config.system}' has no class activation sequences; --draw=cas draws those of ecm, kt_mgfn."
        )
    inputs = input_datasets(config, source, classes)
    if SYSTEMS[config.system].windows:
        inputs = with_proposals(config, workdir, source, inputs, classes)
    detector, variables = make_detector([config], len(classes)), evaluate.load_variables(config, workdir)
    folder, failed = pathlib.Path(workdir) / "predictions", []
    with tqdm(total=len(inputs), unit="recording", disable=len(inputs) == 1 or not distributed.is_first()) as progress:
        for turn in chunks(inputs.items(), distributed.count()):
            own = turn[distributed.index()] if distributed.index() < len(turn) else None
            all_found = distributed.gather(own and _find(config, variables, detector, *own, draw))
            for (name, _), found in zip(turn, all_found):
                if "error" in found and len(inputs) == 1:
                    raise DataError(found["error"])
                if "error" in found:
                    log.error("%s", found["error"])
                    failed.append(name)
                elif distributed.is_first():
                    _write(config, folder, name, classes, found)
                progress.update()
    if failed:
        raise DataError(f"{len(failed)} of {len(inputs)} recordings could not be used, see above: {', '.join(failed)}.")


def _find(config, variables, detector, name, make_dataset, draw):
    """All that is to be written of one recording, or "error", the sentence why there is nothing: as `distributed.gather` takes it."""
    try:
        dataset = make_dataset()
        stream = Stream(config, variables, dataset)
        return {
            "recording": dataclasses.asdict(dataset.annotations.recordings[name]),
            "detections": detect(detector, [stream], [name])[name],
            "cas": list(activation_sequences(detector, stream, name)) if draw == "cas" else None,
            "key_frames": np.asarray(key_frames(dataset.read(name))) if config.data.input == "rgb" else None,
        }
    except DataError as error:
        return {"error": str(error)}


def _write(config, folder, name, classes, found):
    """Writes and prints what `_find` has found."""
    recording, detections, cas = Recording(**found["recording"]), found["detections"], found["cas"]
    write_detections(folder / f"{name}.json", {name: detections})
    draw_timeline(
        folder / f"{name}.png",
        name,
        detections,
        truths=recording if len(recording.labels) else None,
        duration_sec=recording.duration_sec,
        classes=classes,
        min_score=config.predict.min_score,
        key_frames=found["key_frames"],
        cas=cas,
    )
    if cas:
        with replacing(folder / f"{name}.cas.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, times_sec=cas[0], cas=cas[1], classes=np.array(classes))
    report.print_detections(name, [d for d in detections if d["score"] >= config.predict.min_score])
    log.info("Written: %s.json, .png", folder / name)


def input_datasets(config, source, classes):
    """What `--input` names: dict recording name -> function that makes its Dataset, of one recording and without proposals.

    Recordings that the config's annotations know keep their ground truth.

    Raises:
      DataError: `source` names nothing; the functions raise it for a file that cannot be read.
    """
    if not source:
        raise DataError("Say what to detect in: --input=FILE, --input=FOLDER or --input=NAME of a recording of the data set.")
    path = pathlib.Path(source)
    known = _known_recordings(config, classes)
    if path.exists():
        suffixes = SUFFIXES if config.data.input == "features" else VIDEO_SUFFIXES
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes) if path.is_dir() else [path]
        if not files:
            raise DataError(f"The folder {path} holds no {', '.join(suffixes)} file.")
        if len({file.stem for file in files}) < len(files):
            raise DataError(f"The folder {path} holds two files for one recording; keep one of them.")
        return {file.stem: functools.partial(_file_dataset, config, file, classes, known) for file in files}
    if source not in known:
        raise DataError(f"--input={source} is neither a file, nor a folder, nor a recording of the config's data set.")
    alone = config.copy_and_resolve_references()
    if "proposals" in alone:
        alone.proposals = ""
    dataset = load_dataset(alone)
    if source not in dataset.annotations.recordings:
        raise DataError(f"The recording '{source}' of the config's data set has no features.")
    return {source: lambda: dataclasses.replace(dataset, annotations=Annotations(classes, {source: known[source]}))}


def with_proposals(config, workdir, source, inputs, classes):
    """`input_datasets` for a system that starts from proposals: those of its first stage, run on the input, or of `config.proposals`.

    Args:
      config: the run's config.
      workdir: of the run; its first stage, if it has one of its own, is in the folder first_stage there.
      source: what `--input` names.
      inputs: as `input_datasets` returns them.
      classes: the run's.

    Raises:
      DataError: the first stage cannot see the input, the proposals or the scores of recordings cannot be read; the functions raise
        it for an input that has no proposals.
    """
    if not config.proposals:
        return inputs  # the system says what it needs
    folder, scores = propose.first_stage_folder(workdir), recording_scores(config, classes)
    of_first_stage = config.proposals == str(propose.path_of(folder))
    find = _proposals_of_first_stage(config, folder, source, classes) if of_first_stage else _proposals_of_file(config.proposals)

    def make_dataset(name):
        dataset = inputs[name]()
        return dataclasses.replace(dataset, proposals=find(name, dataset.annotations), recording_scores=scores)

    return {name: functools.partial(make_dataset, name) for name in inputs}


def _proposals_of_first_stage(config, folder, source, classes):
    """Function (name of an input, its annotations) -> {name: Proposals}, their labels in the classes of the second stage."""
    first, first_classes = trained_run(config.first_stage, folder)
    first.parallel.update(config.parallel)
    detector, variables = make_detector([first], len(first_classes)), evaluate.load_variables(first, folder)
    inputs, settings = input_datasets(first, source, first_classes), first.propose
    index = _class_index(first_classes, classes)

    def find(name, _):
        dataset = inputs[name]()
        candidates = propose.candidates_of(detector, [Stream(first, variables, dataset)], [name])
        found = proposals.from_candidates(candidates, dataset.annotations, most=settings.most, nms_tiou=settings.nms_tiou)
        return {name: dataclasses.replace(found[name], labels=index[found[name].labels])}

    return find


def _proposals_of_file(path):
    """The same of a file of proposals, read once."""
    blocks = read_blocks(path)

    def find(name, annotations):
        found, report = proposals.match_blocks(blocks, annotations)
        if len(report.unknown) == len(blocks):
            raise DataError(f"{path} has no proposals of '{name}'.")
        return found

    return find


def _known_recordings(config, classes):
    """The recordings of the config's annotations, if it has any that are there: name -> Recording in the run's classes."""
    try:
        annotations = dataset_annotations(config)
    except DataError:
        if config.data.annotations:
            raise
        return {}
    return _in_classes(annotations.class_agnostic() if config.data.class_agnostic else annotations, classes)


def _in_classes(annotations, classes):
    """The annotated recordings, their labels as indices into the run's classes; actions of other classes left out."""
    index, known = _class_index(annotations.classes, classes), {}
    for name, recording in annotations.recordings.items():
        labels = index[recording.labels]
        known[name] = dataclasses.replace(recording, segments_sec=recording.segments_sec[labels >= 0], labels=labels[labels >= 0])
    return known


def _class_index(names, classes):
    """(len(names),) int32: the place of each name in `classes`, -1 of one that is not there."""
    return np.array([classes.index(name) if name in classes else -1 for name in names], np.int32)


def _file_dataset(config, file, classes, known):
    """The Dataset of one file, read once."""
    data, name = config.data, file.stem
    recording = known.get(name) or known.get(name.removeprefix(data.get("file_prefix", "")))
    recording = recording or Recording(name, "", None, np.zeros((0, 2)), np.zeros(0, np.int32))
    if data.input == "features":
        features = read_features(file)
    else:
        features, fps, duration_sec = _video_frames(file, data)
        recording = dataclasses.replace(recording, fps=fps, duration_sec=duration_sec)
    fps = recording.fps or data.fps
    if not data.stride_frames and not recording.duration_sec:
        raise DataError(
            f"How long {file} lasts is not known; say how many frames apart its features are, for example "
            "--config.data.stride_frames=16 --config.data.snippet_frames=16."
        )
    num_frames = (len(features) - 1) * data.stride_frames + data.snippet_frames
    duration_sec = recording.duration_sec or (num_frames / fps if fps else None)
    recording = dataclasses.replace(recording, subset=data.test_subset, duration_sec=duration_sec)
    return build_dataset(Annotations(classes, {name: recording}), lambda _: features, {name}, data, f"in {file}")


def _video_frames(file, data):
    """Frames (T, H, W, C) as the network sees them, a memory map; their rate; and the length of the video in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        store_video(file, folder, data.fps, data.frame_pixels, flow=data.input == "flow")
        info = json.loads(stored_files(folder, file, flow=False)[1].read_text())
        return read_frames(pathlib.Path(folder), data, file.stem), info["fps"], info["duration_sec"]  # the map outlives its name


def key_frames(frames, count=12):
    """`count` frames (count, H, W, 3) at equal distances, from the middle of their parts of a video (T, H, W, 3)."""
    return frames[[int((i + 0.5) * len(frames) / count) for i in range(count)]]
