"""Videos, a frame at a time: decoding, sampling to a lower frame rate, resizing, storing.

One decoded picture is held at a time, so the length of a film does not matter. Decoding takes one thread: a
corpus is prepared with one process a core (`prepare.py`), and a damaged file then gives the same frames every
time.
"""

import dataclasses
import json
import pathlib

import av
import numpy as np
from PIL import Image

from tal_jax.data import video_stream, video_time
from tal_jax.data.names import require_name
from tal_jax.data.optical_flow import flows
from tal_jax.errors import DataError
from tal_jax.runtime.files import replacing, write_rows

MAX_FRAMES = 768  # of a video of ActivityNet


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """Rates, length and times of a video as its packets say, before anything is decoded.

    Attributes:
        fps: the commonest frame rate, 1/s; where the rate does not vary, that of the header.
        num_frames: coded frames.
        duration_sec: from the zero of the container to the end of the last frame.
        average_fps: frames over the time that they take; where the rate does not vary, that of the header.
        axis: TimeAxis of the coded frames.
    """

    fps: float
    num_frames: int
    duration_sec: float
    average_fps: float
    axis: video_time.TimeAxis = dataclasses.field(compare=False, repr=False)


def read_info(path):
    """Frame rate, number of frames and time axis, from the packets of a video; none is decoded.

    Args:
        path: any file that FFmpeg reads.

    Returns:
        VideoInfo.

    Raises:
        DataError: the file cannot be read, or holds no video or a single frame.
    """
    packets, sound_sec, stamps = [], [], []
    with video_stream.opened(path) as (container, stream):
        in_header = float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0)
        start_sec, unit_sec = (container.start_time or 0) / av.time_base, float(stream.time_base)
        is_clock = bool(container.format.flags & av.format.Flags.ts_discont.value)
        is_avi = container.format.name == "avi"
        said_sec = (container.duration or 0) / av.time_base
        if is_avi and in_header:  # whose duration FFmpeg guesses from the size of the file
            said_sec = stream.frames / in_header
        elif stream.duration:
            said_sec = float(stream.duration * stream.time_base)
        for packet in video_stream.packets(container, stream, *container.streams.audio):
            if (packet.stream is stream or not stream.duration) and packet.dts is not None:
                stamps.append(float((packet.dts + (packet.duration or 0)) * packet.time_base))
            if packet.stream is not stream:
                sound_sec.append(packet.dts and float(packet.dts * packet.time_base))
            elif not packet.is_discard:
                packets.append((packet.dts, packet.pts, packet.duration))
    if len(packets) < 2:
        raise DataError(f"{path} holds {'a single frame' if packets else 'no frame'}; it is no video.")
    decode, show, durations = np.array(packets, float).T  # None becomes NaN
    if is_avi and not np.isnan(show).all():
        # Its stamps number the chunks, empty ones too; FFmpeg adds the frames that a decoder holds back.
        show -= np.nanmin(show) - np.nanmin(decode)
    longest_sec = video_time.LONGEST_CLOCK_GAP_SEC if is_clock else video_time.LONGEST_GAP_SEC
    options = dict(longest_gap_sec=np.inf if is_avi else longest_sec, counted_fps=in_header or 25.0)
    stamps_sec = decode * unit_sec, show * unit_sec, np.array(sound_sec, float)
    axis = video_time.time_axis(*stamps_sec, start_sec, has_zero=not is_clock, **options)
    duration_sec = axis.duration_sec(float(np.nan_to_num(durations[np.argmax(axis.times_sec)])) * unit_sec)
    if stamps and not is_clock and said_sec - (max(stamps) - min(stamps)) > max(1.0, 0.02 * said_sec):
        note = f"the file breaks off at {duration_sec:.1f} s of {said_sec:.1f} s"
        axis = dataclasses.replace(axis, notes=(*axis.notes, note))
    commonest_fps = axis.commonest_fps()
    average_fps = len(packets) / (duration_sec - max(axis.times_sec.min(), 0))
    as_fields = abs(commonest_fps / 2 - in_header) < 0.01 * in_header  # interlaced: a packet is half a frame
    fps = in_header if as_fields or abs(commonest_fps - in_header) < 0.01 * in_header else commonest_fps
    if abs(average_fps - in_header) < 0.1 * in_header:  # packets may hold no frame of their own, in VP8
        average_fps = in_header
    return VideoInfo(fps, len(packets), duration_sec, average_fps, axis)


