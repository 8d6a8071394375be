import csv
import errno
import fractions
import os

import av
import cv2
import numpy as np
import pytest

from tal_jax.data import video
from tal_jax.data.sets import thumos14
from tal_jax.data.video_jobs import find_videos
from tal_jax.errors import DataError

CODINGS = {  # file -> codec, pixel format
    "a.mp4": ("libx264", "yuv420p"),
    "a.avi": ("mpeg4", "yuv420p"),
    "a.mkv": ("libx264", "yuv420p"),
    "a.webm": ("libvpx", "yuv420p"),
    "a.gif": ("gif", "rgb8"),
}


def write_video(path, frames, fps=25, stamps_ms=None):
    """Writes (T, H, W, 3) uint8 RGB frames, coded as `CODINGS` says for the suffix; with time stamps the rate
    is not written.
    """
    codec, pixel_format = CODINGS["a" + path.suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1000 if stamps_ms else fps)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixel_format
        stream.bit_rate = 2_000_000
        if stamps_ms:
            stream.codec_context.framerate, stream.codec_context.time_base = 0, fractions.Fraction(1, 1000)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = stamps_ms[number] if stamps_ms else number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def numbered(num_frames, height=48, width=64):
    """Frames of one grey, which says the frame's number, 0 to 49: black is 0, and each next is 5 brighter."""
    return np.broadcast_to(
        np.arange(num_frames, dtype=np.uint8)[:, None, None, None] * 5, (num_frames, height, width, 3)
    )


def read_numbers(frames):
    """The numbers that `numbered` frames say after coding, which a gif's palette makes coarser."""
    return [round(float(np.mean(frame)) / 5) for frame in frames]


def read_clip(path, target_fps, height, width):
    """(T, H, W, 3): what is stored of a video, by count."""
    frames = video.Reading(path).counted_frames(target_fps)
    return np.stack([video.resize(frame, height, width) for _, frame in frames])


def rate_length_duration(path):
    """(frame rate, number of frames, seconds) of a video."""
    info = video.read_info(path)
    assert info.average_fps == info.fps
    return info.fps, info.num_frames, info.duration_sec


def test_sampling_by_hand():
    def kept(fps, target_fps, num_frames):
        return list(video.sample_frames(range(1, num_frames + 1), fps, target_fps))

    assert kept(25, 10, 15) == [3, 5, 8, 10, 13, 15]
    assert kept(30, 10, 11) == [3, 6, 9]
    assert kept(24, 10, 12) == [3, 5, 8, 10, 12]
    assert kept(30000 / 1001, 10, 1004)[:3] == [3, 6, 9]
    assert kept(30000 / 1001, 10, 1004)[331:] == [996, 999, 1001, 1004]  # 333 times 0.003 is nearly a frame
    assert kept(10, 10, 4) == kept(5, 10, 4) == [1, 2, 3, 4]
    assert kept(25, 10, 2) == []


def test_sampling_gives_the_published_number_of_frames():
    for part in ("val", "test"):
        with open(thumos14.FILES / f"{part}_video_info.csv", newline="") as rows:
            for row in csv.DictReader(rows):
                frames = video.sample_frames(range(int(float(row["count"]))), float(row["fps"]), 10)
                assert sum(1 for _ in frames) == int(row["sample_count"]), row["video"]


@pytest.mark.parametrize(
    "num_frames, fps", [(500, 25), (768, 25), (769, 30), (1536, 30), (5000, 30000 / 1001)]
)
def test_dynamic_fps(num_frames, fps):
    info = video.VideoInfo(fps, num_frames, num_frames / fps, fps, None)
    dynamic_fps = video.dynamic_fps(info)
    kept = list(video.sample_frames(range(1, num_frames + 1), fps, dynamic_fps))
    if num_frames <= 768:
        assert dynamic_fps == fps and len(kept) == num_frames
    else:
        assert dynamic_fps == pytest.approx(768 / info.duration_sec) and len(kept) in (767, 768)
        spread = np.ceil(np.arange(1, len(kept) + 1) * num_frames / 768)
        np.testing.assert_allclose(kept, spread, atol=1)  # 1: the rounding of the running count


