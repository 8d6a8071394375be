"""Detects actions with a file of `--mode=export`: this module is copied beside it.

It needs jax, numpy, and flatbuffers, with which jax reads programs. Runs whose segments `ops.localize` finds
(ECM, KT-MGFN, the linear probe) also need the folder `tal_jax/ops`, in a folder `tal_jax` beside this module.

    detector = load("sbhar_demo.zip")
    detector.detect(samples)  # [{"label", "segment": [start_sec, end_sec], "score"}]

    stream = Stream(detector)
    stream.push(samples)  # the detections that are final by now
    stream.finish()  # the rest
"""

import collections
import contextlib
import functools
import io
import json
import math
import types
import zipfile

import jax
import numpy as np
from jax import export

FORMAT = "tal_jax export 2"
FEWEST_ROWS = 64  # of a suppression, which is compiled for each power of two from here on
HELD_WINDOWS = 8  # windows after which a detection of a Stream waits no longer
NUM_BANDS = 6
MIN_POWER = 1e-5  # of a channel that stands still
LARGEST = 1e15  # of a value that counts: its square is a float32
UNFIT = "The programs of the file cannot run with its weights, or with this jax; export the run again"
MOST_INFLATED, SMALL = 100, 1 << 24  # times the size of a part in the zip file; bytes that need no check


def load(path):
    """The Detector of a file. Raises ValueError for one that is damaged, or no export of tal_jax."""
    with _told(f"{path} is damaged, or no file of --mode=export"):
        with zipfile.ZipFile(path) as file:
            about = json.loads(_part(file, "about.json"))
            if about["format"] != FORMAT:
                raise ValueError(
                    f"its format is '{about['format']!s:.60}', not '{FORMAT}'; export the run again"
                )
            names = [f"network_{length}.stablehlo" for length in about["windows"]["lengths"]]
            if "localize" not in about:
                names.append("suppress.stablehlo")
            programs = {name: export.deserialize(bytearray(_part(file, name))) for name in names}
            with np.load(io.BytesIO(_part(file, "weights.npz")), allow_pickle=False) as arrays:
                for name in arrays.files:
                    _require_small(arrays.zip, f"{name}.npy")
                weights = [arrays[str(i)] for i in range(len(arrays.files))]
        _require_usable(about, weights)
        detector = Detector(about, programs, weights)
        detector.require_frames()
        return detector


class ExportError(ValueError):
    """One sentence for the user."""


@contextlib.contextmanager
def _told(what):
    """Whatever is raised becomes a ValueError of one sentence, which `what` begins."""
    try:
        yield
    except ExportError:
        raise
    except FileNotFoundError as error:
        raise ExportError(f"There is no file {error.filename}.") from error
    except ImportError as error:
        raise ExportError(f"A package is missing: {error}.") from error
    except Exception as error:  # a damaged file leads zipfile, NumPy and JAX to almost anything
        found = f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(".")
        raise ExportError(f"{what} ({found:.200}).") from error


def _part(file, name):
    """The bytes of a part of a zip file, see `_require_small`."""
    _require_small(file, name)
    return file.read(name)


def _require_small(file, name):
    """Raises ValueError for a part of a zip file that takes over MOST_INFLATED times its size in the file."""
    size = file.getinfo(name)
    if size.file_size > max(SMALL, MOST_INFLATED * size.compress_size):
        raise ValueError(f"{name} would take {size.file_size} bytes")


def _require_usable(about, weights):
    """Raises ValueError for numbers with which a Detector would find nothing, or the wrong things."""
    windows, scales, timelines = about["windows"], about["prepare"]["channel_scales"], about["times"].values()
    usable = {
        "classes": all(isinstance(name, str) for name in about["classes"]) and type(about["classes"]) is list,
        "windows": min(windows["lengths"]) >= 1 and windows["batch"] >= 1 and windows["stride"] >= 0,
        "times": all(0 <= number < math.inf for timeline in timelines for number in timeline.values()),
        "fps": all(timeline["fps"] > 0 for timeline in timelines),
        "stride_frames": all(timeline["stride_frames"] > 0 for timeline in timelines),
        "channel_scales": all(1 / LARGEST < abs(scale) < LARGEST for scale in scales),
        "channel_offsets": all(abs(offset) < LARGEST for offset in about["prepare"]["channel_offsets"]),
        "most": about["suppression"]["most"] >= 0,
        "weights": all(np.isfinite(array).all() for array in weights),
    }
    if "localize" in about:
        usable |= _usable_rule(about["localize"], about["suppression"], windows)
    for name in (name for name, holds in usable.items() if not holds):
        raise ValueError(f"its {name} cannot be used")