class Reading:
    """One reading of a video, whose `notes` then tell a person what was uncommon about it.

    Attributes:
        info: VideoInfo.
    """

    def __init__(self, path):
        """path: any file that FFmpeg reads. Raises DataError for one without two frames of video."""
        self.path, self.info, self._decoded_sec = path, read_info(path), []

    @property
    def notes(self):
        """Phrases on what is uncommon. What could not be decoded is among them once all frames are read."""
        decoded_sec = np.array(self._decoded_sec)
        lost = video_time.undecoded_note(self.info.axis, decoded_sec) if len(decoded_sec) else ()
        return self.info.axis.notes + lost

    def early_sec(self, fps):
        """How long before its time a picture is taken for a frame of `frames`: times of files are rounded."""
        return min(self.info.axis.step_sec, 1 / fps) / 4

    def frames(self, fps):
        """Frames at even times 0, 1/fps, 2/fps, …: each is the picture that is on the screen then.

        A picture that stays is repeated (the very same array), and the first one stands in before it comes.

        Args:
            fps: frames a second.

        Yields:
            (seconds from the zero of the container when the picture came, (H, W, 3) uint8 RGB, upright where
            the file says how the camera was held), at least one.

        Raises:
            DataError: fewer than two pictures can be decoded.
        """
        count = max(int(self.info.duration_sec * fps + 0.5), 1)
        times_sec, early_sec = (i / fps for i in range(count)), self.early_sec(fps)
        pictures = video_time.on_screen(self._pictures(), times_sec, early_sec)
        yield from each_once(video_stream.to_upright(), pictures)

    def counted_frames(self, fps):
        """Frames by `sample_frames`, as published; of a video at an even rate they are nearly at even times.

        Args:
            fps: frames a second.

        Yields:
            (seconds, (H, W, 3) uint8 RGB) as `frames` does.

        Raises:
            DataError: fewer than two pictures can be decoded, or none is kept.
        """
        kept, upright = 0, video_stream.to_upright()
        for kept, picture in enumerate(sample_frames(self._pictures(), self.info.average_fps, fps), 1):
            yield upright(picture)
        if not kept:
            raise DataError(f"The video {self.path} is too short to take a frame at {fps:g} frames a second.")

    def pictures(self, height, width):
        """Every picture once, however long it stays on the screen.

        Args:
            height, width: to which FFmpeg makes it small, bicubic and whatever its proportions were.

        Yields:
            (seconds from the zero of the container when it comes, (height, width, 3) uint8 RGB, upright).

        Raises:
            DataError: fewer than two pictures can be decoded.
        """
        yield from map(video_stream.to_upright(height, width), self._pictures())

    def _pictures(self):
        """Yields (seconds, av.VideoFrame) of all that can be decoded, in order."""
        axis, self._decoded_sec = self.info.axis, []
        with video_stream.opened(self.path) as (container, stream):
            unit_sec = float(stream.time_base)
            stamps = np.rint(axis.times_sec / unit_sec).astype(np.int64).tolist()
            for picture in video_stream.pictures(container, stream, stamps):
                last_sec = self._decoded_sec[-1] if self._decoded_sec else -np.inf
                if axis.is_counted or picture.pts is None:
                    now_sec = max(last_sec + axis.step_sec, 0.0)
                else:
                    now_sec = max(picture.pts * unit_sec, last_sec)
                self._decoded_sec.append(now_sec)
                yield now_sec, picture
        if len(self._decoded_sec) < 2:
            found = "a single frame" if self._decoded_sec else "no frame"
            raise DataError(f"{self.path} holds {found} that can be decoded; it is no video.")


