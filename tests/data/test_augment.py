import numpy as np
import pytest

from tal_jax.data.augment import augment_sequence


@pytest.fixture
def features():
    return np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)


def augmented(features, seed=1, **options):
    return augment_sequence(features, np.random.default_rng(seed), **options)


def test_off_is_the_identity(features):
    np.testing.assert_array_equal(augmented(features), features)


@pytest.mark.parametrize("options", [{"scale": 0.5}, {"noise": 0.5}, {"rotation_deg": 30.0}])
def test_same_seed_same_change_and_the_input_stays(features, options):
    before = features.copy()
    changed = augmented(features, **options)
    assert changed.dtype == np.float32 and changed.shape == features.shape
    assert np.abs(changed - features).max() > 1e-2
    np.testing.assert_array_equal(augmented(features, **options), changed)
    assert np.abs(augmented(features, seed=2, **options) - changed).max() > 1e-2
    np.testing.assert_array_equal(features, before)


def test_a_rotation_turns_all_triples_alike(features):
    changed = augmented(features, rotation_deg=90.0).reshape(-1, 3)
    triples = features.reshape(-1, 3)
    np.testing.assert_allclose(np.linalg.norm(changed, axis=1), np.linalg.norm(triples, axis=1), rtol=1e-5)
    rotation = np.linalg.lstsq(triples, changed, rcond=None)[0]
    # one matrix for all frames and sensors,
    np.testing.assert_allclose(triples @ rotation, changed, atol=1e-5)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)  # that keeps angles
    np.testing.assert_allclose(np.linalg.det(rotation), 1, rtol=1e-5)  # and is no mirror


def test_a_rotation_turns_by_up_to_its_angle():
    triples = np.eye(3, dtype=np.float32)
    angles = []
    for seed in range(200):
        rotation = augmented(triples, seed, rotation_deg=20.0)
        angles.append(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))
    assert max(angles) <= 20.01
    assert max(angles) > 18 and np.median(angles) < 14  # and by any angle up to it


def test_a_scale_is_one_factor():
    factors = []
    for seed in range(400):
        changed = augmented(np.array([[1.0, -2.0], [4.0, 0.5]], np.float32), seed, scale=0.1)
        ratio = changed / np.array([[1.0, -2.0], [4.0, 0.5]], np.float32)
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)
        factors.append(ratio[0, 0])
    assert abs(np.log(factors).mean()) < 0.02
    assert 0.08 < np.log(factors).std() < 0.12


def test_noise_is_independent_of_everything():
    noise = augmented(np.zeros((2000, 2), np.float32), noise=0.3)
    assert abs(noise.mean()) < 0.03
    np.testing.assert_allclose(noise.std(axis=0), 0.3, rtol=0.1)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.1
    assert abs(np.corrcoef(noise[1:, 0], noise[:-1, 0])[0, 1]) < 0.1
