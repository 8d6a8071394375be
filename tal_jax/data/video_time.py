"""The time axis of a video: when each of its pictures comes on the screen, from the time stamps in the file.

Players count from the zero of the container, so a picture has the time of its stamp there, and stays until
the next one comes. A recorder's clock may jump, and two files may be joined byte by byte; such a step is no
time that has passed.
"""

import dataclasses

import numpy as np

HELD_BACK = 16  # pictures that a decoder may put into another order
ORDINARY_STEPS = 10  # a step of at most so many median ones is never asked about
LONGEST_GAP_SEC = 600.0  # without a picture that is believed, where a file holds a time line
# where a file holds the sender's clock (TS, VOB): as ffmpeg, whose -dts_delta_threshold is 10
LONGEST_CLOCK_GAP_SEC = 10.0
TOLD_SEC = 0.25  # what is shorter is not worth a word


@dataclasses.dataclass(frozen=True)
class TimeAxis:
    """Times of the N coded pictures of a video.

    Attributes:
        times_sec: (N,) float64, in file order, from the zero of the container.
        step_sec: median of the steps from one to the next.
        notes: what is uncommon about them, phrases for a person.
        is_counted: whether there are no stamps; the times are then those of pictures in the order in which
            they are shown.
    """

    times_sec: np.ndarray
    step_sec: float
    notes: tuple[str, ...]
    is_counted: bool = False

    def duration_sec(self, last_sec):
        """Length of the video, whose last picture stays for `last_sec` seconds (0: it does not say)."""
        known = 0 < last_sec <= ORDINARY_STEPS * self.step_sec
        return round(float(self.times_sec.max() + (last_sec if known else self.step_sec)), 6)

    def commonest_fps(self):
        """The rate of most of the time: the mean of the steps that are between half and twice the median."""
        steps = np.diff(np.sort(self.times_sec))
        steps = steps[(steps > self.step_sec / 2) & (steps < 2 * self.step_sec)]
        return round(1 / float(steps.mean() if len(steps) else self.step_sec), 6)


def time_axis(
    decode_sec, show_sec, sound_sec, start_sec, longest_gap_sec=LONGEST_GAP_SEC, has_zero=True, counted_fps=25
):
    """The TimeAxis of the pictures of a video, from the stamps of its packets.

    A step of at most `ORDINARY_STEPS` medians is believed. So is a longer one, in which the last picture
    stays, of up to `longest_gap_sec`, or of any length if there is sound in the middle of it. A still longer
    one, and one back in time, is a jump of the clock: it counts as one median step. A lost picture whose
    packet is still in the file is no gap, as the packet has a stamp.

    Args:
        decode_sec: (N,) decoding stamps of the packets in file order, N > 0; NaN where there is none.
        show_sec: (N,) stamps of their pictures; NaN where there is none.
        sound_sec: (M,) stamps of the packets of sound, in any order; NaN where there is none.
        start_sec: the earliest stamp in the container, as it says.
        longest_gap_sec: the longest step that is believed without sound.
        has_zero: whether the zero of the container means the beginning; a sender's clock has none, and
            `start_sec` is its zero.
        counted_fps: rate at which pictures are counted if they have no stamps.

    Returns:
        TimeAxis.
    """
    decode_sec, show_sec, held_sec = _filled(decode_sec, show_sec)
    steps = np.diff(decode_sec)
    if not (steps > 0).any():  # nor where they are NaN
        note = f"pictures have no time stamps and are counted at {counted_fps:.4g} fps"
        return TimeAxis(np.arange(len(show_sec)) / counted_fps, 1 / counted_fps, (note,), is_counted=True)
    step = float(np.median(steps[steps > 0]))
    longest = max(ORDINARY_STEPS * step, longest_gap_sec)

    def is_jump(start, end):
        """Whether the clock jumped between two stamps."""
        length = end - start
        in_the_middle = (sound_sec >= start + length / 4) & (sound_sec < end - length / 4)
        return length < -HELD_BACK * step or (length > longest and not in_the_middle.any())

    zero = start_sec if not has_zero or abs(start_sec) < HELD_BACK * step else 0.0
    back = np.flatnonzero(steps < -HELD_BACK * step)
    jumps_sec, times_sec, end_sec = list(-steps[back]), np.empty(len(show_sec)), None
    for part in np.split(np.arange(len(show_sec)), back + 1):  # between steps back in time
        wrong = part[_is_ahead(show_sec[part], longest)]
        show_sec[wrong] = decode_sec[wrong] + held_sec
        order = part[np.argsort(show_sec[part], kind="stable")]
        shown_sec = show_sec[order]
        first_sec = shown_sec[0] - zero if end_sec is None else end_sec + step
        if end_sec is None and is_jump(zero, shown_sec[0]):
            jumps_sec.append(abs(first_sec))
            first_sec = 0.0
        far = np.flatnonzero(np.diff(shown_sec) > longest)
        far = np.array([at for at in far if is_jump(shown_sec[at], shown_sec[at + 1])], int)
        jumped_sec = np.zeros(len(part))
        jumped_sec[far + 1] = shown_sec[far + 1] - shown_sec[far] - step
        jumps_sec += (jumped_sec[far + 1] + step).tolist()
        times_sec[order] = shown_sec - shown_sec[0] + first_sec - np.cumsum(jumped_sec)
        end_sec = times_sec[order[-1]]
    notes = _notes(np.sort(times_sec), step)
    if jumps_sec:
        often = "once" if len(jumps_sec) == 1 else f"{len(jumps_sec)} times"
        notes += (f"the clock jumps {often}, by up to {max(jumps_sec):.1f} s, which do not count",)
    return TimeAxis(times_sec, step, notes)


