"""Optical flow between the frames of a video, as AFSD makes it: TV-L1."""

import cv2
import numpy as np

from tal_jax.errors import DataError

FLOW_BOUND = 20.0  # pixels between two frames; the ends of uint8


def optical_flow(previous, following):
    """TV-L1 optical flow of grey frames, as uint8.

    Motions are clipped to [-20, 20] pixels and mapped linearly to [0, 255], so that value/255*2 - 1 is
    motion/20; standing still is 128 (127.5 rounded to even).

    Args:
        previous, following: (H, W, 3) uint8 RGB.

    Returns:
        (H, W, 2) uint8, motion to the right and down from `previous` to `following`.

    Raises:
        DataError: this OpenCV has no TV-L1.
    """
    if not hasattr(cv2, "optflow"):
        raise DataError(
            "Optical flow needs OpenCV's contrib modules: pip uninstall opencv-python "
            "opencv-python-headless, then pip install --force-reinstall opencv-contrib-python-headless."
        )
    previous, following = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (previous, following))
    motion = cv2.optflow.DualTVL1OpticalFlow_create().calc(previous, following, None)  # (H, W, 2) float32
    return np.rint((np.clip(motion / FLOW_BOUND, -1, 1) + 1) * 127.5).astype(np.uint8)


def flows(frames):
    """Optical flow from each frame to the next, one pair of frames at a time.

    Args:
        frames: iterable of T >= 1 frames (H, W, 3) uint8 RGB.

    Yields:
        T flows (H, W, 2) uint8, see `optical_flow`. As in AFSD the last frame, which has no next one, repeats
        the flow before it; a single frame stands still.
    """
    flow = previous = None
    for frame in frames:
        if previous is not None:
            flow = optical_flow(previous, frame)
            yield flow
        previous = frame
    yield optical_flow(previous, previous) if flow is None else flow
