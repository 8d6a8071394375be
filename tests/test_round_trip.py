"""Detections that are opened in another program come back as annotations."""

import json

import pytest

from tal_jax import exports
from tal_jax.annotations import convert_labels

DETECTIONS = [
    {"label": "walking", "segment": [1.25, 4.5], "score": 0.9},
    {"label": "walking", "segment": [4.0, 6.75], "score": 0.5},  # overlaps the first one
    {"label": "lie to sit", "segment": [4.5, 5.125], "score": 0.8},
    {"label": "Übergang & <mehr>", "segment": [8.0, 9.0], "score": 0.7},
    {"label": "walking", "segment": [11.0, 12.0], "score": 0.01},  # below the least score
]
KEPT = sorted((d["label"], *d["segment"]) for d in DETECTIONS if d["score"] >= 0.2)


@pytest.mark.parametrize("kind", ["csv", "eaf", "textgrid", "audacity", "boris"])
def test_what_is_exported_is_read_again(kind, tmp_path):
    exports.write(tmp_path / "out", "walk", DETECTIONS, [kind], min_score=0.2, duration_sec=20.0)
    report = convert_labels([str(tmp_path / "out")], tmp_path / "labels.json")
    database = json.loads((tmp_path / "labels.json").read_text())["database"]
    assert [*database] == ["walk"]
    found = sorted((a["label"], *a["segment"]) for a in database["walk"]["annotations"])
    assert [row[0] for row in found] == [row[0] for row in KEPT]
    for (_, *times), (_, *expected) in zip(found, KEPT):
        assert times == pytest.approx(expected, abs=2e-3)
    assert not any("dropped" in line and line[0].isdigit() for line in report)
