import json

import numpy as np
import pytest

from configs import activitynet
from tal_jax.data import load_dataset
from tal_jax.errors import DataError


@pytest.fixture
def annotated(tmp_path):
    """A config of ECM with annotations of two videos in tmp_path, where features are looked for."""
    video = {"duration": 8.0, "annotations": [{"label": "Archery", "segment": [1.0, 3.0]}]}
    database = {"abc": video | {"subset": "training"}, "def": video | {"subset": "validation"}}
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    config = activitynet.get_config("ecm,version=1.2")
    config.data.update(annotations=str(tmp_path / "labels.json"), features=str(tmp_path))
    return config


def test_features_of_published_names(annotated, tmp_path):
    np.savez(tmp_path / "v_abc.npz", feat_spa=np.ones((3, 4)), feat_tem=np.zeros((3, 4)))
    (tmp_path / "test").mkdir()
    np.save(tmp_path / "test" / "def.npy", np.ones((4, 6)))
    dataset = load_dataset(annotated)
    assert dataset.read("abc").shape == dataset.read("def").shape == (4, 6)
    np.testing.assert_allclose(dataset.timeline("abc").to_seconds([0, 2, 4]), [0, 4, 8])


def test_features_of_tsp(annotated, tmp_path):
    for name in ("abc", "def"):
        np.save(tmp_path / f"v_{name}.npy", np.ones((7, 512), np.float32))
    annotated.data.update(
        fps=15.0, stride_frames=16, snippet_frames=16, num_channels=512, class_agnostic=True
    )
    dataset = load_dataset(annotated)
    assert dataset.annotations.classes == ("action",) and dataset.read("abc").shape == (7, 512)
    np.testing.assert_allclose(dataset.timeline("abc").to_seconds([0, 0.5, 7]), [0, 8 / 15, 112 / 15])
    annotated.data.num_channels = 2048
    with pytest.raises(DataError, match="has 512 channels, but config.data.num_channels is 2048"):
        load_dataset(annotated).read("def")


def test_missing_features_are_asked_for_by_name_and_layout(annotated):
    with pytest.raises(
        DataError,
        match="2 of 2 recordings have no feature file in .* Put one file a video ID into that folder",
    ) as error:
        load_dataset(annotated)
    for part in ("v_ID.npz", "feat_spa", "(T, C)", "flow/v_ID.npy", "--config.data.features=FOLDER"):
        assert part in str(error.value)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_missing_annotations_of_a_version(version):
    with pytest.raises(
        DataError, match=f"v{version.replace('.', '-')}.min.json: No such .* organisers of ActivityNet"
    ) as error:
        load_dataset(activitynet.get_config(f"ecm,version={version}"))
    assert "--config.data.annotations=FILE" in str(error.value) and "prepare" not in str(error.value)
