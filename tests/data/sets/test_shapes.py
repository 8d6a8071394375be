import cv2
import numpy as np
import pytest

from tal_jax.data import load_dataset
from tal_jax.data.sets import shapes
from tests.tiny_config import get_config


@pytest.fixture(scope="module")
def video():
    return shapes.render(np.random.default_rng(3), num_frames=120)


def test_a_seed_gives_the_same_video(video):
    again = shapes.render(np.random.default_rng(3), num_frames=120)
    assert (
        all(np.array_equal(video[stream], again[stream]) for stream in ("rgb", "flow"))
        and video["actions"] == again["actions"]
    )
    assert not np.array_equal(video["rgb"], shapes.render(np.random.default_rng(4), num_frames=120)["rgb"])


def test_flow_says_where_pixels_go(video):
    """The next frame, moved back along the flow, is the frame, but for noise and what was hidden."""
    rgb, flow = video["rgb"].astype(np.float32), (video["flow"] / 127.5 - 1) * shapes.MAX_FLOW
    x, y = np.meshgrid(*[np.arange(shapes.PIXELS)] * 2)
    still, moved = [], []
    for t in range(0, 119, 7):
        places = [(axis + flow[t, ..., i]).astype(np.float32) for i, axis in enumerate((x, y))]
        back = cv2.remap(rgb[t + 1], *places, cv2.INTER_LINEAR)
        fast = np.hypot(*flow[t].transpose(2, 0, 1))[5:-5, 5:-5] > 1
        still.extend(np.square(rgb[t + 1] - rgb[t])[5:-5, 5:-5][fast])
        moved.extend(np.square(back - rgb[t])[5:-5, 5:-5][fast])
    assert len(moved) > 500 and np.mean(moved) < 0.4 * np.mean(still)


def test_a_schedule():
    for seed in range(20):
        actions = shapes.schedule(np.random.default_rng(seed), 512)
        assert 3 <= len(actions) <= 25
        assert all(
            0 <= label < 6 and 0 <= start and 16 <= end - start < 64 and end <= 512
            for label, start, end in actions
        )
        assert all(following[1] >= action[2] + 8 for action, following in zip(actions, actions[1:]))


def test_an_action_changes_its_shape_only_while_it_lasts():
    for label, name in enumerate(shapes.CLASSES):
        still = shapes.actor_pose(np.random.default_rng(0), 60, [])
        acting = shapes.actor_pose(np.random.default_rng(0), 60, [(label, 20, 40)])
        changed = {key: np.abs(acting[key] - still[key]).reshape(60, -1).max(axis=1) > 1e-6 for key in still}
        key = {"spin": "angle", "pulse": "size", "flicker": "opacity"}.get(name, "place")
        assert changed[key][22:38].mean() > 0.8 and not changed[key][:20].any()
        assert name == "spin" or not changed[key][40:].any()  # a shape that has spun stays turned
        assert not any(changed[other].any() for other in still if other != key)


def test_the_data_set_is_rendered_once(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "SUBSETS", {"train": 2, "test": 1})
    monkeypatch.setattr(shapes.render_all, "__defaults__", (0, shapes.SUBSETS, 96))
    config = get_config("toy")
    config.data = shapes.data_config()
    config.data.frames = str(tmp_path)
    dataset = load_dataset(config)
    assert dataset.annotations.classes == shapes.CLASSES and len(dataset.annotations.recordings) == 3
    assert dataset.read("train_001").shape == (96, 40, 40, 3)
    written = (tmp_path / "rgb" / "train_001.npy").stat().st_mtime_ns
    load_dataset(config)
    assert (tmp_path / "rgb" / "train_001.npy").stat().st_mtime_ns == written
    config.data.input = "flow"
    assert load_dataset(config).read("test_000").shape == (96, 40, 40, 2)
