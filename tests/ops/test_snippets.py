import cv2
import ml_collections
import numpy as np
import pytest

from tal_jax.ops.snippets import published_indices, resize_linear, sample_indices, window_snippets
from tests.golden_case import GoldenCase

SAMPLING = GoldenCase.load("ecm/feature_sampling")
RESIZE = GoldenCase.load("ecm/resize_linear")


def sampling_cases(kind, ending=""):
    """(T, L, array) of the golden arrays KIND_T_from_L + ending."""
    names = [name for name in SAMPLING.arrays if name.startswith(kind) and name.endswith(ending)]
    sizes = [name.removesuffix(ending).removeprefix(f"{kind}_").split("_from_") for name in names]
    return [
        (int(t), int(length), SAMPLING.arrays[name]) for (t, length), name in zip(sizes, names, strict=True)
    ]


@pytest.mark.parametrize("num_snippets, length, expected", sampling_cases("uniform"))
def test_published_sampling(num_snippets, length, expected):
    np.testing.assert_array_equal(published_indices(length, num_snippets), expected)


def test_training_draws_are_those_that_the_published_code_can_make():
    lowest, highest = sampling_cases("perturb", "_min_seen"), sampling_cases("perturb", "_max_seen")
    assert len(lowest) == len(highest) == 8
    for (num_snippets, length, low), (*_, high) in zip(lowest, highest, strict=True):
        rng = np.random.default_rng(length)
        drawn = np.stack([published_indices(length, num_snippets, rng) for _ in range(1000)])
        # 300 draws of the published code and 1000 here: both see the ends of ranges of up to 28 features.
        np.testing.assert_array_equal(drawn.min(axis=0), low, err_msg=f"{num_snippets} of {length}")
        np.testing.assert_array_equal(drawn.max(axis=0), high, err_msg=f"{num_snippets} of {length}")


SIZES = [(3000, 750), (1500, 750), (2250, 750), (400, 100), (1000, 100), (1001, 100), (777, 100), (100, 100)]
SHORTER = [(37, 100), (3, 4), (1, 9)]


@pytest.mark.parametrize("length, num_snippets", SIZES + SHORTER)
def test_a_snippet_is_the_middle_of_its_part(length, num_snippets):
    """Centres of features and of equal parts: at most half a feature apart, on average 0."""
    middles = (np.arange(num_snippets) + 0.5) * length / num_snippets
    shift = middles - (sample_indices(length, num_snippets) + 0.5)
    assert np.abs(shift).max() <= 0.5 + 1e-9
    np.testing.assert_allclose(shift.mean(), 0, atol=0.51 / num_snippets)  # an odd one has no partner
    rng = np.random.default_rng(0)
    drawn = np.stack([sample_indices(length, num_snippets, rng) for _ in range(2000)])
    np.testing.assert_allclose((middles - drawn - 0.5).mean(), 0, atol=0.02)


def test_published_sampling_comes_too_late():
    cases = (3000, 750, 1.5), (1500, 750, 0.5), (400, 100, 1.5), (1000, 100, 4.5), (100, 100, 0)
    for length, num_snippets, expected in cases:
        middles = (np.arange(num_snippets) + 0.5) * length / num_snippets
        np.testing.assert_allclose(middles - (published_indices(length, num_snippets) + 0.5), expected)


@pytest.mark.parametrize("sampling, late", [("middle", 0), ("published", 1.5), ("linear", 0)])
def test_what_snippets_show_comes_back_in_its_place(sampling, late):
    """400 features that say where they are go to 100 snippets and back. A late one says an earlier place."""
    places = np.arange(400) + 0.5
    window = ml_collections.ConfigDict({"snippets": 100, "sampling": sampling})
    back = resize_linear(window_snippets(window, places[:, None]), 400)[:, 0]
    np.testing.assert_allclose((places - back)[4:-4].mean(), late, atol=1e-3)


def test_training_draws_are_uniform_in_their_part():
    rng = np.random.default_rng(0)
    drawn = np.stack([sample_indices(9, 2, rng) for _ in range(4000)])
    first, second = drawn.T  # parts 0 to 4.5 and 4.5 to 9: feature 4 belongs to both, half each
    np.testing.assert_allclose(np.bincount(first) / 4000, np.divide([2, 2, 2, 2, 1], 9), atol=0.02)
    np.testing.assert_allclose(np.bincount(second)[4:] / 4000, np.divide([1, 2, 2, 2, 2], 9), atol=0.02)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


@pytest.mark.parametrize("sample", [sample_indices, published_indices])
@pytest.mark.parametrize("length", [1, 2, 9, 10, 11, 20, 35])
def test_samples_are_in_order_and_in_the_recording(sample, length):
    for rng in (None, np.random.default_rng(1)):
        indices = sample(length, 10, rng)
        assert indices.shape == (10,) and indices.dtype == np.int64
        assert indices.min() >= 0 and indices.max() < length
        assert (np.diff(indices) >= 0).all()
        assert length != 10 or indices.tolist() == list(range(10))


@pytest.mark.parametrize("name", [name for name in RESIZE.arrays if name != "x"])
def test_resize_has_every_bit_of_the_published_one(name):
    expected = RESIZE.arrays[name].T
    np.testing.assert_array_equal(resize_linear(RESIZE.arrays["x"].T, len(expected)), expected)


@pytest.mark.parametrize("snippets", [1, 3, 100, 750, 2718])
@pytest.mark.parametrize("length", [1, 7, 100, 538, 3406, 5426])
def test_resize_has_every_bit_of_opencv(snippets, length):
    sequence = np.random.default_rng(snippets).standard_normal((snippets, 3), np.float32)
    # Row by row: given several rows at once, OpenCV 5 rounds positions otherwise.
    rows = [
        cv2.resize(row[None], (length, 1), interpolation=cv2.INTER_LINEAR)[0]
        for row in np.ascontiguousarray(sequence.T)
    ]
    np.testing.assert_array_equal(resize_linear(sequence, length), np.stack(rows, axis=-1))


def test_resize_by_hand():
    sequence = np.array([[0.0, 8.0], [4.0, 8.0]])
    # Two samples to four: they lie at -1/4, 1/4, 3/4 and 5/4 of the sequence, the first and last beyond its
    # ends.
    resized = resize_linear(sequence, 4)
    assert resized.dtype == np.float32
    np.testing.assert_array_equal(resized, [[0, 8], [1, 8], [3, 8], [4, 8]])
    np.testing.assert_array_equal(resize_linear(sequence[:, 0], 1), [2])
    np.testing.assert_array_equal(resize_linear(sequence, 2), sequence)


def test_shrinking_does_not_smooth():
    spike = np.zeros(9, np.float32)
    spike[4] = 1
    np.testing.assert_array_equal(resize_linear(spike, 3), [0, 1, 0])
    spike[[4, 5]] = 0, 1
    np.testing.assert_array_equal(resize_linear(spike, 3), [0, 0, 0])
