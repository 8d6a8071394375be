"""Frames of videos as `tal_jax.prepare` stores them, and the clips cut from them.

A folder holds, for each video, rgb/NAME.npy (T, H, W, 3) uint8, perhaps flow/NAME.npy (T, H, W, 2) uint8
(TV-L1; 0 to 255 mean -20 to 20 pixels), and info/NAME.json with "fps", the rate of these frames, and
"duration_sec", the length of the video.
"""

import pathlib

import numpy as np

from tal_jax.data import features
from tal_jax.data.annotations import Annotations
from tal_jax.data.made_of_videos import as_stored
from tal_jax.errors import DataError
from tal_jax.runtime.files import ARRAY_HEADERS

STREAMS = {"rgb": 3, "flow": 2}  # channels
HOW_TO_GET = (
    "Make it from the videos with: python -m tal_jax.prepare --dataset=… --videos=FOLDER --out=FOLDER "
    "(docs/data.md)."
)
GREY = 127.5  # the pixel value that the network sees as 0; float16 holds it exactly


def data_config(**fields):
    """The section `config.data` for frames: the fields that features have too, and those of frames.

    fields: values other than the defaults.
    """
    data = features.any_data_config()
    data.input = "rgb"  # or 'flow'
    data.frames = ""  # folder made by tal_jax.prepare
    data.fps = 10.0  # of frames taken from a video; 0: so many that the whole video is at most 768 frames
    data.frame_pixels = 112  # height and width of stored frames
    # height and width that the network sees: at random in training, the centre otherwise
    data.crop_pixels = 96
    # pixel value after the end of a recording that is shorter than a window; ActivityNet: 127.5
    data.train_padding = 0.0
    data.update(fields)
    return data


def load(config, annotations, hint=HOW_TO_GET):
    """Dataset of the frames in `config.data.frames`: (T, H, W, C) uint8 a video, at the rate in its
    info/NAME.json.

    Args:
      config: the run's config (`data`).
      annotations: Annotations.
      hint: how to get frames, for the sentence on missing ones.

    Raises:
      DataError: frames are missing (unless `data.allow_missing`), or an info file is damaged.
    """
    data = config.data
    if data.input not in STREAMS:
        raise DataError(f"config.data.input is '{data.input}'; it must be one of {', '.join(STREAMS)}.")
    folder = pathlib.Path(data.frames)
    files = {path.stem for path in (folder / data.input).glob("*.npy")}
    recordings, stems = dict(annotations.recordings), {}
    for name, recording in recordings.items():
        stem = f"{data.file_prefix}{name}" if f"{data.file_prefix}{name}" in files else name
        if stem in files:
            stems[name] = stem
            recordings[name] = as_stored(recording, folder / "info" / f"{stem}.json")
    place = f"in {folder / data.input}" + ("" if folder.is_dir() else ", a folder that does not exist")
    annotations = Annotations(annotations.classes, recordings)
    return features.build_dataset(
        annotations, lambda name: read_frames(folder, data, stems[name]), set(stems), data, place, hint
    )


def read_frames(folder, data, stem):
    """The frames of one video, a memory map (T, H, W, C) uint8.

    Args:
      folder: made by tal_jax.prepare.
      data: the fields of `config.data`: `input`, the stream, and `frame_pixels`, H and W.
      stem: of the video's file.

    Raises:
      DataError: the file holds anything else.
    """
    path, pixels, channels = folder / data.input / f"{stem}.npy", data.frame_pixels, STREAMS[data.input]
    try:
        with ARRAY_HEADERS:
            frames = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a damaged header leads NumPy to almost anything
        advice = "Delete the file and run tal_jax.prepare again."
        raise DataError(f"Cannot read the frames {path}: {str(error):.200}. {advice}") from error
    if frames.dtype != np.uint8 or frames.shape[1:] != (pixels, pixels, channels) or not frames.size:
        raise DataError(
            f"{path} holds {frames.dtype} of shape {frames.shape}; config.data.frame_pixels asks for uint8 "
            f"of shape (T, {pixels}, {pixels}, {channels})."
        )
    return frames


def random_view(shape, crop_pixels, flip, rng):
    """AFSD: where a training clip is cropped and whether it is flipped, with probability `flip`: (top, left,
    flipped).
    """
    top, left = (int(rng.integers(size - crop_pixels + 1)) for size in shape[1:3])
    return top, left, bool(rng.random() < flip)


def centre_view(shape, crop_pixels):
    """AFSD: the crop of a test clip: (top, left, False)."""
    return *(round((size - crop_pixels) / 2) for size in shape[1:3]), False


def cut_clip(frames, offset, size, crop_pixels, view, padding):
    """One clip of a video.

    Args:
      frames: (T, H, W, C) uint8.
      offset, size: first frame, number of frames.
      crop_pixels: height and width of the clip.
      view: (top, left, flipped). Flow is mirrored as a picture; as published, its x component keeps its sign.
      padding: pixel value of frames that the video lacks.

    Returns:
      (size, crop, crop, C) float16 pixels 0 to 255: half the bytes of float32, and 127.5 fits.
    """
    top, left, flipped = view
    window = frames[offset : offset + size, top : top + crop_pixels, left : left + crop_pixels]
    clip = np.full((size, crop_pixels, crop_pixels, frames.shape[3]), padding, np.float16)
    clip[: len(window)] = window[:, :, ::-1] if flipped else window
    return clip
