import functools
import hashlib
import json
import os
import pathlib
import pickle

import jax
import numpy as np
import pytest

from tal_jax import shots
from tal_jax.backbones.i3d import I3D
from tal_jax.config import extract_config
from tal_jax.convert import write_backbone
from tal_jax.data import video
from tal_jax.data.video_jobs import reason_of
from tal_jax.errors import DataError
from tal_jax.extract import _network, _write_features, cropped, extract, snippets
from tal_jax.runtime.files import only_run, replacing
from tests import tiny_config
from tests.data.test_video import numbered, write_video
from tests.test_prepare import contents


def test_snippets_by_hand():
    assert [s.tolist() for s in snippets(range(10), 4, 3)] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert [s.tolist() for s in snippets(range(9), 4, 3)] == [[0, 1, 2, 3], [3, 4, 5, 6]]
    assert [s.tolist() for s in snippets(range(2), 4, 3)] == [[0, 1, 1, 1]]
    assert list(snippets([], 4, 3)) == []


def test_the_centre_is_seen():
    frame = np.zeros((60, 100, 3), np.uint8)
    frame[20:40, 40:60] = 255
    seen = cropped(frame, 30, 10)
    assert seen.shape == (10, 10, 3) and seen.min() > 200
    assert cropped(np.zeros((10, 10, 3), np.uint8), 10, 10).shape == (10, 10, 3)


