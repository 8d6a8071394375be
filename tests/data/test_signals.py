import numpy as np
import pytest

from tal_jax.data import signals
from tal_jax.runtime_export import filled, finite_values, fold_samples, sample_statistics, standardise


def test_fold_samples():
    signal = np.arange(14).reshape(7, 2)
    np.testing.assert_array_equal(fold_samples(signal, 3), [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]])
    np.testing.assert_array_equal(fold_samples(signal, 1), signal)
    assert fold_samples(signal, 8).shape == (0, 16)
    assert np.shares_memory(fold_samples(signal, 3), signal)


def test_standardised_channels_have_mean_0_and_deviation_1():
    array = np.array([[1, 5, 2, 0], [3, 5, np.nan, np.inf], [5, 5, 4, 2]], np.float32)
    half = np.sqrt(3 / 2)  # deviations are sqrt(8/3), 0, 1 and 1
    np.testing.assert_allclose(
        standardise(array), [[-half, 0, -1, -1], [0, 0, np.nan, np.inf], [half, 0, 1, 1]], rtol=1e-6
    )


def test_rows_that_are_no_numbers_or_too_large():
    features = np.array([[1, 2], [1e300, 0], [np.nan, 1], [3, -np.inf], [9e14, 0]])
    np.testing.assert_array_equal(signals.finite_rows(features), [True, False, False, False, True])
    np.testing.assert_array_equal(signals.finite_rows(np.float32([[1, 2], [np.nan, 1]])), [True, False])
    assert signals.finite_rows(np.zeros((2, 3, 3, 1), np.uint8)).all()
    standardised = standardise(features[:2])
    assert not np.isfinite(standardised[1, 0]) and np.isfinite(standardised[0]).all()


def test_what_is_missing_is_on_the_line_between_its_neighbours():
    nan = np.nan
    samples = np.array([[nan, 1, nan], [2, 1, nan], [np.inf, 1, nan], [nan, 1, nan], [8, 1, nan]], np.float32)
    expected = [[2, 1, 0], [2, 1, 0], [4, 1, 0], [6, 1, 0], [8, 1, 0]]
    np.testing.assert_array_equal(filled(samples), expected)
    whole = np.arange(6, dtype=np.int8).reshape(3, 2)
    assert filled(whole) is whole


def test_channels_that_never_change_are_told_however_samples_are_folded():
    signal = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    signal[:, 1] = 7
    assert signals.constant_channels(signal) == ([2], 3)
    assert signals.constant_channels(fold_samples(signal, 4), samples_per_frame=4) == ([2], 3)
    assert signals.constant_channels(sample_statistics(signal, 4, 8), 4, span=8) == ([2], 3)
    beside = [sample_statistics(signal, 4, 8), fold_samples(signal, 4)]
    assert signals.constant_channels(np.concatenate(beside, axis=1), 4, 8, beside=True) == ([2], 3)
    assert signals.constant_channels(standardise(signal)) == ([2], 3)
    assert signals.constant_channels(signal[:, :1]) == ([], 1)


def test_a_rate_is_measured_whatever_is_lost_or_rounded():
    times = np.arange(1000) / 30
    assert signals.measured_rate(times) == pytest.approx(30)
    assert signals.measured_rate(np.delete(times, np.arange(5, 1000, 7))) == pytest.approx(30)
    assert signals.measured_rate(np.round(times, 3)) == pytest.approx(30, rel=1e-4)
    assert signals.measured_rate(np.concatenate([times, times + 100])) == pytest.approx(30)


def test_gaps_and_what_fills_them():
    times = np.array([0, 1, 2, 3, 20, 21, 22.0])
    assert signals.gaps(times) == [(3.0, 17.0)]
    even = signals.resample(np.array([[0.0], [1], [2], [3], [20], [0], [0]]), times, 1.0)
    np.testing.assert_allclose(even[:, 0], [*range(21), 0, 0])
    signal = np.ones((7, 2))
    assert signals.resample(signal, np.arange(7) + 0.01, 1.0) is signal


def test_the_row_of_a_bad_value_is_that_of_the_file():
    samples = np.ones((40, 3), np.float32)
    samples[25, 1] = np.inf
    assert signals.place_of_first_bad(fold_samples(samples, 10), 10) == "row 25"
    assert signals.place_of_first_bad(samples) == "row 25"
    described = sample_statistics(samples, 10, 20)
    assert signals.place_of_first_bad(described, 10, 20) == "frame 2, made of rows 15 to 34"


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_what_is_no_number_for_a_network(kind):
    values = np.array([1, -np.inf, np.inf, np.nan], kind)
    assert finite_values(values).tolist() == [True, False, False, False]
    if kind != np.float16:
        assert finite_values(np.array([1e15, -1e15, 1e16, 1e36], kind)).tolist() == [True, True, False, False]