def _filled(decode_sec, show_sec):
    """Both stamps (N,), NaN filled in if half of the packets have one; and the median time between them."""
    decode_sec = np.where(np.isnan(decode_sec), show_sec, decode_sec)
    number, stamped = np.arange(len(decode_sec)), ~np.isnan(decode_sec)
    if stamped.mean() < 0.5:
        return np.full_like(decode_sec, np.nan), show_sec, 0.0
    decode_sec = np.interp(number, number[stamped], decode_sec[stamped])
    held_sec = show_sec - decode_sec
    held_sec = 0.0 if np.isnan(held_sec).all() else float(np.nanmedian(held_sec))
    return decode_sec, np.where(np.isnan(show_sec), decode_sec + held_sec, show_sec), held_sec


def _is_ahead(show_sec, longest_sec):
    """(N,) bool: whether a stamp is far later than one decoded long after it, and so wrong by itself."""
    padded = np.append(show_sec, np.full(HELD_BACK, np.inf))
    least_after_sec = np.minimum.accumulate(padded[::-1])[::-1][HELD_BACK:]
    return show_sec - least_after_sec > longest_sec


def _notes(times_sec, step_sec):
    """Phrases on what is uncommon about (N,) sorted times: a late start, a rate that varies, gaps."""
    notes, steps = (), np.diff(times_sec)
    if times_sec[0] > TOLD_SEC:
        notes += (f"pictures begin {times_sec[0]:.1f} s late, the first one stands in",)
    ordinary = steps <= ORDINARY_STEPS * step_sec
    gaps = steps[~ordinary & (steps > TOLD_SEC)]
    _, second = np.unique(np.floor(times_sec[:-1][ordinary]), return_inverse=True)
    lasted = np.bincount(second, steps[ordinary])
    if len(lasted) and (lasted > 0).all():
        rates = np.bincount(second) / lasted
        if rates.max() > 1.25 * rates.min():
            notes += (f"rate varies {rates.min():.2g} to {rates.max():.2g} fps",)
    if len(gaps):
        without_sec = gaps.sum() - step_sec * len(gaps)
        notes += (f"{without_sec:.1f} s have no pictures, the last one before stands in",)
    return notes


def undecoded_note(axis, decoded_sec):
    """Phrase on the time whose pictures could not be decoded.

    Args:
        axis: TimeAxis of the coded pictures.
        decoded_sec: (M,) ascending times of the decoded ones, M > 0.

    Returns:
        Tuple of a phrase, or empty.
    """
    coded_sec = np.sort(axis.times_sec)
    before = np.append(coded_sec[0] - axis.step_sec, decoded_sec)
    after = np.append(decoded_sec, coded_sec[-1] + axis.step_sec)
    half = axis.step_sec / 2
    lost = np.searchsorted(coded_sec, after - half) - np.searchsorted(coded_sec, before + half)
    sec = np.sum((after - before - axis.step_sec)[lost > 2])
    return (f"{sec:.1f} s could not be decoded, the last picture stands in",) if sec > TOLD_SEC else ()


def on_screen(pictures, times_sec, early_sec):
    """The picture on the screen at each wanted time. One that stays is repeated, one that nobody sees is left
    out. Two pictures are held at a time.

    Args:
        pictures: iterable of (time in seconds, picture), ascending.
        times_sec: the wanted times, ascending.
        early_sec: a picture counts from so much before its time, for stamps are rounded.

    Yields:
        (time, picture) for each wanted time; before the first picture, the first one. Nothing if there are no
        pictures.
    """
    pictures = iter(pictures)
    current = following = next(pictures, None)
    for wanted_sec in times_sec if current else ():
        while following is not None and following[0] <= wanted_sec + early_sec:
            current, following = following, next(pictures, None)
        yield current
    for _ in pictures:
        pass  # to the end, so that damage after the last wanted time is met too
