"""Shapes: untrimmed videos of moving textured shapes, rendered from a seed; a data set of moving pictures
that needs no download.

A large bright shape, the actor, wanders over a moving dark background with small shapes in it that wander
too, while the camera shakes. Now and then the actor does something: it shakes, spins, pulses or flickers. The
classes differ by motion alone: shape, size, texture, colour and place say nothing about them, and nor does a
single frame. Annotated intervals and optical flow are exact.
"""

import json
import logging
import pathlib
import zlib

import numpy as np

from tal_jax.data import frames
from tal_jax.data.annotations import load_annotations
from tal_jax.runtime.files import replacing, write_rows

log = logging.getLogger(__name__)

CLASSES = ("shake", "spin", "pulse", "flicker")
FPS = 10.0
NUM_FRAMES = 256
PIXELS = 40  # height and width
NUM_DISTRACTORS = 2
SUBSETS = {"train": 160, "test": 40}
MAX_FLOW = 20.0  # pixels a frame: what the ends of the stored range mean


def data_config():
    """`config.data` for the rendered videos."""
    return frames.data_config(name="shapes", frames="data/shapes", frame_pixels=PIXELS, crop_pixels=32)


def load(config):
    """Dataset of rendered videos, (T, 40, 40, 3) RGB or (T, 40, 40, 2) flow; renders them into
    `config.data.frames` once.
    """
    folder = pathlib.Path(config.data.frames)
    if not (folder / "annotations.json").exists():
        log.info("Rendering %d videos into %s, once.", sum(SUBSETS.values()), folder)
        render_all(folder)
    return frames.load(config, rendered_annotations(config), f"Delete {folder}, and it is rendered again.")


def rendered_annotations(config):
    """Annotations of the rendered videos, subsets "train" and "test"."""
    hint = "The videos are rendered by --mode=train and --mode=check_data."
    path = config.data.annotations or pathlib.Path(config.data.frames) / "annotations.json"
    return load_annotations(path, config.data.ignored_labels, hint=hint)


def render_all(folder, seed=0, subsets=SUBSETS, num_frames=NUM_FRAMES):
    """Renders all videos, as `tal_jax.prepare` would store them, and annotations.json last.

    Args:
      folder: gets rgb/NAME.npy, flow/NAME.npy, info/NAME.json.
      subsets: name -> number of videos.
    """
    database = {}
    for subset, count in subsets.items():
        for number in range(count):
            name = f"{subset}_{number:03d}"
            video = render(np.random.default_rng([seed, zlib.crc32(name.encode())]), num_frames)
            for stream in ("rgb", "flow"):
                write_rows(folder / stream / f"{name}.npy", video[stream])
            info = dict(fps=FPS, num_frames=num_frames, duration_sec=num_frames / FPS, source_fps=FPS)
            with replacing(folder / "info" / f"{name}.json") as path:
                path.write_text(json.dumps(info))
            actions = [(CLASSES[k], [start / FPS, end / FPS]) for k, start, end in video["actions"]]
            actions = [dict(label=label, segment=segment) for label, segment in actions]
            database[name] = dict(subset=subset, duration=num_frames / FPS, fps=FPS, annotations=actions)
    with replacing(folder / "annotations.json") as path:
        path.write_text(json.dumps({"classes": CLASSES, "database": database}, indent=1))


def render(rng, num_frames=NUM_FRAMES):
    """One video.

    Args:
      rng: np.random.Generator.
      num_frames: T.

    Returns:
      dict: `rgb` (T, H, W, 3) uint8; `flow` (T, H, W, 2) uint8, (x, y) motion to the next frame, of which 0
        to 255 mean -20 to 20 pixels; `actions` [(class index, first frame, frame after the last)].
    """
    camera = wandering(rng, num_frames) + rng.normal(0, 0.1, (num_frames, 2))  # (T, 2) x, y
    actions = schedule(rng, num_frames)
    y, x = np.mgrid[:PIXELS, :PIXELS].astype(np.float32)
    pixels = np.stack([x, y], axis=-1) + of_frame(camera)  # (T, H, W, 2) in the scene
    drift = rng.uniform(-0.3, 0.3, 2) * np.arange(num_frames)[:, None]
    image = 0.35 * texture(rng, pixels - of_frame(drift), scale=0.15) + 0.05  # darker than the shapes
    motion = np.broadcast_to(of_frame(travel(drift - camera)), pixels.shape)
    for is_actor in [False] * NUM_DISTRACTORS + [True]:
        pose = actor_pose(rng, num_frames, actions) if is_actor else distractor_pose(rng, num_frames)
        colour, opacity, moved = draw(rng, pixels, pose, camera)
        image = image + opacity[..., None] * (colour - image)
        motion = np.where(opacity[..., None] > 0.25, moved, motion)
    image = image + rng.normal(0, 0.02, image.shape).astype(np.float32)
    return {
        "rgb": np.clip(image * 255, 0, 255).round().astype(np.uint8),
        "flow": (np.clip(motion / MAX_FLOW, -1, 1) * 127.5 + 127.5).round().astype(np.uint8),
        "actions": actions,
    }


def of_frame(values):
    """(T, ...) values a frame -> (T, 1, 1, ...) float32, which broadcast to all pixels of a frame."""
    return values.astype(np.float32)[:, None, None]


