"""Measures the page of a run with many recordings: its size, how long it takes to make, to open and to use.

    python -m benchmarks.page --recordings=500 --detections=84

Needs requirements-test.txt and a Chromium. Half a minute on two CPU cores.
"""

import argparse
import json
import pathlib
import shutil
import tempfile
import time

import numpy as np
from playwright.sync_api import sync_playwright

from configs import sbhar
from tal_jax import report_page
from tal_jax.data.detections_file import write_detections
from tal_jax.data.sets.folder import data_config

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIGNAL_HZ = 50
# Milliseconds from a move of the slider to the picture that shows it, for ten places.
SLIDE = """async () => {
  const input = document.querySelector("#recordings input[type=range]"), times = [];
  for (let i = 1; i <= 10; i++) {
    const before = performance.now();
    input.value = Number(input.min) + 0.09 * i * (input.max - input.min);
    input.dispatchEvent(new Event("input", {bubbles: true}));
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    times.push(performance.now() - before);
  }
  return times;
}"""
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"


def write_data(folder, num_recordings, num_detections, length_sec=240.0, num_classes=20):
    """Writes labels.json, detections.json and a signal of three channels for each recording."""
    rng, database, results = np.random.default_rng(0), {}, {}
    for i in range(num_recordings):
        name = f"recording_{i:04d}"
        starts = rng.uniform(0, length_sec - 12, 12)
        rows = [
            {"label": f"class {rng.integers(num_classes)}", "segment": [start, start + rng.uniform(2, 10)]}
            for start in starts
        ]
        database[name] = {"subset": "test", "duration": length_sec, "fps": SIGNAL_HZ, "annotations": rows}
        found = [row | {"score": rng.uniform(0.2, 1)} for row in rows[:10]]
        for start in rng.uniform(0, length_sec - 12, max(0, num_detections - len(found))):
            label, segment = f"class {rng.integers(num_classes)}", [start, start + rng.uniform(2, 10)]
            found.append({"label": label, "segment": segment, "score": rng.uniform(0, 0.6)})
        results[name] = found[:num_detections]
        signal = rng.standard_normal((int(SIGNAL_HZ * length_sec), 3)).astype(np.float32)
        np.save(folder / f"{name}.npy", signal)
    (folder / "labels.json").write_text(json.dumps({"database": database}))
    write_detections(folder / "detections.json", results)


def config_of(folder):
    """The config that scores the data that `write_data` has written."""
    config = sbhar.get_config("demo")
    config.name, config.data = "benchmark", data_config()
    config.data.update(annotations=str(folder / "labels.json"), features=str(folder))
    return config


def measure(page):
    """{"first_paint_ms", "slider_ms": median and worst} of a page in Chromium."""
    path = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.goto(page.as_uri())
        opened.wait_for_selector(".row")
        opened.wait_for_timeout(1000)
        paint, times = opened.evaluate(PAINT), sorted(opened.evaluate(SLIDE))
        browser.close()
    return {"first_paint_ms": paint, "slider_ms": (times[len(times) // 2], times[-1])}


def main():
    """Makes a page, opens it, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recordings", type=int, default=500)
    parser.add_argument("--detections", type=int, default=84, help="of each recording")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        write_data(folder, arguments.recordings, arguments.detections)
        before = time.perf_counter()
        page = report_page.report(config_of(folder), folder / "out", str(folder / "detections.json"))
        seconds = time.perf_counter() - before
        found, size = measure(page), page.stat().st_size
    median, worst = found["slider_ms"]
    print(f"{arguments.recordings} recordings, {arguments.recordings * arguments.detections:,} detections")
    print(f"made and scored in {seconds:.1f} s, {size / 1e6:.2f} MB")
    print(f"first paint {found['first_paint_ms']:.0f} ms; slider {median:.0f} ms, at worst {worst:.0f} ms")


if __name__ == "__main__":
    main()
