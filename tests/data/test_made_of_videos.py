import json

import numpy as np
import pytest

from tal_jax import extract, inputs
from tal_jax.config import extract_config
from tal_jax.data import load_dataset
from tal_jax.data.made_of_videos import read_settings
from tal_jax.errors import DataError
from tests import tiny_config
from tests.data.test_video import numbered, write_video


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Config of features that --mode=extract has made of one video at 20 fps: 8 frames each and 4 apart."""
    monkeypatch.setattr(extract, "_sha256", str)
    monkeypatch.setattr(extract, "_network", lambda *_: lambda snippets: snippets.mean((1, 2, 3)))
    write_video(tmp_path / "a.mp4", numbered(40), fps=20)
    database = {"a": {"subset": "train", "annotations": [{"label": "x", "segment": [0.5, 1.0]}]}}
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    config = tiny_config.get_config("toy")
    config.extract = extract_config()
    config.extract.weights = ("rgb.npz",)
    monkeypatch.setattr(extract, "PICTURE", {"short_side_pixels": 32, "crop_pixels": 32})
    config.data.update(
        annotations=str(tmp_path / "labels.json"), features=str(tmp_path / "features"), test_subset="train"
    )
    with_timing = config.copy_and_resolve_references()
    with_timing.data.update(snippet_frames=8, stride_frames=4)
    extract.extract(with_timing, tmp_path, str(tmp_path / "a.mp4"))
    return config


def test_how_features_were_extracted_need_not_be_said_again(config, tmp_path):
    assert config.data.stride_frames == config.data.snippet_frames == 1
    dataset = load_dataset(config)
    timeline = dataset.timeline("a")
    assert (timeline.fps, timeline.stride_frames, timeline.snippet_frames) == (20, 4, 8)
    assert dataset.duration_sec("a") == 2.0 and dataset.read("a").shape == (9, 3)
    assert config.data.stride_frames == 1  # it is the same config

    make = inputs.input_datasets(config, str(tmp_path / "features" / "a.npy"), ("x",))["a"]
    assert make().timeline("a") == timeline
    elsewhere = tmp_path / "elsewhere.npy"  # without a word beside it: as what the run has learnt from
    np.save(elsewhere, dataset.read("a"))
    found = inputs.input_datasets(config, str(elsewhere), ("x",))["elsewhere"]().timeline("elsewhere")
    assert (found.fps, found.stride_frames, found.snippet_frames) == (config.data.fps, 4, 8)


def test_what_is_said_otherwise_is_refused(config, tmp_path):
    config.data.stride_frames, config.data.snippet_frames = 4, 8
    assert load_dataset(config).timeline("a").stride_frames == 4
    config.data.stride_frames = 16
    with pytest.raises(
        DataError,
        match="are 4 frames apart and of 8 frames each, as their settings.json says; config.data.stride",
    ):
        load_dataset(config)
    config.data.update(stride_frames=0)
    assert load_dataset(config).timeline("a").stride_frames == pytest.approx(
        2 * config.data.fps / 9
    )  # 2 s spread evenly
    config.data.update(stride_frames=1, snippet_frames=1)
    other = tmp_path / "other"
    other.mkdir()
    np.save(other / "b.npy", np.zeros((9, 3), np.float32))
    (other / "settings.json").write_text(json.dumps(dict(stride_frames=2, snippet_frames=8)))
    with pytest.raises(
        DataError, match="other are 2 frames apart .* but those they go with are 4 frames apart"
    ):
        inputs.input_datasets(config, str(other), ("x",))["b"]()


def test_damaged_words_are_sentences(config, tmp_path):
    (tmp_path / "features" / "info" / "a.json").write_text("{")
    with pytest.raises(DataError, match="a.json is missing or damaged; delete what was made of this video"):
        load_dataset(config)
    (tmp_path / "features" / "settings.json").write_text("[")
    for read in (
        lambda: load_dataset(config),
        lambda: extract.extract(config, tmp_path, str(tmp_path / "a.mp4")),
    ):
        config.data.update(snippet_frames=8, stride_frames=4)
        with pytest.raises(
            DataError, match="settings.json is damaged, so how the files beside it were made is not known"
        ):
            read()


def test_features_of_other_makers_are_as_the_config_says(config, tmp_path):
    (tmp_path / "features" / "settings.json").write_text('{"model": "of others"}')
    assert read_settings(tmp_path / "features") == {"model": "of others"}
    timeline = load_dataset(config).timeline("a")
    assert (timeline.fps, timeline.stride_frames) == (config.data.fps, 1)
