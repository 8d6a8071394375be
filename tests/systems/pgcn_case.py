"""What the tests of P-GCN share: the golden videos, and the golden parameters in our tree."""

import functools

import numpy as np

from tal_jax.systems.pgcn.pools import labelled_video
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
        video = labelled_video(
            rows[:, 3:].astype(int),
            rows[:, 0],
            rows[:, 1],
            rows[:, 2],
            truths[:, 1:],
            truths[:, 0],
            num_frames,
        )
        videos.append((video, num_frames))
    return videos


@functools.cache
def golden_parameters():
    """name -> array in the published layout, the same in all golden cases."""
    info = GoldenCase.load("pgcn/train_step").info
    return {name: recipe.param(name, info["params"][name], info["seed"]) for name in info["param_order"]}


@functools.cache
def golden_variables():
    """The same in our tree, with the target statistics 0 and 1."""
    return pgcn_from_state_dict(golden_parameters())
