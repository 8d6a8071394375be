"""The packets of a video file and their decoding, with PyAV."""

import contextlib
import errno
import itertools
import os
import pathlib

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from tal_jax.errors import DataError


@contextlib.contextmanager
def opened(path):
    """The file's container and its video stream; what FFmpeg refuses becomes a DataError."""
    if os.path.exists(path) and not os.path.isfile(path):
        kind = "a directory" if os.path.isdir(path) else "a pipe or a device"
        raise DataError(f"{path} is {kind}; name the file of a video.")
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
        reason = error.strerror
        if error.errno == errno.EPERM:  # what FFmpeg calls by this number has nothing to do with permissions
            reason = "FFmpeg cannot make anything of it; it is damaged, or of a kind that it does not know"
        raise DataError(f"Cannot read the video {path}: {reason}.") from error


def packets(container, *streams):
    """The packets of some streams that hold anything, in file order, up to where the file breaks off."""
    with contextlib.suppress(av.FFmpegError):
        yield from (packet for packet in container.demux(streams) if packet.size)


def pictures(container, stream, stamps):
    """The pictures (av.VideoFrame) of a video stream in order, without those that cannot be decoded.

    Args:
        container, stream: see `opened`.
        stamps: list of int, the `pts` of the pictures, in the order of their packets in the file and in the
            time base of the stream; a decoder hands it on from the packet to the picture.
    """
    stamps = iter(stamps)
    # None asks for the pictures that the decoder holds back.
    for packet in itertools.chain(packets(container, stream), [None]):
        if packet is not None and not packet.is_discard:
            packet.pts, packet.dts = next(stamps, None), None
        with contextlib.suppress(av.FFmpegError):
            yield from stream.codec_context.decode(packet)


def to_upright(height=None, width=None):
    """Function (seconds, av.VideoFrame) -> (seconds, (H, W, 3) uint8 RGB), upright where the file says how
    the camera was held.

    One such function serves a whole video: the conversion of colours is set up once.

    Args:
        height, width: of the result in pixels, which FFmpeg makes, bicubic and whatever the proportions were;
            None: those of the video.
    """
    reformatter = VideoReformatter()

    def upright(timed_picture):
        seconds, picture = timed_picture
        sizes = {}
        if height:
            on_its_side = round(picture.rotation / 90) % 2
            sizes = {"height": width, "width": height} if on_its_side else {"height": height, "width": width}
            sizes["interpolation"] = Interpolation.BICUBIC
        image = reformatter.reformat(picture, format="rgb24", threads=1, **sizes).to_ndarray()
        if picture.rotation:
            image = np.ascontiguousarray(np.rot90(image, round(picture.rotation / 90)))
        return seconds, image

    return upright
