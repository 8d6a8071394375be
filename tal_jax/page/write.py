"""The text of a page: the template, its style, its scripts and the content in one HTML file."""

import base64
import functools
import hashlib
import importlib.resources
import json
import pathlib

import jinja2
from markupsafe import Markup

from tal_jax.runtime.files import replacing

SCRIPTS = (
    *("basics.js", "renew.js", "charts.js", "overview.js", "errors.js", "compare.js", "rows.js"),
    *("stage.js", "recording.js", "hands.js", "edit.js", "page.js"),
)
# Within a script element no character of these may stand as it is.
ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def page_text(content):
    """The HTML of a page, a str that needs no other file but media. content: see `content.py`.

    Names and labels come in as JSON, which the scripts write as text: nothing in them is run. The policy in
    its head lets nothing but these scripts run, and nothing be asked of a network.
    """
    style, script = _file("page.css"), "\n".join(map(_file, SCRIPTS))
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; media-src 'self' file: blob:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )
    policy += "; connect-src 'self'" if "state" in content else ""  # of a page that is watched
    data = json.dumps(content, separators=(",", ":"), allow_nan=False).translate(ESCAPED)
    return _template().render(
        title=content["title"],
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        data=Markup(data),
    )


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
def _template():
    return jinja2.Environment(autoescape=True).from_string(_file("page.html"))


def _digest(text):
    """The hash by which a policy knows a text that stands in the page."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
