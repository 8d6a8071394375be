"""A batch that is filled up with repeated examples trains as the examples alone do: of every system."""

import json

import flax.linen as nn
import jax
import numpy as np
import pytest

from tal_jax.backbones.i3d import Unit, scale_pixels
from tal_jax.data import frames
from tal_jax.data.loader import pad_batch
from tal_jax.runtime.parallel import AXIS, make_parallel
from tal_jax.systems import afsd
from tal_jax.systems.afsd import losses
from tal_jax.systems.afsd import model as afsd_model
from tal_jax.systems.afsd.config import sequence_config
from tal_jax.systems.kt_mgfn.config import kt_mgfn_config
from tests.runtime.test_parallel import devices, first_examples, run_step
from tests.systems.tcanet_golden import random_variables
from tests.systems.test_tcanet_losses import small_training
from tests.systems.test_weak_parallel import four_recordings, small_ecm


def assert_padding_changes_nothing(config, batch, num_devices=2, steps=1):
    """Terms, parameters and statistics after steps of gradient descent, of 3 rows and of 3 filled up to 4."""
    expected = run_step(config, pad_batch(batch, 3), "pmap", 1, steps)
    assert_same(run_step(config, pad_batch(batch, 4), "pmap", devices(num_devices), steps), expected)


def assert_same(found, expected):
    """Trees of finite arrays, the same up to rounding."""

    def close(path, one, other):
        assert np.isfinite(other).all()
        atol = 1e-4 * np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=atol, err_msg=jax.tree_util.keystr(path))

    jax.tree_util.tree_map_with_path(close, found, expected)


def three_recordings():
    """(inputs, labels, ...) of three recordings and clips, (3, ...) each."""
    batch = {name: np.asarray(values[:3]) for name, values in four_recordings().items()}
    del batch["sample_mask"]
    return batch


def test_ecm():
    assert_padding_changes_nothing(small_ecm(0.0), three_recordings())


def test_small_batches_of_ecm_are_filled_up_too():
    config, batch = small_ecm(0.0), three_recordings()
    expected = run_step(config, pad_batch(batch, 3), "pmap", 1)
    config.train.accumulate_steps = 4  # the last small batch has no recording
    assert_same(run_step(config, pad_batch(batch, 4), "pmap", 1), expected)


@pytest.mark.parametrize("kernel", ["gaussians", "linear"])
def test_kt_mgfn(kernel):
    """One step of each stage: of clips, of recordings towards the clips, of segments."""
    config = kt_mgfn_config()
    config.model.update(width=4, predictor_width=4, anchors=(2.0, 4.0), dilations=(1,), cascade=False)
    config.stages.update(source_epochs=1, target_epochs=1, boundary_epochs=1)
    config.readings = (f"mmd_kernel={kernel}",)
    batch = three_recordings()
    # On one device: on several, the discrepancy is the mean of each device's own.
    assert_padding_changes_nothing(config, batch, num_devices=1, steps=3)


def test_tcanet():
    """With as many good proposals as others, the confidence loss takes all, and nothing depends on a draw."""
    config, two = small_training()
    batch = jax.tree.map(lambda values: np.concatenate([values, values[:1]]), two)
    batch["inputs"]["features"][2] += 0.3
    del batch["sample_mask"]
    config.model.update(dropout=0.0, encoders=0)
    config.loss.iou_thresholds = (0.5,)
    config.decode.confidence_stage = 1
    assert_padding_changes_nothing(config, batch)


def test_pgcn(tiny, tmp_path):
    segments = [[start, start + length] for length in (2, 3, 5) for start in range(12)]
    rows = [{"segment": segment, "label": "slow"} for segment in segments]
    results = dict.fromkeys(("monday", "tuesday", "sunday"), rows)
    (tmp_path / "proposals.json").write_text(json.dumps({"results": results}))
    config = tiny("pgcn_dw")
    config.proposals = str(tmp_path / "proposals.json")
    config.model.update(dropout=0.0, branch_dropout=0.0)
    batch = first_examples(config, 3, 3)
    del batch["sample_mask"]
    assert_padding_changes_nothing(config, batch)


class TwoUnits(nn.Module):
    """Two units of I3D, their BatchNorms trained: clips (B, T, 16, 16, 3) -> maps at strides 4 and 8."""

    @nn.compact
    def __call__(self, clips, num_frames=None, sample_mask=None):
        finer = Unit(8, stride=(4, 8, 8), frozen_norm=False, name="finer")(scale_pixels(clips), sample_mask)
        return finer, Unit(8, stride=(2, 1, 1), frozen_norm=False, name="coarser")(finer, sample_mask)


def test_afsd_with_statistics_of_the_batch(monkeypatch):
    """AFSD from pixels, its BatchNorms trained, with boundary contrastive learning."""
    monkeypatch.setattr(afsd_model, "NUM_LEVELS", 2)  # which compiles in a third of the time of 6
    monkeypatch.setattr(afsd, "I3D", lambda **settings: TwoUnits())
    config = sequence_config("afsd", of_frames=True)
    config.data = frames.data_config()
    config.window.frames = 128
    config.model.update(channels=8, groups=2)
    config.loss.contrastive_weight = 0.1
    rng = np.random.default_rng(0)
    segments = np.float32([[[10, 60], [80, 120]], [[30, 90], [0, 0]], [[5, 25], [40, 110]]])
    batch = {
        "inputs": rng.integers(0, 256, (3, 128, 16, 16, 3)).astype(np.uint8),
        "num_frames": np.int32([128, 128, 112]),
        "segments_frame": segments,
        "labels": np.int32([[1, 2], [1, 0], [2, 2]]),
        "boundary_labels": (rng.random((3, 2, 128)) < 0.1).astype(np.float32),
        "frame_map": np.stack([rng.permutation(128) for _ in range(3)]).astype(np.int32),
        "proposals_frame": np.float32([[[10, 30], [50, 70], [31, 49]]] * 3),
        "rearranged": np.float32([1, 0, 1]),
    }
    model = afsd.build(config, 2)
    variables = random_variables(model, batch["inputs"])

    def evaluate(batch, num_devices):
        """(sum and count of each term, statistics afterwards). Gradients would take long to compile."""

        def body(variables, batch):
            terms, model_state = losses.loss(config, model, variables, batch, 0.0, None)
            summed = jax.lax.psum({name: term[1:] for name, term in terms.items()}, AXIS)
            return jax.tree.map(lambda value: value[None], (summed, model_state))

        parallel = make_parallel("pmap", devices(num_devices))
        found = parallel.compile_map(body)(parallel.replicate(variables), batch)
        return jax.tree.map(lambda values: values[0], found)

    expected = evaluate(pad_batch(batch, 3), 1)
    assert_same(evaluate(pad_batch(batch, 4), 2), expected)
    assert {"loc", "cls", "refined_cls", "quality", "start", "end", "triplet"} <= expected[0].keys()