@pytest.mark.parametrize("name", CODINGS)
def test_reads(tmp_path, name):
    path = tmp_path / name
    write_video(path, numbered(40))
    assert rate_length_duration(path) == (25.0, 40, 1.6) and video.Reading(path).notes == ()
    frames = list(video.read_frames(path))
    assert all(frame.shape == (48, 64, 3) and frame.dtype == np.uint8 for frame in frames)
    numbers = read_numbers(frames)
    tolerance = 4 if name == "a.gif" else 0
    np.testing.assert_allclose(numbers, range(40), atol=tolerance)
    at_times = [numbers[i] for i in (0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 30, 32, 35, 37)]
    assert read_numbers(video.read_frames(path, 10)) == at_times
    clip = read_clip(path, 10, 12, 20)
    assert clip.shape == (16, 12, 20, 3) and clip.dtype == np.uint8
    assert read_numbers(clip) == [
        numbers[i] for i in (2, 4, 7, 9, 12, 14, 17, 19, 22, 24, 27, 29, 32, 34, 37, 39)
    ]
    assert read_numbers(read_clip(path, 50, 12, 20)) == numbers


def test_channels_are_red_green_blue(tmp_path):
    color = np.array([200, 120, 30])
    write_video(tmp_path / "a.mp4", np.broadcast_to(color.astype(np.uint8), (3, 48, 64, 3)))
    np.testing.assert_allclose(next(video.read_frames(tmp_path / "a.mp4")).mean((0, 1)), color, atol=4)


@pytest.mark.parametrize("name", ["a.webm", "a.mkv"])
def test_a_rate_that_varies_is_the_commonest_of_the_time_stamps(tmp_path, name):
    stamps_ms = list(range(0, 1000, 50)) + list(range(1000, 3000, 200))  # 20 frames a second, then 5
    write_video(tmp_path / name, numbered(30), stamps_ms=stamps_ms)
    info = video.read_info(tmp_path / name)
    assert (
        info.num_frames == 30
        and info.fps == pytest.approx(20)
        and info.average_fps == pytest.approx(29 / 2.8, rel=0.05)
    )
    assert info.axis.notes == ("rate varies 5 to 20 fps",)
    counted = read_numbers(
        frame for _, frame in video.Reading(tmp_path / name).counted_frames(info.average_fps)
    )
    assert counted == list(range(30))
    at_times = np.searchsorted(stamps_ms, np.arange(0, 3000, 100), side="right") - 1
    np.testing.assert_array_equal(read_numbers(video.read_frames(tmp_path / name, 10))[:29], at_times[:29])


def test_a_video_held_upright(tmp_path):
    path = tmp_path / "a.mp4"
    left_white = np.zeros((2, 48, 64, 3), np.uint8)
    left_white[:, :, :32] = 255
    write_video(path, left_white)
    one, minus_one, last = bytes([0, 1, 0, 0]), bytes([255, 255, 0, 0]), bytes([64, 0, 0, 0])
    as_held = one + bytes(12) + one + bytes(12) + last
    content = path.read_bytes()
    start = content.index(as_held, content.index(b"tkhd"))  # the display matrix of the track
    # a quarter to the right, as phones write it
    turned = bytes(4) + one + bytes(4) + minus_one + bytes(16) + last
    path.write_bytes(content[:start] + turned + content[start + len(turned) :])
    frame = next(video.read_frames(path))
    assert frame.shape == (64, 48, 3)
    assert frame[:28].min() > 200 and frame[36:].max() < 50  # left has become top


