"""Figures for papers: what they show is what the diagnosis and the evaluation say."""

import itertools
import os
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from tal_jax.evaluation import detad, figures
from tal_jax.evaluation.detection import evaluate_detections, precision_recall
from tal_jax.evaluation.diagnosis import diagnose
from tests.evaluation.test_detection import annotations_of, random_case, results_of
from tests.evaluation.test_look import EYES, seen

HOW = dict(subset="test", tious=[0.3, 0.5])
ODD = "cost_$5^$ <b>&amp;</b> 跳"
FILES = [
    "error_costs",
    "false_positives",
    "precision_recall",
    "sensitivity",
    "timeline_best_f1",
    "timeline_worst_f1",
]


def evaluation(truths, found):
    """Arguments of `write_figures` after the ending."""
    annotations, results = annotations_of(truths), results_of(found)
    return (
        annotations,
        results,
        diagnose(annotations, results, **HOW),
        precision_recall(annotations, results, **HOW),
    )


@pytest.fixture(scope="module")
def case():
    return evaluation(*random_case(0))


def heights_of(axes):
    """(bars of one colour, groups): heights, in the order they were drawn."""
    return np.array([[patch.get_height() for patch in bars] for bars in axes.containers])


def test_bars_of_false_positives_are_the_shares(case):
    made = case[2]
    figure = figures.false_positives(made)
    shares = [
        [group["shares"][kind] or 0 for group in made["false_positives"]["groups"]] for kind in detad.TYPES
    ]
    np.testing.assert_allclose(heights_of(figure.axes[0]), shares)
    tops = np.sum(shares, axis=0)
    assert set(np.round(tops, 6)) <= {0.0, 100.0} and len(tops) == 10  # an empty group has no bar
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [*detad.TYPES]


def test_bars_of_error_costs_are_the_gains(case):
    made = case[2]
    axes = figures.error_costs(made).axes[0]
    gain = made["false_positives"]["gain"]
    np.testing.assert_allclose([patch.get_width() for patch in axes.patches], [*gain.values()])
    assert [label.get_text() for label in axes.get_yticklabels()] == [*gain]
    assert [text.get_text() for text in axes.texts] == [f"{value:.1f}" for value in gain.values()]


def test_bars_of_sensitivity_are_the_map_of_buckets_and_the_line_is_that_of_all(case):
    made = case[2]
    panels = figures.sensitivity(made).axes
    assert len(panels) == len(made["sensitivity"]) == 3
    for axes, of_kind in zip(panels, made["sensitivity"].values()):
        np.testing.assert_allclose(heights_of(axes)[0], [row["map"] for row in of_kind["buckets"].values()])
        np.testing.assert_allclose(axes.lines[0].get_ydata(), made["map_avg"])
    assert panels[0].get_xlabel() == "coverage of the recording (%)"


def test_spans_of_buckets():
    spans = [(-1, 1), (0, 0.02), (3, 6), (18, None)]
    texts = [
        figures.span(dict(above=low, up_to=high), factor)
        for (low, high), factor in zip(spans, (1, 100, 1, 1))
    ]
    assert texts == ["≤ 1", "≤ 2", "3–6", "> 18"]


def test_the_area_under_the_lines_is_the_ap(case):
    annotations, results, _, curves = case
    scores = evaluate_detections(annotations, results, **HOW)
    panels = [axes for axes in figures.precision_recall(curves).axes if axes.get_visible()]
    assert panels[0].get_title() == f"all 2 classes, mAP {scores['map_avg']:.1f}"
    for axes, (name, of_class) in zip(panels[1:], scores["ap"].items(), strict=True):
        assert axes.get_title().startswith(f"{name}, AP ")
        for line, ap in zip(axes.lines, of_class.values(), strict=True):
            recall, precision = line.get_data()
            assert 100 * np.sum(np.diff(recall) * precision[1:]) == pytest.approx(ap)
    for line, score in zip(panels[0].lines, scores["map"].values(), strict=True):
        assert 100 * np.mean(line.get_ydata()) == pytest.approx(score, abs=1)


