"""Makes proposals for two-stage systems, of a trained run or of actionness, and trains first stages."""

import json
import logging
import pathlib

import numpy as np

from tal_jax import evaluate, train
from tal_jax.data import dataset_annotations, load_dataset, proposals, recording_scores
from tal_jax.data.check import feature_problems
from tal_jax.data.features import folder_dataset
from tal_jax.data.proposal_files import holds_proposals
from tal_jax.data.recording_scores import require_recordings
from tal_jax.errors import DataError
from tal_jax.evaluation.proposals import evaluate_proposals
from tal_jax.ops.grouping import temporal_actionness_grouping
from tal_jax.run_config import other_recordings, proposal_settings, remember_run, trained_run
from tal_jax.runtime import distributed
from tal_jax.runtime.files import replacing, require_apart
from tal_jax.runtime.json_files import read_json
from tal_jax.systems import require_valid

log = logging.getLogger(__name__)


def propose(config, workdir, source="", said=()):
    """Writes `<workdir>/proposals.json`, proposals on all recordings of a data set, and beside it the
    settings that made them.

    Args:
      config: `propose` says how many; and the config of the run or, with a source, of the data set alone.
      workdir: folder of a trained run, whose best candidates before suppression are the proposals; systems
        whose `suppress` keeps all give their detections. `config.evaluate.second_workdir` adds a second
        stream, whose outputs are fused with them. With `config.propose.grouping` the proposals are the
        groups of the run's class activations.
      source: folder with a sequence of actionness for each recording, whose groups are the proposals; or
        anyone's proposals, of which those that can be used are written. Then there need be no run.
      said: fields that flags name, see `run_config.trained_run`.

    Returns:
      The scores of the proposals on the test subset, see `evaluation.proposals.evaluate_proposals`; None if
      it has no times.

    Raises:
      DataError: a sentence for the user.
    """
    sources = {"--input": source} | evaluate.files_read(config)
    require_apart([path_of(workdir), _settings_path(workdir)], sources)
    if source and not (pathlib.Path(source).is_dir() or pathlib.Path(source).is_file()):
        what_to_do = "name a folder of actionness sequences, or proposals"
        raise DataError(f"--input={source} is not there; {what_to_do}.")
    if source:  # else `evaluate.find_runs` does so
        require_valid(config, training=False)
    if source and holds_proposals(source):
        annotations = dataset_annotations(config)
        found, held = proposals.read_proposals(source, annotations)
        log.info("%s: %s", source, held)
        scored = {name: found[name] for name in found if name not in held.absent}
    else:
        if source:
            candidates, dataset = _groups_of_folder(config, source)
        else:
            config, candidates, dataset = _candidates_of_run(config, workdir, said)
        scored = found = proposals_of_candidates(config, candidates, dataset)
        annotations = dataset.annotations
    settings = {"input": str(source)} | ({} if source else other_recordings(config, workdir, said))
    if distributed.is_first():
        proposals.write_proposals(path_of(workdir), found, annotations)
        with replacing(_settings_path(workdir)) as temporary:
            temporary.write_text(json.dumps(proposal_settings(config) | settings, indent=1))
    distributed.wait()  # the others may read them next
    try:
        annotations = dataset_annotations(config)  # also of recordings whose features are missing
        return evaluate_proposals(annotations, scored, **evaluate.scored_settings(config, annotations))
    except DataError as error:
        log.warning("The proposals are not scored: %s", error)
        return None


def proposals_of_candidates(config, candidates, dataset):
    """{recording: Proposals}, as `config.propose` says, see `data.proposals.from_candidates`.

    Args:
      config: of the run that has found the candidates.
      candidates: {recording: (segments_sec (M, 2), classes (M,) or None, scores (M,))}.
      dataset: Dataset of the recordings.
    """
    settings = dict(most=config.propose.most, nms_tiou=config.propose.nms_tiou)
    return proposals.from_candidates(candidates, dataset.duration_sec, **settings)


def path_of(workdir):
    """The file that `propose` writes."""
    return pathlib.Path(workdir) / "proposals.json"


def _settings_path(workdir):
    return pathlib.Path(workdir) / "proposals_made_with.json"


def first_stage_folder(workdir):
    """The folder of the first stage of the run in a workdir."""
    return pathlib.Path(workdir) / "first_stage"


def first_stage_of(config):
    """The config of the first stage, which computes on the devices of the second one."""
    first = config.first_stage.copy_and_resolve_references()
    first.parallel.update(config.parallel)
    return first


def said_of_first(said):
    """The fields of the first stage that flags name: ("seed", "first_stage.data.fps") -> ["data.fps"]."""
    prefix = "first_stage."
    return [field.removeprefix(prefix) for field in said if field.startswith(prefix)]


