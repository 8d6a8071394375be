import dataclasses
import json

import numpy as np
import pytest

from tal_jax.backbones.i3d import scale_pixels
from tal_jax.check_data import check_dataset
from tal_jax.data import frames, load_dataset
from tal_jax.data.annotations import Annotations
from tal_jax.data.sets.folder import data_config
from tal_jax.data.windows import window_offsets
from tal_jax.errors import DataError
from tal_jax.systems.afsd.examples import training_examples
from tests.golden_case import GoldenCase
from tests.tiny_config import get_config


def video(num_frames=6, height=4, width=5):
    """(T, H, W, 3): channel 0 counts frames, 1 rows, 2 columns."""
    return np.stack(np.meshgrid(*map(np.arange, (num_frames, height, width)), indexing="ij"), axis=-1).astype(
        np.uint8
    )


def test_a_clip_by_hand():
    clip = frames.cut_clip(video(), offset=4, size=4, crop_pixels=2, view=(1, 3, False), padding=127.5)
    assert clip.shape == (4, 2, 2, 3) and clip.dtype == np.float16
    np.testing.assert_array_equal(clip[0, :, :, 1], [[1, 1], [2, 2]])
    np.testing.assert_array_equal(clip[0, :, :, 2], [[3, 4], [3, 4]])
    np.testing.assert_array_equal(clip[:, 0, 0, 0], [4, 5, 127.5, 127.5])
    flipped = frames.cut_clip(video(), offset=0, size=1, crop_pixels=2, view=(1, 3, True), padding=0)
    np.testing.assert_array_equal(flipped[0, :, :, 2], [[4, 3], [4, 3]])


def test_views():
    assert frames.centre_view((9, 112, 112, 3), 96) == (8, 8, False)
    views = {frames.random_view((9, 6, 5, 3), 4, 0.5, np.random.default_rng(seed)) for seed in range(100)}
    assert views == {(top, left, flip) for top in range(3) for left in range(2) for flip in (False, True)}
    assert not any(
        frames.random_view((9, 6, 5, 3), 4, 0.0, np.random.default_rng(seed))[2] for seed in range(20)
    )


@pytest.fixture
def config(tmp_path):
    """Config of a folder with the frames of "v_a" at 5 a second and of "b" at 10; annotations call them "a"
    and "b".
    """
    config = get_config("toy")
    config.data = data_config("rgb")
    config.data.update(annotations=str(tmp_path / "labels.json"), frames=str(tmp_path))
    config.data.update(frame_pixels=4, crop_pixels=2)
    for folder in ("rgb", "info"):
        (tmp_path / folder).mkdir()
    database = {}
    for name, stem, fps in (("a", "v_a", 5.0), ("v_b", "v_b", 10.0)):
        np.save(tmp_path / "rgb" / f"{stem}.npy", video(width=4))
        (tmp_path / "info" / f"{stem}.json").write_text(json.dumps({"fps": fps}))
        database[name] = {
            "subset": "train",
            "fps": 30,
            "annotations": [{"label": "x", "segment": [0.2, 0.6]}],
        }
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    config.data.file_prefix = "v_"
    return config


def test_frames_of_a_folder(config):
    dataset = load_dataset(config)
    np.testing.assert_array_equal(dataset.read("a"), video(width=4))
    assert isinstance(dataset.read("a"), np.memmap)
    # the rate of the frames, not of the video
    np.testing.assert_allclose(dataset.timeline("a").to_cells([0.2, 0.6]), [1, 3])
    np.testing.assert_allclose(dataset.timeline("v_b").to_cells([0.2, 0.6]), [2, 6])


def test_a_recording_whose_own_name_begins_like_a_file(config, tmp_path):
    for folder, suffix in (("rgb", "npy"), ("info", "json")):
        (tmp_path / folder / f"v_b.{suffix}").rename(tmp_path / folder / f"v_v_b.{suffix}")
    assert load_dataset(config).read("v_b").shape == (6, 4, 4, 3)


def test_check_data(config):
    config.data.test_subset = "train"
    summary, problems = check_dataset(config)
    assert (
        summary.splitlines()[0] == "2 recordings (2 train), 0.00 hours; 12 frames of 4 x 4 x 3 values"
        and problems == []
    )


