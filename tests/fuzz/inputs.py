"""What reads files: small valid files of each form, how they are damaged, the function that reads them."""

import functools
import json
import lzma
import pathlib
import pickle
import sys
import tempfile
from typing import Callable, NamedTuple
from unittest import mock

import h5py
import jax.numpy as jnp
import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import soundfile

from configs.sbhar import get_config as sbhar_config
from tal_jax.convert import load_config
from tal_jax.data import frames
from tal_jax.data.annotations import Recording, load_annotations
from tal_jax.data.detections_file import read_detections_of
from tal_jax.data.feature_files import read_features
from tal_jax.data.features import data_config
from tal_jax.data.made_of_videos import as_stored, read_notes, read_settings
from tal_jax.data.proposals import read_proposals
from tal_jax.data.recording_scores import best_classes, read_recording_scores
from tal_jax.data.timeline import on_even_axis
from tal_jax.data.video import store_video
from tal_jax.published.weight_files import read_weights
from tal_jax.ranges import leaves
from tal_jax.run_config import remember_run, trained_run
from tal_jax.runtime.checkpoints import Checkpoints
from tal_jax.runtime.writers import MetricWriter
from tal_jax.step import TrainState
from tal_jax.systems import require_valid
from tests import tiny_config
from tests.data.test_video import CODINGS, numbered, write_video
from tests.fuzz import damage, damage_arrays
from tests.published.test_weight_files import SIMPLE, STORAGES, ordered_dict, pickled, write_legacy, write_zip

TABLE = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
CLASSES = ("fast", "slow")
LABELS = {
    "classes": list(CLASSES),
    "database": {
        "monday": {
            "subset": "train",
            "duration": 22.0,
            "fps": 10,
            "num_frames": 220,
            "annotations": [
                {"label": "slow", "segment": [1.2, 4.4]},
                {"label": "fast", "segment": ["6", 8.4]},
            ],
        },
        "sunday": {"subset": "test", "duration": 9.0, "annotations": [{"label": "slow"}]},
    },
}
FOUND = [
    {"label": "slow", "segment": [1.5, 4.0], "score": 0.9},
    {"label": "fast", "segment": [6, "8"], "score": 0.1},
]
RESULTS = {"version": "1", "external_data": {}, "results": {"monday": FOUND, "sunday": []}}
SCORES = {"class": list(CLASSES), "results": {"monday": [0.2, 0.8], "sunday": [1, 0]}}
LIST = """# 1
videos/monday
220
1
1
2 12 44
2
2 0.9 1.0 15 40
0 0.0 0.0 50 60
# 2
sunday
90
1
0
1
0 0 0 5 9
"""
INFO = {
    "fps": 10.0,
    "duration_sec": 2.0,
    "source_fps": 25.0,
    "notes": ["rate varies"],
    "num_frames": 20,
    "times_sec": [0.0, 0.1],
}
SETTINGS = {"stride_frames": 4, "snippet_frames": 16, "end_point": "Mixed_5c"}


class Reader(NamedTuple):
    """Something that reads files.

    Attributes:
        files: function without arguments -> {name: bytes} of valid files.
        damages: name -> function (bytes, random.Random) -> bytes.
        read: function of the path of a file; raises DataError for a bad one.
        together: whether the files belong together, and one of them is damaged.
        writes: whether a good file makes it write into the folder of the file.
        share: how often it is tried, in times of most others.
    """

    files: Callable
    damages: dict
    read: Callable
    together: bool = False
    writes: bool = False
    share: float = 1.0