def _usable_rule(rule, suppression, windows):
    """{name: whether the numbers can be used} of a run whose segments a rule finds."""
    numbers = suppression | {name: value for name, value in rule.items() if not isinstance(value, str)}
    usable = {name: all(0 <= number < math.inf for number in np.ravel(numbers[name])) for name in numbers}
    for name in {"tiou", "smoothing", "max_classes"} & numbers.keys():
        usable[name] &= numbers[name] > 0
    usable["thresholds"] &= len(rule["thresholds"]) > 0 and max(rule["thresholds"]) <= 1
    usable["min_probability"] &= rule["min_probability"] <= 1
    seen = rule["snippets"] or rule["window_frames"]
    return usable | {"lengths": windows["lengths"] == [seen]}


def _host_modules():
    """Those of `tal_jax.ops` that a rule needs. Raises ImportError, which says what to do, without them."""
    try:
        from tal_jax.ops import localize, nms, snippets  # most runs need nothing of tal_jax
    except (ImportError, SyntaxError) as error:
        why = str(error)
    else:
        if getattr(localize, "FORMAT", "") == FORMAT:
            return localize, nms, snippets
        why = f"{localize.__file__} is of another version than {__file__}"
    what = "tal_jax/ops, which finds the segments of a run of this system; copy that folder too, into a"
    raise ImportError(f"{what} folder tal_jax where Python finds it, as beside runtime_export.py ({why})")


# Scored segments of a recording: float64 (M, 2), int (M,) from 0 on, float (M,).
Candidates = collections.namedtuple("Candidates", "segments_sec classes scores")


def rescored(found, scores):
    """Candidates with new scores (M,), without those whose new score is 0."""
    return Candidates(*(array[scores > 0] for array in found._replace(scores=scores)))