def test_of_many_classes_the_worst_are_drawn():
    curves = {f"class {i}": {"0.5": (np.array([0.5]), np.array([i / 40]))} for i in range(30)}
    figure = figures.precision_recall(curves)
    titles = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert titles[1:] == [f"class {i}, AP {100 * i / 80:.1f}" for i in range(figures.MOST_CLASSES)]
    assert figure.get_supxlabel() == "recall; the 19 classes of lowest AP"
    nothing = {"a": {"0.5": (np.zeros(0), np.zeros(0))}}
    assert figures.precision_recall(nothing).axes[1].get_title() == "a, AP 0.0"


def test_the_recordings_of_best_and_worst_f1():
    rows = {"a": (2, 50.0), "b": (1, 90.0), "c": (3, 90.0), "d": (1, 0.0), "e": (2, 0.0), "f": (0, None)}
    made = {"recordings": {name: {"ground_truths": count, "f1": f1} for name, (count, f1) in rows.items()}}
    assert figures.chosen_recordings(made) == {"best_f1": "c", "worst_f1": "e"}
    assert figures.chosen_recordings({"recordings": {"a": made["recordings"]["a"]}}) == {"best_f1": "a"}


def test_a_timeline_shows_what_counts_for_its_f1():
    truths = {"v": [("run", 0, 10)], "w": [("run", 0, 10), ("run", 20, 30)]}
    found = {"v": [("run", 0, 10, 0.9), ("run", 50, 60, 0.1)], "w": [("run", 0, 10, 0.8)]}
    annotations, results, made, _ = evaluation(truths, found)
    figure = figures.recording_timeline("best_f1", "v", annotations, results["v"], made)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[0] == "v: the best F1 of 2 recordings, 100.0 %"
    assert "1 detection " in texts[1] and "1 annotated" in texts[1] and texts[2:] == ["0.90"]


@pytest.mark.parametrize("ending", figures.ENDINGS)
def test_files_have_the_size_of_a_page_and_odd_names_are_text(tmp_path, ending):
    truths, found = random_case(1)
    odd = lambda rows: [(ODD if row[0] == "run" else row[0], *row[1:]) for row in rows]
    made = evaluation(
        *({f"{name}_$1^$": odd(rows) for name, rows in of_all.items()} for of_all in (truths, found))
    )
    first, second = tmp_path / "first", tmp_path / "second"
    names = figures.write_figures(first, ending, *made)
    assert sorted(names) == sorted(os.listdir(first)) == [f"{name}.{ending}" for name in FILES]
    if ending == "svg":
        figures.write_figures(second, ending, *made)
        for name in names:
            assert (first / name).read_bytes() == (second / name).read_bytes()
    if ending == "pdf":
        content = (first / "false_positives.pdf").read_bytes()
        assert b"/FontFile2" in content and b"/Type3" not in content  # letters, as TrueType
    if ending == "svg":
        root = ElementTree.parse(first / "timeline_best_f1.svg").getroot()
        assert root.get("width") == f"{72 * figures.PAGE:g}pt"
        texts = " ".join(root.itertext())
        assert "cost_$5^$ <b>&amp;</b>" in texts and "_$1^$: the best F1" in texts


def test_nothing_detected_can_be_drawn(tmp_path):
    made = evaluation({"v": [("run", 0, 10)]}, {})
    names = figures.write_figures(tmp_path, "png", *made)
    assert sorted(names) == [f"{name}.png" for name in FILES[:-1]]  # one recording is drawn once


def test_an_error_while_drawing_leaves_the_old_figure(tmp_path, monkeypatch, case):
    (tmp_path / "false_positives.pdf").write_text("old")

    def fail(figure, target, **_):
        target.write_text("half a figure")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        figures.write_figures(tmp_path, "pdf", *case)
    assert (tmp_path / "false_positives.pdf").read_text() == "old"
    assert os.listdir(tmp_path) == ["false_positives.pdf"]


@pytest.mark.parametrize("eye", EYES)
def test_types_of_errors_are_told_apart(eye):
    colors = [seen(color, eye) for color in figures.TYPE_COLORS.values()]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(colors, 2)) > 19
