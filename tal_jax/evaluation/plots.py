"""The timeline of one recording: what was detected when, above what was annotated."""

import functools

import matplotlib.colors
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tal_jax.runtime.files import replacing

COLORS = (
    "#4477aa", "#ee7733", "#228833", "#cc3366", "#8866bb",
    "#00889f", "#a5761b", "#d4579e", "#5f7d1f", "#6b6b8d",
)  # fmt: skip
INK, GREY, BAND, GRID = "#22262e", "#7a808c", "#f4f5f7", "#dcdfe4"
TICK_STEPS_SEC = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
SMALLEST_BAR = 1 / 500  # of the time axis: a few seconds stay visible in a day


def draw_timeline(
    path, name, detections, *, truths=None, duration_sec, classes, min_score=0.0, key_frames=None, cas=None
):
    """Draws the detections of one recording as a PNG, with a row for each class that occurs.

    A bar is a detection: the higher its score, the stronger its colour and the taller it is, and it lies over
    those with lower scores. The dark lines under the bars are the ground truth.

    Args:
        path: the PNG file; an interrupted write leaves the old one.
        name: of the recording, the title.
        detections: [{"label", "segment": [start_sec, end_sec], "score"}].
        truths: the annotated `tal_jax.data.annotations.Recording`; None draws the detections alone.
        duration_sec: length of the time axis; None: up to the last end.
        classes: names of all classes: the order of the rows, and a class has its colour in every picture.
            Others come last.
        min_score: detections with a lower score are left out.
        key_frames: (n, H, W, 3) uint8, equally spaced over the recording, for a strip above the rows.
        cas: (times_sec (T,), class activation sequence (T, K)), drawn as a line in each row, each class in
            its own scale.
    """
    shown = sorted((d for d in detections if d["score"] >= min_score), key=lambda d: d["score"])
    labelled = [] if truths is None else zip(truths.labels, truths.segments_sec, strict=True)
    annotated = [(classes[label], segment_sec) for label, segment_sec in labelled]
    occurring = {label for label, _ in annotated} | {d["label"] for d in shown}
    classes = [*classes, *sorted(occurring - {*classes})]
    color_of = {label: COLORS[i % len(COLORS)] for i, label in enumerate(classes)}
    rows = [label for label in classes if label in occurring]
    if duration_sec is None:
        segments_sec = [d["segment"] for d in shown] + [segment_sec for _, segment_sec in annotated]
        duration_sec = max((end for _, end in segments_sec), default=1.0)

    inches = [*([] if key_frames is None else [0.9]), 0.4 * max(len(rows), 1)]
    size = dict(figsize=(12, 1.4 + sum(inches)), dpi=150)
    figure = Figure(**size, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    top, *_, axes = figure.subplots(len(inches), 1, height_ratios=inches, squeeze=False)[[0, -1], 0]
    if key_frames is not None:
        _draw_strip(top, key_frames, duration_sec)
    _draw_frame(axes, rows, duration_sec)
    best_score = shown[-1]["score"] if shown else 1.0
    for row, label in enumerate(rows):
        found = [d for d in shown if d["label"] == label]
        strengths = np.array([strength(d["score"], best_score) for d in found])
        colors, heights = [on_white(color_of[label], opacity) for opacity in strengths], 0.46 * strengths**0.7
        _draw_bars(axes, row - 0.08, [d["segment"] for d in found], heights, colors, duration_sec)
        segments_sec = [segment_sec for other, segment_sec in annotated if other == label]
        _draw_bars(axes, row + 0.29, segments_sec, 0.13, INK, duration_sec)
        if cas is not None:
            times_sec, values = cas[0], cas[1][:, classes.index(label)]
            heights = (values - values.min()) / max(np.ptp(values), 1e-9)
            axes.plot(times_sec, row + 0.4 - 0.8 * heights, color=INK, linewidth=0.7, zorder=4)
    _draw_head(top, name, _summary(len(shown), min_score, truths, duration_sec))
    _draw_legend(top, [d["score"] for d in shown], color_of[rows[0]] if rows else GREY, truths is not None)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def drawable(text):
    """Finds how a text can be drawn.

    Returns:
        (text, names of the fonts to draw it with, or None for the usual one). Where no installed font has all
        characters, the text has codes in their place: "\\u8df3".
    """
    usual = font_manager.fontManager.findfont(font_manager.FontProperties())
    needed = {ord(character) for character in text if not character.isspace()}
    lacking = needed - _characters(usual)
    if not lacking:
        return text, None
    for font in font_manager.fontManager.ttflist:
        draws_boxes = font.name.startswith("Last Resort")
        if not draws_boxes and lacking <= _characters(font.fname):
            return text, [font_manager.get_font(usual).family_name, font.name]
    return text.encode("ascii", "backslashreplace").decode(), None


@functools.lru_cache(1024)
def _characters(path):
    """The code points that a font file can draw at any size; none where it cannot be read."""
    try:
        font = font_manager.get_font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()


def _written(text):
    """A text of the user as it can be drawn, and the properties to draw it with: "$" begins no formula."""
    text, fonts = drawable(text)
    return text, dict(parse_math=False, fontfamily=fonts)


def strength(score, best_score):
    """Opacity of a bar, from 0.2 at score 0 to 1 at the best score of the picture."""
    return 0.2 + 0.8 * float(np.clip(score / best_score, 0, 1)) if best_score > 0 else 1.0


def on_white(color, opacity):
    """(3,) RGB in [0, 1] of a colour on white paper, so that bars over each other do not mix."""
    return 1 - opacity * (1 - np.array(matplotlib.colors.to_rgb(color)))


def tick_step_sec(duration_sec):
    """The smallest round step (a day, if none is) that gives at most 13 ticks."""
    return next((step for step in TICK_STEPS_SEC if duration_sec / step < 13), TICK_STEPS_SEC[-1])


def clock(time_sec, duration_sec):
    """A time as text: "95" in a recording of up to three minutes, "1:35" below an hour, else "0:01:35"."""
    if duration_sec <= 180:
        return f"{round(time_sec, 1):g}"
    minutes, seconds = divmod(round(time_sec), 60)
    hours = f"{minutes // 60}:{minutes % 60:02d}"
    return f"{minutes if duration_sec < 3600 else hours}:{seconds:02d}"


def _draw_bars(axes, middle, segments_sec, heights, colors, duration_sec):
    """Bars of (N, 2) segments around the height `middle` of the axes. heights, colors: of all, or of each."""
    if not len(segments_sec):
        return
    starts, ends = np.array(segments_sec, np.float64).T
    widths = np.maximum(ends - starts, SMALLEST_BAR * duration_sec)
    edges = np.where(widths > 3 * SMALLEST_BAR * duration_sec, 0.7, 0.0)  # white, to tell neighbours apart
    lefts = (starts + ends - widths) / 2
    look = dict(color=colors, edgecolor="white", linewidth=edges, zorder=3)
    axes.barh([middle] * len(widths), widths, heights, lefts, **look)


def _draw_frame(axes, rows, duration_sec):
    """Draws the row labels and bands, the time axis and the grid."""
    axes.set(xlim=(0, duration_sec), ylim=(max(len(rows), 1) - 0.5, -0.5))
    for row in range(0, len(rows), 2):
        axes.axhspan(row - 0.5, row + 0.5, color=BAND, linewidth=0, zorder=0)
    written = [_written(name) for name in rows]
    axes.set_yticks(range(len(rows)), [text for text, _ in written], fontsize=10, color=INK)
    for label, (_, look) in zip(axes.get_yticklabels(), written):
        label.update(look)
    ticks_sec = np.arange(0, duration_sec * 1.0001, tick_step_sec(duration_sec))
    axes.set_xticks(ticks_sec, [clock(tick, duration_sec) for tick in ticks_sec], fontsize=9, color=GREY)
    unit = "seconds" if duration_sec <= 180 else "min:s" if duration_sec < 3600 else "h:min:s"
    axes.set_xlabel(unit, fontsize=9, color=GREY)
    axes.grid(axis="x", color=GRID, linewidth=0.6, zorder=1)
    axes.tick_params(length=0, pad=6)
    axes.spines[:].set_visible(False)
    if not rows:
        axes.text(0.5, 0.5, "nothing to show", transform=axes.transAxes, ha="center", va="center", color=GREY)


def _draw_strip(axes, key_frames, duration_sec):
    """Draws the key frames side by side, each over the part of the time axis whose middle it shows."""
    part_sec = duration_sec / len(key_frames)
    for i, picture in enumerate(key_frames):
        axes.imshow(picture, extent=(i * part_sec, (i + 1) * part_sec, 0, 1), aspect="auto")
    axes.set(xlim=(0, duration_sec), ylim=(0, 1))
    axes.set_axis_off()


def _draw_head(axes, name, summary):
    """Writes the recording's name, and the summary under it, above the axes."""
    above = dict(xy=(0, 1), xycoords="axes fraction", textcoords="offset points", va="bottom")
    name, look = _written(name)
    axes.annotate(name, xytext=(0, 25), fontsize=13, fontweight="bold", color=INK, **above, **look)
    axes.annotate(summary, xytext=(0, 9), fontsize=9, color=GREY, **above)


def _draw_legend(axes, scores, color, with_truths):
    """Draws what the colours mean, lowest, middle and highest score and ground truth, above the right end."""
    handles = []
    for step in np.unique(np.round(np.linspace(scores[0], scores[-1], 3), 2)) if scores else ():
        label = f"{step:.2f}" if handles else f"score {step:.2f}"
        handles.append(Patch(color=on_white(color, strength(step, scores[-1])), label=label))
    if with_truths:
        handles.append(Patch(color=INK, label="ground truth"))
    if handles:
        axes.legend(
            handles=handles, ncols=len(handles), loc="lower right", bbox_to_anchor=(1, 1), frameon=False,
            fontsize=9, labelcolor=GREY, handlelength=1.4, handleheight=0.6, columnspacing=1.2, borderpad=0.6,
            borderaxespad=0,
        )  # fmt: skip


def _summary(num_detections, min_score, truths, duration_sec):
    """The line under the name, such as "9 detections with score 0.3 or more, 7 annotated, 149 s"."""
    count = f"{num_detections} detection{'s' * (num_detections != 1)}"
    least = f" with score {min_score:g} or more" if min_score > 0 else ""
    annotated = [] if truths is None else [f"{len(truths.labels)} annotated"]
    length = clock(duration_sec, duration_sec) + " s" * (duration_sec <= 180)
    return "  ·  ".join([count + least, *annotated, length])
