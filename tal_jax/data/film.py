"""A film rendered from a seed, for tests, pictures and measurements: shots of moving shapes, joined by cuts,
fades and dissolves, with flashes inside.

    python -m tal_jax.data.film --to=film.mp4 [--seed=0] [--shots=12]
"""

import argparse
import pathlib
import sys
from typing import NamedTuple

import av
import cv2
import numpy as np

from tal_jax.data.sets import shapes
from tal_jax.errors import DataError, sentence_of
from tal_jax.runtime.files import replacing

FPS = 25
HEIGHT, WIDTH = 144, 192
SHOT_FRAMES = (30, 100)  # fewest and most
GRADUAL_FRAMES = (12, 30)  # of a fade or a dissolve
KINDS = {"cut": 0.7, "fade": 0.15, "dissolve": 0.15}  # of changes, and how often each comes
FLASHES = 0.3  # share of the shots that have one, a white light for 1 to 3 frames: no change of shot


class Change(NamedTuple):
    """The true change to a new shot: of the kind 'cut', 'fade' or 'dissolve'.

    Attributes:
      frame: first of the new shot alone if it is a cut; else the middle of the change.
      start, end: first frame that is of two shots, or gets darker, and the first of the new shot alone. Both
        are `frame` at a cut.
    """

    kind: str
    frame: int
    start: int
    end: int


def render(rng, num_shots):
    """One film.

    Args:
      rng: np.random.Generator.
      num_shots: at least 1.

    Returns:
      (frames (T, 144, 192, 3) uint8 RGB, list of the num_shots - 1 Changes).
    """
    film, changes = _shot(rng), []
    for _ in range(num_shots - 1):
        kind, shot = rng.choice(list(KINDS), p=list(KINDS.values())), _shot(rng)
        length = int(rng.integers(*GRADUAL_FRAMES))
        if kind == "cut":
            changes.append(Change("cut", len(film), len(film), len(film)))
            film = np.concatenate([film, shot])
        elif kind == "fade":  # the old shot gets dark, the new one light
            light = np.linspace(1, 0, length // 2 + 1)[1:, None, None, None]
            start, film[-len(light) :] = len(film) - len(light), film[-len(light) :] * light
            shot[: len(light)] = shot[: len(light)] * light[::-1]
            changes.append(Change("fade", len(film), start, len(film) + len(light)))
            film = np.concatenate([film, shot])
        else:
            share = np.linspace(0, 1, length + 2)[1:-1, None, None, None]
            start, mixed = len(film) - length, film[-length:] * (1 - share) + shot[:length] * share
            changes.append(Change("dissolve", start + length // 2, start, start + length))
            film = np.concatenate([film[:-length], mixed.astype(np.uint8), shot[length:]])
    return film, changes


def _shot(rng):
    """Frames (T, 144, 192, 3) uint8 of one shot, some of them bright."""
    frames = shapes.render(rng, int(rng.integers(*SHOT_FRAMES)))["rgb"]
    tint = rng.uniform(0.6, 1.6, 3)  # or all shots would be equally dark
    size = dict(dsize=(WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    frames = np.stack([cv2.resize(frame, **size) for frame in frames])
    frames = np.clip(frames * tint, 0, 255).astype(np.uint8)
    if rng.random() < FLASHES:
        edge = GRADUAL_FRAMES[1] // 2
        first = int(rng.integers(edge, max(len(frames) - edge, edge + 1)))
        lit = frames[first : first + int(rng.integers(1, 4))]
        lit[:] = 255 - (255 - lit) // 4
    return frames


def write(path, frames, fps=FPS, crf=23):
    """Writes frames as a video in H.264, the same file every time.

    Args:
      path: an .mp4 file; one that exists is replaced.
      frames: (T, H, W, 3) uint8 RGB, or an iterable of such frames, at least one; H and W are even.
      fps: frames a second.
      crf: quality of libx264, 0 to 51; lower is better, and 23 its default.
    """
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf)})
                stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "yuv420p"
                stream.codec_context.thread_count = 1  # the same file every time
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def main():
    """Runs the command line."""
    parser = argparse.ArgumentParser("python -m tal_jax.data.film", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--to", required=True, type=pathlib.Path, help="an .mp4 file")
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--shots", default=12, type=int)
    options = parser.parse_args()
    try:
        if options.to.suffix != ".mp4":
            raise DataError(f"--to={options.to} must end in .mp4.")
        if options.shots < 1 or options.seed < 0:
            raise DataError("--shots must be 1 or more, and --seed 0 or more.")
        frames, changes = render(np.random.default_rng(options.seed), options.shots)
        write(options.to, frames)
    except (DataError, OSError) as error:
        sys.exit(f"Error: {sentence_of(error)}")
    said = ", ".join(f"{change.kind} at {change.frame / FPS:.2f} s" for change in changes)
    print(f"Written: {options.to}, {len(frames) / FPS:.1f} s, {options.shots} shots: {said or 'no change'}.")


if __name__ == "__main__":
    main()
