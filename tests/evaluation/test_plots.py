import os

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from tal_jax.data.annotations import Recording
from tal_jax.evaluation.look import COLORS, INK, on_white
from tal_jax.evaluation.plots import MOST_LANES, draw_timeline, room_for, timeline

CLASSES = tuple(f"class {i}" for i in range(30))


def truths_of(labels, segments_sec):
    return Recording("v", "test", None, np.array(segments_sec, np.float64), np.array(labels, np.int32))


def pixels_of(path, color):
    """(H, W) bool, where the picture has the colour."""
    picture = matplotlib.image.imread(path)[..., :3]
    return np.abs(picture - on_white(color, 1.0)).max(axis=-1) < 0.02


def width_of(mask):
    columns = np.flatnonzero(mask.any(axis=0))
    return columns[-1] - columns[0]


def test_bars_have_place_length_and_colour_of_what_they_show(tmp_path):
    path = tmp_path / "timeline.png"
    found = [
        {"label": "class 4", "segment": [20.0, 40.0], "score": 0.8},
        {"label": "class 1", "segment": [50.0, 100.0], "score": 0.8},
        {"label": "class 2", "segment": [0.0, 100.0], "score": 0.3},
    ]
    draw_timeline(
        path,
        "v",
        found,
        truths=truths_of([4], [[0.0, 100.0]]),
        duration_sec=100.0,
        classes=CLASSES,
        min_score=0.5,
    )
    first, second, left_out = (pixels_of(path, COLORS[i]) for i in (4, 1, 2))
    rows = pixels_of(path, INK).sum(axis=1)
    axis_width = rows.max()  # the ground truth of the whole recording
    left = np.flatnonzero(pixels_of(path, INK)[np.argmax(rows)])[0]  # of it are the names, with their squares
    below_head = slice(first.shape[0] // 3, None), slice(left, None)
    assert width_of(first[below_head]) == pytest.approx(0.2 * axis_width, abs=6)
    assert width_of(second[below_head]) == pytest.approx(0.5 * axis_width, abs=6)
    # rows in order of classes
    assert np.argmax(second[below_head].any(axis=1)) < np.argmax(first[below_head].any(axis=1))
    assert not left_out.any()


@pytest.mark.parametrize("duration_sec, num_classes", [(20.0, 1), (900.0, 8), (86400.0, 30)])
def test_any_length_and_number_of_classes_can_be_drawn(tmp_path, duration_sec, num_classes):
    path = tmp_path / "timeline.png"
    found = [
        {"label": CLASSES[i], "segment": [i / 40 * duration_sec, i / 40 * duration_sec + 1], "score": 0.5}
        for i in range(num_classes)
    ]
    draw_timeline(path, "v", found, duration_sec=duration_sec, classes=CLASSES)
    height, width, _ = matplotlib.image.imread(path).shape
    assert width == 1800
    assert height == pytest.approx(150 * (1.4 + 0.4 * num_classes), abs=2)
    columns = np.flatnonzero(pixels_of(path, COLORS[0]).any(axis=0))
    assert np.diff(columns).max() > 5  # right of the square of the name a bar, even of one second of a day


@pytest.mark.filterwarnings("error")  # a character without a picture warns
def test_labels_and_names_of_any_writing_are_drawn(tmp_path):
    labels = ["跳跃", "قفز", "run 🏃", "cost_$5^$_x"]
    found = [{"label": label, "segment": [i, i + 1], "score": 0.5} for i, label in enumerate(labels)]
    draw_timeline(tmp_path / "timeline.png", "v_$x^$_跳", found, duration_sec=9.0, classes=labels)


def test_nothing_to_draw_and_unknown_length(tmp_path):
    draw_timeline(tmp_path / "nothing.png", "v", [], duration_sec=None, classes=CLASSES)
    found = [{"label": "not a class of the list", "segment": [0.0, 3.0], "score": 0.0}]
    draw_timeline(tmp_path / "something.png", "v", found, duration_sec=None, classes=CLASSES)
    assert (tmp_path / "nothing.png").stat().st_size > 1000
    assert pixels_of(tmp_path / "something.png", COLORS[0]).any()


def test_an_error_while_drawing_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "timeline.png"
    path.write_text("old")

    def fail(figure, target, **_):
        target.write_text("half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        draw_timeline(path, "v", [], duration_sec=1.0, classes=CLASSES)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["timeline.png"]


def texts_of(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def bars_of(figure, color):
    """[(left, top, right)] of the bars of a colour, rounded."""
    patches = [
        patch
        for patch in figure.axes[-1].patches
        if np.allclose(patch.get_facecolor()[:3], on_white(color, 1.0))
    ]
    return sorted(
        (round(p.get_x(), 6), round(p.get_y(), 3), round(p.get_x() + p.get_width(), 6)) for p in patches
    )


def test_detections_of_a_class_that_overlap_lie_on_lanes():
    spans = [(0.0, 50.0), (40.0, 90.0), (60.0, 95.0)]
    found = [{"label": "class 0", "segment": [*span], "score": 0.5} for span in spans]
    figure = timeline("v", found, duration_sec=100.0, classes=CLASSES)
    bars = bars_of(figure, COLORS[0])
    assert [(left, right) for left, _, right in bars] == spans
    assert (
        bars[0][1] == bars[2][1] < bars[1][1]
    )  # the third shares the lane of the first, the second is below
    other = found[:1] + [found[1] | {"label": "class 1"}]
    assert len(bars_of(timeline("v", other, duration_sec=100.0, classes=CLASSES), COLORS[1])) == 1


def test_what_no_lane_has_room_for_is_counted():
    found = [{"label": "class 0", "segment": [0.0, 50.0], "score": 0.5}] * (MOST_LANES + 3)
    figure = timeline("v", found, duration_sec=100.0, classes=CLASSES)
    assert len(bars_of(figure, COLORS[0])) == MOST_LANES
    assert "9 detections  ·  3 not drawn: better ones lie there  ·  100 s" in texts_of(figure)
    figure = timeline("v", found[:MOST_LANES], duration_sec=100.0, classes=CLASSES, note="The best one.")
    assert "The best one.  ·  6 detections  ·  100 s" in texts_of(figure)


def test_scores_are_written_where_there_is_room():
    found = [
        {"label": "class 0", "segment": [10.0, 50.0], "score": 0.973},
        {"label": "class 0", "segment": [50.0, 50.1], "score": 0.618},
        {"label": "class 1", "segment": [99.9, 100.0], "score": 4e-5},
    ]
    figure = timeline("v", found, duration_sec=100.0, classes=CLASSES)
    places = {text.get_text(): text.get_position()[0] for text in figure.axes[-1].texts}
    assert places["0.97"] == 30.0  # the middle of the bar
    assert 50.1 < places["0.62"] < 53 and 97 < places["4e-05"] < 99.9  # beside the bars


def test_no_score_runs_into_another_bar_or_score():
    segments = np.array([[0.0, 1.0], [6.0, 7.0], [9.0, 10.0], [11.0, 20.0]])
    places = room_for(np.full(4, 3.0), segments, np.diff(segments)[:, 0], 20.0)
    assert places == [("right", 2.5), None, None, ("inside", 15.5)]
    places = room_for(np.full(4, 1.5), segments, np.diff(segments)[:, 0], 20.0)
    assert places == [("right", 1.75), ("right", 7.75), None, ("inside", 15.5)]
    assert room_for([3.0], [[18.0, 20.0]], np.array([2.0]), 20.0) == [("left", 16.5)]
