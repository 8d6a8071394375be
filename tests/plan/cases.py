"""Fingerprints and files that plans are made of."""

import json
import types

import numpy as np

from configs import folder
from tal_jax import fingerprint, plan
from tal_jax.systems import require_valid


def seen_of(lengths_sec, rows_a_sec=50.0, channels=6, hours=4.0, recording_sec=400.0):
    """A Fingerprint of actions of these lengths."""
    return fingerprint.Fingerprint(
        recordings={"train": 40, "test": 20},
        rows_a_sec=rows_a_sec,
        channels=channels,
        offsets=(0.5,) * channels,
        scales=(2.0,) * channels,
        still=0,
        missing=0.0,
        lost={},
        seconds=3600 * hours,
        recording_sec=recording_sec,
        lengths_sec=np.sort(np.asarray(lengths_sec, float)),
    )


def fields_of(seen, said=(), config=None):
    """{field: value} of the plan of a fingerprint."""
    config = config or folder.get_config()
    lines = plan.lines_of(seen, config, said)
    require_valid(config, training=True)
    assert all(line.reason for line in lines)
    return {line.field: line.value for line in lines}


def of_devices(monkeypatch, number, memory):
    """Plans for so many devices of so many bytes."""
    monkeypatch.setattr(plan, "make_parallel", lambda *_: types.SimpleNamespace(num_devices=number))
    monkeypatch.setattr(plan, "memory_bytes", lambda _: int(memory))


def relabel(folder_of_run, annotations):
    """Gives the training recording of `files` other annotations."""
    content = json.loads((folder_of_run / "labels.json").read_text())
    content["database"]["a"]["annotations"] = annotations
    (folder_of_run / "labels.json").write_text(json.dumps(content))
