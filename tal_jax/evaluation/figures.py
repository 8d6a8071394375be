"""Figures for papers: what errors cost, which actions are found, precision and recall, and two recordings.

They are as wide as a page with two columns, or as one of its columns. Letters stay text in PDF (fonts of type
42, which publishers ask for) and SVG; no LaTeX is used. The same input gives the same bytes.
"""

import pathlib

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tal_jax.evaluation.detad import TYPES
from tal_jax.evaluation.look import COLORS, GREY, GRID, INK, short_name, written
from tal_jax.evaluation.plots import timeline
from tal_jax.runtime.files import replacing

ENDINGS = ("pdf", "svg", "png")
COLUMN, PAGE = 3.3, 6.9  # inches: the widths of a column and of two of them
TYPE_COLORS = dict(zip(TYPES, ("#5a9e4b", "#33bbee", "#e69f00", "#203f7a", "#cc3311", "#c3c7cf")))
KINDS = {  # of characteristics: what is written, and the factor of its numbers
    "coverage": ("coverage of the recording (%)", 100),
    "length": ("length (s)", 1),
    "num_instances": ("number of actions", 1),
}
MOST_CLASSES, PANELS = 19, 4  # of precision and recall, beside the mean; in a line
TITLE_LETTERS = 18  # of the name of a class above its panel
RECALL = np.linspace(0, 1, 201)  # where the mean over classes is taken
LOOK = {
    "font.size": 7, "axes.titlesize": 7, "axes.labelsize": 7, "xtick.labelsize": 6.5, "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5, "legend.frameon": False, "axes.linewidth": 0.5, "axes.edgecolor": GREY,
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "xtick.major.width": 0.5, "ytick.major.width": 0.5,
    "xtick.major.size": 2, "ytick.major.size": 2, "axes.axisbelow": True, "grid.color": GRID,
    "grid.linewidth": 0.5, "text.usetex": False, "pdf.fonttype": 42, "svg.fonttype": "none",
    "svg.hashsalt": "tal_jax", "savefig.dpi": 300,
}  # fmt: skip
DATES = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def write_figures(folder, ending, annotations, detections, made, curves):
    """Writes every figure of one evaluation; an interrupted write leaves the old file.

    Args:
        folder: it is made.
        ending: one of ENDINGS.
        annotations: `tal_jax.data.annotations.Annotations`.
        detections: {recording: [{"label", "segment": [start_sec, end_sec], "score"}]}.
        made: their diagnosis, see `diagnosis.diagnose`.
        curves: their precision and recall, see `detection.precision_recall`.

    Returns:
        The names of the files, such as "false_positives.pdf". A recording whose F1 is the best and the worst,
        because there is no other, is drawn once.
    """
    names = []
    with matplotlib.rc_context(LOOK):
        figures = {
            "false_positives": lambda: false_positives(made),
            "error_costs": lambda: error_costs(made),
            "sensitivity": lambda: sensitivity(made),
            "precision_recall": lambda: precision_recall(curves),
        }
        for which, name in chosen_recordings(made).items():
            figures[f"timeline_{which}"] = lambda which=which, name=name: recording_timeline(
                which, name, annotations, detections.get(name, []), made
            )
        for name, draw in figures.items():
            names.append(f"{name}.{ending}")
            figure = draw()
            with replacing(pathlib.Path(folder) / names[-1]) as temporary:
                figure.savefig(temporary, format=ending, metadata=DATES[ending])
    return names


