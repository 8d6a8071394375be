"""The linear probe: what a cell is labelled, the joined windows, its plan, and that it learns from little."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from configs import folder
from tal_jax import plan, planned_run, predict, train
from tal_jax.data import load_dataset
from tal_jax.data.windows import Decoded
from tal_jax.errors import DataError
from tal_jax.ranges import leaves
from tal_jax.systems import require_valid
from tal_jax.systems.linear import Linear
from tal_jax.systems.linear.decode import joined
from tal_jax.systems.linear.losses import cell_labels, loss


def batch(segments, labels, num_frames=6):
    return {
        "inputs": np.zeros((1, 6, 2), np.float32),
        "segments_frame": np.array([segments], np.float32),
        "labels": np.array([labels], np.int32),
        "num_frames": np.array([num_frames]),
        "sample_mask": np.ones(1),
    }


def test_a_cell_has_the_actions_that_its_middle_lies_in():
    found = cell_labels(batch([[0.4, 2.6], [2, 4.4], [0, 0]], [1, 3, 0]), 3)[0]
    np.testing.assert_array_equal(found.T, [[1, 1, 1, 0, 0, 0], [0] * 6, [0, 0, 1, 1, 0, 0]])


def test_padding_and_rows_that_fill_the_batch_do_not_count():
    model = Linear(2)
    variables = {"params": {"logits": {"kernel": jnp.zeros((2, 2)), "bias": jnp.array([1.0, -1.0])}}}
    terms, _ = loss(None, model, variables, batch([[0, 2]], [1], num_frames=4), 0, None)
    assert terms["action"].count == 2 and terms["rest"].count == 6
    lost = np.log1p(np.exp(-1.0))  # of a class whose logit has the right sign
    np.testing.assert_allclose(terms["action"].sum, 2 * lost, rtol=1e-5)
    np.testing.assert_allclose(terms["rest"].sum, 2 * (1 + lost) + 4 * lost, rtol=1e-5)
    filled = batch([[0, 2]], [1]) | {"sample_mask": np.zeros(1)}
    assert [term.count for term in loss(None, model, variables, filled, 0, None)[0].values()] == [0, 0]


def test_windows_are_joined():
    cas = np.arange(8, dtype=np.float32)[:, None]
    padded = np.concatenate([cas[4:], np.full((2, 1), 99, np.float32)])
    windows = [Decoded(0, 6, {"cas": cas[:6]}), Decoded(4, 4, {"cas": padded})]
    found = joined(windows)
    assert found.num_features == 8 and found.arrays["cas"][:, 0].tolist() == [*range(8)]


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
    with pytest.raises(DataError, match="none would see what lies between two windows"):
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
