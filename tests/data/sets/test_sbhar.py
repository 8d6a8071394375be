import hashlib

import ml_collections
import numpy as np
import pytest

from tal_jax.data import dataset_annotations, load_dataset
from tal_jax.data.sets import sbhar
from tal_jax.errors import DataError


@pytest.fixture
def config():
    return ml_collections.ConfigDict(dict(data=sbhar.data_config()))


def test_bundle_is_the_original():
    digest = hashlib.sha256()
    for name in sorted(sbhar.bundled_annotations().recordings):
        units = np.rint(sbhar.read_signal(name) / sbhar.UNITS)  # as the sensors gave them, whole numbers
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(units.astype("<i4")).tobytes())
    # The same digest over the arrays that were read from the text files of the data set.
    assert digest.hexdigest() == "ebeb75e63d9cdc86dae78194b7fe0a066d6e5acda73118f2b4c2ee538d435da5"


def test_dataset(config):
    dataset = load_dataset(config)
    assert len(dataset.annotations.subset("train").recordings) == 42
    assert len(dataset.annotations.subset("test").recordings) == 19
    assert len(dataset.annotations.classes) == 12 and dataset.annotations.classes[0] == "walking"
    for subset, count in (("train", 849), ("test", 365)):
        assert sum(len(r.labels) for r in dataset.annotations.subset(subset).recordings.values()) == count
    signal = dataset.read("exp01_user01")
    assert signal.shape == (20598 // 10, 60) and signal.dtype == np.float32
    np.testing.assert_allclose(signal[0, :3], np.array([661, -81, 367]) / 720, rtol=1e-6)  # g
    np.testing.assert_allclose(signal[0, 9], -41 * 0.0003054326, rtol=1e-6)  # rad/s, the second sample
    np.testing.assert_allclose(dataset.timeline("exp01_user01").to_seconds([0, 2059]), [0, 411.8])
    assert dataset.annotations.recordings["exp01_user01"].num_frames == 20598


def test_gravity_is_one_g(config):
    config.data.samples_per_frame = 1
    dataset = load_dataset(config)
    standing = dataset.read("exp01_user01")[300:1200, :3]
    assert abs(np.linalg.norm(standing, axis=-1).mean() - 1) < 0.05


def test_annotations_need_no_features(config):
    config.data.features = "nowhere"
    assert len(dataset_annotations(config).recordings) == 61
    config.data.annotations = "nowhere.json"
    with pytest.raises(DataError, match="nowhere.json"):
        dataset_annotations(config)
    config.data.update(name="folder", annotations="")
    with pytest.raises(DataError, match="'folder' has no annotations of its own"):
        dataset_annotations(config)


def test_own_annotations_and_features(config, tmp_path):
    config.data.features = str(tmp_path)
    with pytest.raises(DataError, match="61 of 61 recordings have no feature file"):
        load_dataset(config)
    np.save(tmp_path / "exp01_user01.npy", np.ones((100, 6), np.float32))
    config.data.allow_missing = True
    dataset = load_dataset(config)
    assert list(dataset.annotations.recordings) == ["exp01_user01"] and len(dataset.missing) == 60
    assert dataset.read("exp01_user01").shape == (10, 60)