def _figure(width, height):
    """An empty Figure, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)
    return figure


def false_positives(made):
    """The false-positive profile: the shares of right detections and of each type of error, in groups.

    The first group has of each class as many detections as the class has actions, the best ones, the second
    the next ones. After Figure 4 of Alwassel et al., "Diagnosing Error in Temporal Action Detectors" (ECCV
    2018).
    """
    figure = _figure(COLUMN, 2.3)
    draw_shares(figure.subplots(), [group["shares"] for group in made["false_positives"]["groups"]])
    figure.legend(loc="outside lower center", ncols=3, handlelength=0.9, handleheight=0.9, columnspacing=1.2)
    return figure


def draw_shares(axes, groups):
    """Draws a bar for each group of detections, made of the shares of their types.

    groups: list of {type: percent, or None for 0}.
    """
    places, bottom, look = (
        np.arange(len(groups)),
        np.zeros(len(groups)),
        dict(edgecolor="white", linewidth=0.3),
    )
    for kind in TYPES:
        shares = np.array([group.get(kind) or 0.0 for group in groups])
        axes.bar(places, shares, 0.86, bottom, color=TYPE_COLORS[kind], label=kind, **look)
        bottom += shares
    axes.set(xlim=(-0.6, len(groups) - 0.4), ylim=(0, 100), ylabel="share of the detections (%)")
    axes.set_xticks(places, [f"{i + 1}G" for i in places])
    axes.set_xlabel("best detections of each class with G actions")
    axes.tick_params(axis="x", length=0)


def error_costs(made):
    """How many points the normalised mAP gains without the detections of each type of error."""
    gain = made["false_positives"]["gain"]
    figure = _figure(COLUMN, 1.5)
    axes, kinds = figure.subplots(), [*gain]
    values = [gain[kind] or 0.0 for kind in kinds]
    axes.barh(range(len(kinds)), values, 0.7, color=[TYPE_COLORS[kind] for kind in kinds])
    for row, value in enumerate(values):
        axes.annotate(
            f"{value:.1f}", (max(value, 0), row), xytext=(2, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set(ylim=(len(kinds) - 0.5, -0.5), xlim=(min(0, *values), 1.15 * max(1e-3, *values)))
    axes.set_xlabel("gain of normalised mAP (points)")
    axes.tick_params(axis="y", length=0)
    return figure


def sensitivity(made):
    """Normalised mAP of the actions in each bucket of their characteristics, and of all as a dashed line."""
    base, kinds = made["map_avg"], made["sensitivity"]
    figure = _figure(PAGE, 1.9)
    widths = [max(len(of_kind["buckets"]), 2) for of_kind in kinds.values()] or [1]
    panels = figure.subplots(1, len(widths), sharey=True, squeeze=False, width_ratios=widths)[0]
    most = max([base, *(row["map"] or 0 for kind in kinds.values() for row in kind["buckets"].values())])
    for axes, (kind, of_kind) in zip(panels, kinds.items()):
        buckets, (label, factor) = of_kind["buckets"], KINDS.get(kind, (kind, 1))
        heights = [row["map"] for row in buckets.values()]
        axes.bar(range(len(buckets)), [height or 0.0 for height in heights], 0.76, color=COLORS[0])
        for place, height in enumerate(heights):
            text, inside = "none" if height is None else f"{height:.1f}", (height or 0) > most / 6
            look = dict(xytext=(0, 2), textcoords="offset points", ha="center", fontsize=6.5)
            look |= dict(color="white") if inside else {}
            axes.annotate(text, (place, 0.0 if inside else height or 0.0), **look)
        axes.axhline(base, color=INK, linewidth=0.7, linestyle=(0, (4, 2)))
        axes.set_xticks(
            range(len(buckets)), [f"{name}\n{span(row, factor)}" for name, row in buckets.items()]
        )
        axes.set(xlabel=label, xlim=(-0.6, len(buckets) - 0.4), ylim=(0, 1.08 * max(most, 1)))
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="y")
    panels[0].set_ylabel("normalised mAP (%)")
    panels[-1].annotate(
        f"all {base:.1f}", (1, base), xycoords=("axes fraction", "data"), xytext=(1, 0), va="center",
        textcoords="offset points", annotation_clip=False,
    )  # fmt: skip
    return figure


def span(bucket, factor=1):
    """The range of a bucket of a characteristic as a text: "≤ 3", "3–6", "> 18".

    Args:
        bucket: {"above", "up_to", …}, see `diagnosis.diagnose`; None is infinity.
        factor: of its numbers, 100 for percent.
    """
    low, high = (bucket[end] is not None and f"{factor * bucket[end]:.2g}" for end in ("above", "up_to"))
    if not high:
        return f"> {low}"
    return f"≤ {high}" if bucket["above"] is None or bucket["above"] <= 0 else f"{low}–{high}"


def precision_recall(curves):
    """Precision over recall, a line for each tIoU: the mean over all classes, then class by class.

    Of more than MOST_CLASSES classes those of lowest AP are drawn. Precision is the one that the protocol
    averages: the area under a line is the AP.

    Args:
        curves: see `detection.precision_recall`.
    """
    tious = [*next(iter(curves.values()))]
    areas = {name: np.mean([area(*of_class[t]) for t in tious]) for name, of_class in curves.items()}
    shown = {*sorted(areas, key=areas.get)[:MOST_CLASSES]}
    names = [name for name in curves if name in shown]
    columns = min(PANELS, len(names) + 1)
    lines = -(-(len(names) + 1) // columns)
    figure = _figure(PAGE if columns > 2 else COLUMN, 0.45 + 1.45 * lines)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.88, len(tious)))
    thicknesses = np.linspace(2.2, 0.8, len(tious))  # of lines over each other all are seen
    for tiou, color, thickness in zip(tious, colors, thicknesses):
        at_recalls = [precision_at(RECALL, *of_class[tiou]) for of_class in curves.values()]
        panels[0].plot(RECALL, np.mean(at_recalls, axis=0), color=color, label=tiou, linewidth=thickness)
        for axes, name in zip(panels[1:], names):
            axes.step(*_stairs(*curves[name][tiou]), where="pre", color=color, linewidth=thickness)
    few = "" if len(names) == len(curves) else f"; the {len(names)} classes of lowest AP"
    panels[0].set_title(f"all {len(curves)} classes, mAP {100 * np.mean([*areas.values()]):.1f}")
    for axes, name in zip(panels[1:], names):
        text, look = written(short_name(name, TITLE_LETTERS))
        axes.set_title(f"{text}, AP {100 * areas[name]:.1f}", **look)
    for i, axes in enumerate(panels):
        axes.set(xlim=(0, 1.02), ylim=(0, 1.04), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axes.grid()
        axes.tick_params(labelbottom=i + columns > len(names))  # nothing is drawn below
        axes.set_visible(i <= len(names))
    figure.supxlabel(f"recall{few}", fontsize=7)
    figure.supylabel("precision", fontsize=7)
    look = dict(ncols=10, handlelength=1.4, columnspacing=1.2, title="tIoU", title_fontsize=6.5)
    figure.legend(loc="outside upper center", **look)
    return figure


def area(recall, precision):
    """The AP of a curve, a fraction: the area under its stairs."""
    return float(np.sum(np.diff(recall, prepend=0) * precision))


def precision_at(recalls, recall, precision):
    """(R,) the precision at each of `recalls`: at the first (n,) `recall` that is as high, 0 if none is."""
    place = np.searchsorted(recall, recalls - 1e-9)
    return np.append(precision, 0.0)[place]


def _stairs(recall, precision):
    """(recall, precision) of a curve from recall 0 on, down to precision 0 at its end."""
    if not len(recall):
        return [0, 0], [0, 0]
    return np.concatenate([[0], recall, recall[-1:]]), np.concatenate([precision[:1], precision, [0]])


def chosen_recordings(made):
    """{"best_f1": name, "worst_f1": name} of the recordings with actions.

    Of equal ones that with most actions is chosen. made: see `diagnosis.diagnose`.
    """
    f1 = {
        name: (row["f1"], row["ground_truths"])
        for name, row in made["recordings"].items()
        if row["ground_truths"]
    }
    best = max(f1, key=lambda name: f1[name])
    worst = min(f1, key=lambda name: (f1[name][0], -f1[name][1]))
    return {"best_f1": best} if best == worst else {"best_f1": best, "worst_f1": worst}


def recording_timeline(which, name, annotations, detections, made):
    """The timeline of a recording, with the detections that count for its F1.

    Args:
        which: "best_f1" or "worst_f1".
        name: of the recording.
        annotations: Annotations.
        detections: of the recording.
        made: see `diagnosis.diagnose`.
    """
    recording, of_all = annotations.recordings[name], made["confusion"]
    least = dict(zip(of_all["classes"], of_all["min_scores"], strict=True))
    counted = [d for d in detections if least.get(d["label"]) is not None and d["score"] >= least[d["label"]]]
    count = sum(row["ground_truths"] > 0 for row in made["recordings"].values())
    f1, at_tiou = made["recordings"][name]["f1"], made["settings"]["at_tiou"]
    title = f"{name}: the {which.partition('_')[0]} F1 of {count} recordings, {f1:.1f} %"
    return timeline(
        title,
        counted,
        truths=recording,
        duration_sec=recording.duration_sec,
        classes=annotations.classes,
        note=f"tIoU {at_tiou:g}, each class from its score of best F1 on",
        width=PAGE,
        scale=0.75,
    )
