"""A trained detector finds events of real files at their true times, from the video to its JSON."""

import json

import numpy as np
import pytest

from configs import shapes
from tal_jax import predict, train
from tal_jax.data import frames, video
from tests.data.test_video_time import FILES, even, write_timed

PIXELS = 32


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(config, workdir) of AFSD on frames, trained on 22 videos that turn white at times."""
    folder, rng, database = tmp_path_factory.mktemp("white"), np.random.default_rng(0), {}
    for i in range(24):
        length_sec, at, events = int(rng.integers(12, 30)), 0.5, []
        while True:
            start = at + rng.uniform(0.5, 5)
            at = start + rng.uniform(0.6, 3)
            if at > length_sec - 0.5:
                break
            events.append((np.ceil(start * 25) / 25, np.ceil(at * 25) / 25))
        write_timed(folder / f"v{i}.mp4", even(25 * length_sec), events)
        video.store_video(folder / f"v{i}.mp4", folder / "frames", fps=10.0, frame_pixels=PIXELS, flow=False)
        database[f"v{i}"] = {
            "subset": "train" if i < 22 else "test",
            "duration": length_sec,
            "annotations": [{"label": "white", "segment": event} for event in events],
        }
    (folder / "labels.json").write_text(json.dumps({"database": database}))
    config = shapes.get_config("afsd")
    config.data = frames.data_config(
        name="folder",
        annotations=str(folder / "labels.json"),
        frames=str(folder / "frames"),
        frame_pixels=PIXELS,
        crop_pixels=PIXELS,
    )
    config.window.train_stride_frames = 32
    config.train.epochs = 20
    config.evaluate.tious = (0.5, 0.75)
    assert train.train(config, folder / "run")["map_avg"] > 95
    return config, folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_events_are_found_at_their_times(run, tmp_path, name):
    config, workdir = run
    write, events, _, _ = FILES[name]
    write(tmp_path / name)
    predict.predict(config, workdir, str(tmp_path / name))
    stem = name.split(".")[0]
    found = json.loads((workdir / "predictions" / f"{stem}.json").read_text())["results"][stem]
    segments = sorted(row["segment"] for row in found if row["score"] > 0.5)
    np.testing.assert_allclose(segments, events, atol=0.1)
