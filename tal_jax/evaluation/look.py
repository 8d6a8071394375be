"""What all pictures share: their colours, the letters they are written in, and numbers and times as texts."""

import functools
import textwrap

import matplotlib.colors
import numpy as np
from matplotlib import font_manager

# Eyes without red or green cones tell any two of these apart too, and neighbours best: the test simulates it.
COLORS = (
    "#0077bb", "#5a9e4b", "#203f7a", "#e0899a", "#cc3311",
    "#a65f8f", "#e69f00", "#882255", "#33bbee", "#6e3b1f",
)  # fmt: skip
INK, GREY, BAND, GRID = "#22262e", "#7a808c", "#f4f5f7", "#dcdfe4"
TICK_STEPS_SEC = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
NAME_LETTERS, NAME_LINES = 24, 2  # of the name of a class


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


def written(text):
    """A text of the user as it can be drawn, and the properties to draw it with: "$" begins no formula."""
    text, fonts = drawable(text)
    return text, dict(parse_math=False, fontfamily=fonts)


def short_name(name, letters=NAME_LETTERS):
    """The name of a class on at most NAME_LINES lines of so many letters; "…" stands for more."""
    lines = textwrap.wrap(name, letters, max_lines=NAME_LINES, placeholder="…")
    return "\n".join(lines) or name


def strength(score, best_score):
    """Opacity of a bar, from 0.2 at score 0 to 1 at the best score of the picture."""
    return 0.2 + 0.8 * float(np.clip(score / best_score, 0, 1)) if best_score > 0 else 1.0


def on_white(color, opacity):
    """(3,) RGB in [0, 1] of a colour on white paper, so that bars over each other do not mix."""
    return 1 - opacity * (1 - np.array(matplotlib.colors.to_rgb(color)))


def contrast(first, second):
    """Contrast of two colours by WCAG 2, from 1 (none) to 21 (black on white)."""
    lights = []
    for color in (first, second):
        rgb = np.array(matplotlib.colors.to_rgb(color))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        lights.append(linear @ (0.2126, 0.7152, 0.0722) + 0.05)
    return max(lights) / min(lights)


def score_text(score):
    """A score as it is written in a picture: "0.96", or where that says nothing "4e-05"."""
    return f"{score:.2f}" if score == 0 or 0.01 <= abs(score) < 100 else f"{score:.1g}"


def tick_step_sec(duration_sec, most=13):
    """The smallest round step (a day, if none is) that gives at most `most` ticks."""
    return next((step for step in TICK_STEPS_SEC if duration_sec / step < most), TICK_STEPS_SEC[-1])


def clock(time_sec, duration_sec):
    """A time as text: "95" in a recording of up to three minutes, "1:35" below an hour, else "0:01:35"."""
    if duration_sec <= 180:
        return f"{round(time_sec, 1):g}"
    minutes, seconds = divmod(round(time_sec), 60)
    hours = f"{minutes // 60}:{minutes % 60:02d}"
    return f"{minutes if duration_sec < 3600 else hours}:{seconds:02d}"