def written(name, write):
    """{name: the bytes that `write(path)` writes to a file of this name}."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / name
        path.parent.mkdir(exist_ok=True)
        write(path)
        return {name: path.read_bytes()}


def as_json(name, content):
    return lambda: {name: json.dumps(content).encode()}


def npy_file(name, array):
    return lambda: written(name, lambda path: np.save(path, array))


def proposal_lists():
    plain = "monday 12 44\nmonday 60 84\nsunday 3 9\n"
    return {
        "list.txt": LIST.encode(),
        "plain.txt": plain.encode(),
        "list.txt.xz": lzma.compress(LIST.encode()),
    }


def proposal_folder():
    return {
        "monday.csv": b"xmin,xmax,score\n0.1,0.4,0.9\n0.5,0.8,0.2\n",
        "sunday.csv": b"xmin,xmax\n0.1,0.4\n",
    }


def csv_files():
    rows = [",".join(map(repr, (i / 10, *map(float, row)))) for i, row in enumerate(TABLE)]
    logged = [
        f"2026-05-01 10:00:{i:02d},5;{float(row[0])!r};{i}".replace(".", ",") for i, row in enumerate(TABLE)
    ]
    return {
        "monday.csv": "\n".join(["time,x,y,z", *rows]).encode(),
        "tuesday.csv": "\n".join(["# device 7", "Sensor log;;", "stamp;x;n", *logged]).encode(),
        "sunday.csv": "\n".join(" ".join(map(str, row)) for row in TABLE).encode(),
    }


def tables():
    table = pyarrow.table({"time": np.arange(20) / 10} | {f"x{i}": TABLE[:, i] for i in range(3)})
    found = written("monday.parquet", lambda path: pyarrow.parquet.write_table(table, path))
    return found | written("monday.feather", lambda path: pyarrow.feather.write_feather(table, str(path)))


def npz_files():
    one, two, ecm = (
        {"features": TABLE},
        {"rgb": TABLE, "flow": TABLE[:-1]},
        {"feat_spa": TABLE.T, "feat_tem": TABLE.T},
    )
    found = written("small.npz", lambda path: np.savez_compressed(path, **two))
    for name, arrays in (("one", one), ("two", two), ("ecm", ecm)):
        found |= written(f"{name}.npz", functools.partial(np.savez, **arrays))
    return found


def hdf5_files():
    def write(path):
        with h5py.File(path, "w") as file:
            file["features"], file["more/ids"] = TABLE, np.arange(20)

    return written("monday.h5", write)


def wav_files():
    return written("monday.wav", lambda path: soundfile.write(path, np.clip(TABLE, -1, 1), 50))


def run_files():
    return written(
        "config.json", lambda path: remember_run(tiny_config.get_config("toy"), CLASSES, path.parent)
    )


def metrics_files():
    lines = [json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in (10, 20, 30)]
    return {"metrics.jsonl": "".join(lines).encode()}


def overrides():
    """{system/field: the argument that sets it to what it is} of a config of each system."""
    return {
        f"{system}/config.{field}": f"--config.{field}={value}".encode()
        for system in ("dw_afsd", "ecm", "kt_mgfn", "pgcn", "tcanet")
        for field, value in leaves(sbhar_config(system))
    }


def checkpoint_files():
    """All files of the checkpoints of a run, by their paths from its folder."""
    params = {"layer": {"kernel": jnp.ones((3, 4)), "bias": jnp.zeros(4)}}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(folder)
        checkpoints.save(
            5, TrainState(jnp.int32(5), params, {"batch_stats": {"mean": jnp.zeros(4)}}, None, ())
        )
        checkpoints.close()
        paths = [path for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def weight_pickles():
    arrays = {"params": {"conv": {"kernel": TABLE, "bias": TABLE[0]}}, "step": 7}
    old = written(
        "old.pt", lambda path: write_legacy(path, pickled({"state_dict": SIMPLE, "epoch": 3}), STORAGES)
    )
    return old | {f"numpy{protocol}.ckpt": pickle.dumps(arrays, protocol) for protocol in (2, 4, 5)}


def weight_archives():
    new = written("new.pt", lambda path: write_zip(path, ordered_dict(SIMPLE), STORAGES))
    return new | written("w.npz", lambda path: np.savez(path, **{"params/conv/kernel": TABLE}))


def videos():
    found = {}
    for name in CODINGS:
        found |= written(name, lambda path: write_video(path, numbered(8, 32, 32)))
    return found


# What reads them.


def read_signal(path):
    return on_even_axis(read_features(path, data_config()), 0.0, path.name)


def read_class_scores(path):
    return best_classes(path), read_recording_scores(path, CLASSES)


def read_frames(path):
    return frames.read_frames(path.parents[1], frames.data_config(frame_pixels=4), path.stem)


def read_info(path):
    return read_notes(path), as_stored(
        Recording("monday", "train", None, np.zeros((0, 2)), np.zeros(0, np.int32)), path
    )


def read_video(path):
    store_video(path, path.parent / "out", 10, 16, flow=False)


def read_run(path):
    return trained_run(tiny_config.get_config("toy"), path.parent)


def read_checkpoint(path):
    folder = next(parent for parent in path.parents if parent.name == "checkpoints")
    checkpoints = Checkpoints(folder.parent)
    try:
        return checkpoints.restore_variables("latest")
    finally:
        checkpoints.close()


def read_override(path):
    texts = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    texts = [text for text in texts if text]
    with mock.patch.object(
        sys, "argv", ["main", *texts]
    ):  # where config flags look for the fields that are set
        config = load_config(f"configs/sbhar.py:{path.parent.name}", texts)
    require_valid(config, training=True)
    return config


def read_metrics(path):
    writer = MetricWriter(path.parent, start_step=20)
    writer.write(40, {"loss": 0.5})
    writer.close()


def _annotations():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "labels.json"
        path.write_text(json.dumps(LABELS))
        return load_annotations(path)


ANNOTATIONS = _annotations()


def read_found(path):
    return read_detections_of(path, ANNOTATIONS)


def read_proposed(path):
    return read_proposals(path, ANNOTATIONS)


READERS = {
    "annotations": Reader(as_json("labels.json", LABELS), damage.JSON, load_annotations, share=2),
    "detections": Reader(as_json("d.json", RESULTS), damage.JSON, read_found),
    "proposals": Reader(as_json("p.json", RESULTS), damage.JSON, read_proposed),
    "proposal lists": Reader(proposal_lists, damage.TEXT, read_proposed),
    "proposal folder": Reader(
        proposal_folder, damage.TEXT, lambda path: read_proposed(path.parent), together=True
    ),
    "recording scores": Reader(as_json("s.json", SCORES), damage.JSON, read_class_scores),
    "npy": Reader(npy_file("monday.npy", TABLE), damage_arrays.NPY, read_signal),
    "npz": Reader(npz_files, damage_arrays.ZIP, read_signal),
    "csv": Reader(csv_files, damage.TEXT, read_signal, share=2),
    "parquet and feather": Reader(tables, damage.BYTES, read_signal),
    "hdf5": Reader(hdf5_files, damage.BYTES, read_signal),
    "wav": Reader(wav_files, damage.BYTES, read_signal, share=0.5),
    "frames": Reader(
        npy_file("rgb/monday.npy", np.zeros((5, 4, 4, 3), np.uint8)), damage_arrays.NPY, read_frames
    ),
    "info of frames": Reader(as_json("monday.json", INFO), damage.JSON, read_info),
    "settings of frames": Reader(
        as_json("settings.json", SETTINGS), damage.JSON, lambda path: read_settings(path.parent), share=0.5
    ),
    "config.json": Reader(run_files, damage.JSON, read_run, share=2),
    "metrics": Reader(metrics_files, damage.TEXT, read_metrics, writes=True, share=0.5),
    "overrides": Reader(overrides, damage.ARGUMENT, read_override),
    "checkpoints": Reader(
        checkpoint_files, damage.BYTES, read_checkpoint, together=True, writes=True, share=0.2
    ),
    "weights in pickles": Reader(weight_pickles, damage_arrays.PICKLE, read_weights, share=2),
    "weights in archives": Reader(weight_archives, damage_arrays.TORCH, read_weights),
    "weights in an array": Reader(npy_file("w.npy", TABLE), damage_arrays.NPY, read_weights, share=0.5),
    "videos": Reader(videos, damage.BYTES, read_video, writes=True, share=0.3),
}