def with_first_stage(config, workdir, mode, said=()):
    """Sets `config.proposals` to those of `config.first_stage`, if they exist and no others are named.

    Args:
      config: any run's config.
      workdir: of the run; its first stage is in the folder first_stage there.
      mode: 'train' trains the first stage, or goes on with it, where it has made no proposals yet; this,
        'evaluate' and 'propose' make those anew that were made with other settings.
      said: fields that flags name, see `run_config.trained_run`.

    Returns:
      Whether all was done; not if a signal stopped the first stage.

    Raises:
      DataError: among others, the first stage was trained with another config.
    """
    if config.get("proposals") != "" or "first_stage" not in config:
        return True
    folder, first, said = first_stage_folder(workdir), first_stage_of(config), said_of_first(said)
    path = path_of(folder)
    if path.exists():
        if mode == "train":
            _, classes, frame_sec = trained_run(first, folder, said)
            remember_run(first, classes, folder, frame_sec)
        if mode in ("train", "evaluate", "propose") and not _made_with(first, folder, said):
            log.info("%s is of other settings than config.first_stage; making proposals anew.", path)
            propose(first, folder, said=said)
    elif mode == "train":
        _require_second_stage(config)
        log.info("No config.proposals: training the first stage, %s, in %s.", first.system, folder)
        if train.train(first, folder) is None:
            return False
        propose(first, folder)
    if path.exists():
        config.proposals = str(path)
    return True


def _require_second_stage(config):
    """Raises DataError for what would stop a second stage after its first one is trained."""
    dataset = load_dataset(config)
    evaluate.scored_annotations(config)
    scores = recording_scores(config, dataset.annotations.classes)
    if scores is not None:
        require_recordings(scores, evaluate.test_recordings(config, dataset))


def _made_with(config, workdir, said=()):
    """Whether the proposals in a workdir are those that `propose` would make of its run."""
    try:
        made_with = read_json(_settings_path(workdir), "settings file")
    except DataError:  # the file is missing or damaged
        return False
    return made_with == proposal_settings(config) | {"input": ""} | other_recordings(config, workdir, said)


def _candidates_of_run(config, workdir, said):
    """(config, {recording: (segments_sec (M, 2), classes (M,), scores (M,))}, Dataset) of the run in the
    workdir.
    """
    detector, streams = evaluate.load_detector(config, workdir, said)
    dataset = streams[0].dataset
    recordings = [stream.dataset.annotations.recordings for stream in streams]
    names = [name for name in recordings[0] if all(name in known for known in recordings)]
    log.info("Making proposals on %d recordings.", len(names))
    return streams[0].config, candidates_of(detector, streams, names), dataset


def candidates_of(detector, streams, names):
    """Candidates of recordings or, with `config.propose.grouping`, groups of their class activations.

    Args, Returns: as for `Detector.candidates`.
    """
    config = streams[0].config
    if not config.propose.get("grouping"):
        return detector.candidates(streams, names)
    return {name: _groups_of_activations(detector, streams[0], name) for name in names}


def _groups_of_activations(detector, stream, name):
    """Groups of the largest class activation at each time; the class of a group has the largest mean in it.

    Returns:
      (segments_sec (M, 2), classes (M,), scores (M,)).
    """
    _, cas = detector.activation_sequences(stream, name)  # (T, K)
    segments, scores = temporal_actionness_grouping(actionness_of(cas))
    classes = np.array([cas[start:end].mean(axis=0).argmax() for start, end in segments], np.int32)
    return stream.dataset.timeline(name).to_seconds(segments), classes, scores


def actionness_of(cas):
    """The largest class activation at each time, (T, K) -> (T,) in [0, 1].

    It is scaled over the recording if a value lies outside.
    """
    highest = cas.max(axis=1).astype(np.float64)
    if highest.min() >= 0 and highest.max() <= 1:
        return highest
    return (highest - highest.min()) / (np.ptp(highest) or 1.0)


def _groups_of_folder(config, folder):
    """Groups of the sequences in a folder, each on the timeline of its recording's features.

    Returns:
      ({recording: (segments_sec (M, 2), None, scores (M,))}, Dataset).
    """
    data = config.data.copy_and_resolve_references()
    # A value stands where a frame of the detector does, made of several samples or not, and is not changed.
    data.snippet_frames += (data.samples_per_frame - 1) * data.stride_frames
    data.stride_frames *= data.samples_per_frame
    data.update(input="features", stream="", num_channels=0, samples_per_frame=1)
    data.update(statistics_samples=0, standardised=False, allow_missing=True)
    dataset = folder_dataset(dataset_annotations(config), folder, data)
    candidates = {}
    for name in dataset.annotations.recordings:
        segments, scores = temporal_actionness_grouping(_actionness(dataset, name, folder))
        candidates[name] = dataset.timeline(name).to_seconds(segments), None, scores
    return candidates, dataset


def _actionness(dataset, name, folder):
    """The sequence (T,) of a recording. Raises DataError for what cannot be one."""
    sequence, where = dataset.read(name), f"{folder}: recording '{name}'"
    if sequence.shape[1] != 1:
        raise DataError(f"{where} has {sequence.shape[1]} channels; a sequence of actionness has one.")
    recording, timeline = dataset.annotations.recordings[name], dataset.timeline(name)
    for problem in feature_problems(sequence, recording, timeline):
        hint = " --config.data.stride_frames=0 spreads them evenly over the recording."
        raise DataError(f"{where} {problem}{'' if 'NaN' in problem else hint}")
    low, high = sequence.min(), sequence.max()
    if low < 0 or high > 1:
        raise DataError(f"{where} has actionness from {low:g} to {high:g}; it must be from 0 to 1.")
    return sequence[:, 0]
