"""A video that anybody may have: a drawn person juggles three balls, rests, and juggles again.

I3D of Kinetics-400 knows the drawn motion as juggling, so it stands in for a real video in the demo and in
tests.

    python -m tal_jax.data.sets.juggler --out=runs/juggler.mp4
"""

import argparse
import pathlib

import cv2
import numpy as np

from tal_jax.data import film

FPS, SIZE = 25, 224
CLASS = "juggling balls"
SEGMENTS_SEC = ((3.0, 8.0), (12.0, 16.0))  # when there is juggling
DURATION_SEC = 18.0
FLIGHT_SEC = 1.1  # of a ball, from one hand to the other
WALL, FLOOR, SHIRT = (190, 180, 170), (110, 140, 120), (60, 60, 160)
SKIN, HAIR = (200, 160, 130), (60, 40, 20)
BALLS = ((230, 60, 40), (40, 200, 40), (40, 110, 230))
NECK, HAND_Y, REACH, HEIGHT = 112, 158, 38, 105  # of the picture; how far hands are apart, balls fly up


def picture(juggled_sec, moves, rng):
    """One frame.

    Args:
      juggled_sec: seconds of juggling until now, which say where balls and hands are.
      moves: whether the person juggles now; if not, the balls lie on the floor and the hands rest.
      rng: np.random.Generator of the noise.

    Returns:
      (224, 224, 3) uint8.
    """
    image = np.full((SIZE, SIZE, 3), WALL, np.uint8)
    image[150:] = FLOOR

    def disc(x, y, radius, colour):
        cv2.circle(image, (int(x), int(y)), radius, colour, -1, cv2.LINE_AA)

    cv2.ellipse(image, (NECK, 175), (30, 48), 0, 0, 360, SHIRT, -1, cv2.LINE_AA)
    disc(NECK, 105, 19, SKIN)
    cv2.ellipse(image, (NECK, 95), (19, 12), 0, 180, 360, HAIR, -1, cv2.LINE_AA)
    for side in (-1, 1):
        phase = 2 * np.pi * (1.4 * juggled_sec + (side > 0) / 2)
        x, y = NECK + side * (REACH + 6 * np.cos(phase)), HAND_Y + 7 * np.sin(phase)
        x, y = (x, y) if moves else (NECK + side * 36, 200)
        shoulder, elbow = (NECK + side * 22, 140), (NECK + side * 44, 178)
        cv2.line(image, shoulder, elbow, SHIRT, 11, cv2.LINE_AA)
        cv2.line(image, elbow, (int(x), int(y)), SKIN, 9, cv2.LINE_AA)
        disc(x, y, 7, SKIN)
    for number, colour in enumerate(BALLS):
        turn = (juggled_sec / FLIGHT_SEC + number / 3) % 1 * 2  # there and back
        side, part = (1, turn) if turn < 1 else (-1, turn - 1)
        x = NECK + side * REACH * (2 * part - 1)
        y = HAND_Y - 8 - 4 * HEIGHT * part * (1 - part)
        disc(*((x, y) if moves else (60 + 16 * number, 212)), 8, colour)
    return (image.astype(int) + rng.integers(-4, 5, image.shape)).clip(0, 255).astype(np.uint8)


def render(path, seed=0):
    """Writes the video, H.264 at 25 frames a second, to a file .mp4; returns its path."""
    rng = np.random.default_rng(seed)

    def pictures():
        juggled = 0
        for number in range(round(DURATION_SEC * FPS)):
            moves = any(start <= number / FPS < end for start, end in SEGMENTS_SEC)
            juggled += moves
            yield picture(juggled / FPS, moves, rng)

    film.write(path, pictures(), FPS)
    return pathlib.Path(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Renders a video of a juggler.")
    parser.add_argument("--out", required=True)
    print(render(parser.parse_args().out))
