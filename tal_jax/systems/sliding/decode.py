"""From logits of snippets to scored segments of a video."""

import itertools

import jax
import numpy as np
import scipy.special

from tal_jax.systems import activations
from tal_jax.systems.candidates import of_windows
from tal_jax.systems.sliding.model import STEP_FRAMES
from tal_jax.systems.sliding.pretrained import class_rows

LIKELY_STEPS = 3  # the mean of a class's best ones, about a second, says how likely the class is


def decode(config, logits):
    """The arrays that `detections` reads of each snippet, on the device.

    Args:
      config: the run's config.
      logits: (B, steps, 400).

    Returns:
      dict of `logits` (B, steps, 400), and `cas` (B, steps, K): probabilities of the K classes asked for.
    """
    return {"logits": logits, "cas": jax.nn.softmax(logits)[..., class_rows(config.classes)]}


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
            sums, weights = np.zeros((length, window.arrays["logits"].shape[1])), np.zeros((length, 1))
        at = (window.arrays["start_frame"] - begin) // STEP_FRAMES
        logits = window.arrays["logits"][: length - at]
        weight = triangle(len(window.arrays["logits"]))[: length - at, None]
        sums[at : at + len(logits)] += weight * logits
        weights[at : at + len(logits)] += weight
    steps = (end - begin) / STEP_FRAMES
    return window._replace(offset=begin / STEP_FRAMES, num_features=steps, arrays={"logits": sums / weights})


def localize(config, shot):
    """Candidate segments of one shot: see `activations.find_runs`, whose sequences are probabilities here.

    Args:
      config: the run's config.
      shot: Decoded, see `joined`.

    Returns:
      (segments (M, 2) in steps of the shot, classes (M,), scores (M,)).
    """
    settings, rows = config.localize, class_rows(config.classes)
    logits = smoothed(shot.arrays["logits"], config.decode.smoothing_steps)
    probabilities = scipy.special.softmax(logits, axis=1)[:, rows].astype(np.float32)  # (S, K)
    best = np.sort(probabilities, axis=0)[-LIKELY_STEPS:].mean(axis=0)
    least = np.sort(best)[-min(config.decode.max_classes, len(best))]
    num_frames = max(round(shot.num_features * STEP_FRAMES), 1)
    segments_frame, classes, scores = activations.find_runs(
        settings,
        max(settings.min_probability, least),
        probabilities,
        best,
        num_frames,
        absolute=True,
    )
    return segments_frame / STEP_FRAMES, classes, scores


def triangle(length):
    """(length,) weights 1, 2, … to the middle and back."""
    place = np.arange(length)
    return np.minimum(place + 1, length - place).astype(np.float64)


def smoothed(sequence, num_steps):
    """(S, K) -> (S, K): the weighted mean of `num_steps` steps around each, the middle counting most.

    The first and the last step stand in for those before and after.
    """
    weights = triangle(num_steps) / triangle(num_steps).sum()
    before = (num_steps - 1) // 2
    padded = np.pad(sequence, ((before, num_steps - 1 - before), (0, 0)), mode="edge")
    return sum(weight * padded[i : i + len(sequence)] for i, weight in enumerate(weights))
