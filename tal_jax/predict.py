"""From one's own recordings and videos to detections: a table, a JSON file and a picture of the timeline for each."""

import dataclasses
import functools
import logging
import os
import pathlib

import numpy as np
from tqdm import tqdm

from tal_jax import distributed, evaluate, propose, report
from tal_jax.config import is_two_stage
from tal_jax.data import ANNOTATIONS, dataset_annotations, in_classes, load_dataset, proposals, recording_scores
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.detections_file import write_detections
from tal_jax.data.feature_files import SUFFIXES, FeatureFile, read_features
from tal_jax.data.features import build_dataset
from tal_jax.data.frames import STREAMS, read_frames
from tal_jax.data.loader import chunks
from tal_jax.data.made_of_videos import as_extracted, as_stored, read_notes
from tal_jax.data.names import VIDEO_SUFFIXES, match_names
from tal_jax.data.proposal_files import read_blocks
from tal_jax.data.video import store_video, stored_files
from tal_jax.detect import Detector
from tal_jax.errors import DataError
from tal_jax.evaluation.plots import draw_timeline
from tal_jax.files import list_files, replacing, require_apart, temporary_folder
from tal_jax.ranges import require_fields

log = logging.getLogger(__name__)

LONGEST_FILE_BYTES = 255  # that file systems take for a name


def predict(config, workdir, source, draw="detections"):
    """Detects in recordings and writes `<workdir>/predictions/<name>.json` and `.png`.

    Several processes see one recording each, the first one writes.

    Args:
      config: the run's config.
      workdir: folder of the trained run.
      source: a feature or signal file (`feature_files.SUFFIXES`; any length) or, for a network that sees frames, a video; a folder of
        them, or the name of a recording of the config's data set.
      draw: 'cas' also draws the class activation sequences of a weakly supervised system, and writes `<name>.cas.npz`: cas
        (T, K), as the system scales it (see its `decode`), times_sec (T,) the middle of each feature, classes (K,) names.

    Raises:
      DataError: nothing to read, or no checkpoint, or no sequences to draw; at the end, if some files of a folder could not be
        used.
    """
    require_fields(config)
    folder, failed = pathlib.Path(workdir) / "predictions", []
    require_apart([folder], {"--input": source} | evaluate.files_read(config))
    runs = evaluate.find_runs(config, workdir)
    config, classes = runs[0].config, runs[0].classes
    inputs = inputs_of(runs, source)
    if is_two_stage(config):
        inputs = with_proposals(config, workdir, source, inputs, classes)
    detector, label = Detector([run.config for run in runs], len(classes)), evaluate.labelling(config)
    make_streams = functools.partial(evaluate.make_streams, runs, evaluate.load_all_variables(runs))
    with tqdm(total=len(inputs), unit="recording", disable=len(inputs) == 1 or not distributed.is_first()) as progress:
        for turn in chunks(inputs.items(), distributed.count()):
            own = turn[distributed.index()] if distributed.index() < len(turn) else None
            all_found = distributed.gather(own and _find(detector, make_streams, label, *own, draw))
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


def _find(detector, make_streams, label, name, make_datasets, draw):
    """All that is to be written of one recording, or "error", the sentence why there is nothing: as `distributed.gather` takes it."""
    try:
        _require_short(name, ".cas.npz" if draw == "cas" else ".json")
        streams = make_streams(make_datasets())
        dataset = streams[0].dataset
        recording = dataset.annotations.recordings[name]
        pictures = [stream.dataset.read(name) for stream in streams if stream.config.data.input == "rgb"]
        cas = list(detector.activation_sequences(streams[0], name)) if draw == "cas" else None
        return {
            "recording": dataclasses.asdict(dataclasses.replace(recording, duration_sec=dataset.duration_sec(name))),
            "detections": label(dataset, detector.detect(streams, [name]))[name],
            "cas": cas,
            "key_frames": np.asarray(key_frames(pictures[0])) if pictures else None,
        }
    except DataError as error:
        return {"error": str(error)}


def _require_short(name, suffix):
    """Raises DataError for a name of a recording that is too long to call files after. suffix: the longest of theirs."""
    size = len(os.fsencode(name))
    most = LONGEST_FILE_BYTES - len(f".{suffix}.1a2b3c4d")  # a file on its way is called so
    if size > most:
        raise DataError(
            f"The name of the recording {name} has {size} bytes; rename its file to at most {most} before the ending."
        )


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
    report.print_detections(name, detections, config.predict.min_score)
    log.info("Written: %s.json, .png", folder / name)


