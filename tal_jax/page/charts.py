"""Numbers, names and colours as the templates of the page write and draw them: the filters of Jinja."""

import matplotlib.colors
import numpy as np
from markupsafe import Markup

from tal_jax.evaluation.detad import TYPES
from tal_jax.evaluation.figures import TYPE_COLORS
from tal_jax.evaluation.look import COLORS, contrast

MOST_CLASSES = 300  # that tables and charts show, those of lowest AP; the files of a run have all
MOST_MISTAKES = 40
MOST_LETTERS = 80  # of a name in a table or a list
LEVELS = (0.4, 0.6, 0.8, 1)  # of how strong the colour of a bar is
LINES = ("fill", "stroke", "border-color")
LIGHT_PAPER, DARK_PAPER = "#f1f2f4", "#20252e"  # --wash in page.css
KINDS = (*TYPES, "missed")
KIND_COLORS = TYPE_COLORS | {"missed": "#d4579e"}
CHARACTERISTICS = {
    "coverage": "share of the recording",
    "length": "length in seconds",
    "num_instances": "actions in the recording",
}


def color_rules():
    """CSS of the colours: .c0, .c1, … of classes, .k0, … of kinds of errors; on dark paper they are paler.

    A bar has one of the LEVELS too, .s0, .s1, …: the lower the score, the more it is like its paper. The
    colours are plain, because browsers take ten times as long to draw thousands of bars with variables.
    """
    named = {f"c{i}": color for i, color in enumerate(COLORS)}
    named |= {f"k{i}": KIND_COLORS[kind] for i, kind in enumerate(KINDS)}
    rules = []
    for paper, paler in ((LIGHT_PAPER, 0), (DARK_PAPER, 1 / 3)):
        paper = np.array(matplotlib.colors.to_rgb(paper))
        for name, color in named.items():
            rgb = np.array(matplotlib.colors.to_rgb(color))
            rgb += paler * (1 - rgb)
            lines = "".join(f"{what}: {matplotlib.colors.to_hex(rgb)}; " for what in LINES)
            rules.append(f".{name} {{ {lines}{_filled(rgb)} }}")
            for level, share in enumerate(LEVELS if name[0] == "c" else ()):
                mixed = paper + share * (rgb - paper)
                rules.append(f".{name}.s{level} {{ {_filled(mixed)} }}")
        rules.append("" if paler else "@media (prefers-color-scheme: dark) {")
    return "\n".join([*rules[:-1], "}"])


def _filled(rgb):
    """The colours of a box, and of letters in it."""
    letters = max(("#000", "#fff"), key=lambda color: contrast(color, rgb))
    return f"background-color: {matplotlib.colors.to_hex(rgb)}; color: {letters};"


def kind(name):
    """The class of CSS of a kind of error."""
    return f"k{KINDS.index(name)}"


def number(value, digits=1):
    """A number as text, "–" for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def short(value):
    """A number of an axis with three digits: "0.25", "12.5k"."""
    return f"{value / 1000:.3g}k" if abs(value) >= 10_000 else f"{value:.3g}"


def signed(value):
    """A difference: "+1.50", "−0.20", "±0.00"."""
    return f"{'+' if value > 0 else '−' if value < 0 else '±'}{abs(value):.2f}"


def plural(count, what):
    """ "1 step", "1,200 steps"."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def cut(text, letters=MOST_LETTERS):
    """A text of at most so many letters. What is no text stays as it is."""
    plain = isinstance(text, str) and not isinstance(text, Markup)
    return f"{text[: letters - 1]}…" if plain and len(text) > letters else text


def points(pairs, top=np.inf):
    """Pairs (x, y) as a line of SVG has them; y above the top of a chart is at its top."""
    return " ".join(f"{x:.6g},{min(y, top):.6g}" for x, y in pairs)


def levels(values):
    """Values at 0, 1, 2, … as a line of SVG; of what is level the ends alone."""
    last = len(values) - 1
    bends = [i for i in range(last + 1) if i in (0, last) or not values[i - 1] == values[i] == values[i + 1]]
    return points((i, values[i]) for i in bends)


def mean_curve(curves, k):
    """The line of the mean of all classes at threshold k. curves: see `content.curves`."""
    return levels(np.mean([of_class[k] for of_class in curves["classes"].values()], axis=0).round(1))


def weakest(ap):
    """The names of the classes in their order, of more than MOST_CLASSES those of lowest AP.

    ap: {class: {threshold: percent}}.
    """
    rising = sorted(ap, key=lambda name: sum(ap[name].values()))
    kept = {*rising[:MOST_CLASSES]}
    return [name for name in ap if name in kept]


