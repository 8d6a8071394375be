"""THUMOS14: 20 sports classes in web videos; 200 validation videos to train on, 210 test videos to score.

The annotations are in this package (files/thumos14). Videos and features are not: see `HOW_TO_GET`.
"""

import csv
import dataclasses
import functools
import pathlib

import numpy as np

from tal_jax.data import features, frames
from tal_jax.data.annotations import Annotations, load_annotations

FILES = pathlib.Path(__file__).parents[1] / "files" / "thumos14"
ANNOTATIONS = FILES / "thumos_gt.json"
FEATURES = "data/thumos14/i3d"
CLIP_FRAMES = 64  # that a feature of P-GCN has seen
FRAMES_FPS = 10.0  # of the frames that tal_jax.prepare stores
HOW_TO_GET = {
    "frames": (
        "Get the videos of THUMOS14 from its organisers, then run: python -m tal_jax.prepare "
        "--dataset=thumos14 --videos=FOLDER --out=data/thumos14/frames, and point at another folder with "
        "--config.data.frames=FOLDER. Or train from features, with "
        "--config=configs/thumos.py:dw_afsd,input=features."
    ),
    "features": (
        "Get the widely shared I3D features of THUMOS14 (two-stream, 16-frame snippets at stride 4, 2048 "
        "channels, RGB first; the ActionFormer repository links them), put one VIDEO.npy of shape (T, 2048) "
        "for each video into one folder, and point at it with --config.data.features=FOLDER."
    ),
    "clips": (
        "Get I3D features of clips of 64 frames, 8 apart, as P-GCN's: put rgb/VIDEO.npy and flow/VIDEO.npy "
        "of shape (T, 1024) for each video into one folder, or VIDEO.npy of shape (T, 2048), RGB first, as "
        "--mode=extract --input=VIDEOS with the same config writes it, and point at it with "
        "--config.data.features=FOLDER."
    ),
}


def data_config(input="rgb"):
    """`config.data` for THUMOS14.

    Args:
      input: 'rgb' or 'flow', frames at 10 a second; 'features', the shared I3D features; 'clips', those of
        P-GCN.
    """
    if input not in ("features", "clips"):
        return frames.data_config(name="thumos14", input=input, frames="data/thumos14/frames")
    data = features.data_config(name="thumos14", fps=30.0, num_channels=2048)
    data.update(stride_frames=4, snippet_frames=16)
    if input == "clips":
        data.update(stride_frames=8, snippet_frames=CLIP_FRAMES, features="data/thumos14/i3d_clips")
    return data


def load(config):
    """Dataset of THUMOS14: (T, 2048) features or (T, 112, 112, C) frames a video; subsets "train" (200
    videos) and "test" (210).

    `config.data.annotations`, `.features` and `.frames` replace the bundled annotations and the folders.
    Frames come with the training annotations that the published loader uses.
    """
    data = config.data
    if data.input == "features":
        hint = HOW_TO_GET["clips" if data.snippet_frames == CLIP_FRAMES else "features"]
        return features.folder_dataset(annotations(config), data.features or FEATURES, data, hint)
    of_frames = annotations(config) if data.annotations else _with_published_frames(bundled_annotations())
    return frames.load(config, of_frames, HOW_TO_GET["frames"])


def annotations(config):
    """Annotations of `config.data.annotations`, or the bundled ones."""
    if config.data.annotations:
        return load_annotations(config.data.annotations, config.data.ignored_labels)
    return bundled_annotations()


def _with_published_frames(annotations):
    """The training annotations replaced by those of `frame_annotations_10fps`, as seconds of videos of
    exactly 10 fps.
    """
    recordings = dict(annotations.recordings)
    for name, row in frame_annotations_10fps().items():
        segments_sec, duration_sec = row["segments_frame"] / FRAMES_FPS, row["num_frames"] / FRAMES_FPS
        changed = dict(segments_sec=segments_sec, duration_sec=duration_sec, labels=row["labels"])
        recordings[name] = dataclasses.replace(recordings[name], **changed)
    return Annotations(annotations.classes, recordings)


def with_length(recording):
    """The Recording with the length and rate of its video; as it is, if the project does not know them."""
    video = _video_info().get(recording.name)
    if not video:
        return recording
    fps, num_frames = float(video["fps"]), int(float(video["count"]))
    return dataclasses.replace(recording, fps=fps, num_frames=num_frames, duration_sec=num_frames / fps)


def bundled_annotations():
    """Annotations of the 410 videos that are trained on and scored, the actions of a video in class order.

    Every CliffDiving is repeated as Diving with the same times. Where two truths fit equally well the first
    one wins, and the annotation table that the published AFSD trains on lists CliffDiving first; the ground
    truth file does not.
    """
    annotations, recordings = load_annotations(ANNOTATIONS, classes=_classes()), {}
    for name, recording in annotations.recordings.items():
        order = np.argsort(recording.labels, kind="stable")
        actions = dict(segments_sec=recording.segments_sec[order], labels=recording.labels[order])
        recordings[name] = dataclasses.replace(with_length(recording), **actions)
    return Annotations(annotations.classes, recordings)


def frame_annotations_10fps():
    """AFSD: the training annotations in frames of the videos sampled at 10 fps, as the published loader
    counts them.

    Returns:
        dict video -> dict(segments_frame=(G, 2) float64, labels=(G,) int32 0-based, num_frames=int), in file
        order.
    """
    classes, videos, rows = _classes(), _video_info(), {}
    for row in _read_csv("val_Annotation_ours.csv"):
        rows.setdefault(row["video"], []).append(row)
    table = {}
    for name, annotations in rows.items():
        frames_per_frame = float(videos[name]["sample_count"]) / float(videos[name]["count"])
        segments = [(float(row["startFrame"]), float(row["endFrame"])) for row in annotations]
        table[name] = dict(
            segments_frame=np.array(segments) * frames_per_frame,
            labels=np.array([classes.index(row["type"]) for row in annotations], np.int32),
            num_frames=int(videos[name]["sample_count"]),
        )
    return table


def _classes():
    return tuple((FILES / "class_index.txt").read_text().split()[1::2])


@functools.cache
def _video_info():
    return {row["video"]: row for part in ("val", "test") for row in _read_csv(f"{part}_video_info.csv")}


def _read_csv(name):
    with open(FILES / name, newline="") as rows:
        return list(csv.DictReader(rows))