def input_datasets(config, source, classes):
    """What `--input` names: dict recording name -> function that makes its Dataset, of one recording and without proposals.

    Recordings that the config's annotations know keep their names there, their durations and their ground truth.

    Raises:
      DataError: `source` names nothing; the functions raise it for a file that cannot be read.
    """
    if not source:
        raise DataError("Say what to detect in: --input=FILE, --input=FOLDER or --input=NAME of a recording of the data set.")
    path = pathlib.Path(source)
    known = _known_recordings(config, classes)
    if path.exists():
        files = _input_files(path, config.data.input)
        named = {_recording_name(file, config.data, known): file for file in files}
        if len(named) < len(files):
            raise DataError(f"The folder {path} holds two files for one recording; keep one of them.")
        return {name: functools.partial(_file_dataset, config, file, name, classes, known) for name, file in named.items()}
    if source not in known:
        raise DataError(f"--input={source} is neither a file, nor a folder, nor a recording of the config's data set.")
    alone = config.copy_and_resolve_references()
    if is_two_stage(alone):
        alone.proposals = ""
    dataset = load_dataset(alone)
    if source not in dataset.annotations.recordings:
        raise DataError(f"The recording '{source}' of the config's data set has no features.")
    recordings = {source: in_classes(dataset.annotations, classes).recordings[source]}
    return {source: lambda: dataclasses.replace(dataset, annotations=Annotations(classes, recordings))}


