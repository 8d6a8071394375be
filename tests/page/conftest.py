"""Pages in a real Chromium, of data made here."""

import json
import shutil

import numpy as np
import pytest

from tal_jax import report_page
from tal_jax.data.detections_file import write_detections
from tests import tiny_config

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CLASSES = ("<img src=x onerror=window.broken=1>", "walk", "jump")
SCRIPT = '"><script>window.broken=1<'  # a name that would run, if it were markup


def write_case(folder, count=4, seed=0, detections=8, length_sec=60.0):
    """Writes labels.json, a signal for each of `count` recordings, and detections.json; returns the config."""
    rng, database, results = np.random.default_rng(seed), {}, {}
    for i in range(count):
        name = f"rec{i}" if i else SCRIPT.replace("/", "")
        starts = np.sort(rng.uniform(0, length_sec - 6, 5))
        rows = [(CLASSES[j % 3], float(start), float(start + 4)) for j, start in enumerate(starts)]
        database[name] = {
            "subset": "test",
            "duration": length_sec,
            "annotations": [{"label": label, "segment": [start, end]} for label, start, end in rows],
        }
        results[name] = [
            {"label": label, "segment": [start + 0.3, end + 0.2], "score": float(rng.uniform(0.3, 1))}
            for label, start, end in rows[:-1]
        ]
        for start in rng.uniform(0, length_sec - 6, detections - 4):
            label, score = CLASSES[rng.integers(3)], float(rng.uniform(0, 0.6))
            results[name].append({"label": label, "segment": [start, start + 3], "score": score})
        np.save(folder / f"{name}.npy", rng.standard_normal((int(10 * length_sec), 3)).astype(np.float32))
    (folder / "labels.json").write_text(json.dumps({"classes": CLASSES, "database": database}))
    write_detections(folder / "detections.json", results)
    config = tiny_config.get_config("toy")
    config.data.update(annotations=str(folder / "labels.json"), features=str(folder))
    return config


@pytest.fixture(scope="session")
def browser():
    """A Chromium of this machine."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not path:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser):
    """Function (path of a page, **options of the browser's context) -> it, opened; no error may be logged."""
    contexts, errors = [], []

    def open_page(path, place="", **options):
        contexts.append(browser.new_context(viewport={"width": 1200, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith("http") and errors.append(asked.url))
        page.goto(path.as_uri() + place)
        page.wait_for_selector("h1", state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture(scope="session")
def case(tmp_path_factory):
    """(config, path of the report of its detections, folder)."""
    folder = tmp_path_factory.mktemp("case")
    config = write_case(folder)
    page = report_page.report(config, folder / "out", str(folder / "detections.json"))
    return config, page, folder