def test_an_action_a_little_longer_than_its_video_is_trained_on(config):
    config.window.frames = 128
    items, make_example = training_examples(config, load_dataset(config))
    # the one of v_b ends with its last frame, as annotated
    assert [item.name for item in items] == ["a", "v_b"]
    config.data.fps = 0
    dataset = load_dataset(config)
    late = dataclasses.replace(dataset.annotations.recordings["v_b"], segments_sec=np.array([[0.2, 0.63]]))
    annotations = Annotations(dataset.annotations.classes, {"v_b": late})
    items, make_example = training_examples(config, dataclasses.replace(dataset, annotations=annotations))
    example = make_example(items[0], np.random.default_rng(0))
    np.testing.assert_allclose(example["segments_frame"], [[2, 6]], atol=1e-5)
    assert example["inputs"].shape == (128, 2, 2, 3) and example["num_frames"] == 6


def test_one_class(config):
    config.data.class_agnostic = True
    annotations = load_dataset(config).annotations
    assert annotations.classes == ("action",) and annotations.recordings["a"].labels.tolist() == [0]


@pytest.mark.parametrize(
    "file, content, sentence",
    [
        (
            "info/v_a.json",
            "{",
            "v_a.json is missing or damaged; delete what was made of this video and run the same command "
            "again",
        ),
        ("info/v_a.json", '{"fps": NaN}', "v_a.json is missing or damaged"),
        ("info/v_a.json", '{"fps": 10, "duration_sec": -1}', "v_a.json is missing or damaged"),
        ("info/v_a.json", "[" * 100_000, "v_a.json is missing or damaged"),
        ("rgb/v_a.npy", "", "Cannot read the frames .*v_a.npy"),
        ("rgb/v_a.npy", "\x93NUMPY\x01\0\x03\0(((", "Cannot read the frames .*v_a.npy"),
        (
            "rgb/v_a.npy",
            np.zeros((3, 4, 4, 2), np.uint8),
            r"holds uint8 of shape \(3, 4, 4, 2\); config.data.frame_pixels asks for uint8 of shape \(T, 4, "
            r"4, 3\)",
        ),
        (
            "rgb/v_a.npy",
            np.zeros((3, 6, 6, 3), np.uint8),
            r"\(3, 6, 6, 3\); config.data.frame_pixels asks for",
        ),
        ("rgb/v_a.npy", np.zeros((3, 4, 4, 3), np.float32), "holds float32 of shape"),
    ],
)
def test_bad_files(config, tmp_path, file, content, sentence):
    if isinstance(content, str):
        (tmp_path / file).write_text(content, "latin-1")
    else:
        np.save(tmp_path / file, content)
    with pytest.raises(DataError, match=sentence):
        load_dataset(config).read("a")


def test_an_unknown_stream(config):
    config.data.input = "depth"
    with pytest.raises(DataError, match="config.data.input is 'depth'; it must be one of rgb, flow"):
        load_dataset(config)


@pytest.mark.parametrize(
    "case, videos", [("inference_window", "a"), ("video_detections", "bc"), ("video_detections_fusion", "d")]
)
def test_what_the_published_network_sees_at_test(case, videos):
    golden = GoldenCase.load(f"afsd/{case}")
    expected = iter(golden.info["network_inputs"])
    streams = ("rgb", "flow") if case.endswith("fusion") else ("rgb",)
    for name in videos:
        stored = {stream: golden.input(f"video_{name}.{stream}") for stream in streams}
        for offset in window_offsets(len(stored["rgb"]), 256, 128):
            for stream, pixels in stored.items():
                view = frames.centre_view(pixels.shape, 96)
                clip = np.asarray(scale_pixels(frames.cut_clip(pixels, offset, 256, 96, view, frames.GREY)))
                answer = next(expected)
                assert (
                    answer["stream"] == stream
                    and tuple(np.array(answer["shape"])[[2, 3, 4, 1]]) == clip.shape
                )
                np.testing.assert_allclose(np.linalg.norm(clip.astype(float)), answer["norm"], rtol=1e-5)
                assert (clip.min(), clip.max()) == (answer["min"], answer["max"])
    assert not list(expected)
