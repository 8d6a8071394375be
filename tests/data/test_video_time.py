import fractions
import json
import struct

import av
import numpy as np
import pytest

from tal_jax import extract
from tal_jax.config import extract_config
from tal_jax.data import video
from tal_jax.data.video_time import on_screen, time_axis, undecoded_note
from tests import tiny_config


def write_timed(
    path,
    times_sec,
    white_sec,
    codec="libx264",
    sound_sec=0,
    unit_sec=fractions.Fraction(1, 600),
    fps=25,
    **options,
):
    """A video of small dark pictures at the given times, white from each start to its end; perhaps with
    silence.
    """
    container_options = options.pop("container", {})
    with av.open(str(path), "w", format=options.pop("format", None), options=container_options) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        if codec == "libx264":
            stream.codec_context.time_base = unit_sec
        else:
            unit_sec = fractions.Fraction(1, fps)
        packets = []
        for now_sec in times_sec:
            is_white = any(start <= now_sec + 1e-6 < end for start, end in white_sec)
            picture = av.VideoFrame.from_ndarray(
                np.full((32, 32, 3), 230 if is_white else 20, np.uint8), format="rgb24"
            )
            picture.pts, picture.time_base = round(now_sec / unit_sec), unit_sec
            packets += stream.encode(picture)
        packets += stream.encode(None)
        if sound_sec:
            sound = container.add_stream(
                "pcm_s16le" if path.suffix in (".mkv", ".avi") else "aac", rate=48000, layout="mono"
            )
            for second in range(sound_sec):
                frame = av.AudioFrame.from_ndarray(
                    np.zeros((1, 48000), np.float32), format="fltp", layout="mono"
                )
                frame.rate, frame.pts, frame.time_base = 48000, second * 48000, fractions.Fraction(1, 48000)
                if path.suffix in (".mkv", ".avi"):
                    frame = av.AudioFrame.from_ndarray(
                        np.zeros((1, 48000), np.int16), format="s16", layout="mono"
                    )
                    frame.rate, frame.pts, frame.time_base = (
                        48000,
                        second * 48000,
                        fractions.Fraction(1, 48000),
                    )
                packets += sound.encode(frame)
            packets += sound.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)


def even(num_pictures, fps=25, start_sec=0.0):
    """Times of pictures at an even rate."""
    return start_sec + np.arange(num_pictures) / fps


