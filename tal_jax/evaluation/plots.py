"""The timeline of one recording: what was detected when, above what was annotated."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from tal_jax.evaluation.look import (
    BAND,
    COLORS,
    GREY,
    GRID,
    INK,
    clock,
    contrast,
    on_white,
    score_text,
    short_name,
    strength,
    tick_step_sec,
    written,
)
from tal_jax.ops.lanes import lanes
from tal_jax.runtime.files import replacing

SMALLEST_BAR = 1 / 500  # of the time axis: a few seconds stay visible in a day
ROW, LANE, BAR, TRUTH = 0.4, 0.21, 0.18, 0.05  # inches: a row of one lane, each further lane, bars
FEWEST_LANES, MOST_LANES, ALL_LANES = 2, 6, 60  # of a row, and about how many of the picture
SCORE_SIZE, DIGIT = 7.5, 0.64  # points, and the width of a digit as a share of them


def draw_timeline(path, name, detections, **how):
    """Draws the detections of one recording as a PNG. An interrupted write leaves the old one.

    Args:
        path: the PNG file.
        name, detections, how: see `timeline`.
    """
    figure = timeline(name, detections, **how)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def timeline(
    name, detections, *, truths=None, duration_sec, classes, min_score=0.0, key_frames=None, cas=None,
    note="", width=12.0, scale=1.0,
):  # fmt: skip
    """The picture of one recording's detections, with a row for each class that occurs.

    A bar is a detection: the higher its score, the stronger its colour. The score is written in it, or beside
    it, where there is room. Detections of a class that overlap lie on lanes, the surest on the upper ones.
    The dark line under the lanes is the ground truth. The name of a class has a square of its colour.

    Args:
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
        note: a sentence that begins the line under the title.
        width: of the picture, in inches.
        scale: of all letters and heights; 1 suits a screen.

    Returns:
        A Matplotlib Figure. Detections on more lanes than a row has are counted under the title, not drawn.
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

    tops, on_lanes = _layout(shown, rows, color_of)
    inches = [*([] if key_frames is None else [0.9]), tops[-1]]
    size = dict(figsize=(width, scale * (1.4 + sum(inches))), dpi=150)
    figure = Figure(**size, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12 * scale, h_pad=0.12 * scale)
    top, *_, axes = figure.subplots(len(inches), 1, height_ratios=inches, squeeze=False)[[0, -1], 0]
    if key_frames is not None:
        _draw_strip(top, key_frames, duration_sec)
    _draw_frame(axes, rows, tops, [color_of[label] for label in rows], duration_sec, scale)
    for lane in on_lanes:
        _draw_bars(axes, lane.middle, lane.segments_sec, BAR, lane.colors, duration_sec)
    for row, label in enumerate(rows):
        segments_sec = [segment_sec for other, segment_sec in annotated if other == label]
        _draw_bars(axes, tops[row + 1] - 0.085, segments_sec, TRUTH, INK, duration_sec)
        if cas is not None:
            values = cas[1][:, classes.index(label)]
            parts = (values - values.min()) / max(np.ptp(values), 1e-9)
            heights = tops[row + 1] - (tops[row + 1] - tops[row]) * (0.1 + 0.8 * parts)
            axes.plot(cas[0], heights, color=INK, linewidth=0.7 * scale, zorder=4)
    hidden = len(shown) - sum(len(lane.scores) for lane in on_lanes)
    summary = _summary(len(shown), hidden, min_score, truths, duration_sec)
    _draw_head(top, name, "  ·  ".join([note, *summary] if note else summary), scale)
    _draw_legend(axes, [d["score"] for d in shown], truths is not None, cas is not None, scale)
    figure.draw_without_rendering()  # lays the axes out: now a second has a width
    second = axes.get_window_extent().width / figure.dpi * 72 / max(duration_sec, 1e-9)
    for lane in on_lanes:
        _write_scores(axes, lane, duration_sec, second, scale)
    return figure


class Lane(NamedTuple):
    """Detections of one class that do not overlap, in the order of time.

    Attributes:
        middle: height of their bars, in inches below the top of the axes.
        segments_sec: (N, 2).
        scores: N numbers.
        colors: N colours.
    """

    middle: float
    segments_sec: np.ndarray
    scores: list
    colors: list