PICTURE = {"short_side_pixels": 32, "crop_pixels": 32}


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    """Clips of 32 x 32 pixels."""
    monkeypatch.setattr("tal_jax.extract.PICTURE", PICTURE)
    monkeypatch.setattr("tal_jax.extract.SNIPPETS_AT_ONCE", 2)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Config with random weights of I3D, for clips of 32 x 32 pixels."""
    folder = tmp_path_factory.mktemp("weights")
    variables = jax.jit(I3D(num_classes=5).init)(jax.random.key(0), np.zeros((1, 16, 32, 32, 3), np.float32))
    write_backbone(variables, folder / "rgb.npz")
    config = tiny_config.get_config("toy")
    config.extract = extract_config()
    config.extract.weights = (str(folder / "rgb.npz"),)
    config.data.update(snippet_frames=8, stride_frames=6)
    return config


def test_features_of_a_folder(config, tmp_path):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", numbered(30))
    write_video(tmp_path / "videos" / "b.avi", numbered(5))
    (tmp_path / "videos" / "c.mkv").write_bytes(b"no video")
    with pytest.raises(DataError, match="1 of 3 videos could not be read"):
        extract(config, tmp_path, str(tmp_path / "videos"))
    features = np.load(tmp_path / "features" / "a.npy")
    assert features.shape == (4, 1024) and features.dtype == np.float32
    assert np.load(tmp_path / "features" / "b.npy").shape == (1, 1024)
    weights = dict(np.load(config.extract.weights[0]))
    variables = {"params": {}, "batch_stats": {}}
    for name, value in weights.items():
        *parents, leaf = name.split("/")
        node = variables
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    clip = np.stack([cropped(frame, 32, 32) for frame in video.read_frames(tmp_path / "videos" / "a.mp4")])[
        6:14
    ]
    (expected,) = jax.jit(I3D(outputs=("Mixed_5c",)).apply)(variables, clip[None])
    np.testing.assert_allclose(features[1], expected[0].mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)
    before = (tmp_path / "features" / "a.npy").stat().st_mtime_ns
    extract(config, tmp_path, str(tmp_path / "videos" / "a.mp4"))  # is there: stays
    assert (tmp_path / "features" / "a.npy").stat().st_mtime_ns == before
    config = config.copy_and_resolve_references()
    config.data.stride_frames = 4
    with pytest.raises(DataError, match="holds features of other settings"):
        extract(config, tmp_path, str(tmp_path / "videos"))
    config.extract.weights *= 2
    with pytest.raises(DataError, match="config.extract.weights names .*rgb.npz, both for rgb; name one"):
        extract(config, tmp_path / "other", str(tmp_path / "videos"))


def test_features_made_otherwise_do_not_mix(config, tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", numbered(10))
    source, folder = str(tmp_path / "a.mp4"), tmp_path / "features"
    extract(config, tmp_path, source)
    weights = tmp_path / "moved" / "rgb.npz"
    weights.parent.mkdir()
    content = pathlib.Path(config.extract.weights[0]).read_bytes()
    weights.write_bytes(content)
    changed = config.copy_and_resolve_references()
    changed.extract.weights = (str(weights),)
    extract(changed, tmp_path, source)  # the same weights elsewhere
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["crop_pixels"] == settings["short_side_pixels"] == 32 and settings["rgb"] == "rgb.npz"
    assert settings["rgb_sha256"] == hashlib.sha256(content).hexdigest()
    for field, value in (("crop_pixels", 24), ("short_side_pixels", 48)):
        monkeypatch.setattr("tal_jax.extract.PICTURE", PICTURE | {field: value})
        with pytest.raises(DataError, match="holds features of other settings"):
            extract(config, tmp_path, source)
    monkeypatch.setattr("tal_jax.extract.PICTURE", PICTURE)
    weights.write_bytes(content + b"0")  # which a zip archive may have after it
    with pytest.raises(DataError, match="holds features of other settings"):
        extract(changed, tmp_path, source)
    (folder / "settings.json").unlink()
    with pytest.raises(
        DataError,
        match="features such as a.npy but no settings.json, .*; choose another --config.data.features",
    ):
        extract(config, tmp_path, source)


def test_a_pipe_a_long_name_and_what_is_uncommon(config, tmp_path, caplog):
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")
        with pytest.raises(DataError, match="pipe.mp4 is neither a video nor a folder of videos"):
            extract(config, tmp_path, str(tmp_path / "pipe.mp4"))
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / ("n" * 250 + ".mp4"), numbered(10))
    (videos / "gone.mp4").symlink_to("nowhere")
    write_video(videos / "a.mkv", numbered(30), stamps_ms=[*range(0, 1000, 50), *range(1000, 3000, 200)])
    with pytest.raises(DataError, match="1 of 2 videos could not be read"):
        extract(config, tmp_path, str(videos))
    assert "1 left out of" in caplog.text and "the first is gone.mp4." in caplog.text
    assert (
        "a.mkv: rate varies 5 to 20 fps." in caplog.text
        and "rename the recording: 1 to 236 bytes" in caplog.text
    )


def test_a_second_run_waits_its_turn_and_leaves_the_files_of_the_first_alone(config, tmp_path):
    write_video(tmp_path / "a.mp4", numbered(30))
    folder = tmp_path / "features"
    with only_run(folder, "--mode=extract"), replacing(folder / "info" / "a.json") as on_its_way:
        on_its_way.write_text("half")
        with pytest.raises(
            DataError, match=r"features is in use by process \d+ .* choose another --config.data.features"
        ):
            extract(config, tmp_path, str(tmp_path / "a.mp4"))
        assert on_its_way.exists() and not (folder / "settings.json").exists()


def test_class_probabilities(config, tmp_path):
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(
        {"extract.end_point": "Logits", "data.snippet_frames": 16, "data.stride_frames": 16}
    )
    write_video(tmp_path / "a.mp4", numbered(32))
    extract(config, tmp_path, str(tmp_path / "a.mp4"))
    probabilities = np.load(tmp_path / "features" / "a.npy")
    assert probabilities.shape == (2, 5) and (probabilities > 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "fields, source, sentence",
    [
        ({}, "nowhere", "--input=nowhere is neither a video nor a folder of videos"),
        ({"extract.weights": ()}, ".", "Say which weights"),
        (
            {"data.snippet_frames": 4},
            ".",
            "config.data.snippet_frames is 4; Mixed_5c of I3D needs at least 8",
        ),
        (
            {"extract.end_point": "Logits"},
            ".",
            "config.data.snippet_frames is 8; Logits of I3D needs at least 9",
        ),
        (
            {"extract.end_point": "Mixed_9"},
            ".",
            "config.extract.end_point is 'Mixed_9'; it must be one of Mixed_5c, Logits",
        ),
    ],
)
def test_what_cannot_be(config, tmp_path, monkeypatch, fields, source, sentence):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mp4", numbered(3))
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(fields)
    with pytest.raises(DataError, match=sentence):
        extract(config, tmp_path, source)


def test_what_travels_to_a_worker_is_small_and_holds_no_network(config, tmp_path):
    settings = dict(folder=tmp_path, weights={"rgb": config.extract.weights[0]}, end_point="Mixed_5c")
    settings |= dict(snippet_frames=8, stride_frames=6, picture=PICTURE, batch_size=2)
    assert (
        len(pickle.dumps(functools.partial(reason_of, functools.partial(_write_features, **settings)))) < 1000
    )


@pytest.mark.parametrize("mode", ["in_memory", "multi_threading", "multi_processing"])
def test_the_beam_pipeline_gives_the_same_bytes_and_goes_on_where_it_was(config, tmp_path, caplog, mode):
    pytest.importorskip("apache_beam")
    config, videos = config.copy_and_resolve_references(), tmp_path / "videos"
    videos.mkdir()
    for name, num_frames in (("a.mp4", 30), ("b.avi", 5), ("d.mp4", 20)):
        write_video(videos / name, numbered(num_frames))
    (videos / "c.mkv").write_bytes(b"no video")
    with pytest.raises(DataError, match="1 of 4 videos could not be read"):
        extract(config, tmp_path / "plain", str(videos))
    expected = contents(tmp_path / "plain" / "features")
    assert sorted(expected) == [
        "a.npy",
        "b.npy",
        "d.npy",
        "info/a.json",
        "info/b.json",
        "info/d.json",
        "settings.json",
    ]

    folder = tmp_path / "beam" / "features"
    folder.mkdir(parents=True)
    # as a killed run leaves it: one video whole, one half done
    (folder / "settings.json").write_bytes(expected["settings.json"])
    (folder / "a.npy").write_bytes(b"made before")
    (folder / ".b.npy.0123abcd").write_bytes(b"half")
    config.extract.beam = f"--direct_num_workers=2 --direct_running_mode={mode}"
    caplog.clear()
    built = _network.cache_info().misses
    with pytest.raises(DataError, match="1 of 4 videos could not be read"):
        extract(config, tmp_path / "beam", str(videos))
    assert _network.cache_info().misses == built  # threads take what is there
    assert "c.mkv" in caplog.text
    found = contents(folder)
    expected.pop("info/a.json")
    assert found == expected | {"a.npy": b"made before"}


def test_a_config_whose_features_come_from_no_video_extracts_nothing(tmp_path):
    with pytest.raises(
        DataError, match="tiny_toy is not of features that come from videos; .*--config=configs/folder"
    ):
        extract(tiny_config.get_config("toy"), tmp_path, ".")


def test_cuts_become_a_channel(config, tmp_path, monkeypatch):
    single = np.full(30, 0.1, np.float32)
    single[19] = 0.9
    times_sec = np.arange(30) / 25
    found = shots.Probabilities(times_sec, single, single, 25.0, 1.2)
    monkeypatch.setattr(shots, "probabilities", lambda path, weights: found)
    monkeypatch.setattr(shots, "network", lambda *_: None)
    write_video(tmp_path / "a.mp4", numbered(30))
    (tmp_path / "shots.npz").write_bytes(b"weights")
    extract(config, tmp_path / "without", str(tmp_path / "a.mp4"))
    config = config.copy_and_resolve_references()
    config.extract.cuts = str(tmp_path / "shots.npz")
    extract(config, tmp_path, str(tmp_path / "a.mp4"))
    features = np.load(tmp_path / "features" / "a.npy")
    np.testing.assert_array_equal(features[:, :-1], np.load(tmp_path / "without" / "features" / "a.npy"))
    # snippets of 8 frames, 6 apart; the middles of the third and the fourth are frames 16 and 22
    np.testing.assert_allclose(features[:, -1], [0.1, 0.1, 0.1, 0.9])
    settings = json.loads((tmp_path / "features" / "settings.json").read_text())
    assert settings["cuts_sha256"] == hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(DataError, match="holds features of other settings"):
        extract(config, tmp_path / "without", str(tmp_path / "a.mp4"))
    monkeypatch.undo()
    for said in (str(tmp_path / "missing.npz"), str(tmp_path / "shots.npz")):
        config.extract.cuts = said
        with pytest.raises(DataError, match=pathlib.Path(said).name):
            extract(config, tmp_path / "other", str(tmp_path / "a.mp4"))