def damage(path, numbers):
    """Overwrites the coded frames of these numbers."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for number in numbers:
        position, size = places[number]
        content[position : position + size] = b"\xff" * size
    path.write_bytes(content)


def test_damaged_frames_are_skipped(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, numbered(40))
    damage(path, range(10, 13))
    with av.open(str(path)) as container, pytest.raises(av.FFmpegError):
        list(container.decode(video=0))
    numbers = read_numbers(video.read_frames(path))
    assert len(numbers) == 40 and numbers[:5] == [0, 1, 2, 3, 4]
    # the last picture stands in; none is early
    assert all(number <= i for i, number in enumerate(numbers)) and max(numbers) > 36
    assert len(list(video.Reading(path).counted_frames(25))) < 40
    assert video.read_info(path).num_frames == 40  # as in the header: the video is no shorter for it


@pytest.mark.parametrize("name", ["a.webm", "a.gif", "a.mkv"])
def test_a_video_cut_off_is_read_to_where_it_ends(tmp_path, name):
    path = tmp_path / name
    write_video(path, np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), np.uint8))
    whole = list(video.read_frames(path))
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    frames = list(video.read_frames(path))
    assert 10 < len(frames) < 40
    np.testing.assert_array_equal(frames[:-1], whole[: len(frames) - 1])
    assert rate_length_duration(path) == (25.0, len(frames), len(frames) / 25)


def _write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _write_all_damaged(path):
    write_video(path, numbered(3))
    damage(path, range(3))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(DataError, match="a.mp4 is a pipe or a device; name the file of a video"):
        video.read_info(tmp_path / "a.mp4")
    with pytest.raises(DataError, match="holds no video"):
        find_videos(tmp_path)


def test_what_ffmpeg_calls_not_permitted_is_said_otherwise(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise av.FFmpegError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(
        DataError, match="a.mp4: FFmpeg cannot make anything of it; it is damaged, or of a kind"
    ):
        video.read_info(tmp_path / "a.mp4")


def test_endings_of_camcorders_are_videos(tmp_path):
    endings = ".mts .M2TS .vob .mxf .asf .ts .3gp .wmv".split()
    for number, ending in enumerate(endings):
        (tmp_path / f"{number}{ending}").touch()
    assert len(find_videos(tmp_path)[0]) == len(endings)


BAD = {  # file -> what writes it, and what the sentence says of it
    "absent.mp4": (lambda path: None, "No such file"),
    "folder.mp4": (lambda path: path.mkdir(), "directory"),
    "empty.mp4": (lambda path: path.write_bytes(b""), "Invalid data"),
    "text.mp4": (lambda path: path.write_text("not a video " * 100), "Invalid data"),
    "text.txt": (lambda path: path.write_text("not a video " * 100), "holds text"),
    "picture.jpg": (lambda path: cv2.imwrite(str(path), np.zeros((48, 64, 3))), "a single frame"),
    "one.mp4": (lambda path: write_video(path, numbered(1)), "a single frame"),
    "one.gif": (lambda path: write_video(path, numbered(1)), "a single frame"),
    "none.mp4": (_write_all_damaged, "no frame that can be decoded"),
    "sound.mp4": (_write_sound, "only sound"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_sentence(tmp_path, name):
    write, reason = BAD[name]
    write(tmp_path / name)
    for read in (lambda path: list(video.read_frames(path)), lambda path: read_clip(path, 10, 8, 8)):
        with pytest.raises(DataError) as error:
            read(tmp_path / name)
        assert name in str(error.value) and reason in str(error.value) and "\n" not in str(error.value)


def test_too_short_for_one_frame_at_the_rate(tmp_path):
    write_video(tmp_path / "a.mp4", numbered(2))
    with pytest.raises(DataError, match="a.mp4 is too short to take a frame at 10 frames a second"):
        read_clip(tmp_path / "a.mp4", 10, 8, 8)
    assert len(list(video.read_frames(tmp_path / "a.mp4", 10))) == 1  # by time: what is on the screen at 0 s


def test_a_name_that_could_be_an_address(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", numbered(5))
    (tmp_path / "a.mp4").rename(tmp_path / "12:30 %d é.mp4")
    monkeypatch.chdir(tmp_path)
    assert video.read_info("12:30 %d é.mp4").num_frames == 5


def test_resize():
    frame = np.zeros((6, 8, 3), np.uint8)
    frame[:, :4] = [50, 60, 70]
    frame[:, 4:] = [200, 190, 180]
    wide = video.resize(frame, 12, 32)
    assert wide.shape == (12, 32, 3) and wide.dtype == np.uint8
    np.testing.assert_array_equal(wide[:, :4], np.broadcast_to([50, 60, 70], (12, 4, 3)))
    # a bicubic step overshoots, a bilinear one does not
    assert wide[..., 0].max() > 200 and wide[..., 0].min() < 50
    np.testing.assert_array_equal(video.resize(frame, 6, 8), frame)
