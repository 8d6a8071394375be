"""Files in the form of the download, made here, become recordings and annotations."""

import json

import numpy as np
import pytest

from benchmarks import myo_gestures
from tal_jax.errors import DataError


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Three people: b's first session is broken off."""
    monkeypatch.setattr(myo_gestures, "WHOLE_SAMPLES", 30)
    for session in ("a-1", "b-1", "b-2", "c-1"):
        (tmp_path / session).mkdir()
        for number in range(myo_gestures.PARTS):
            labels = [0] * 10 + [number] * 20 + [0] * 5
            labels = labels[:25] if (session, number) == ("b-1", 3) else labels
            rows = [",".join(map(str, [number - 4] * 8 + [label])) for label in labels]
            (tmp_path / session / f"{number}.txt").write_text("\n".join([*rows, "1,1,1,1,1,1,1,1,"]))
    return tmp_path


def test_sessions_become_recordings(source, tmp_path):
    out = tmp_path / "out"
    assert myo_gestures.convert(source, out) == 3
    content = json.loads((out / "annotations.json").read_text())
    assert content["classes"] == list(myo_gestures.GESTURES)
    subsets = {name: entry["subset"] for name, entry in content["database"].items()}
    assert subsets == {"a-1": "train", "b-2": "train", "c-1": "test"}
    for name, entry in content["database"].items():
        signals = np.load(out / "features" / f"{name}.npy")
        assert signals.shape == (8 * 35, 8) and entry["duration"] == pytest.approx(8 * 35 / 200)
        assert sorted(action["label"] for action in entry["annotations"]) == sorted(myo_gestures.GESTURES)
        for action in entry["annotations"]:
            start, end = (round(sec * 200) for sec in action["segment"])
            assert end - start == 20
            assert (signals[start:end] == myo_gestures.GESTURES.index(action["label"]) + 1 - 4).all()


def test_values_that_no_sensor_gives_are_refused(tmp_path):
    path = tmp_path / "1.txt"
    path.write_text("300,1,1,1,1,1,1,1,1")
    with pytest.raises(DataError, match="1.txt has values beyond -128 to 127; download it again"):
        myo_gestures.read_part(path)


def test_a_folder_without_sessions_leaves_the_old_files(source, tmp_path):
    out = tmp_path / "out"
    myo_gestures.convert(source, out)
    before = (out / "annotations.json").read_text()
    with pytest.raises(
        DataError, match="has no folder PERSON-SESSION with eight whole files; correct --source"
    ):
        myo_gestures.convert(source / "a-1", out)
    assert (out / "annotations.json").read_text() == before
