"""What comes after the end of a recording that is shorter than a window: nothing of it may reach a
detection or a loss.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax import detect
from tal_jax.backbones.sequence import SequenceBackbone
from tal_jax.data import frames, windows
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.dataset import Dataset
from tal_jax.data.features import data_config
from tal_jax.data.labelled_windows import random_crop
from tal_jax.data.timeline import Timeline
from tal_jax.errors import DataError
from tal_jax.systems import SYSTEMS, afsd
from tal_jax.systems.afsd import decode as afsd_decode
from tal_jax.systems.afsd import layers
from tal_jax.systems.afsd.config import afsd_config, sequence_config
from tal_jax.systems.afsd.examples import training_examples
from tal_jax.systems.afsd.layers import Block, real_cells
from tests.systems.test_afsd_decode import by_hand_outputs, make_outputs


def small_config(system="dw_afsd", window=128, padding_mask=True):
    config = sequence_config(system)
    config.data = data_config(fps=10.0)
    config.window.update(frames=window, train_stride_frames=window // 2, test_stride_frames=window // 2)
    config.model.update(channels=8, groups=2)
    config.backbone.channels, config.readings = 4, (f"padding_mask={padding_mask}",)
    config.decode.min_score = 0.0
    config.evaluate.batch_size = 1
    config.parallel.max_devices = 1
    return config


def one_recording(features, segments_sec=((1.0, 4.0),)):
    """Dataset of one recording at 10 frames a second, for training and testing."""
    segments, labels = (
        np.array(segments_sec, np.float64).reshape(-1, 2),
        np.zeros(len(segments_sec), np.int32),
    )
    recording = Recording("walk", "train", len(features) / 10, segments, labels)
    return Dataset(
        Annotations(("a", "b"), {"walk": recording}), lambda name: features, lambda name: Timeline(10.0, 1, 1)
    )


def test_cells_that_begin_before_the_end_are_real():
    cells = real_cells(jnp.array([1, 32, 33, 128]), (4,), 128)  # of 32 frames
    np.testing.assert_array_equal(cells, [[1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]])


def test_group_norm_counts_real_cells_alone():
    x = np.random.default_rng(0).standard_normal((1, 8, 4)).astype(np.float32)
    block = Block(4, groups=2, window=8)
    variables = block.init(jax.random.key(0), x)
    short = block.apply(variables, x[:, :3])
    np.testing.assert_allclose(block.apply(variables, x, jnp.array([3]))[:, :3], short, atol=1e-6)
    np.testing.assert_array_equal(block.apply(variables, x, jnp.array([3]))[:, 3:], 0)
    np.testing.assert_allclose(
        block.apply(variables, x, jnp.array([8])), block.apply(variables, x), atol=1e-6
    )


def test_real_cells_are_counted_as_they_are_marked():
    num_frames = jnp.arange(769)
    for count in (3, 6, 96, 768):
        marked = real_cells(num_frames, (count,), 768).sum(axis=1)
        np.testing.assert_array_equal(layers.number_of_real_cells(num_frames, count, 768), marked)


@pytest.mark.parametrize("platform", [layers._normalise_channels, layers._normalise_groups])
@pytest.mark.parametrize("padded", [False, True])
def test_group_norm_of_levels_side_by_side(platform, padded):
    cells, groups, rng = (8, 4, 2), 2, np.random.default_rng(0)
    x = rng.standard_normal((2, sum(cells), 4)).astype(np.float32)
    real = real_cells(jnp.array([5, 8] if padded else [8, 8]), cells, 8)
    inside = np.repeat(np.eye(3, dtype=np.float32), cells, axis=1)
    counted = inside * real[:, None]
    share = counted / counted.sum(2, keepdims=True)
    cotangent = np.where(real[..., None], rng.standard_normal(x.shape), 0)
    alone = nn.GroupNorm(groups, epsilon=layers.GROUP_NORM_EPS, use_scale=False, use_bias=False)

    def together(x):
        return jnp.vdot(platform(x, share, inside, groups), cotangent)

    def level_by_level(x):
        ends = np.cumsum(cells)
        levels = [slice(end - count, end) for count, end in zip(cells, ends)]
        masks = [jnp.broadcast_to(real[:, level, None], x[:, level].shape) for level in levels]
        parts = [alone.apply({}, x[:, level], mask=mask) for level, mask in zip(levels, masks)]
        return jnp.vdot(jnp.concatenate(parts, axis=1), cotangent)

    pairs = [jax.value_and_grad(run)(x) for run in (together, level_by_level)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *pairs)


def test_the_backbone_sees_no_padding():
    block = lambda *args, **names: Block(*args, groups=2, window=32, **names)  # noqa: E731
    backbone = SequenceBackbone(4, block)
    x = np.random.default_rng(0).standard_normal((1, 32, 3)).astype(np.float32)
    x[:, 19:] = 0
    variables = backbone.init(jax.random.key(0), x)
    found = backbone.apply(variables, x, jnp.array([19]))
    longer = SequenceBackbone(4, lambda *args, **names: Block(*args, groups=2, window=64, **names))
    padded = longer.apply(variables, np.pad(x, ((0, 0), (0, 32), (0, 0))), jnp.array([19]))
    for one, other in zip(found, padded):
        np.testing.assert_allclose(other[:, : one.shape[1]], one, atol=1e-6)
        assert not other[:, one.shape[1] :].any()


@pytest.mark.parametrize("system", ["afsd", "dw_afsd"])
@pytest.mark.parametrize("num_frames", [9, 101])
def test_padding_changes_no_detection(system, num_frames):
    features = np.random.default_rng(num_frames).standard_normal((num_frames, 3)).astype(np.float32)
    dataset, variables, found = one_recording(features), None, {}
    for window in (128, 256):
        config = small_config(system, window)
        module = afsd.build(config, 2)
        if variables is None:
            variables = module.init(jax.random.key(1), np.zeros((1, window, 3), np.float32))
        detector = detect.Detector([config], 2)
        found[window] = detector.detect([detect.Stream(config, variables, dataset)], ["walk"])["walk"]
    assert found[128]
    assert [d["label"] for d in found[128]] == [d["label"] for d in found[256]]
    for key in ("segment", "score"):
        np.testing.assert_allclose([d[key] for d in found[256]], [d[key] for d in found[128]], atol=1e-5)


def test_padding_reaches_no_loss_and_no_gradient():
    config = small_config("dw_afsd")
    config.loss.contrastive_weight = 0.1
    module = afsd.build(config, 2)
    rng = np.random.default_rng(0)
    items, make_example = training_examples(
        config, one_recording(rng.standard_normal((60, 3)).astype(np.float32))
    )
    config.augment.noise = 0.0
    batch = jax.tree.map(lambda x: x[None], make_example(items[0], rng)) | {
        "sample_mask": np.ones(1, np.float32)
    }
    variables = module.init(jax.random.key(1), batch["inputs"])

    @jax.jit
    def value_and_gradient(params, inputs):
        def total(params):
            terms, _ = SYSTEMS["dw_afsd"].loss(
                config, module, {"params": params}, batch | {"inputs": inputs}, 0.0, None
            )
            return sum(term.weight * term.sum for term in terms.values())

        return jax.value_and_grad(total)(params)

    garbage = batch["inputs"].copy()
    garbage[:, 60:] = 100 * rng.standard_normal(garbage[:, 60:].shape)
    for one, other in zip(
        *(jax.tree.leaves(value_and_gradient(variables["params"], x)) for x in (batch["inputs"], garbage))
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_location_after_the_end_gives_no_candidate():
    config = afsd_config("dw_afsd")
    config.window.frames = 8
    values = {
        key: jnp.repeat(value, 2, axis=1)
        for key, value in by_hand_outputs().__dict__.items()
        if key in OUTPUTS
    }
    # anchors 2 and 6
    outputs = make_outputs(8, [2], values, jnp.zeros((1, 2))).replace(num_frames=jnp.array([5]))
    candidates = afsd_decode.of_locations(config, outputs)
    assert (candidates.scores[0, 0] > 0).any() and not candidates.scores[0, 1].any()
    assert candidates.segments.max() <= 5
    assert not afsd_decode.of_locations(config, afsd_decode.fuse_streams(outputs, outputs)).scores[0, 1].any()
    assert not afsd_decode.of_two_streams(config, outputs, outputs).scores[0, 1].any()


OUTPUTS = ("coarse_distances", "coarse_logits", "refined_offsets", "refined_logits", "quality_logits")


@pytest.mark.parametrize("padding_mask", [False, True])
def test_all_candidates_of_a_short_recording_are_of_its_own_locations(padding_mask):
    """As published, the network sees padding as background; whatever it says there, a short recording has few
    locations.
    """
    config = small_config(padding_mask=padding_mask)
    features = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    module = afsd.build(config, 2)
    variables = module.init(jax.random.key(1), np.zeros((1, 128, 3), np.float32))
    detector = detect.Detector([config], 2)
    stream = detect.Stream(config, variables, one_recording(features))
    segments_sec, classes, _ = detector.candidates([stream], ["walk"])["walk"]
    # Cells of 4, 8, 16, ... frames whose middle is before frame 20: 5, 2, 1, 1.
    assert len(classes) == 2 * (5 + 2 + 1 + 1)
    assert segments_sec.max() <= 2.0 + 1e-6


def test_noise_is_not_added_to_padding():
    config = small_config()
    config.augment.noise = 1.0
    found = windows.window_inputs(config, np.ones((50, 3), np.float32), 10, np.random.default_rng(0))
    assert found["num_frames"] == 40
    assert not found["inputs"][40:].any() and np.abs(found["inputs"][:40] - 1).max() > 0.5


def test_a_masked_network_is_rearranged_within_the_recording():
    config = small_config()
    config.loss.contrastive_weight = 0.1
    dataset = one_recording(np.ones((90, 3), np.float32), ((1.0, 6.0), (6.5, 7.0)))
    for padding_mask, reach in ((True, 90), (False, 128)):
        config.readings, seen = (f"padding_mask={padding_mask}",), set()
        config.augment.crop = 0.0
        items, make_example = training_examples(config, dataset)
        for seed in range(30):
            example = make_example(items[0], np.random.default_rng(seed))
            assert example["frame_map"].shape == (128,)
            seen |= set(np.flatnonzero(example["frame_map"] != np.arange(128)).tolist())
        assert (max(seen) < 90) == padding_mask and max(seen) < reach


def test_a_crop_holds_a_whole_action_and_stays_in_the_window():
    segments = np.array([[12.5, 20.0], [40.0, 60.0], [95.0, 120.0]])
    lengths = set()
    for seed in range(200):
        offset, num_frames = random_crop(segments, 10, 90, np.random.default_rng(seed))
        assert 10 <= offset and offset + num_frames <= 100 and isinstance(offset, int)
        inside = (segments[:, 0] >= offset) & (segments[:, 1] <= offset + num_frames)
        assert inside[:2].any()
        lengths.add(num_frames)
    assert min(lengths) < 15 and max(lengths) > 80
    assert random_crop(segments, 21, 15, np.random.default_rng(0)) == (21, 15)  # no whole action
    assert random_crop(np.zeros((0, 2)), 21, 15, np.random.default_rng(0)) == (21, 15)


def test_an_example_of_a_crop_is_a_short_recording():
    config = small_config()
    config.augment.crop = 1.0
    features = np.arange(1.0, 301.0, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
    items, make_example = training_examples(config, one_recording(features, ((3.0, 5.0), (9.0, 12.0))))
    for seed in range(20):
        example = make_example(items[0], np.random.default_rng(seed))
        length = int(example["num_frames"])
        assert (example["inputs"][:length] > 0).all() and not example["inputs"][length:].any()
        first = example["inputs"][0, 0] - 1
        segments = example["segments_frame"][example["labels"] > 0]
        assert len(segments) and (segments <= length).all()
        starts, ends = segments.T + first
        assert set(starts) & {30.0, 90.0} and set(ends) & {50.0, 120.0}


def test_a_masked_network_has_no_boundary_labels_in_the_padding():
    config = small_config()
    config.augment.crop = 0.0
    dataset = one_recording(np.ones((60, 3), np.float32), ((1.0, 6.0),))
    for padding_mask, ends in ((True, [58, 59]), (False, [58, 59, 60, 61, 62])):
        config.readings = (f"padding_mask={padding_mask}",)
        items, make_example = training_examples(config, dataset)
        example = make_example(items[0], np.random.default_rng(0))
        np.testing.assert_array_equal(np.flatnonzero(example["boundary_labels"][1]), ends)


def test_actions_beyond_what_features_cover_are_whole():
    """Features of 16 frames, 4 apart: the first one's time is 8 frames after the start of the video."""
    config = small_config()
    config.data.update(fps=30.0, stride_frames=4, snippet_frames=16)
    segments = np.array([[0.0, 3.0], [38.0, 41.0]])
    recording = Recording("walk", "train", 41.0, segments, np.zeros(2, np.int32))
    features = np.ones((300, 3), np.float32)
    dataset = Dataset(
        Annotations(("a",), {"walk": recording}), lambda name: features, lambda name: Timeline(30.0, 4, 16)
    )
    config.augment.update(crop=0.0, jitter_frames=0, noise=0.0)
    items, make_example = training_examples(config, dataset)
    assert [item.offset for item in items] == [0, 172]
    first, last = (make_example(item, np.random.default_rng(0))["segments_frame"] for item in items)
    assert first[0, 0] == 0 and last[0, 1] == 128


def test_i3d_cannot_be_masked():
    config = afsd_config(of_frames=True)
    config.data = frames.data_config()
    config.readings = ("padding_mask=True",)
    with pytest.raises(DataError, match="config.readings has 'padding_mask=True'"):
        afsd.build(config, 2)
