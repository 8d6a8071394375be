import numpy as np

from tal_jax.data import signals


def test_fold_samples():
    signal = np.arange(14).reshape(7, 2)
    np.testing.assert_array_equal(signals.fold_samples(signal, 3), [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]])
    np.testing.assert_array_equal(signals.fold_samples(signal, 1), signal)
    assert signals.fold_samples(signal, 8).shape == (0, 16)
    assert np.shares_memory(signals.fold_samples(signal, 3), signal)


def test_standardised_channels_have_mean_0_and_deviation_1():
    array = np.array([[1, 5, 2, 0], [3, 5, np.nan, np.inf], [5, 5, 4, 2]], np.float32)
    half = np.sqrt(3 / 2)  # deviations are sqrt(8/3), 0, 1 and 1
    np.testing.assert_allclose(
        signals.standardise(array), [[-half, 0, -1, -1], [0, 0, np.nan, np.inf], [half, 0, 1, 1]], rtol=1e-6
    )
