"""Times soft-NMS against the published one-pick-at-a-time loop, written in NumPy, and what runs on the host:
voting and greedy NMS.

    python -m benchmarks.soft_nms

Prints the best of several runs in milliseconds. Half a minute on two CPU cores.
"""

import jax
import numpy as np

from benchmarks.measure import best_ms
from tal_jax.ops.nms import hard_nms, soft_nms, vote
from tests.golden_case import GoldenCase


def published_loop(segments, scores, *, sigma=0.5, score_floor=1e-3, top_k=5000, keep_last=False):
    """The loop of AFSD's `softnms_v2` for one class: segments (M, 2), scores (M,), giving picked scores (M,)
    float32.

    `keep_last=True` goes on to pick a lone last candidate, which the published code does not.
    """
    start, end = np.asarray(segments, np.float32).T
    scores = np.array(scores, np.float32)
    picked = np.zeros(scores.shape, bool)
    waiting = scores >= score_floor
    while waiting.sum() > (0 if keep_last else 1) and picked.sum() < top_k:
        best = np.argmax(np.where(waiting, scores, -np.inf))
        waiting[best], picked[best] = False, True
        others = np.flatnonzero(waiting)
        intersection = np.minimum(end[others], end[best]) - np.maximum(start[others], start[best])
        intersection = np.maximum(intersection, 0)
        picked_width = np.maximum(end[best] - start[best], np.float32(1e-5))
        tiou = intersection / (picked_width + (end[others] - start[others]) - intersection)
        scores[others] *= np.exp(-(tiou**2) / np.float32(sigma))
        waiting &= scores >= score_floor
    return np.where(picked, scores, 0)


def scattered(problems, candidates, seed=0):
    """Segments (N, M, 2) in seconds, anywhere in a 200-second recording, and scores (N, M)."""
    rng = np.random.default_rng(seed)
    centre_sec = rng.uniform(0, 200, (problems, candidates))
    return _around(centre_sec, rng.exponential(4, (problems, candidates)), rng)


def clustered(problems, candidates, seed=0):
    """Segments (N, M, 2) in seconds and scores (N, M) of candidates that crowd around 40 places, as those of
    a trained detector do.
    """
    rng = np.random.default_rng(seed)
    places_sec = rng.choice(rng.uniform(0, 200, 40), (problems, candidates))
    centre_sec = places_sec + rng.normal(size=(problems, candidates))
    return _around(centre_sec, rng.uniform(1, 10, (problems, candidates)), rng)


def _around(centre_sec, width_sec, rng):
    """Segments (N, M, 2) around centres (N, M), and random scores (N, M), both float32."""
    segments_sec = np.stack([centre_sec - width_sec / 2, centre_sec + width_sec / 2], -1)
    return segments_sec.astype(np.float32), rng.uniform(0.01, 1, centre_sec.shape).astype(np.float32)


def staircase(problems, candidates):
    """Each segment overlaps the next by half and scores more than it, so that only one pick a round is
    possible.
    """
    start_sec = np.broadcast_to(np.arange(candidates, dtype=np.float32), (problems, candidates))
    scores = np.broadcast_to(np.linspace(1, 0.5, candidates, dtype=np.float32), (problems, candidates))
    return np.stack([start_sec, start_sec + 2], -1), scores


def vote_of_all(segments, scores, decayed):
    """Voting at ActionFormer's tIoU of ActivityNet, of what is kept of each problem."""
    for problem in zip(segments, scores, decayed):
        vote(problem[0][problem[2] > 0], *problem[:2], 0.9)


def print_of_host(problems):
    """Prints the table of soft-NMS of 200 picks a class with voting, and of greedy NMS at a tIoU of 0.5."""
    print("\n| classes x candidates | soft_nms, 200 picks a class | vote | both | hard_nms |")
    print("|---|---|---|---|---|")
    for name, (segments, scores) in problems.items():
        kept = np.asarray(soft_nms(segments, scores, top_k=200))
        soft_ms = best_ms(lambda: np.asarray(soft_nms(segments, scores, top_k=200)), repeats=15)
        vote_ms = best_ms(lambda: vote_of_all(segments, scores, kept), repeats=15)
        hard_ms = best_ms(lambda: [hard_nms(*problem, 0.5) for problem in zip(segments, scores)], repeats=5)
        row = (soft_ms, vote_ms, soft_ms + vote_ms, hard_ms)
        print(f"| {name} | {' | '.join(f'{ms:.1f}' for ms in row)} |", flush=True)


def main():
    """Prints the tables."""
    golden = GoldenCase.load("afsd/soft_nms").input("n2000_segments")
    problems = {
        "1 x 2000, golden case n2000": (golden[None, :, :2], golden[None, :, 2]),
        "20 x 500, scattered": scattered(20, 500),
        "1 x 2000, clustered": clustered(1, 2000),
        "1 x 2000, staircase (worst case)": staircase(1, 2000),
    }
    print(f"{jax.default_backend()}, milliseconds\n")
    print("| classes x candidates | picks | soft_nms | NumPy loop | ratio |\n|---|---|---|---|---|")
    for name, (segments, scores) in problems.items():
        on_device = jax.device_put(segments), jax.device_put(scores)
        picks = int((soft_nms(*on_device) > 0).sum())  # compiles
        rounds_ms = best_ms(lambda: jax.block_until_ready(soft_nms(*on_device)), repeats=15)
        loop_ms = best_ms(lambda: [published_loop(*problem) for problem in zip(segments, scores)], repeats=2)
        print(
            f"| {name} | {picks} | {rounds_ms:.2f} | {loop_ms:.0f} | {loop_ms / rounds_ms:.0f} |", flush=True
        )
    makers = {"scattered": scattered, "clustered": clustered}
    print_of_host({f"20 x 2000, {name}": make(20, 2000) for name, make in makers.items()})


if __name__ == "__main__":
    main()
