import cv2
import numpy as np
import pytest

from tal_jax.data import optical_flow
from tal_jax.errors import DataError


def _texture(size):
    noise = cv2.GaussianBlur(np.random.default_rng(0).random((size, size, 3), np.float32), (0, 0), 2)
    return cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.mark.parametrize("right, down", [(2, 1), (-1, 2)])
def test_flow_of_a_known_shift(right, down):
    scene = _texture(56)
    previous, following = scene[4:52, 4:52], scene[4 - down : 52 - down, 4 - right : 52 - right]
    flow = optical_flow.optical_flow(previous, following)
    assert flow.shape == (48, 48, 2) and flow.dtype == np.uint8
    motion = (flow / 255 * 2 - 1) * 20
    np.testing.assert_allclose(np.median(motion, (0, 1)), [right, down], atol=0.2)


def test_flow_is_linear_in_uint8_and_clipped(monkeypatch):
    motion = np.array([[[-30, -20], [-10, 0], [0.1, 10], [20, 30]]], np.float32)

    class Known:
        def calc(self, previous, following, flow):
            return motion

    monkeypatch.setattr(cv2.optflow, "DualTVL1OpticalFlow_create", Known)
    flow = optical_flow.optical_flow(*np.zeros((2, 1, 4, 3), np.uint8))
    np.testing.assert_array_equal(flow, [[[0, 0], [64, 128], [128, 191], [255, 255]]])
    np.testing.assert_allclose(flow / 255 * 2 - 1, np.clip(motion / 20, -1, 1), atol=0.5 / 127.5 + 1e-6)


def test_flows_are_as_many_as_frames():
    scene = _texture(40)
    frames = [scene[4:36, 4 - x : 36 - x] for x in (0, 1, 3)]
    flows = list(optical_flow.flows(iter(frames)))
    assert len(flows) == 3
    np.testing.assert_array_equal(flows[0], optical_flow.optical_flow(frames[0], frames[1]))
    np.testing.assert_array_equal(flows[1], optical_flow.optical_flow(frames[1], frames[2]))
    np.testing.assert_array_equal(flows[2], flows[1])
    np.testing.assert_array_equal(list(optical_flow.flows(frames[:1])), np.full((1, 32, 32, 2), 128))


def test_opencv_without_contrib_is_one_sentence(monkeypatch):
    monkeypatch.delattr(cv2, "optflow")
    with pytest.raises(DataError, match="opencv-contrib-python-headless"):
        optical_flow.optical_flow(*np.zeros((2, 16, 16, 3), np.uint8))
