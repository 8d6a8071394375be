"""A video read a snippet at a time: which frames, when, and what is repeated."""

import tracemalloc

import numpy as np
import pytest

from tal_jax.data import video_snippets
from tal_jax.data.video_snippets import Film, cropped, snippet_starts
from tests.data.test_video import numbered, read_numbers, write_video


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr(video_snippets, "PICTURE", {"short_side_pixels": 32, "crop_pixels": 32})


def seen(of, size, stride):
    """[(shot, start, numbers of the frames)] of the snippets of a Film."""
    return [(shot, start, read_numbers(clip)) for shot, start, clip in of.snippets(size, stride)]


def test_where_snippets_begin():
    assert snippet_starts(64, 64, 32, 8) == snippet_starts(3, 64, 32, 8) == [0]
    assert snippet_starts(65, 64, 32, 8) == [0, 8]
    assert snippet_starts(128, 64, 32, 8) == [0, 32, 64]
    assert snippet_starts(100, 64, 32, 8) == [0, 32, 40]
    for length in range(1, 200):
        starts = snippet_starts(length, 64, 32, 8)
        assert all(start % 8 == 0 for start in starts) and starts == sorted({*starts})
        assert {*range(length)} <= {frame for start in starts for frame in range(start, start + 64)}


def test_snippets_of_one_shot(tmp_path):
    write_video(tmp_path / "a.mp4", numbered(19))
    of = Film(tmp_path / "a.mp4", 25, 4)
    assert len(of) == 5 and of.num_frames == 19 and of.duration_sec == pytest.approx(19 / 25)
    first, second, third, last = seen(of, 8, 4)
    assert first == ((0, 19), 0, [*range(8)]) and second[1:] == (4, [*range(4, 12)])
    assert third[1:] == (8, [*range(8, 16)]) and last[1:] == (12, [*range(12, 19), 18])
    assert of.key_frames.shape == (12, 16, 16, 3) and read_numbers(of.key_frames)[::11] == [0, 18]


def test_a_video_shorter_than_a_snippet_repeats_its_last_frame(tmp_path):
    write_video(tmp_path / "a.mp4", numbered(3))
    assert seen(Film(tmp_path / "a.mp4", 25, 8), 16, 8) == [((0, 3), 0, [0, 1, 2, *[2] * 13])]


def test_no_snippet_sees_two_shots(tmp_path):
    write_video(tmp_path / "a.mp4", numbered(20))
    of = Film(tmp_path / "a.mp4", 25, 4, cuts_sec=[10 / 25, 0.0, 99.0])
    assert seen(of, 8, 8) == [
        ((0, 10), 0, [*range(8)]),
        ((0, 10), 4, [*range(4, 10), 9, 9]),
        ((10, 20), 10, [*range(10, 18)]),
        ((10, 20), 14, [*range(14, 20), 19, 19]),
    ]


@pytest.mark.parametrize("fps", [24, 30, 29.97, 60])
def test_a_shot_begins_with_its_first_picture(tmp_path, fps):
    stamps = [round(1000 * i / fps) for i in range(50)]
    write_video(tmp_path / "a.mkv", numbered(50), stamps_ms=stamps)
    for picture in range(20, 32):
        of = Film(tmp_path / "a.mkv", 25, 4, cuts_sec=[stamps[picture] / 1000])
        before, after = [], []
        for shot, _, numbers in seen(of, 8, 8):
            (after if shot[0] else before).extend(numbers)
        assert max(before) < picture <= min(after)


@pytest.mark.parametrize("fps, expected", [(50, [*range(0, 32, 2)]), (12.5, [*np.repeat(np.arange(8), 2)])])
def test_frames_are_at_even_times_whatever_the_rate_of_the_video(tmp_path, fps, expected):
    write_video(tmp_path / "a.mkv", numbered(40), stamps_ms=[round(1000 * i / fps) for i in range(40)])
    clip = seen(Film(tmp_path / "a.mkv", 25, 8), 16, 16)[0][2]
    assert np.abs(np.array(clip) - expected).max() <= 1  # stamps are whole milliseconds


def test_a_rate_that_varies(tmp_path, caplog):
    stamps = [*range(0, 1000, 50), *range(1000, 3000, 200)]  # 20 a second, then 5
    write_video(tmp_path / "a.mkv", numbered(30), stamps_ms=stamps)
    of = Film(tmp_path / "a.mkv", 10, 8)
    clip = [number for _, _, numbers in seen(of, 16, 16) for number in numbers]
    assert of.duration_sec == pytest.approx(3.0, abs=0.2) and clip[:10] == [*range(0, 20, 2)]
    assert clip[10:20:2] == [*range(20, 25)] == clip[11:20:2] and "a.mkv: rate varies" in caplog.text


def test_any_shape_gives_the_centre():
    frame = np.zeros((60, 100, 3), np.uint8)
    frame[20:40, 40:60] = 255
    for upright in (frame, frame.transpose(1, 0, 2)):
        assert cropped(upright, 30, 10).shape == (10, 10, 3) and cropped(upright, 30, 10).min() > 200
    assert cropped(np.zeros((2, 1, 3), np.uint8), 30, 10).shape == (10, 10, 3)


def test_the_length_of_a_film_takes_no_memory(tmp_path):
    peaks = []
    for count in (150, 600):
        write_video(tmp_path / "a.mp4", numbered(50)[np.arange(count) % 50])
        of = Film(tmp_path / "a.mp4", 25, 8)
        tracemalloc.start()
        assert sum(1 for _ in of.snippets(64, 32)) == -(-(count - 64) // 32) + 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_a_slow_rate_loses_nothing(tmp_path, caplog):
    write_video(tmp_path / "a.mp4", numbered(50))
    assert seen(Film(tmp_path / "a.mp4", 2, 8), 16, 8) and "could not be decoded" not in caplog.text
