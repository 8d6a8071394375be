import itertools

import matplotlib.colors
import numpy as np
import pytest
from matplotlib import font_manager

from tal_jax.evaluation.look import (
    COLORS,
    clock,
    contrast,
    drawable,
    on_white,
    score_text,
    short_name,
    strength,
    tick_step_sec,
)

# How eyes without one kind of cones see linear RGB: Machado, Oliveira, Fernandes, "A Physiologically-based Model
# for Simulation of Color Vision Deficiency" (2009), severity 1.
EYES = {
    "usual": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
}
TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.072175],
    [0.0193339, 0.119192, 0.9503041],
]


def seen(color, eye):
    """(3,) CIE Lab of a colour as an eye sees it."""
    rgb = np.array(matplotlib.colors.to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(TO_XYZ @ np.clip(EYES[eye] @ linear, 0, 1) / (0.95047, 1, 1.08883))  # of no near black
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", EYES)
def test_any_two_colours_are_told_apart(eye):
    lab = [seen(color, eye) for color in COLORS]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)) > 19
    assert min(np.linalg.norm(a - b) for a, b in zip(lab, lab[1:] + lab[:1])) > 47  # rows beside each other


def test_the_simulation_knows_a_pair_that_is_alike():
    green, brown = "#5f7d1f", "#a5761b"  # told apart by usual eyes alone
    distances = {eye: np.linalg.norm(seen(green, eye) - seen(brown, eye)) for eye in EYES}
    assert distances["usual"] > 30 and min(distances.values()) < 5


def test_every_colour_stands_out_from_paper():
    assert min(contrast(color, "white") for color in COLORS) > 2
    assert contrast("white", "black") == pytest.approx(21) and contrast("red", "red") == 1


def test_scores_and_names_are_short():
    assert [score_text(score) for score in (0.957, 0.0, 0.004, 250.0)] == ["0.96", "0.00", "0.004", "2e+02"]
    assert short_name("walk") == "walk"
    assert (
        short_name("walk all around the house and back home again")
        == "walk all around the\nhouse and back home…"
    )
    assert max(map(len, short_name("x" * 300).split("\n"))) <= 24


def test_characters_that_no_font_has_are_written_as_their_codes(monkeypatch):
    drawable("run")  # finds the usual font
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    assert drawable("run 跳")[0] == "run \\u8df3"


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
