"""From logits of snippets to scored segments of a video."""

import itertools

import jax.numpy as jnp
import numpy as np

from tal_jax.errors import DataError
from tal_jax.ops.runs import likely_runs, smoothed, triangle
from tal_jax.systems.candidates import of_windows
from tal_jax.systems.sliding.model import STEP_FRAMES
from tal_jax.systems.sliding.pretrained import class_rows


def decode(config, logits):
    """The arrays that `detections` reads of each snippet, on the device.

    Args:
      config: the run's config.
      logits: (B, steps, 400).

    Returns:
      dict of `logits` (B, steps, 400), and `cas` (B, steps, K), see `probabilities`.
    """
    return {"logits": logits, "cas": probabilities(config, logits)}


def probabilities(config, logits, xp=jnp):
    """Softmax of the 400 classes and of the background, whose logit is a constant.

    Args:
      config: the run's config.
      logits: (..., 400).
      xp: jnp or np.

    Returns:
      (..., K) of the classes asked for.
    """
    background = config.decode.background_logit
    highest = xp.maximum(logits.max(axis=-1, keepdims=True), background)
    parts = xp.exp(logits - highest)
    total = parts.sum(axis=-1, keepdims=True) + xp.exp(background - highest)
    return (parts / total)[..., class_rows(config.classes)]


def detections(config, windows, timeline):
    """Detections of a video: `localize` in each of its shots, see interface.System.

    A video whose cuts are not looked for is one shot.
    """

    def shots():
        for _, of_one in itertools.groupby(windows, key=lambda window: window.arrays["shot_frame"][0]):
            yield joined(of_one)

    return of_windows(shots(), timeline, lambda shot: localize(config, shot))


def joined(windows):
    """The snippets of a shot as one window: where several see a step, the mean of their logits.

    The middle of a snippet counts most, as it knows best what comes before and after.

    Args:
      windows: iterable of data.windows.Decoded of one shot: `shot_frame` (2,), its first frame and the one
        after its last, `start_frame` of the snippet, and `logits` (steps, 400).

    Returns:
      Decoded, whose `offset` is in steps of the video and need not be whole, with `logits` (S, 400).
    """
    for number, window in enumerate(windows):
        begin, end = window.arrays["shot_frame"]
        if number == 0:
            length = -(-(end - begin) // STEP_FRAMES)
            sums = np.zeros((length, window.arrays["logits"].shape[1]), np.float32)
            weights = np.zeros((length, 1), np.float32)
        at = (window.arrays["start_frame"] - begin) // STEP_FRAMES
        logits = window.arrays["logits"][: length - at]
        weight = triangle(len(window.arrays["logits"]))[: length - at, None]
        sums[at : at + len(logits)] += weight * logits
        weights[at : at + len(logits)] += weight
    steps = (end - begin) / STEP_FRAMES
    return window._replace(offset=begin / STEP_FRAMES, num_features=steps, arrays={"logits": sums / weights})


def localize(config, shot):
    """Candidate segments of one shot: see `ops.runs.likely_runs`.

    Args:
      config: the run's config.
      shot: Decoded, see `joined`.

    Returns:
      (segments (M, 2) in steps of the shot, classes (M,), scores (M,)).
    """
    logits = smoothed(shot.arrays["logits"], config.decode.smoothing)
    cas = probabilities(config, logits, np)
    most, num_frames = config.decode.max_classes, len(cas) * STEP_FRAMES
    segments_frame, classes, scores = likely_runs(config.localize, most, cas, num_frames)
    segments = np.minimum(segments_frame / STEP_FRAMES, shot.num_features)  # the last step may be cut short
    real = segments[:, 0] < segments[:, 1]
    return segments[real], classes[real], scores[real]


def deployment(config):
    """Raises DataError: a run of this system cannot be exported."""
    raise DataError(
        f"A run of the system '{config.system}' cannot be exported, because it looks for the cuts of videos; "
        "use tal_jax.load_run."
    )
