"""The text of a page: templates, style, scripts and the content that these draw, in one HTML file."""

import base64
import functools
import hashlib
import importlib.resources
import json
import pathlib

import jinja2
from markupsafe import Markup

from tal_jax.evaluation.look import COLORS
from tal_jax.page import charts
from tal_jax.page.comparison import shown
from tal_jax.runtime.files import replacing

SCRIPTS = ("basics.js", "rows.js", "recording.js", "stage.js", "edit.js", "page.js")
# What the scripts draw; all else the templates do.
LIVE = (
    *("classes", "recordings", "runs", "threshold", "range", "judged", "verdicts"),
    *("colors", "num_annotated", "uncorrectable", "predicted", "state"),
)
CLASS_BYTES = 1_000_000  # of the names of all classes
CUT = "Names of classes are cut to keep the page small: what is corrected here would lose their ends."
# Within a script element no character of these may stand as it is.
ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def page_text(content):
    """The HTML of a page, a str that needs no other file but media. content: see `content.py`.

    Names and labels are escaped by the templates, and come to the scripts as JSON, which these write as text:
    nothing in them is run. The policy in its head lets nothing but these scripts run, and nothing be asked of
    a network.
    """
    script, rules = "\n".join(map(_file, SCRIPTS)), charts.color_rules()
    style = f"{rules}\n.rows {{ --runs: {len(content['runs'])}; }}\n{_file('page.css')}"
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; media-src 'self' file: blob:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )
    policy += "; connect-src 'self'" if "state" in content else ""  # of a page that is watched
    live = {name: content[name] for name in LIVE if name in content}
    if len(json.dumps(live["classes"])) > CLASS_BYTES:
        letters = CLASS_BYTES // len(live["classes"]) // len("\\u1234")
        live["classes"] = [charts.cut(name, letters) for name in live["classes"]]
        content = content | {"uncorrectable": CUT}
        live["uncorrectable"] = CUT
    data = json.dumps(live, separators=(",", ":"), allow_nan=False).translate(ESCAPED)
    return (
        _templates()
        .get_template("page.html")
        .render(
            **content,
            **_named(content),
            policy=policy,
            style=Markup(style),
            script=Markup(script),
            data=Markup(data),
        )
    )


def _named(content):
    """What the templates need besides a content: names of classes and kinds, and what is drawn of each."""
    index = {name: i for i, name in enumerate(content.get("classes", ()))}
    places = {row["name"]: i for i, row in enumerate(content.get("recordings", ()))}
    scores, comparison = content.get("scores"), content.get("comparison")
    count = len(COLORS)
    return {
        "class_look": lambda name: f"c{index[name] % count} t{(index[name] + index[name] // count) % 4}",
        "mark": lambda name: f"n{index[name]}",
        "place": lambda said: f"#recording-{places[said['recording']]}/{said['time']:.3f}/{said['score']}",
        "weakest": charts.weakest(scores["ap"]) if scores else [],
        "losses": charts.losses(content.get("training")),
        "compared": comparison and shown(comparison, content["runs"], places),
        "types": charts.KINDS,
        "characteristics": charts.CHARACTERISTICS,
    }


def write_page(path, content):
    """Writes a page to a file; an interrupted write leaves the old one. Returns the path."""
    text = page_text(content)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return pathlib.Path(path)


def _file(name):
    """The text of a file that lies beside this one."""
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _templates():
    """The environment of the templates that lie beside this file."""
    loader = jinja2.FunctionLoader(_file)
    made = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {function.__name__: function for function in charts.FILTERS}
    return made


def _digest(text):
    """The hash by which a policy knows a text that stands in the page."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