def _layout(shown, rows, color_of):
    """Where rows and lanes lie.

    Args:
        shown: detections by rising score.
        rows: the classes that occur.
        color_of: {class: colour}.

    Returns:
        (R + 1,) the tops of the R rows and the bottom of the last, in inches; and the Lanes of all rows, in
        each as many as the picture has room for.
    """
    most = int(np.clip(ALL_LANES // max(len(rows), 1), FEWEST_LANES, MOST_LANES))
    tops, on_lanes = [0.0], []
    for label in rows:
        found = sorted((d for d in shown if d["label"] == label), key=lambda d: d["segment"])
        chosen = lanes([d["segment"] for d in found], [d["score"] for d in found])
        count = min(max(chosen, default=0) + 1, most)
        for lane in range(count):
            on_lane = [d for d, own in zip(found, chosen) if own == lane]
            scores = [d["score"] for d in on_lane]
            colors = [on_white(color_of[label], strength(score, shown[-1]["score"])) for score in scores]
            segments_sec = np.array([d["segment"] for d in on_lane], np.float64).reshape(-1, 2)
            on_lanes.append(Lane(tops[-1] + 0.16 + LANE * lane, segments_sec, scores, colors))
        tops.append(tops[-1] + ROW + LANE * (count - 1))
    return np.array(tops if rows else [0.0, ROW]), on_lanes


def room_for(texts, segments, widths, end):
    """Where texts can be written that belong to the bars of a lane.

    Args:
        texts: (N,) the widths of the texts.
        segments: (N, 2) starts and ends of the bars, in the order of time.
        widths: (N,) of the bars as they are drawn, around the same middles.
        end: of the axes, which begin at 0; all in one unit.

    Returns:
        List of N ("inside" | "right" | "left", where the text has its middle), or None where there is no
        room: beside a bar there is room up to the next bar, or its text.
    """
    middles, places, taken = np.mean(segments, axis=1), [], 0.0
    starts, ends = middles - widths / 2, middles + widths / 2
    following = np.append(starts[1:], end)
    for text, middle, start, stop, following_start in zip(texts, middles, starts, ends, following):
        if text <= stop - start:
            places.append(("inside", middle))
        elif text <= following_start - stop:
            places.append(("right", stop + text / 2))
        elif text <= start - taken:
            places.append(("left", start - text / 2))
        else:
            places.append(None)
        taken = stop + (text if places[-1] and places[-1][0] == "right" else 0)
    return places


def _write_scores(axes, lane, duration_sec, second, scale):
    """Writes the scores of a Lane, where there is room. second: its width in points."""
    texts = [score_text(score) for score in lane.scores]
    size = SCORE_SIZE * scale
    needed = np.array([(DIGIT * len(text) + 0.5) * size / second for text in texts])
    segments_sec = np.clip(lane.segments_sec, 0, duration_sec)
    places = room_for(needed, segments_sec, _drawn_widths(segments_sec, duration_sec), duration_sec)
    for text, color, place in zip(texts, lane.colors, places):
        if place:
            dark = place[0] != "inside" or contrast(color, "white") < contrast(color, INK)
            look = dict(fontsize=size, color=INK if dark else "white", zorder=5)
            axes.text(place[1], lane.middle, text, ha="center", va="center_baseline", **look)


def _drawn_widths(segments_sec, duration_sec):
    """(N,) the widths of bars as they are drawn: what is short stays visible."""
    return np.maximum(np.diff(segments_sec)[:, 0], SMALLEST_BAR * duration_sec)


def _draw_bars(axes, middle, segments_sec, height, colors, duration_sec):
    """Bars of (N, 2) segments around the height `middle` of the axes. colors: one of all, or of each."""
    if not len(segments_sec):
        return
    segments_sec = np.array(segments_sec, np.float64)
    widths = _drawn_widths(segments_sec, duration_sec)
    edges = np.where(widths > 3 * SMALLEST_BAR * duration_sec, 0.7, 0.0)  # white, to tell neighbours apart
    lefts = segments_sec.mean(axis=1) - widths / 2
    look = dict(color=colors, edgecolor="white", linewidth=edges, zorder=3)
    axes.barh([middle] * len(widths), widths, height, lefts, **look)


def _draw_frame(axes, rows, tops, colors, duration_sec, scale):
    """Draws the bands and names of the rows, squares of their colours, the time axis and the grid."""
    axes.set(xlim=(0, duration_sec), ylim=(tops[-1], 0))
    for row in range(0, len(rows), 2):
        axes.axhspan(tops[row], tops[row + 1], color=BAND, linewidth=0, zorder=0)
    names = [written(short_name(name)) for name in rows]
    middles = (tops[:-1] + tops[1:])[: len(rows)] / 2
    axes.set_yticks(middles, [text for text, _ in names], fontsize=10 * scale, color=INK)
    for label, (text, look) in zip(axes.get_yticklabels(), names):
        label.update(look | dict(linespacing=1.0, fontsize=(8 if "\n" in text else 10) * scale))
    beside = axes.get_yaxis_transform() + ScaledTranslation(-9 * scale / 72, 0, axes.figure.dpi_scale_trans)
    look = dict(s=(7 * scale) ** 2, marker="s", linewidths=0, transform=beside, clip_on=False)
    axes.scatter(np.zeros(len(rows)), middles, c=colors, **look)
    most_ticks = 13 * axes.figure.get_figwidth() / (12 * scale)
    ticks_sec = np.arange(0, duration_sec * 1.0001, tick_step_sec(duration_sec, most_ticks))
    axes.set_xticks(
        ticks_sec, [clock(tick, duration_sec) for tick in ticks_sec], fontsize=9 * scale, color=GREY
    )
    unit = "seconds" if duration_sec <= 180 else "min:s" if duration_sec < 3600 else "h:min:s"
    axes.set_xlabel(unit, loc="left", fontsize=9 * scale, color=GREY)
    axes.grid(axis="x", color=GRID, linewidth=0.6 * scale, zorder=1)
    axes.tick_params(length=0, pad=6 * scale)
    axes.tick_params(axis="y", pad=18 * scale)
    axes.spines[:].set_visible(False)
    if not rows:
        look = dict(ha="center", va="center", color=GREY, fontsize=10 * scale)
        axes.text(0.5, 0.5, "nothing to show", transform=axes.transAxes, **look)


def _draw_strip(axes, key_frames, duration_sec):
    """Draws the key frames side by side, each over the part of the time axis whose middle it shows."""
    part_sec = duration_sec / len(key_frames)
    for i, picture in enumerate(key_frames):
        axes.imshow(picture, extent=(i * part_sec, (i + 1) * part_sec, 0, 1), aspect="auto")
    axes.set(xlim=(0, duration_sec), ylim=(0, 1))
    axes.set_axis_off()


def _draw_head(axes, name, summary, scale):
    """Writes the recording's name, and the summary under it, above the axes."""
    above = dict(xy=(0, 1), xycoords="axes fraction", textcoords="offset points", va="bottom")
    name, look = written(name)
    bold = dict(fontsize=13 * scale, fontweight="bold", color=INK)
    axes.annotate(name, xytext=(0, 25 * scale), **bold, **above, **look)
    axes.annotate(summary, xytext=(0, 9 * scale), fontsize=9 * scale, color=GREY, **above)


def _draw_legend(axes, scores, with_truths, with_cas, scale):
    """Draws what bars and lines mean, under the right end: lowest, middle and highest score, ground truth."""
    handles = []
    for step in np.unique(np.linspace(scores[0], scores[-1], 3)) if scores else ():
        label = score_text(step) if handles else f"score {score_text(step)}"
        handles.append(Patch(color=on_white(GREY, strength(step, scores[-1])), label=label))
    if with_truths:
        handles.append(Patch(color=INK, label="ground truth"))
    if with_cas:
        handles.append(Line2D([], [], color=INK, linewidth=0.7 * scale, label="activation sequence"))
    if handles:
        below = axes.transAxes + ScaledTranslation(0, -18 * scale / 72, axes.figure.dpi_scale_trans)
        axes.legend(
            handles=handles, ncols=len(handles), loc="upper right", bbox_to_anchor=(1, 0), frameon=False,
            bbox_transform=below, fontsize=9 * scale, labelcolor=GREY, handlelength=1.4, handleheight=0.6,
            columnspacing=1.2, borderpad=0, borderaxespad=0,
        )  # fmt: skip


def _summary(num_detections, num_hidden, min_score, truths, duration_sec):
    """Parts of the line under the name: "9 detections with score 0.3 or more", "7 annotated", "149 s"."""
    parts = [f"{num_detections} detection{'s' * (num_detections != 1)}"]
    parts[0] += f" with score {min_score:g} or more" if min_score > 0 else ""
    if num_hidden:
        parts.append(f"{num_hidden} not drawn: better ones lie there")
    if truths is not None:
        parts.append(f"{len(truths.labels)} annotated")
    return [*parts, clock(duration_sec, duration_sec) + " s" * (duration_sec <= 180)]