def ap_rows(names, scores):
    """Rows (class, AP at each threshold, their mean)."""
    rows = [(name, [*scores["ap"][name].values()]) for name in names]
    return [[name, *map(number, values), number(np.mean(values))] for name, values in rows]


def losses(training):
    """{"last": step, "end", "top": of the axes} of losses, see `run_facts.training`; None without any."""
    found = (training or {}).get("losses")
    if not found:
        return None
    last = max(curve[-1][0] for curve in found.values())
    # The first steps dwarf the rest: the axis is for what comes after them.
    settled = [v for curve in found.values() for s, v in curve if s > last / 10 or len(curve) < 5]
    end = max([last, *(step for step, _ in training["map"])])  # an evaluation may come after them
    return {"last": last, "end": end, "top": 1.2 * max([1e-6, *settled])}


def cost_rows(profile):
    """Rows (kind of error, points that it costs, these and its share as text)."""
    gain, shares = profile["gain"], profile["shares"]
    return [(kind, gain[kind], f"+{number(gain[kind])} · {number(shares[kind])} %") for kind in TYPES[1:]]


def bucket_rows(buckets, missed=None):
    """Rows (bucket of actions, percent, it as text): their normalised mAP, or with `missed` their share."""
    rows = []
    for name, bucket in buckets.items():
        up_to, value = bucket["up_to"], missed[name]["missed"] if missed else bucket["map"]
        text = "no action" if value is None else f"{number(value)} % of {bucket['ground_truths']}"
        rows.append((f"{name}, {'more' if up_to is None else f'to {short(up_to)}'}", value, text))
    return rows


def range_rows(errors, end, names):
    """Rows (class, its errors), first of all classes. end: "start_sec" or "end_sec"."""
    rows = [(name, errors["classes"][name][end]) for name in names if name in errors["classes"]]
    return [("all classes", errors["all"][end]), *rows]


def widest(rows):
    """The error in seconds that lies furthest from 0 in `range_rows`, 0.1 at least."""
    ends = [values[key] for _, values in rows for key in ("5%", "95%") if values[key] is not None]
    return max([0.1, *map(abs, ends)])


def bin_points(bins):
    """The line of the share of right detections, from 0 to 1, over their score."""
    used = [one for one in bins if one["detections"]]
    return points((one["mean_score"], one["true_positives"] / 100) for one in used)


def dot_size(count):
    """The diameter of a dot that stands for so many detections."""
    return round(min(18, 5 + 3.2 * np.log10(count)), 1)


def threshold_rows(best_f1, names):
    """Rows (class, its score of best F1, F1, precision, recall)."""
    rows = [(name, best_f1[name]) for name in names if name in best_f1]
    more = lambda best: [number(best[field]) for field in ("f1", "precision", "recall")]
    return [[name, number(best["score"], 2), *more(best)] for name, best in rows]


def mistakes(confusion):
    """The most frequent rows (true class, the one it is taken for, times)."""
    classes, counts = confusion["classes"], np.array(confusion["counts"])
    np.fill_diagonal(counts, 0)
    places = np.argsort(-counts, axis=None, kind="stable")[:MOST_MISTAKES]
    rows = zip(*np.unravel_index(places, counts.shape), strict=True)
    return [[classes[i], classes[j], int(counts[i, j])] for i, j in rows if counts[i, j]]


def matrix(confusion):
    """Rows (true class, [(times, class of CSS)]) of all confusions, the actions that are missed in the last
    column, and detections of nothing in the last row.
    """
    rows = [[*row, missed] for row, missed in zip(confusion["counts"], confusion["missed"], strict=True)]
    total = [sum(row) for row in rows]

    def shade(count, of, right):
        return f"{'right' if right else 'wrong'}{round(5 * count / max(1, of))}" if count else ""

    shaded = [[(n, shade(n, total[i], i == j)) for j, n in enumerate(row)] for i, row in enumerate(rows)]
    nothing = [(n, shade(n, total[j], False)) for j, n in enumerate(confusion["background"])]
    return [*zip(confusion["classes"], shaded, strict=True), ("nothing there", [*nothing, ("", "")])]


FILTERS = (
    *(kind, number, short, plural, cut, points, levels, mean_curve, weakest, ap_rows, cost_rows, bucket_rows),
    *(range_rows, widest, bin_points, dot_size, threshold_rows, mistakes, matrix),
)
