"""What P-GCN trains and is tested on: the proposals of recordings, with the features of what they cover."""

import functools
import logging
import zlib

import numpy as np

from tal_jax.data.annotations import require_times
from tal_jax.data.check import same_time_problems
from tal_jax.data.proposals import proposals_of
from tal_jax.data.recording_scores import require_positive, require_recordings
from tal_jax.data.snippets import resize_linear
from tal_jax.data.windows import Window, require_finite
from tal_jax.errors import DataError
from tal_jax.systems.pgcn import graph, pools
from tal_jax.systems.pgcn.config import require_valid
from tal_jax.systems.pgcn.features import (
    clip_rows,
    proposal_features,
    rescaled_rows,
    test_extents,
    three_parts,
    training_extents,
)

log = logging.getLogger(__name__)


def training_examples(config, dataset):
    """The training recordings, each as often as an epoch has it, and the function that draws an example of
    one.

    Args:
      config: the run's config (`data`, `pools`, `window`, `model`, `graph`).
      dataset: data.features.Dataset with proposals; its training subset is used, but for recordings that hold
        no action.

    Returns:
      (items, make_example): names, and (name, np.random.Generator) -> example, a dict of inputs (Q, n, 3C)
      float32, features of the trees of Q proposals; types, labels (Q,) and targets (Q, 2), see `pools.Draw`;
      target_mean, target_std (2,) float32.

    Raises:
      DataError: a bad config; there are no proposals, or no actions; a label has no times; class scores of a
        test recording are absent, or negative where they are factors.
    """
    require_valid(config)
    for name, recording in dataset.annotations.recordings.items():
        if recording.subset == config.data.test_subset:
            _recording_scores(config, dataset, name)
    recordings = dataset.annotations.subset(config.data.train_subset).recordings
    proposals = {name: proposals_of(config, dataset, name) for name in recordings}
    require_times(recordings, f"training {config.system}")
    labelled = {name: _labelled_video(dataset, name, proposals[name]) for name in recordings}
    videos = {
        name: pools.make_pools(config.pools, video)
        for name, video in labelled.items()
        if len(video.truth_labels)
    }
    if not videos:
        raise DataError(
            f"No recording of the subset '{config.data.train_subset}' holds an action; check the annotations "
            f"with "
            "--mode=check_data."
        )
    if not any(len(proposals[name].scores) for name in videos):
        raise DataError(
            f"No recording of the subset '{config.data.train_subset}' has actions and proposals; check "
            f"config.proposals."
        )
    statistics = pools.target_statistics(videos.values())
    log.info(
        "Offsets of foreground proposals: mean %s, deviation %s.",
        *(np.round(values, 3) for values in statistics),
    )

    @functools.cache
    def neighbours_of(name):
        return graph.candidates(videos[name].segments, **config.graph)

    def make_example(name, rng):
        video = videos[name]
        draw = pools.draw_trees(
            config.pools, video, neighbours_of(name), config.model.sampled, statistics, rng
        )
        nodes, places = np.unique(draw.nodes, return_inverse=True)
        extents = training_extents(video.segments[nodes], _num_frames(dataset, name))
        features = _features(config, dataset, name, extents)[places.reshape(draw.nodes.shape)]
        mean, std = (np.asarray(values, np.float32) for values in statistics)
        return dict(
            inputs=features,
            types=draw.types,
            labels=draw.labels,
            targets=draw.targets,
            target_mean=mean,
            target_std=std,
        )

    return list(videos) * config.pools.repeats, make_example


def problems(config, dataset):
    """Sentences on the classes that training does not learn, see `System.problems`."""
    return same_time_problems(config, dataset.annotations.subset(config.data.train_subset))


def test_windows(config, dataset, name):
    """A function that makes the one "window" of a recording, its best proposals; none where there are no
    proposals.

    See interface.System. The window's info is shares (N, 2) of the proposals, duration_sec, and
    recording_scores (K,) where there are any.
    """
    require_finite(config, dataset, name)
    proposals = proposals_of(config, dataset, name).take(slice(config.decode.proposals))
    count, size = len(proposals.scores), config.decode.proposals
    if not count:
        return
    num_frames = _num_frames(dataset, name)
    segments = _frames(dataset, name, proposals.segments_sec)
    neighbours = graph.candidates(segments, **config.graph)
    if config.decode.sampled:
        rng = np.random.default_rng((config.seed, zlib.crc32(name.encode())))
        neighbours = rng.permuted(neighbours, axis=1)[:, : config.model.sampled]
    found = _features(config, dataset, name, test_extents(segments, num_frames))
    features = np.zeros((size, found.shape[1]), np.float32)
    features[:count] = found
    inputs = {"inputs": features, "neighbours": graph.neighbour_counts(neighbours, size)}
    known = {"shares": segments / num_frames, "duration_sec": num_frames / dataset.timeline(name).fps}
    known |= _recording_scores(config, dataset, name)
    yield functools.partial(Window, 0, len(dataset.read(name)), inputs, known)


def _recording_scores(config, dataset, name):
    """{"recording_scores": (K,) class scores of a recording}, {} without a file. Raises DataError for what
    they cannot be.
    """
    if dataset.recording_scores is None:
        return {}
    require_recordings(dataset.recording_scores, [name])
    if config.decode.recording_probability:
        require_positive(dataset.recording_scores, [name])
    return {"recording_scores": dataset.recording_scores[name]}


def _labelled_video(dataset, name, proposals):
    """The LabelledVideo of a recording."""
    recording, num_frames = dataset.annotations.recordings[name], _num_frames(dataset, name)
    # Reversed actions stay so, those outside of the recording have no length then: `labelled_video` drops
    # both.
    truths, labels = (
        np.clip(_whole_frames(dataset, name, recording.segments_sec), 0, num_frames),
        recording.labels + 1,
    )
    segments = _frames(dataset, name, proposals.segments_sec)
    labelled = pools.label_proposals(segments, truths, labels)
    return pools.labelled_video(segments, *labelled, truths, labels, num_frames)


def _num_frames(dataset, name):
    """Length of a recording in frames of its video or samples, from the annotations, or from its features."""
    return max(round(dataset.duration_sec(name) * dataset.timeline(name).fps), 1)


def _whole_frames(dataset, name, segments_sec):
    """(N, 2) seconds -> (N, 2) int64 frames, the nearest ones."""
    return np.round(np.asarray(segments_sec).reshape(-1, 2) * dataset.timeline(name).fps).astype(np.int64)


def _frames(dataset, name, segments_sec):
    """(N, 2) seconds of proposals -> (N, 2) int64 frames within the recording, each at least one frame long."""
    num_frames, frames = _num_frames(dataset, name), _whole_frames(dataset, name, segments_sec)
    start = np.clip(frames[:, 0], 0, num_frames - 1)
    return np.stack([start, np.clip(frames[:, 1], start + 1, num_frames)], axis=1)


def _features(config, dataset, name, extents):
    """(N, 4) frames -> (N, 3C) float32."""
    features, timeline, parts = dataset.read(name), dataset.timeline(name), three_parts(extents)
    if config.window.snippets:
        features = resize_linear(features, config.window.snippets)
        rows = rescaled_rows(parts, len(features), _num_frames(dataset, name))
    else:
        rows = clip_rows(parts, len(features), timeline.stride_frames, timeline.snippet_frames)
    return np.asarray(proposal_features(np.asarray(features), rows), np.float32)
