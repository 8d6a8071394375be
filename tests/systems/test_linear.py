"""The linear probe: what a cell is labelled, the joined windows, its plan, and that it learns from little."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import folder
from tal_jax import plan, planned_run, predict, train
from tal_jax.data import load_dataset
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.dataset import Dataset
from tal_jax.data.loader import pad_batch
from tal_jax.data.timeline import Timeline
from tal_jax.errors import DataError
from tal_jax.ranges import leaves
from tal_jax.systems import require_valid
from tal_jax.systems.interface import divided
from tal_jax.systems.linear import Linear
from tal_jax.systems.linear.examples import cell_labels, training_examples
from tal_jax.systems.linear.losses import loss
from tests.runtime.test_parallel import assert_close, devices, run_step


def batch(labels, mask):
    """One window of labels (T, K) and mask (T,), whose features are 0."""
    labels, mask = np.array([labels], bool), np.array([mask], bool)
    inputs = np.zeros((*labels.shape[:2], 2), np.float32)
    return {"inputs": inputs, "cell_labels": labels, "cell_mask": mask, "sample_mask": np.ones(1)}


def losses(batch, bias):
    """The terms of a probe whose logits are the bias (K,) everywhere."""
    params = {"logits": {"kernel": jnp.zeros((2, len(bias))), "bias": jnp.array(bias)}}
    return loss(None, Linear(len(bias)), {"params": params}, batch, 0, None)[0]


def values(terms):
    return {name: float(divided(t.sum, jnp.maximum(t.count, 1), t.count)) for name, t in terms.items()}


def test_a_cell_has_the_actions_that_its_middle_lies_in():
    segments = np.array([[0.4, 2.6], [2, 4.4], [-3, 0.6], [5.6, 9], [7, 8], [3.6, 4.4], [-4, -2]])
    found = cell_labels(segments, [1, 3, 2, 2, 2, 2, 2], 6, 3)
    np.testing.assert_array_equal(found.T, [[1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0]])


def training_data(config):
    """A recording of 130 cells: two walks, a run of which 40 % lie in the first window, something unclear."""
    config.window.update(frames=64, train_stride_frames=64, background=0.0)
    walks = np.array([[10.0, 20.0], [52.0, 82.0], [100.0, 120.0]])
    recording = Recording("a", "train", 130.0, walks, np.array([0, 1, 0], np.int32))
    recording = dataclasses.replace(recording, ignored_sec=np.array([[30.0, 40.0]]))
    features = np.zeros((130, 3), np.float32)
    annotations = Annotations(("walk", "run"), {"a": recording})
    return Dataset(annotations, lambda name: features, lambda name: Timeline(1.0, 1, 1))


def test_an_action_less_than_half_inside_a_window_is_no_rest(config):
    items, make_example = training_examples(config, training_data(config))
    example = make_example(items[0], np.random.default_rng(0))
    assert items[0].offset == 0 and example["labels"].tolist() == [1, 0, 0]  # 12 of 30 cells are inside
    active = [np.flatnonzero(of_class).tolist() for of_class in example["cell_labels"].T]
    assert active == [[*range(10, 20)], [*range(52, 64)]]


def test_what_is_ignored_and_padding_is_left_out(config):
    dataset = training_data(config)
    items, make_example = training_examples(config, dataset)
    masks = {item.offset: make_example(item, np.random.default_rng(0))["cell_mask"] for item in items}
    assert np.flatnonzero(~masks[0]).tolist() == [*range(30, 40)]
    config.window.frames = 160
    items, make_example = training_examples(config, dataset)
    mask = make_example(items[0], np.random.default_rng(0))["cell_mask"]
    assert np.flatnonzero(~mask).tolist() == [*range(30, 40), *range(130, 160)]


def test_cells_and_rows_that_are_left_out_do_not_count():
    one = batch([[1, 0], [1, 0], [0, 0], [0, 0], [0, 1], [1, 1]], [1, 1, 1, 1, 0, 0])
    terms = losses(one, [1.0, -1.0])
    assert terms["action"].count.tolist() == [2, 0] and terms["rest"].count.tolist() == [2, 4]
    lost = np.log1p(np.exp(-1.0))  # of a class whose logit has the right sign
    np.testing.assert_allclose(terms["action"].sum, [2 * lost, 0], rtol=1e-5)
    np.testing.assert_allclose(terms["rest"].sum, [2 * (1 + lost), 4 * lost], rtol=1e-5)
    filled = losses(one | {"sample_mask": np.zeros(1)}, [1.0, -1.0])
    assert values(filled) == {"action": 0, "rest": 0} and not filled["rest"].count.any()


def test_a_rare_class_counts_as_much_as_a_common_one():
    labels = np.zeros((100, 3), bool)  # the third class is absent
    labels[:90, 0], labels[95, 1] = True, True
    one, bias = batch(labels, np.ones(100)), jnp.zeros(3)
    half = np.log(2)
    assert values(losses(one, bias)) == pytest.approx({"action": half, "rest": half})
    total = lambda bias: sum(
        divided(term.sum, jnp.maximum(term.count, 1), term.count) for term in losses(one, bias).values()
    )
    slope = jax.grad(total)(bias)
    # -1/2 of its cells and 1/2 of the rest; the action is shared by two classes, the rest by three
    np.testing.assert_allclose(slope, [-1 / 4 + 1 / 6, -1 / 4 + 1 / 6, 1 / 6], atol=1e-6)


def test_a_batch_means_the_same_on_any_devices_and_in_small_batches(config):
    """Of six examples in eight rows, each of which holds one of the classes or none."""
    rng = np.random.default_rng(0)
    labels = (
        rng.random((6, 5, 2)) < np.array([[0.6, 0], [0.1, 0], [0, 0.2], [0, 0], [0.5, 0], [0, 0]])[:, None]
    )
    six = {"inputs": rng.standard_normal((6, 5, 3), np.float32), "cell_labels": labels}
    six = pad_batch(six | {"cell_mask": rng.random((6, 5)) < 0.8}, 8)
    config.train.update(batch_size=8, accumulate_steps=1)
    expected = run_step(config, six, "pmap", 1, steps=2)
    assert_close(run_step(config, six, "pmap", devices(4), steps=2), expected)
    config.train.update(batch_size=2, accumulate_steps=4)
    assert_close(run_step(config, six, "pmap", 1, steps=2), expected)


@pytest.fixture
def config(tiny_data):
    config = folder.get_config("linear")
    config.data.update(annotations=str(tiny_data / "labels.json"), features=str(tiny_data))
    return config


def test_its_plan_is_of_fields_that_it_has(config):
    planned, lines = plan.make_plan(config, ())
    assert lines[0].value == "linear" and {line.field for line in lines[1:]} <= {*dict(leaves(config))}
    assert planned.window.test_stride_frames == planned.window.frames and planned.data.channel_scales
    require_valid(planned, training=True)
    planned.window.test_stride_frames += 1
    with pytest.raises(DataError, match="no window would see the frames between two"):
        require_valid(planned, training=True)


def test_labels_without_times_are_for_ecm(config, tmp_path):
    annotations = json.loads(open(config.data.annotations).read())
    for recording in annotations["database"].values():
        recording["annotations"] = [{"label": each["label"]} for each in recording["annotations"]]
    (tmp_path / "labels.json").write_text(json.dumps(annotations))
    config.data.annotations = str(tmp_path / "labels.json")
    assert planned_run.planned(config, tmp_path / "run", ())[0].system == "ecm"


def test_it_learns_two_recordings(config, tmp_path):
    planned, _ = plan.make_plan(config, ())
    assert load_dataset(planned).annotations.classes == ("fast", "slow")
    result = train.train(planned, tmp_path)
    assert result["map"]["0.5"] > 80
    predict.predict(planned, tmp_path, "sunday", draw="cas")  # is shorter than a window
    found = np.load(tmp_path / "predictions" / "sunday.cas.npz")
    active = found["cas"].argmax(axis=1)[(found["cas"] > 0.5).any(axis=1)]
    assert len(found["cas"]) < planned.window.frames and {*active.tolist()} == {0, 1}
    for start, end in ((1.0, 4.0), (5.0, 8.0)):  # each is of one class
        inside = (found["times_sec"] > start + 0.6) & (found["times_sec"] < end - 0.6)
        assert len({*found["cas"][inside].argmax(axis=1).tolist()}) == 1