class Detector:
    """A trained run.

    Attributes:
      about: what about.json in the file says, a dict: input, times, windows, thresholds, versions.
      classes: names in index order.
    """

    def __init__(self, about, programs, weights):
        """about: see the class; programs: file name -> jax.export.Exported; weights: list of arrays."""
        self.about, self.classes = about, tuple(about["classes"])
        self._windows, self._suppression = about["windows"], about["suppression"]
        names = {length: f"network_{length}.stablehlo" for length in self._windows["lengths"]}
        self._networks = {length: jax.jit(programs[name].call) for length, name in names.items()}
        self._takes = {length: programs[name].in_avals[-1].shape[0] for length, name in names.items()}
        self._settings = about.get("localize")
        if self._settings:
            self._localize, self._nms, self._snippets = _host_modules()
            if self._settings["rule"] not in self._localize.RULES:
                raise ValueError("its rule cannot be used")
        else:
            self._suppress = jax.jit(programs["suppress.stablehlo"].call)
        self._weights = jax.device_put(weights)

    def detect(self, samples):
        """Finds actions in one recording: what `--mode=predict` writes of it.

        Args:
          samples: (T, C) numbers as the files of the data set hold them, or (T, H, W, C) uint8 pictures;
            `about["input"]` says which, and how many a second.

        Returns:
          A list of {"label": name of a class, "segment": [start_sec, end_sec], "score"}, in predict's order.

        Raises:
          ValueError: one sentence, for samples of another shape, NaN or too large, too few or too many.
        """
        samples, needed = self.checked(samples), self.about["prepare"]["samples_per_frame"]
        if len(samples) < needed:
            raise ValueError(f"There are {len(samples)} samples, fewer than the {needed} of one frame.")
        frames, duration_sec = as_frames(samples, self.about["prepare"]), self.duration_sec(len(samples))
        lengths, stride = self._windows["lengths"], self._windows["stride"]
        if self._settings:
            with _told("The rule of the file cannot be used with its programs; export the run again"):
                return self.results(self._found_by_rule(frames), duration_sec)
        length = next((length for length in lengths if length >= len(frames)), lengths[-1])
        if not stride and length < len(frames):
            longest = f"{self.to_seconds(length):.6g} s"
            raise ValueError(f"The recording lasts longer than {longest}, the most that this file takes.")
        offsets = window_offsets(len(frames), length, stride or length)
        found = self.candidates(((offset, frames[offset : offset + length]) for offset in offsets), length)
        picked, _ = self.suppressed(found, np.zeros(len(found.scores), bool))
        return self.results(rescored(found, picked), duration_sec)

    def require_frames(self):
        """Raises an exception if samples cannot become frames of the network, or have no times."""
        prepare, frame = self.about["prepare"], tuple(self.about["frame"]["shape"])
        shape = 2 * max(prepare["samples_per_frame"], 1), *self.about["input"]["shape"]
        frames = as_frames(np.zeros(shape, np.float32), prepare)
        if frames.shape != (2, *frame) or not np.isfinite([self.to_seconds(0), self.duration_sec(1)]).all():
            raise ValueError(f"frames of the shape {frames.shape[1:]} do not fit its networks")

    def checked(self, samples, gaps=True):
        """The samples as an array. Raises ValueError for another shape or type, for NaN and beyond LARGEST.

        gaps: whether NaN may be there where the run was trained to fill it.
        """
        with _told("The samples are no array of numbers"):
            if np.ma.isMaskedArray(samples):
                samples = samples.astype(np.float32).filled(np.nan)
            samples, shape = np.asarray(samples), tuple(self.about["input"]["shape"])
        fits = samples.dtype == np.uint8 if len(shape) > 1 else samples.dtype.kind in "fiu"
        if samples.shape[1:] != shape or not fits:
            found = f"The samples have the shape {samples.shape} and the type {samples.dtype}"
            each = self.about["input"]["what"]
            raise ValueError(f"{found}; they must be an array, a row of it a sample, which is {each}.")
        if samples.dtype.kind != "f" and len(shape) == 1:
            samples = samples.astype(np.float32)
        finite = finite_values(samples)
        if not finite.all() and not (gaps and self.about["prepare"]["fill_missing"] and finite.any()):
            raise ValueError(f"Sample {finite.all(axis=1).argmin()}, from 0 on, is NaN or beyond 1e15.")
        return samples

    def to_seconds(self, frames):
        """Seconds of positions in frames of the recording, any shape: float64."""
        return to_seconds(frames, **self.about["times"]["frames"])

    def duration_sec(self, num_samples):
        """How many seconds so many samples last."""
        return seen_sec(num_samples, **self.about["times"]["samples"])

    def candidates(self, windows, length, batch=0):
        """The Candidates that the network finds in windows, in their order, before suppression.

        Not of a run with a rule, whose network finds none.

        Args:
          windows: iterable of (first frame, frames (T, …), T up to `length`).
          length: frames of the network's windows; shorter ones are padded.
          batch: how many windows a call has, if the program takes any number; 0: as many as in predict.
        """
        parts = [(np.zeros((0, 2)), np.zeros(0, int), np.zeros(0, np.float32))]
        windows = ((offset, len(frames), frames) for offset, frames in windows)
        for offset, _, found in self._outputs(windows, length, batch):
            kept = found["scores"] > 0
            segments, classes, scores = (found[key][kept] for key in ("segments", "classes", "scores"))
            parts.append((self.to_seconds(segments + offset), classes, scores))
        return Candidates(*map(np.concatenate, zip(*parts)))

    def _outputs(self, windows, length, batch=0):
        """(first frame, number of frames, arrays) of each window, what the network says of it.

        windows: iterable of (first frame, number of frames, inputs (T, …), T up to `length`).
        """
        frame, takes, windows = self.about["frame"], self._takes[length], iter(windows)
        batch = takes if isinstance(takes, int) else batch or self._windows["batch"]
        while group := [window for _, window in zip(range(batch), windows)]:
            inputs = np.full((batch, length, *frame["shape"]), frame["padding"], frame["dtype"])
            num_frames = np.zeros(batch, np.int32)
            for i in range(batch):  # as in predict, the first window fills the batch
                _, num_frames[i], own = group[i if i < len(group) else 0]
                inputs[i, : len(own)] = own
            with _told(UNFIT):
                found = jax.device_get(self._networks[length](self._weights, inputs, num_frames))
            for i, (offset, number, _) in enumerate(group):
                yield offset, number, {key: array[i] for key, array in found.items()}

    def _found_by_rule(self, frames):
        """The Candidates that a rule of `tal_jax.ops.localize` finds in a recording, after greedy NMS."""
        rules, settings, windows = self._localize, types.SimpleNamespace(**self._settings), self._windows
        size, snippets = settings.window_frames or len(frames), self._snippets.window_snippets
        parts = (
            (offset, frames[offset : offset + size])
            for offset in window_offsets(len(frames), size, windows["stride"] or size)
        )
        seen = lambda part: snippets(settings, part) if settings.snippets else part
        inputs = ((offset, len(part), seen(part)) for offset, part in parts)
        outputs, found = self._outputs(inputs, windows["lengths"][0]), []
        if settings.joined:
            cas = rules.whole_cas(outputs)
            outputs = [(0, len(cas), {"cas": cas})]
        localize = functools.partial(rules.RULES[settings.rule], settings)
        for offset, number, arrays in outputs:
            stride_frames = self.about["times"]["frames"]["stride_frames"]
            segments, *rest = rules.in_features(localize, arrays, number, stride_frames)
            found.append((self.to_seconds(segments + offset), *rest))
        found, limits = Candidates(*map(np.concatenate, zip(*found))), self._suppression
        limits = limits["tiou"], limits["extra_sec"]
        kept = self._nms.hard_nms(found.segments_sec, found.scores, *limits, groups=found.classes)
        return Candidates(*(array[kept] for array in found))

    def suppressed(self, found, is_open):
        """Soft-NMS of Candidates (M,). is_open: (M,) bool, which ones later candidates may overlap.

        Gives (M,) final scores, and (M,) scores so far of what waits for later candidates; 0 elsewhere.
        """
        together = self._suppression["together"]
        groups = found.classes * (not together)
        counts = np.bincount(groups, minlength=1 if together else len(self.classes))
        order, columns = np.argsort(groups, kind="stable"), np.empty(len(groups), int)
        columns[order] = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
        shape = len(counts), max(FEWEST_ROWS, 1 << (int(counts.max()) - 1).bit_length())
        arrays = np.zeros((*shape, 2), np.float32), np.zeros(shape, np.float32), np.zeros(shape, bool)
        for array, values in zip(arrays, (found.segments_sec, found.scores, is_open)):
            array[groups, columns] = values
        with _told(UNFIT):
            return [array[groups, columns] for array in jax.device_get(self._suppress(*arrays))]

    def results(self, found, duration_sec):
        """Candidates after suppression as `detect` returns them: sorted, cut to the recording, with names."""
        order = np.argsort(found.classes, kind="stable")
        if most := self._suppression["most"]:
            order = order[np.argsort(-found.scores[order], kind="stable")[:most]]
        segments = np.clip(found.segments_sec, 0, duration_sec)
        order = order[segments[order, 1] > segments[order, 0]]
        fields = zip(found.classes[order], segments[order].tolist(), found.scores[order].tolist())
        return [{"label": self.classes[k], "segment": times, "score": score} for k, times, score in fields]


