"""Videos, a frame at a time: decoding, sampling to a lower frame rate, resizing, optical flow.

One decoded picture is held at a time, so the length of a film does not matter. Decoding takes one thread: a corpus is
prepared with one process a core (`prepare.py`), and a damaged file then gives the same frames every time.
"""

import contextlib
import dataclasses
import json
import pathlib

import av
import cv2
import numpy as np
from PIL import Image

from tal_jax.errors import DataError
from tal_jax.files import replacing

SUFFIXES = tuple(".avi .flv .gif .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv .3gp".split())
FLOW_BOUND = 20.0  # pixels between two frames; the ends of uint8


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """Frame rate of a video (its average, 1/s) and its number of frames."""

    fps: float
    num_frames: int

    @property
    def duration_sec(self):
        """Length in seconds, at that rate."""
        return self.num_frames / self.fps


def find_videos(folder):
    """The video files of a folder, as sorted paths, and the names of its other files; hidden files are neither.

    Raises:
        DataError: there is no folder or no video, or two videos have one stem.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise DataError(f"The folder of videos {folder} does not exist.")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    paths = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise DataError(f"The folder {folder} holds no video ({', '.join(SUFFIXES)}).")
    by_stem = {}
    for path in paths:
        other = by_stem.setdefault(path.stem, path)
        if other != path:
            raise DataError(f"The folder {folder} holds {other.name} and {path.name}, two videos of one name; keep one of them.")
    return paths, [path.name for path in files if path not in set(paths)]


def read_info(path):
    """Frame rate and number of frames.

    The header of the file is believed if the file holds as many coded frames as it says. Without a number in it (webm, mkv),
    or where it lies (a download cut off), the video is decoded to count them, and the rate is that of their time stamps if
    the header's would put the last frame elsewhere (recordings of screens and phones, whose rate varies).

    Args:
        path: any file that FFmpeg reads.

    Returns:
        VideoInfo.

    Raises:
        DataError: the file cannot be read, or holds no video, no frame, a single frame or no frame rate.
    """
    with _opened(path) as (container, stream):
        fps, in_header = float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0), stream.frames
        num_coded = sum(packet is not None for packet in _packets(container, stream))
    if fps and in_header == num_coded > 1:
        return VideoInfo(fps, in_header)
    with _opened(path) as (container, stream):
        stamps = [picture.pts for picture in _pictures(path, container, stream)]
        span_sec = 0 if None in stamps else float((stamps[-1] - stamps[0]) * stream.time_base)
    num_steps = len(stamps) - 1
    if span_sec > 0 and abs(span_sec * fps - num_steps) > 1.5:
        fps = num_steps / span_sec
    if not fps:
        raise DataError(f"The video {path} does not say its frame rate.")
    return VideoInfo(fps, len(stamps))


def read_frames(path, fps=1.0, target_fps=1.0):
    """Decodes a video, leaving out what the decoder rejects (damaged blocks).

    Args:
        path: any file that FFmpeg reads.
        fps, target_fps: the video's rate and the one to sample at, see `sample_frames`; without them every frame is kept.

    Yields:
        (H, W, 3) uint8 RGB, upright where the file says how the camera was held. Frames that are not kept cost their decoding.

    Raises:
        DataError: the file cannot be read, or holds no video, no frame or a single frame; or none is kept.
    """
    num_frames = 0
    with _opened(path) as (container, stream):
        pictures = sample_frames(_pictures(path, container, stream), fps, target_fps)
        for num_frames, picture in enumerate(pictures, 1):
            image = picture.to_ndarray(format="rgb24")
            yield np.ascontiguousarray(np.rot90(image, round(picture.rotation / 90))) if picture.rotation else image
    if not num_frames:
        raise DataError(f"The video {path} is too short to take a frame at {target_fps:g} frames a second.")


def sample_frames(frames, fps, target_fps):
    """AFSD, THUMOS14: keeps a frame whenever the running count reaches fps/target_fps, which is then subtracted.

    Of 25 frames a second at 10, frames 3, 5, 8, 10, ... (counted from 1) are kept; at a target of `fps` or more, all are.

    Args:
        frames: iterable of anything.
        fps: its rate.
        target_fps: the rate to come near to.

    Yields:
        The frames kept.
    """
    step = fps / target_fps
    count = 0.0
    for frame in frames:
        count += 1
        if count >= step:
            count -= step
            yield frame


def dynamic_fps(info, max_frames=768):
    """AFSD, ActivityNet: the rate at which a whole video is at most `max_frames` frames.

    Sampled at it, a longer video gives `max_frames` frames, or one fewer where the running count of `sample_frames` is
    rounded down.
    """
    return info.fps * min(max_frames / info.num_frames, 1)


def resize(frame, height, width):
    """Pillow's bicubic resize, as published for THUMOS14, whatever the aspect ratio: (H, W, 3) uint8 -> (height, width, 3)."""
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))


