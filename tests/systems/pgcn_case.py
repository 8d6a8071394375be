"""What the tests of P-GCN share: the golden videos and parameters, and the detections of one video."""

import functools

import numpy as np

from tal_jax.data.windows import Decoded
from tal_jax.systems.pgcn.decode import SCORES, detections
from tal_jax.systems.pgcn.pools import LabelledVideo
from tal_jax.systems.pgcn.published import pgcn_from_state_dict
from tests.golden import recipe
from tests.golden_case import GoldenCase


@functools.cache
def golden_videos():
    """[(LabelledVideo, number of frames)] of the golden proposal file, read by its format alone."""
    lines = iter(GoldenCase.load("pgcn/proposals").info["proposal_file"])
    videos = []
    while next(lines, "").startswith("#"):  # the last line is empty
        next(lines)
        num_frames = int(float(next(lines)) * float(next(lines)))
        truths = [[int(field) for field in next(lines).split()] for _ in range(int(next(lines)))]
        rows = [[float(field) for field in next(lines).split()] for _ in range(int(next(lines)))]
        truths, rows = np.array(truths), np.array(rows)
        videos.append((labelled_video(rows, truths, num_frames), num_frames))
    return videos


def labelled_video(rows, truths, num_frames):
    """A LabelledVideo by the reading rules of the published code.

    Rows without length, and rows that start after the video, are left out; ends are clipped to the video,
    after the coverage was taken. So with actions too.

    Args:
      rows: (N, 5) label, best tIoU, overlap_self, start and end of each proposal, as in its file.
      truths: (G, 3) label, start and end of each action.
      num_frames: length of the video.
    """
    rows, truths = np.array(rows, float).reshape(-1, 5), np.array(truths, int).reshape(-1, 3)
    rows, truths = (given[usable(given[:, -2:], num_frames)] for given in (rows, truths))
    segments, truth_segments = rows[:, 3:].astype(int), truths[:, 1:]
    coverage = (segments[:, 1] - segments[:, 0]) / num_frames
    for given in (segments, truth_segments):
        given[:, 1] = np.minimum(given[:, 1], num_frames)
    return LabelledVideo(
        segments, rows[:, 0].astype(int), rows[:, 1], rows[:, 2], coverage, truth_segments, truths[:, 0]
    )


def usable(segments, num_frames):
    return (segments[:, 1] > segments[:, 0]) & (segments[:, 0] < num_frames)


def scores_of(*arrays):
    """The dict of scores of N proposals that `detections` takes, from these in the order of `SCORES`."""
    return {name: array for name, array in zip(SCORES, arrays) if array is not None}


def detect(config, scores, segments, num_streams=1, **recording_scores):
    """Detections of a video of 1 s from the scores of N proposals and their segments (N, 2), in seconds."""
    arrays = scores | {"shares": segments, "duration_sec": 1.0, "num_streams": num_streams} | recording_scores
    return detections(config, [Decoded(0, 1, arrays)], None)


@functools.cache
def golden_parameters():
    """name -> array in the published layout, the same in all golden cases."""
    info = GoldenCase.load("pgcn/train_step").info
    return {name: recipe.param(name, info["params"][name], info["seed"]) for name in info["param_order"]}


@functools.cache
def golden_variables():
    """The same in our tree, with the target statistics 0 and 1."""
    return pgcn_from_state_dict(golden_parameters())