def lose(path, start_sec, end_sec):
    """Overwrites the coded pictures between two times by zeros."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size and start_sec <= float(packet.pts * packet.time_base) < end_sec:
                content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(content)


def drop(path, first, end):
    """Makes the chunks of these pictures of an AVI empty, as a camera does that cannot keep up."""
    content = path.read_bytes()
    place = content.index(b"movi")
    end_of_list = place + struct.unpack("<I", content[place - 4 : place])[0]
    chunks, index, at, number = b"movi", b"", place + 4, 0
    while at < end_of_list:
        size = struct.unpack("<I", content[at + 4 : at + 8])[0]
        data = b"" if first <= number < end else content[at + 8 : at + 8 + size]
        index += b"00dc" + struct.pack("<III", 16, len(chunks), len(data))
        chunks += b"00dc" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
        at, number = at + 8 + size + size % 2, number + 1
    content = (
        content[: place - 4]
        + struct.pack("<I", len(chunks))
        + chunks
        + b"idx1"
        + struct.pack("<I", len(index))
        + index
    )
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])


def varying(path):
    times_sec = np.concatenate([even(300, 30), even(60, 6, 10.0)])
    write_timed(path, times_sec, [(10, 12)], fps=30)


def late(path):
    write_timed(path, even(250, 25, 2.0), [(5, 7)], sound_sec=12)


def zeroed(path):
    write_timed(path, even(250), [(7, 8)])
    lose(path, 2, 6)


def dropped(path):
    write_timed(path, even(250), [(7, 8)], codec="mpeg4")
    drop(path, 50, 150)


def joined(path):
    write_timed(path, even(250), [(5, 7)], format="mpegts")
    path.write_bytes(path.read_bytes() * 2)


def jumping(path):
    times_sec = even(250)
    write_timed(path, times_sec + 3600 * (times_sec >= 5), [(3607, 3608)])


FILES = {  # name -> what writes it, its events, seconds from the container's zero, its duration, what is said
    "varying.mp4": (varying, [(10, 12)], 20, "rate varies 6 to 30 fps"),
    "varying.mkv": (varying, [(10, 12)], 20, "rate varies 6 to 30 fps"),
    "late.mp4": (late, [(5, 7)], 12, "pictures begin 2.0 s late, the first one stands in"),
    "late.mkv": (late, [(5, 7)], 12, "pictures begin 2.0 s late, the first one stands in"),
    "zeroed.mp4": (zeroed, [(7, 8)], 10, "4.0 s could not be decoded, the last picture stands in"),
    "dropped.avi": (dropped, [(7, 8)], 10, "4.0 s have no pictures, the last one before stands in"),
    "joined.ts": (
        joined,
        [(5, 7), (15, 17)],
        20,
        "the clock jumps once, by up to 10.0 s, which do not count",
    ),
    "jumping.mp4": (jumping, [(7, 8)], 10, "the clock jumps once, by up to 3600.0 s, which do not count"),
    "jumping.mkv": (jumping, [(7, 8)], 10, "the clock jumps once, by up to 3600.0 s, which do not count"),
    "even.mp4": (lambda path: write_timed(path, even(250), [(3, 4)]), [(3, 4)], 10, ""),
    "even.mts": (lambda path: write_timed(path, even(250), [(3, 4)], format="mpegts"), [(3, 4)], 10, ""),
    "even.vob": (
        lambda path: write_timed(path, even(250), [(3, 4)], "mpeg2video", format="vob"),
        [(3, 4)],
        10,
        "",
    ),
    "reordered.avi": (lambda path: write_timed(path, even(250), [(3, 4)], "mpeg4", bf="2"), [(3, 4)], 10, ""),
}


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """Function name -> path of one of FILES, written once."""
    folder = tmp_path_factory.mktemp("videos")

    def write(name):
        path = folder / name
        if not path.exists():
            FILES[name][0](path)
        return path

    return write


def found(brightness):
    """[(first, end)] of the white stretches of a sequence, in its rows."""
    is_white = np.concatenate([[0], np.ravel(brightness) > 120, [0]]).astype(int)
    return np.flatnonzero(np.diff(is_white)).reshape(-1, 2)


@pytest.mark.parametrize("name", FILES)
def test_frames_are_at_their_times(file_of, tmp_path, name):
    _, events, duration_sec, note = FILES[name]
    video.store_video(file_of(name), tmp_path, fps=10.0, frame_pixels=8, flow=False)
    stem = name.split(".")[0]
    info = json.loads((tmp_path / "info" / f"{stem}.json").read_text())
    frames = np.load(tmp_path / "rgb" / f"{stem}.npy")
    np.testing.assert_allclose(found(frames.mean((1, 2, 3))) / info["fps"], events, atol=0.1 + 1e-6)
    assert info["fps"] == 10 and len(frames) == info["num_frames"] == len(info["times_sec"])
    assert info["duration_sec"] == pytest.approx(duration_sec, abs=0.2) and len(frames) == pytest.approx(
        10 * duration_sec, abs=2
    )
    assert "; ".join(info["notes"]) == note
    late_sec = np.arange(len(frames)) / 10 - info["times_sec"]
    assert (late_sec < 0.2).all() or "stands in" in note
    assert (late_sec > -0.02).all() or "begin" in note


@pytest.mark.parametrize("name", FILES)
def test_features_are_at_their_times(file_of, tmp_path, monkeypatch, name):
    def brightness(path, end_point):
        return lambda snippets: snippets.mean((1, 2, 3, 4))[:, None]

    monkeypatch.setattr(extract, "_sha256", str)
    monkeypatch.setattr(extract, "_weights_of_streams", lambda files: {"rgb": "rgb.npz"})
    monkeypatch.setattr(extract, "_network", brightness)
    config = tiny_config.get_config("toy")
    config.extract = extract_config()
    monkeypatch.setattr(extract, "PICTURE", {"short_side_pixels": 32, "crop_pixels": 32})
    config.data.update(features=str(tmp_path), snippet_frames=8, stride_frames=1)
    extract.extract(config, tmp_path, str(file_of(name)))
    stem = name.split(".")[0]
    features = np.load(tmp_path / f"{stem}.npy")
    info = json.loads((tmp_path / "info" / f"{stem}.json").read_text())
    # Row i is the mean of frames i to i + 7, so it passes the middle 4 frames after an edge.
    np.testing.assert_allclose((found(features) + 3.5) / info["fps"], FILES[name][1], atol=0.1)
    assert info["fps"] == (30 if "varying" in name else pytest.approx(25, abs=1e-6))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_file_that_breaks_off(tmp_path, suffix):
    options = {"container": {"movflags": "faststart"}} if suffix == ".mp4" else {}
    path = tmp_path / f"a{suffix}"
    write_timed(path, even(500), [], codec="mpeg4" if suffix == ".avi" else "libx264", **options)
    assert video.read_info(path).axis.notes == ()
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    path.write_bytes(path.read_bytes()[: places[250]])
    info = video.read_info(path)
    assert info.axis.notes == (f"the file breaks off at {info.duration_sec:.1f} s of 20.0 s",)
    assert info.duration_sec == pytest.approx(10, abs=0.5)


def test_the_picture_on_the_screen():
    pictures = [(0.05, "a"), (0.1, "b"), (0.12, "c"), (0.5, "d")]
    shown = [picture for _, picture in on_screen(iter(pictures), np.arange(7) / 10, 0.0)]
    assert shown == ["a", "b", "c", "c", "c", "d", "d"]
    assert [picture for _, picture in on_screen(iter(pictures), [0.09, 0.48], 0.02)] == ["b", "d"]
    assert list(on_screen(iter([]), [0.0], 0.0)) == []


def test_no_picture_is_early_where_frames_are_closer_than_pictures(tmp_path):
    write_timed(tmp_path / "slides.mp4", even(10, 0.5), [(6, 8)])
    brightness = [frame.mean() for frame in video.read_frames(tmp_path / "slides.mp4", 10)]
    np.testing.assert_array_equal(found(brightness), [(60, 80)])


def axis(times_sec, sound_sec=(), start_sec=0.0, **options):
    """`time_axis` of pictures that are decoded in the order in which they are shown."""
    return time_axis(
        np.array(times_sec, float),
        np.array(times_sec, float),
        np.array(sound_sec, float),
        start_sec,
        **options,
    )


def test_gaps_are_time_and_jumps_are_none():
    gap = np.concatenate([even(50), even(50, start_sec=20.0)])
    np.testing.assert_allclose(axis(gap).times_sec, gap)
    assert axis(gap).notes == ("18.0 s have no pictures, the last one before stands in",)
    clock = dict(longest_gap_sec=10.0, has_zero=False)
    np.testing.assert_allclose(axis(gap, **clock).times_sec, even(100), atol=1e-9)
    np.testing.assert_allclose(
        axis(gap, sound_sec=even(300, 10), **clock).times_sec, gap
    )  # the sound went on
    np.testing.assert_allclose(axis(gap + 50, start_sec=50, **clock).times_sec, even(100), atol=1e-9)
    hour = even(100) + 3600 * (np.arange(100) >= 50)
    np.testing.assert_allclose(axis(hour).times_sec, even(100), atol=1e-9)
    back = even(100) - 1.9 * (np.arange(100) >= 50)
    np.testing.assert_allclose(axis(back).times_sec, even(100), atol=1e-9)
    spike = even(100) + 3600 * (np.arange(100) == 50)
    np.testing.assert_allclose(axis(spike).times_sec, even(100), atol=0.05)
    np.testing.assert_allclose(axis(even(100, start_sec=7200)).times_sec, even(100), atol=1e-9)
    assert axis(even(100, start_sec=7200)).notes == (
        "the clock jumps once, by up to 7200.0 s, which do not count",
    )


def test_pictures_that_are_decoded_before_others_keep_their_times():
    decode_sec = even(100, start_sec=-0.08)
    order = np.arange(100).reshape(-1, 4)[:, [3, 1, 0, 2]].ravel()  # each fourth picture is decoded first
    jump = 3600 * (np.arange(100) >= 50)
    for shown_sec, decoded_sec in ((even(100), decode_sec), (even(100) + jump, decode_sec + jump)):
        times_sec = time_axis(decoded_sec, shown_sec[order], np.zeros(0), 0.0).times_sec
        np.testing.assert_allclose(np.sort(times_sec), even(100), atol=1e-9)
        np.testing.assert_allclose(times_sec, even(100)[order], atol=1e-9)
    wrong = even(100)[order] + 3600 * (np.arange(100) == 50)  # of one picture
    np.testing.assert_allclose(
        time_axis(decode_sec, wrong, np.zeros(0), 0.0).times_sec, even(100)[order], atol=0.17
    )


def test_pictures_without_stamps_are_counted():
    counted = axis([np.nan] * 5, counted_fps=10.0)
    np.testing.assert_allclose(counted.times_sec, np.arange(5) / 10)
    assert counted.is_counted and counted.notes == ("pictures have no time stamps and are counted at 10 fps",)
    np.testing.assert_allclose(axis([3.0] * 5, counted_fps=10.0).times_sec, np.arange(5) / 10)


def test_a_few_stamps_that_lack_are_filled_in():
    some = even(100)
    some[[0, 3, 50, 51, 99]] = np.nan  # the ends cannot be known
    np.testing.assert_allclose(axis(some).times_sec[1:99], even(100)[1:99], atol=1e-9)


def test_what_was_not_decoded_is_told_where_it_is_long():
    whole = axis(even(100))
    assert undecoded_note(whole, even(100)) == () == undecoded_note(whole, np.delete(even(100), [50, 51]))
    said = ("2.0 s could not be decoded, the last picture stands in",)
    assert undecoded_note(whole, even(50)) == said == undecoded_note(whole, even(50, start_sec=2.0))