def optical_flow(previous, following):
    """TV-L1 optical flow of grey frames, as uint8.

    Motions are clipped to [-20, 20] pixels and mapped linearly to [0, 255], so that value/255*2 - 1 is motion/20;
    standing still is 128 (127.5 rounded to even).

    Args:
        previous, following: (H, W, 3) uint8 RGB.

    Returns:
        (H, W, 2) uint8, motion to the right and down from `previous` to `following`.

    Raises:
        DataError: this OpenCV has no TV-L1.
    """
    if not hasattr(cv2, "optflow"):
        raise DataError(
            "Optical flow needs OpenCV's contrib modules: pip uninstall opencv-python opencv-python-headless, then "
            "pip install --force-reinstall opencv-contrib-python-headless."
        )
    previous, following = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (previous, following))
    motion = cv2.optflow.DualTVL1OpticalFlow_create().calc(previous, following, None)  # (H, W, 2) float32
    return np.rint((np.clip(motion / FLOW_BOUND, -1, 1) + 1) * 127.5).astype(np.uint8)


def flows(frames):
    """Optical flow from each frame to the next, one behind.

    Args:
        frames: iterable of T >= 1 frames (H, W, 3) uint8 RGB.

    Yields:
        T flows (H, W, 2) uint8, see `optical_flow`. As in AFSD the last frame, which has no next one, repeats the flow before
        it; a single frame stands still.
    """
    flow = previous = None
    for frame in frames:
        if previous is not None:
            flow = optical_flow(previous, frame)
            yield flow
        previous = frame
    yield optical_flow(previous, previous) if flow is None else flow


@contextlib.contextmanager
def _opened(path):
    """The file's container and its video stream; what FFmpeg refuses becomes a DataError."""
    try:
        # "file:" keeps a colon in the name from being read as a protocol.
        with av.open(f"file:{pathlib.Path(path)}", metadata_errors="ignore") as container:
            stream = container.streams.best("video")
            if container.format.name == "tty":
                raise DataError(f"{path} holds text; it is no video.")  # which FFmpeg would draw
            if stream is None:
                raise DataError(f"{path} holds no video{', only sound' if container.streams.audio else ''}.")
            if stream.codec_context is None:
                raise DataError(f"The video {path} is in a coding that this FFmpeg cannot decode.")
            stream.codec_context.thread_count = 1
            yield container, stream
    except av.FFmpegError as error:
        raise DataError(f"Cannot read the video {path}: {error.strerror}.") from error


def _packets(container, stream):
    """The coded frames in file order, up to where the file breaks off, then None, which asks a decoder for what it kept back."""
    with contextlib.suppress(av.FFmpegError):
        yield from (packet for packet in container.demux(stream) if packet.size)
    yield None


def _pictures(path, container, stream):
    """The frames (av.VideoFrame) that can be decoded, in order. Raises DataError at the end if there were fewer than two."""
    num_frames = 0
    for packet in _packets(container, stream):
        with contextlib.suppress(av.FFmpegError):
            for num_frames, picture in enumerate(stream.codec_context.decode(packet), num_frames + 1):
                yield picture
    if num_frames < 2:
        raise DataError(f"{path} holds {'a single frame' if num_frames else 'no frame that can be decoded'}; it is no video.")


def store_video(path, out, fps, frame_pixels, flow):
    """Makes what is not yet there of the small frames of one video, without holding them: OUT/rgb, OUT/info and OUT/flow.

    Args:
        path: the video.
        out: the folder to write to.
        fps: frames a second to keep, at most all; 0: so many that the whole video is at most 768 frames, see `dynamic_fps`.
        frame_pixels: height and width of the frames in pixels.
        flow: whether to make optical flow.

    Raises:
        DataError: the video cannot be decoded.
    """
    rgb_file, info_file, flow_file = stored_files(out, path, flow=True)
    if not (rgb_file.exists() and info_file.exists()):
        flow_file.unlink(missing_ok=True)
        info = read_info(path)
        fps = min(fps, info.fps) if fps else dynamic_fps(info)
        frames = read_frames(path, info.fps, fps)
        num_frames = write_rows(rgb_file, (resize(frame, frame_pixels, frame_pixels) for frame in frames))
        content = dict(fps=fps, num_frames=num_frames, duration_sec=info.duration_sec, source_fps=info.fps)
        with replacing(info_file) as temporary:
            temporary.write_text(json.dumps(content))
    if flow and not flow_file.exists():
        write_rows(flow_file, flows(np.load(rgb_file, mmap_mode="r")))


def stored_files(out, path, flow):
    """The files that are made of the video `path`: frames, info and perhaps flow."""
    out, name = pathlib.Path(out), pathlib.Path(path).stem
    files = [out / "rgb" / f"{name}.npy", out / "info" / f"{name}.json"]
    return [*files, out / "flow" / f"{name}.npy"] if flow else files


def write_rows(path, rows):
    """Writes a .npy file row by row, so that one row is held at a time.

    Args:
        path: the file.
        rows: iterable of T >= 1 uint8 arrays of one shape.

    Returns:
        T.
    """
    num_rows = 0
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for num_rows, row in enumerate(rows, 1):
            if num_rows == 1:
                _write_header(file, (0, *row.shape))
            file.write(row.data)
        file.seek(0)
        _write_header(file, (num_rows, *row.shape))  # as long as the first: NumPy leaves room for the length to grow
    return num_rows


def _write_header(file, shape):
    np.lib.format.write_array_header_1_0(file, dict(descr="|u1", fortran_order=False, shape=shape))