class Stream:
    """Detections of a recording that goes on, each as soon as it is final.

    A window is seen when its last sample has come. What later windows find begins where the next one begins,
    or later. So a segment that ends before that is final, unless a better one of its class overlaps it and is
    not final: then it waits for that one. So all is as `Detector.detect` finds it in the whole recording, but
    for its last window and what overlaps that: there it is flush with the end, here on the grid and padded.
    Memory does not grow with the recording: what has waited for `HELD_WINDOWS` windows is final, with all
    that is found by then; the next window may find an action of these again. A detection is final at most
    `latency_sec`, a window, after its end, unless it waits.
    """

    def __init__(self, detector):
        """detector: a Detector. Raises ValueError for one whose detections need the whole recording."""
        about, windows, prepare = detector.about, detector.about["windows"], detector.about["prepare"]
        if "localize" in about:
            found = (
                f"The run {about['name']} cannot see a stream: its segments are found in a whole recording"
            )
            raise ValueError(f"{found}; use Detector.detect.")
        reasons = {
            "its network sees a recording as a whole": not windows["stride"],
            "its channels are standardised over a recording": prepare["standardised"],
            "its suppression leaves out the last candidate": not about["suppression"]["keep_last"],
            "its suppression keeps the best of a recording": about["suppression"]["most"],
        }
        for reason in (reason for reason, holds in reasons.items() if holds):
            raise ValueError(f"The run {about['name']} cannot see a stream: {reason}; use Detector.detect.")
        self._detector, self._prepare, self._stride = detector, prepare, windows["stride"]
        self._length, self._per_frame = windows["lengths"][0], prepare["samples_per_frame"]
        before = max((prepare["statistics_samples"] - self._per_frame) // 2, 0)
        self._back = -(-before // self._per_frame)  # frames before a window whose samples describe it too
        self._ahead = max(prepare["statistics_samples"] - before - self._per_frame, 0)  # samples after it
        self._samples = np.zeros((0, *about["input"]["shape"]), np.uint8)  # that windows still need
        self._first = self._next = self._seen = 0  # of these, of the next window; end of the last window
        self._found, self._ended = detector.candidates((), self._length), False
        self.latency_sec = detector.duration_sec(self._length * self._per_frame + self._ahead)

    def push(self, samples):
        """Takes the next samples, any number of them, of the shape that `Detector.detect` takes.

        Returns the detections that have become final, as of `detect`. Raises ValueError for samples of
        another shape, for NaN and beyond LARGEST, and for a stream that is finished.
        """
        if self._ended:
            raise ValueError("The stream is finished; make a new one.")
        samples, final = self._detector.checked(samples, gaps=False), []
        self._samples = np.concatenate([self._samples, samples])
        end = lambda: (self._next + self._length) * self._per_frame + self._ahead
        while end() <= self._first + len(self._samples):
            self._see(end())
            final += self._settled(self._detector.to_seconds(self._next), math.inf)
        return final

    def finish(self):
        """Ends the stream. Returns the detections that were not final before its end."""
        self._ended, num_samples = True, self._first + len(self._samples)
        while num_samples // self._per_frame > max(self._seen, self._next):
            self._see(num_samples)
        return self._settled(math.inf, self._detector.duration_sec(num_samples))

    def _see(self, end):
        """Runs the network on the next window; the samples before index `end` are there."""
        begin = max(self._next - self._back, 0)
        rows = self._samples[begin * self._per_frame - self._first : end - self._first]
        frames = as_frames(rows, self._prepare)[self._next - begin :][: self._length]
        new = self._detector.candidates([(self._next, frames)], self._length, 1)
        self._found = Candidates(*map(np.concatenate, zip(self._found, new)))
        self._seen, self._next = self._next + len(frames), self._next + self._stride
        done = min(max(self._next - self._back, 0) * self._per_frame - self._first, len(self._samples))
        self._samples, self._first = self._samples[done:].copy(), self._first + done

    def _settled(self, horizon_sec, duration_sec):
        """The detections that nothing which begins at the horizon or later can change; keeps the rest."""
        ends_sec = self._found.segments_sec[:, 1]
        overdue = (ends_sec < horizon_sec - HELD_WINDOWS * self.latency_sec).any()
        # Suppression is in float32, which has too few digits for seconds since days.
        begin_sec = math.floor(self._found.segments_sec.min()) if len(ends_sec) else 0
        recent = self._found._replace(segments_sec=self._found.segments_sec - begin_sec)
        picked, waiting = self._detector.suppressed(recent, (ends_sec > horizon_sec) & ~overdue)
        final = self._detector.results(rescored(self._found, picked), duration_sec)
        self._found = rescored(self._found, waiting)
        return final


def window_offsets(num_frames, window, stride):
    """AFSD: first frames of the windows over a recording: 0, stride, ..., and one flush with the end.

    A recording no longer than the window has one window at 0; a window of 0 frames is as long as it.
    """
    window = window or num_frames
    last = max(num_frames - window, 0)
    return [*range(0, last, stride), last]


def to_seconds(cells, fps, stride_frames, snippet_frames):
    """Seconds of positions on the feature axis of a recording, any shape, see `data.timeline.Timeline`.

    float64. The order of operations counts: of segments on a grid many tIoUs are equal to the limit of NMS.
    """
    return ((np.asarray(cells, np.float64) - 0.5) * stride_frames + snippet_frames / 2) / fps


def seen_sec(num_features, fps, stride_frames, snippet_frames):
    """Seconds from the first frame that the first feature has seen to the last that the last one has."""
    return ((num_features - 1) * stride_frames + snippet_frames) / fps


def as_frames(samples, settings):
    """The frames that a network sees: samples scaled, gaps filled, folded or described, perhaps standardised.

    (T, C) -> (T // samples_per_frame, C'). settings: `config.data`, or a dict of the fields named below.
    """
    for field, apply in (("channel_offsets", np.subtract), ("channel_scales", np.divide)):
        samples = apply(samples, np.float32(settings[field])) if len(settings[field]) else samples
    if settings["fill_missing"]:
        missing = ~finite_values(samples)
        samples = np.column_stack([filled(samples), missing.mean(axis=1, dtype=np.float32)])
    per_frame, span, described = settings["samples_per_frame"], settings["statistics_samples"], []
    if span:
        described = [sample_statistics(samples, per_frame, span)]
    if settings["samples_beside"] or not described and per_frame > 1:
        described.append(fold_samples(samples, per_frame))
    frames = np.concatenate(described, axis=1) if len(described) > 1 else [*described, samples][0]
    return standardise(frames) if settings["standardised"] else frames


def fold_samples(signal, samples_per_frame):
    """Makes r samples one frame: (T, C) -> (T//r, r*C), a view if possible; T % r at the end are dropped."""
    num_frames = len(signal) // samples_per_frame
    return signal[: num_frames * samples_per_frame].reshape(num_frames, samples_per_frame * signal.shape[1])


def sample_statistics(signal, samples_per_frame, span):
    """Hand-made features of the samples around each frame, which unlike samples can be averaged over time.

    (T, C) samples, r of them from one frame to the next -> (T//r, C * (2 + bands)) float32: for each channel
    the mean, and log10(1 + power / MIN_POWER) of the variance and of bands of frequency that get wider and
    wider, `NUM_BANDS` of them or as many as the span can tell apart. The `span` samples around the middle of
    a frame count; at the ends of the signal its first and last sample are repeated.
    """
    num_frames = len(signal) // samples_per_frame
    before = max((span - samples_per_frame) // 2, 0)
    padded = np.pad(np.asarray(signal, np.float32), ((before, span), (0, 0)), mode="edge")
    spans = np.lib.stride_tricks.sliding_window_view(padded, span, axis=0)
    spans = spans[: num_frames * samples_per_frame : samples_per_frame]
    mean = spans.mean(axis=-1)  # (T, C)
    power = np.square(np.abs(np.fft.rfft(spans - mean[..., None], axis=-1)[..., 1:])) / span**2
    bands = np.add.reduceat(power, band_edges(power.shape[-1])[:-1], axis=-1)  # (T, C, bands)
    rest = np.log10(1 + np.concatenate([power.sum(axis=-1, keepdims=True), bands], axis=-1) / MIN_POWER)
    return np.concatenate([mean[..., None], rest], axis=-1).reshape(num_frames, -1).astype(np.float32)


def band_edges(num_frequencies):
    """Indices of the first frequency of each band, and one past the last."""
    return np.unique(np.round(np.geomspace(1, num_frequencies + 1, NUM_BANDS + 1)).astype(int)) - 1


def standardise(features):
    """(T, C) float32: each channel with mean 0 and deviation 1, or 0 if it does not vary (by 1e-6).

    What is the same all over a recording is lost: a short one of a single activity looks unlike a long one
    that holds it too. Values that `finite_values` leaves out do not count, and stay where they are.
    """
    finite = finite_values(features)
    with np.errstate(over="ignore", invalid="ignore"):  # of values that are not finite
        centred = features - np.mean(features, axis=0, dtype=np.float64, where=finite)
        deviation = np.std(centred, axis=0, where=finite)
        scaled = centred / np.where(deviation > 1e-6, deviation, np.inf)
        return np.where(finite, scaled, features).astype(np.float32)


def filled(samples):
    """Samples (T, C); those that are NaN or beyond LARGEST are on the line between those before and after.

    Those at an end have the value nearest to them; a channel without any has 0. All others stay.
    """
    finite = finite_values(samples)
    if finite.all():
        return samples
    made, places = np.array(samples), np.arange(len(samples))
    for channel in np.flatnonzero(~finite.all(axis=0)):
        there, column = finite[:, channel], made[:, channel]
        column[~there] = np.interp(places[~there], places[there], column[there]) if there.any() else 0
    return made


def finite_values(features):
    """Which values of an array count, neither NaN nor beyond ±LARGEST: an array of bool."""
    return np.isfinite(features) if features.dtype.itemsize == 2 else np.abs(features) <= LARGEST