def _input_files(path, stream):
    """The file `path`, or those of a folder; of one with rgb/ and flow/, the files in rgb/ (for a network of flow frames, in flow/).

    Raises:
      DataError: it is a pipe or a device, or the folder has no file of the kind.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"--input={path} is a pipe or a device; name a file or a folder.")
    suffixes = SUFFIXES if stream == "features" else VIDEO_SUFFIXES
    inside = path / ("flow" if stream == "flow" else "rgb")
    for folder, wanted in ((path, suffixes), (inside, SUFFIXES[:1])):
        found, left_out = list_files(folder, wanted)
        if left_out:
            log.warning("%s", left_out)
        if found:
            return found
    raise DataError(f"The folder {path} holds no {', '.join(suffixes)} file, nor does {inside} hold .npy files.")


def inputs_of(runs, source):
    """What `--input` names, for one run or two that are fused: dict recording name -> function that makes a Dataset for each.

    Args:
      runs: see `evaluate.find_runs`.
      source: what `--input` names.

    Raises:
      DataError: see `input_datasets`.
    """
    of_runs = [input_datasets(run.config, source, run.classes) for run in runs]

    def make(name):
        return [inputs[name]() for inputs in of_runs]

    return {name: functools.partial(make, name) for name in of_runs[0]}


def with_proposals(config, workdir, source, inputs, classes):
    """`inputs_of` for a system that starts from proposals: those of its first stage, run on the input, or of `config.proposals`.

    Args:
      config: the run's config.
      workdir: of the run; its first stage, if it has one of its own, is in the folder first_stage there.
      source: what `--input` names.
      inputs: as `inputs_of` returns them.
      classes: the run's.

    Raises:
      DataError: the first stage cannot see the input, the proposals or the scores of recordings cannot be read; the functions raise
        it for an input that is not annotated and has no proposals.
    """
    if not config.proposals:
        return inputs  # the system says what it needs
    folder, scores = propose.first_stage_folder(workdir), recording_scores(config, classes)
    of_first_stage = config.proposals == str(propose.path_of(folder))
    find = _proposals_of_first_stage(config, folder, source, classes) if of_first_stage else _proposals_of_file(config, classes)

    def make(name):
        datasets = inputs[name]()
        found = find(name, datasets[0].annotations)
        return [dataclasses.replace(dataset, proposals=found, recording_scores=scores) for dataset in datasets]

    return {name: functools.partial(make, name) for name in inputs}


def _proposals_of_first_stage(config, folder, source, classes):
    """Function (name of an input, its annotations) -> {name: Proposals}, their labels in the classes of the second stage."""
    first = config.first_stage.copy_and_resolve_references()
    first.parallel.update(config.parallel)
    runs = evaluate.find_runs(first, folder)
    detector, variables = Detector([run.config for run in runs], len(runs[0].classes)), evaluate.load_all_variables(runs)
    inputs, settings = inputs_of(runs, source), first.propose
    index = np.array([classes.index(name) if name in classes else -1 for name in runs[0].classes], np.int32)

    def find(name, _):
        streams = evaluate.make_streams(runs, variables, inputs[name]())
        candidates, duration_sec = propose.candidates_of(detector, streams, [name]), streams[0].dataset.duration_sec
        found = proposals.from_candidates(candidates, duration_sec, most=settings.most, nms_tiou=settings.nms_tiou)
        return {name: dataclasses.replace(found[name], labels=index[found[name].labels])}

    return find


def _proposals_of_file(config, classes):
    """Function (name of an input, its annotations) -> {name: Proposals} of the file `config.proposals`, read once. As in an evaluation, an annotated recording may have none there."""
    blocks, known = read_blocks(config.proposals), _known_recordings(config, classes)

    def find(name, annotations):
        called = match_names([block.name for block in blocks], known | annotations.recordings)
        own = [block for block in blocks if called[block.name] == name]
        if not own and name not in known:
            raise DataError(f"{config.proposals} has no proposals of '{name}'.")
        return proposals.match_blocks(config.proposals, own, annotations)[0]

    return find


def _known_recordings(config, classes):
    """The recordings of the config's annotations, if it has any that are there: name -> Recording in the run's classes."""
    try:
        annotations = dataset_annotations(config)
    except DataError as error:
        there_is_none = config.data.name not in ANNOTATIONS or isinstance(error.__cause__, FileNotFoundError)
        if config.data.annotations or not there_is_none:
            raise
        return {}
    return in_classes(annotations.class_agnostic() if config.data.class_agnostic else annotations, classes).recordings


def _recording_name(file, data, known):
    """What the recording of a file is called: the name of the file, without `data.file_prefix` unless it is known with it."""
    return file.stem if file.stem in known else file.stem.removeprefix(data.file_prefix)


def _file_dataset(config, file, name, classes, known):
    """The Dataset of one file, read once."""
    data = config.data
    recording = known.get(name) or Recording(name, "", None, np.zeros((0, 2)), np.zeros(0, np.int32))
    recording = dataclasses.replace(recording, subset=data.test_subset)
    annotations = Annotations(classes, {name: recording})
    if data.input == "features":
        annotations, data = as_extracted(annotations, {name: file}, data, trained_on=data.features)
        features, recording = read_features(file, data), annotations.recordings[name]
    else:
        features, recording = _video_frames(file, data, recording)
        features = FeatureFile(features)
    timed = features.times_sec is not None or features.rate
    if not (timed or data.stride_frames or recording.duration_sec or recording.num_frames):
        raise DataError(
            f"How long {file} lasts is not known; say how many frames apart its features are, for example "
            "--config.data.stride_frames=16 --config.data.snippet_frames=16."
        )

    annotations = Annotations(classes, {name: recording})
    return build_dataset(annotations, lambda _: features, {name}, data, f"in {file}")


def _video_frames(file, data, recording):
    """Frames (T, H, W, C) as the network sees them, a memory map; and their Recording, with their rate and its length."""
    if file.suffix == ".npy" and file.parent.name in STREAMS:  # tal_jax.prepare has made them
        folder = file.parent.parent
        return read_frames(folder, data, file.stem), as_stored(recording, folder / "info" / f"{file.stem}.json")
    with temporary_folder() as folder:
        store_video(file, folder, data.fps, data.frame_pixels, flow=data.input == "flow")
        info_file = stored_files(folder, file, flow=False)[1]
        recording, notes = as_stored(recording, info_file), read_notes(info_file)
        if notes:
            log.warning("%s: %s.", file.name, notes)
        return read_frames(pathlib.Path(folder), data, file.stem), recording  # the map outlives its name


def key_frames(frames, count=12):
    """`count` frames (count, H, W, 3) at equal distances, from the middle of their parts of a video (T, H, W, 3)."""
    return frames[[int((i + 0.5) * len(frames) / count) for i in range(count)]]
