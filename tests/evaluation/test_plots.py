import os

import matplotlib.image
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from tal_jax.data.annotations import Recording
from tal_jax.evaluation.plots import (
    COLORS,
    INK,
    clock,
    draw_timeline,
    drawable,
    on_white,
    strength,
    tick_step_sec,
)

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
    below_head = slice(first.shape[0] // 3, None)  # the legend is above
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
    assert pixels_of(path, COLORS[0]).any()  # even one second of a day


@pytest.mark.filterwarnings("error")  # a character without a picture warns
def test_labels_and_names_of_any_writing_are_drawn(tmp_path):
    labels = ["跳跃", "قفز", "run 🏃", "cost_$5^$_x"]
    found = [{"label": label, "segment": [i, i + 1], "score": 0.5} for i, label in enumerate(labels)]
    draw_timeline(tmp_path / "timeline.png", "v_$x^$_跳", found, duration_sec=9.0, classes=labels)
    assert drawable("cost_$5^$_x") == ("cost_$5^$_x", None)


def test_characters_that_no_font_has_are_written_as_their_codes(monkeypatch):
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    assert drawable("run 跳")[0] == "run \\u8df3"


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


def test_ticks_are_round_and_few():
    assert [tick_step_sec(d) for d in (10, 20, 149, 3600, 86400, 10 * 86400, 100 * 86400)] == [
        1,
        2,
        15,
        300,
        7200,
        86400,
        86400,
    ]


def test_times_are_read_as_the_length_of_the_recording_asks():
    assert [clock(95, d) for d in (150, 900, 7200)] == ["95", "1:35", "0:01:35"]
    assert clock(86400, 86400) == "24:00:00"
    assert clock(59.7, 900) == "1:00"


def test_a_higher_score_is_stronger():
    assert strength(0.9, 0.9) == 1.0
    assert 0.2 <= strength(0.1, 0.9) < strength(0.5, 0.9) < 1.0
    assert strength(-1.0, 0.9) == pytest.approx(0.2)
    assert np.all(on_white("#000000", 0.25) == 0.75)