def read_frames(path, fps=None):
    """The frames of a video at even times, see `Reading.frames`, without their seconds.

    Args:
        path: any file that FFmpeg reads.
        fps: frames a second; None: the video's own rate.

    Yields:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: the file cannot be read, or holds no video of two frames or more.
    """
    reading = Reading(path)
    for _, frame in reading.frames(fps or reading.info.fps):
        yield frame


def each_once(function, items):
    """Yields function(item) of each item; for the same object twice running it is computed once."""
    last = value = None
    for item in items:
        if item is not last:
            last, value = item, function(item)
        yield value


def sample_frames(frames, fps, target_fps):
    """AFSD, THUMOS14: keeps a frame when the running count reaches fps/target_fps, which is then subtracted.

    Of 25 frames a second at 10, frames 3, 5, 8, 10, ... (counted from 1) are kept; at a target of `fps` or
    more, all are.

    Args:
        frames: iterable of anything.
        fps: its rate.
        target_fps: the rate to come near to.

    Yields:
        The frames kept.
    """
    count, step = 0.0, fps / target_fps
    for frame in frames:
        count += 1
        if count >= step:
            count -= step
            yield frame


def dynamic_fps(info):
    """AFSD, ActivityNet: the rate at which a whole video is at most `MAX_FRAMES` frames.

    Sampled at it, a longer video gives `MAX_FRAMES` frames; by count (`sample_frames`) one fewer, where the
    running count is rounded down.
    """
    return min(info.fps, MAX_FRAMES / info.duration_sec)


def resize(frame, height, width):
    """Pillow's bicubic resize, as published for THUMOS14: (H, W, 3) uint8 -> (height, width, 3)."""
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))


def store_video(path, out, fps, frame_pixels, flow, sampling="time"):
    """Writes small frames of a video: OUT/rgb, OUT/info and perhaps OUT/flow. Files that exist stay.

    One frame is held at a time.

    Args:
        path: the video.
        out: the folder to write to.
        fps: frames a second to keep, at most all; 0: so many that the whole video is at most 768 frames, see
            `dynamic_fps`.
        frame_pixels: height and width of the frames in pixels.
        flow: whether to make optical flow.
        sampling: "time", see `Reading.frames`, or "count", see `Reading.counted_frames`.

    Raises:
        DataError: the video cannot be decoded, or no recording can have its name.
    """
    rgb_file, info_file, flow_file = stored_files(out, path)
    if not (rgb_file.exists() and info_file.exists()):
        flow_file.unlink(missing_ok=True)
        reading, times_sec = Reading(path), []
        by_count = sampling == "count"
        own_fps = reading.info.average_fps if by_count else reading.info.fps
        fps = min(fps, own_fps) if fps else dynamic_fps(reading.info)

        def frames():
            for seconds, frame in reading.counted_frames(fps) if by_count else reading.frames(fps):
                times_sec.append(round(seconds, 4))
                yield frame

        write_rows(rgb_file, each_once(lambda frame: resize(frame, frame_pixels, frame_pixels), frames()))
        write_info(info_file, fps, reading, num_frames=len(times_sec), sampling=sampling, times_sec=times_sec)
    if flow and not flow_file.exists():
        write_rows(flow_file, flows(np.load(rgb_file, mmap_mode="r")))


def stored_files(out, path):
    """The files in the folder `out` that are made of the video `path`: frames, info, flow.

    Raises DataError for a name that no recording can have.
    """
    out, name = pathlib.Path(out), stored_name(path)
    return out / "rgb" / f"{name}.npy", out / "info" / f"{name}.json", out / "flow" / f"{name}.npy"


def stored_name(path):
    """The name of the files that are made of a video, without a suffix: the stem of the video's own name.

    Raises DataError for a name that no recording can have.
    """
    name = pathlib.Path(path).stem
    require_name(name, f"The video {path}")
    return name


def write_info(path, fps, reading, **more):
    """Writes rate, length and notes of a video, whose frames or features lie beside, as JSON.

    Args:
        path: the file.
        fps: of the frames.
        reading: Reading of the video, read to its end.
        more: other fields.
    """
    info = reading.info
    content = dict(fps=fps, duration_sec=info.duration_sec, source_fps=info.fps, notes=reading.notes, **more)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content))
