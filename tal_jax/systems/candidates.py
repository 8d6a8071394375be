"""From a network's outputs to detections: best candidates of a window and of a recording, suppression."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.data.loader import chunks
from tal_jax.data.timeline import Timeline
from tal_jax.ops.nms import hard_nms, rows_of_each, soft_nms
from tal_jax.readings import reading

NMS_ROWS = 1 << 16  # candidates suppressed in one call
NMS_PICKS = 5000  # that soft-NMS keeps of a class, at most: AFSD's published code

# Open points of suppression that several systems share.
READINGS = {
    "decode.keep_last": (True, False),  # False, published code: the last candidate of a class is lost
}


class Detections(NamedTuple):
    """Scored segments of one recording, on the host."""

    segments_sec: np.ndarray  # (M, 2)
    classes: np.ndarray  # (M,) int, 0-based
    scores: np.ndarray  # (M,)

    def take(self, rows):
        """The Detections in these rows: indices or a mask."""
        return Detections(*(array[rows] for array in self))


class Deployment(NamedTuple):
    """How an exported run detects with its network: windows before it, rules and suppression after it.

    Attributes:
      lengths: what the network takes of a window, frames or snippets; a whole recording is padded to the
        shortest that holds it.
      stride: frames from one window to the next; 0: the network sees a recording as a whole.
      suppression: the options `keep_last` and `keep_best` of `ops.nms.soft_nms`, beside those of `decode`;
        with `localize`, `tiou` and `extra_sec` of `ops.nms.hard_nms`.
      together: whether all classes of a recording suppress each other.
      most: of a recording; 0: no limit. Then the best come first; else they come class by class.
      localize: of a system that finds its segments on the host: the name of a rule of `ops.localize`, its
        settings; `joined`, whether it takes the activations of all windows as one; `window_frames`, those of
        a recording in a window (0: all); `snippets` and `sampling`, as `config.window` has them. Else empty.
    """

    lengths: tuple[int, ...]
    stride: int
    suppression: dict
    together: bool = False
    most: int = 0
    localize: Mapping = MappingProxyType({})


NOTHING = Detections(np.zeros((0, 2)), np.zeros(0, int), np.zeros(0))


def best_of_window(config, segments, scores, most=None):
    """The best candidates of each window, on the device.

    Args:
      config: the run's config; scores up to `decode.min_score` become 0.
      segments: (B, N, 2) in frames of the window.
      scores: (B, N, K), background left out; 0 where there is no candidate.
      most: P at most; None: `decode.max_per_window`.

    Returns:
      dict of arrays in the order of N: segments (B, P, 2), classes (B, P) int, scores (B, P).
    """
    size, _, num_classes = scores.shape
    flat, most = scores.reshape(size, -1), most or config.decode.max_per_window
    _, best = jax.lax.top_k(flat, min(most, flat.shape[1]))
    best = jnp.sort(best, axis=1)
    scores = jnp.take_along_axis(flat, best, axis=1)
    segments = jnp.take_along_axis(segments, (best // num_classes)[..., None], axis=1)
    scores = jnp.where(scores > config.decode.min_score, scores, 0.0)
    return {"segments": segments, "classes": best % num_classes, "scores": scores}


def of_windows(windows, timeline, find):
    """Detections of a recording from those of its windows.

    Args:
      windows: iterable of data.windows.Decoded. The array "timeline" of one whose features were resized, the
        three fields of a Timeline, says where they lie.
      timeline: Timeline of the recording.
      find: (Decoded) -> segments (M, 2) in features of the window, classes (M,), scores (M,).
    """
    parts = [NOTHING]
    for window in windows:
        segments, classes, scores = find(window)
        if len(scores):  # hours without a candidate take no memory
            resized = window.arrays.get("timeline")
            own = timeline if resized is None else Timeline(*resized)
            parts.append(Detections(own.to_seconds(segments + window.offset), classes, scores))
    return Detections(*map(np.concatenate, zip(*parts)))


def detections(config, windows, timeline):
    """Detections of a recording from what `best_of_window` gives of each window; see interface.System."""
    del config

    def find(window):
        kept = window.arrays["scores"] > 0
        return [window.arrays[key][kept] for key in ("segments", "classes", "scores")]

    return of_windows(windows, timeline, find)


def deployment(config, keep_last=None):
    """The Deployment of a system whose windows are a grid, with `detections` and `suppress_soft` of this
    module.

    keep_last: as for `suppress_soft`.
    """
    if keep_last is None:
        keep_last = reading(config, "decode.keep_last", READINGS)
    suppression = dict(keep_last=keep_last, keep_best=False)
    return Deployment((config.window.frames,), config.window.test_stride_frames, suppression)


def keep_all(config, candidates):
    """No suppression, for a system whose `detections` are suppressed already."""
    del config
    return candidates


def suppress_soft(config, candidates, *, keep_last=None, together=False, top_k=NMS_PICKS, keep_best=False):
    """Soft-NMS over each recording and class, many of them in one compiled call.

    Args:
      config: the run's config (`decode`).
      candidates: dict recording name -> Detections.
      keep_last: see `soft_nms`; None: as the reading `decode.keep_last` says.
      together: whether all classes of a recording suppress each other.
      top_k, keep_best: as for `ops.nms.soft_nms`.

    Returns:
      dict recording name -> Detections, class by class and in input order within a class, with decayed
      scores; suppressed rows left out.
    """
    if keep_last is None:
        keep_last = reading(config, "decode.keep_last", READINGS)
    decode, decayed = config.decode, {name: np.zeros(len(found.scores)) for name, found in candidates.items()}
    groups = {}  # number of rows, rounded up to a power of two -> [(name, rows of a class)]
    for name, found in candidates.items():
        for rows in rows_of_each(0 * found.classes if together else found.classes):
            groups.setdefault(max(64, 1 << (len(rows) - 1).bit_length()), []).append((name, rows))
    for size, members in groups.items():
        for part in chunks(members, max(1, NMS_ROWS // size)):
            count = 1 << (len(part) - 1).bit_length()
            segments, scores = np.zeros((count, size, 2), np.float32), np.zeros((count, size), np.float32)
            for i, (name, rows) in enumerate(part):
                segments[i, : len(rows)] = candidates[name].segments_sec[rows]
                scores[i, : len(rows)] = candidates[name].scores[rows]
            new = soft_nms(
                segments,
                scores,
                sigma=decode.nms_sigma,
                score_floor=decode.nms_floor,
                top_k=top_k,
                keep_last=keep_last,
                keep_best=keep_best,
            )
            for (name, rows), row in zip(part, np.asarray(new)):
                decayed[name][rows] = row[: len(rows)]
    result = {}
    for name, found in candidates.items():
        order = np.argsort(found.classes, kind="stable")
        order = order[decayed[name][order] > 0]
        result[name] = found._replace(scores=decayed[name]).take(order)
    return result


def suppress_hard(config, candidates, extra_sec=0.0):
    """Greedy NMS over each recording and class: what overlaps a better candidate is left out.

    Args:
      config: the run's config (`decode`).
      candidates: dict recording name -> Detections.
      extra_sec: added to lengths and overlaps.

    Returns:
      dict recording name -> Detections, class by class and by falling score within a class.
    """
    limits = config.decode.nms_tiou, extra_sec
    return {
        name: found.take(hard_nms(found.segments_sec, found.scores, *limits, groups=found.classes))
        for name, found in candidates.items()
    }