def travel(place):
    """(T, 2) places -> (T, 2) steps from each frame to the next; the last one stays where it is."""
    return np.diff(place, axis=0, append=place[-1:])


def schedule(rng, num_frames):
    """The actions of a video, one after the other: [(class index, first frame, frame after the last)]."""
    actions, frame = [], int(rng.integers(5, 40))
    while True:
        length = int(rng.integers(16, 64))
        if frame + length > num_frames - 4:
            return actions
        actions.append((int(rng.integers(len(CLASSES))), frame, frame + length))
        frame += length + int(rng.integers(8, 40))


def wandering(rng, num_frames):
    """A smooth path to and fro within 3 pixels, (T, 2)."""
    way = np.cumsum(np.cumsum(rng.normal(0, 0.0025, (num_frames, 2)), axis=0), axis=0)
    return 3 * np.sin(way + rng.uniform(0, 2 * np.pi, 2))


def distractor_pose(rng, num_frames):
    """Pose of a small shape in each frame: `place` (T, 2) and `size` (T,) in pixels, `angle` (T,) in radians,
    `opacity` (T,) in [0, 1].
    """
    return dict(
        place=rng.uniform(0.15, 0.85, 2) * PIXELS + wandering(rng, num_frames),
        angle=rng.uniform(0, 2 * np.pi) + 0.01 * rng.normal() * np.arange(num_frames),
        size=np.full(num_frames, rng.uniform(3, 4.5)),
        opacity=np.ones(num_frames),
    )


def actor_pose(rng, num_frames, actions):
    """Pose of the large shape in each frame, whose actions come on top of its wandering.

    Args:
      actions: [(class index, first frame, frame after the last)].

    Returns:
      dict: `place` (T, 2) and `size` (T,) in pixels, `angle` (T,) in radians, `opacity` (T,) in [0, 1].
    """
    place = rng.uniform(0.4, 0.6, 2) * PIXELS + wandering(rng, num_frames)
    angle = rng.uniform(0, 2 * np.pi) + 0.01 * rng.normal() * np.arange(num_frames)
    size, opacity = np.full(num_frames, rng.uniform(7.5, 10)), np.ones(num_frames)
    for label, start, end in actions:
        now, since = slice(start, end), np.arange(end - start)
        rate = 2 * np.pi / rng.uniform(6, 12)  # radians a frame
        name = CLASSES[label]
        if name == "shake":
            way = rng.uniform(0, 2 * np.pi)
            place[now] += rng.uniform(6, 9) * np.sin(rate * since)[:, None] * [np.cos(way), np.sin(way)]
        elif name == "spin":
            turn = rng.choice([-1, 1]) * rng.uniform(0.45, 0.75)
            angle[start:] += np.pad(turn * since, (0, num_frames - end), mode="edge")
        elif name == "pulse":
            size[now] *= 1 + rng.uniform(0.35, 0.5) * np.sin(rate * since)
        else:  # flicker
            opacity[now] *= 0.5 + 0.5 * np.cos(rate * since)
    return dict(place=place, angle=angle, size=size, opacity=opacity)


def draw(rng, pixels, pose, camera):
    """A textured shape in every frame: colour (T, H, W, 3), opacity (T, H, W), and the motion of its points
    (T, H, W, 2).
    """
    angle, size = (pose[key].astype(np.float32) for key in ("angle", "size"))
    away = pixels - of_frame(pose["place"])
    cos, sin = of_frame(np.cos(angle)), of_frame(np.sin(angle))
    turned_back = [cos * away[..., 0] + sin * away[..., 1], cos * away[..., 1] - sin * away[..., 0]]
    own = np.stack(turned_back, axis=-1) / of_frame(size)[..., None]
    corners, depth = int(rng.integers(2, 5)), rng.uniform(0.3, 0.45)
    radius = np.hypot(own[..., 0], own[..., 1])
    edge = 1 - depth + depth * np.cos(corners * np.arctan2(own[..., 1], own[..., 0]))
    opacity = np.clip((edge - radius) * of_frame(size) + 0.5, 0, 1) * of_frame(pose["opacity"])
    turn = of_frame(np.append(angle[1:] - angle[:-1], 0.0))[..., None]
    growth = of_frame(np.append(size[1:] / size[:-1], 1.0))[..., None]
    turned = np.stack([-away[..., 1], away[..., 0]], axis=-1)
    moved = of_frame(travel(pose["place"] - camera))
    motion = moved + growth * (np.cos(turn) * away + np.sin(turn) * turned) - away
    return 0.6 * texture(rng, own, scale=1.2) + 0.4, opacity, motion


def texture(rng, position, scale):
    """A random coloured pattern, (T, H, W, 2) -> (T, H, W, 3) in [0, 1]: waves in random directions."""
    colour = np.zeros((*position.shape[:-1], 3), np.float32) + rng.uniform(0.25, 0.75, 3).astype(np.float32)
    for _ in range(3):
        direction, phase = rng.normal(0, 2 * scale, 2).astype(np.float32), np.float32(rng.uniform(0, 6.28))
        wave = np.sin(position @ direction + phase)[..., None]
        colour += wave * rng.uniform(-0.2, 0.2, 3).astype(np.float32)
    return colour
