"""Examples for P-GCN: the proposals of recordings, with the features of what they cover."""

import functools
import logging
import zlib

import numpy as np

from tal_jax.data.check import same_time_problems
from tal_jax.data.windows import Window, require_finite
from tal_jax.errors import DataError
from tal_jax.ops.snippets import resize_linear
from tal_jax.systems import two_stage
from tal_jax.systems.pgcn import features, graph, pools
from tal_jax.systems.pgcn.config import reading

log = logging.getLogger(__name__)


def training_examples(config, dataset):
    """Training examples: trees of proposals, drawn again each time a recording is used.

    Args:
      config: the run's config (`data`, `decode`, `pools`, `window`, `model`, `graph`).
      dataset: data.features.Dataset with proposals; its training subset is used, but for recordings that hold
        no action.

    Returns:
      (items, make_example): names of recordings, each `pools.repeats` times; and (name, np.random.Generator)
      -> example, a dict of inputs (Q, n, 3C) float32, features of the trees of Q proposals; types, labels
      (Q,) and targets (Q, 2), see `pools.draw_trees`; target_mean, target_std (2,) float32.

    Raises:
      DataError: there are no proposals, or no actions; a label has no times; class scores of a test recording
        are absent, or negative where they are factors.
    """
    probabilities = reading(config, "decode.recording_probability")
    require_testable = functools.partial(two_stage.recording_scores, dataset, probabilities=probabilities)
    recordings = two_stage.training_recordings(config, dataset, require_testable)
    labelled = {name: _labelled_video(dataset, name, *pair) for name, pair in recordings.items()}
    videos = {
        name: pools.make_pools(config.pools, video)
        for name, video in labelled.items()
        if len(video.truth_labels)
    }
    if not videos:
        raise DataError(
            f"No recording of the subset '{config.data.train_subset}' holds an action; check the annotations "
            f"with --mode=check_data."
        )
    two_stage.require_proposals_of_actions(config, any(len(labelled[name].segments) for name in videos))
    statistics = pools.target_statistics(videos.values())
    log.info(
        "Offsets of foreground proposals: mean %s, deviation %s.", *(np.round(part, 3) for part in statistics)
    )

    @functools.cache
    def neighbours_of(name):
        return graph.candidates(videos[name].segments, **config.graph)

    def make_example(name, rng):
        video = videos[name]
        draw = pools.draw_trees(
            config.pools, video, neighbours_of(name), config.model.sampled, statistics, rng
        )
        trees = draw.pop("nodes")
        nodes, places = np.unique(trees, return_inverse=True)
        extents = features.training_extents(video.segments[nodes], _num_frames(dataset, name))
        inputs = _features(config, dataset, name, extents)[places.reshape(trees.shape)]
        mean, std = np.float32(statistics)
        return dict(inputs=inputs, **draw, target_mean=mean, target_std=std)

    return list(videos) * config.pools.repeats, make_example


def problems(config, dataset):
    """Sentences on the classes that training does not learn, see `System.problems`."""
    return same_time_problems(config, dataset.annotations.subset(config.data.train_subset))


def test_windows(config, dataset, name):
    """The one test window of a recording, which holds its best proposals; no window without proposals.

    Args:
      config: the run's config (`decode`, `graph`, `model`, `window`, `seed`).
      dataset: data.features.Dataset with proposals.
      name: of the recording.

    Yields:
      A function that makes a data.windows.Window. Its inputs are features (P, 3C) float32 of `inputs` and the
      graph (P, P) uint8 of `neighbours`, 0 after the N proposals. Its info is shares (N, 2), the proposals as
      shares of the recording, duration_sec, and recording_scores (K,) if the dataset has them.

    Raises:
      DataError: a feature is not finite; class scores are absent, or negative where they are factors.
    """
    require_finite(config, dataset, name)
    proposals = two_stage.test_proposals(config, dataset, name)
    count, size = len(proposals.scores), config.decode.proposals
    if not count:
        return
    num_frames = _num_frames(dataset, name)
    segments = _frames(dataset, name, proposals.segments_sec, 1)
    neighbours = graph.candidates(segments, **config.graph)
    if reading(config, "decode.sampled"):
        rng = np.random.default_rng((config.seed, zlib.crc32(name.encode())))
        neighbours = rng.permuted(neighbours, axis=1)[:, : config.model.sampled]
    pooled = _features(config, dataset, name, features.test_extents(segments, num_frames))
    inputs = {
        "inputs": np.pad(pooled, ((0, size - count), (0, 0))),
        "neighbours": graph.neighbour_counts(neighbours, size),
    }
    info = {"shares": segments / num_frames, "duration_sec": num_frames / dataset.timeline(name).fps}
    info |= two_stage.recording_scores(dataset, name, reading(config, "decode.recording_probability"))
    yield functools.partial(Window, 0, len(dataset.read(name)), inputs, info)


def _labelled_video(dataset, name, recording, proposals):
    """The LabelledVideo of a recording. Actions without length within it are left out."""
    truths = _frames(dataset, name, recording.segments_sec, 0)
    real = truths[:, 1] > truths[:, 0]
    segments = _frames(dataset, name, proposals.segments_sec, 1)
    return pools.label_video(segments, truths[real], recording.labels[real] + 1, _num_frames(dataset, name))


def _num_frames(dataset, name):
    """Length of a recording in frames of its video or samples, from the annotations, or from its features."""
    return max(round(dataset.duration_sec(name) * dataset.timeline(name).fps), 1)


def _frames(dataset, name, segments_sec, shortest):
    """The nearest frames within a recording, ends at least `shortest` after starts.

    (N, 2) seconds -> (N, 2) int64 frames.
    """
    num_frames, fps = _num_frames(dataset, name), dataset.timeline(name).fps
    start, end = np.round(np.asarray(segments_sec).reshape(-1, 2) * fps).astype(np.int64).T
    start = np.clip(start, 0, num_frames - shortest)
    return np.stack([start, np.clip(end, start + shortest, num_frames)], axis=1)


def _features(config, dataset, name, extents):
    """Extended features of stretches of a recording. (N, 4) frames -> (N, 3C) float32."""
    array, timeline, parts = dataset.read(name), dataset.timeline(name), features.three_parts(extents)
    if config.window.snippets:
        array = resize_linear(array, config.window.snippets)
        rows = features.rescaled_rows(parts, len(array), _num_frames(dataset, name))
    else:
        rows = features.clip_rows(parts, len(array), timeline.stride_frames, timeline.snippet_frames)
    return np.asarray(features.proposal_features(np.asarray(array), rows), np.float32)
