"""ActivityNet 1.3: 200 classes in 20,000 web videos, 15,000 of them annotated for training and scoring.
Nothing is bundled.
"""

from tal_jax.data import features, frames
from tal_jax.data.annotations import load_annotations

ANNOTATIONS = "data/activitynet/activity_net.v1-3.min.json"
HOW_TO_GET = (
    "Get the videos of ActivityNet 1.3 and activity_net.v1-3.min.json from its organisers, then run: "
    f"python -m tal_jax.prepare --dataset=activitynet --annotations={ANNOTATIONS} --videos=FOLDER "
    "--out=data/activitynet/frames, and point at other places with --config.data.annotations=FILE and "
    "--config.data.frames=FOLDER."
)
ANNOTATIONS_HINT = (
    "Get this file from the organisers of ActivityNet, or point at another place with "
    "--config.data.annotations=FILE."
)
FEATURES_HINT = (
    "Put one file a video ID into that folder: v_ID.npz with feat_spa and feat_tem (C, T), as published for "
    "ECM, or v_ID.npy (T, C), or rgb/v_ID.npy and flow/v_ID.npy. --mode=extract "
    "--config.data.stride_frames=16 --config.data.snippet_frames=16 writes I3D's of videos. Point at another "
    "folder with --config.data.features=FOLDER."
)


def data_config(input="rgb", version="1.3"):
    """`config.data` for ActivityNet.

    Args:
      input: 'rgb' or 'flow', frames: every video squeezed into at most 768 of them, every action of one
        class; or 'features'.
      version: of the annotations, '1.2' or '1.3'.
    """
    if input == "features":
        data = features.data_config(name="activitynet", stride_frames=0, features="data/activitynet/features")
        data.fps = 30.0  # the annotations have none; sets how finely segments are found, not where
        data.annotations = f"data/activitynet/activity_net.v{version.replace('.', '-')}.min.json"
    else:
        data = frames.data_config(name="activitynet", input=input, frames="data/activitynet/frames")
        data.update(fps=0.0, train_padding=frames.GREY, class_agnostic=True)
    data.file_prefix = "v_"  # video v_ID.mp4 is recording ID
    data.train_subset, data.test_subset = "training", "validation"
    data.allow_missing = True  # some videos can no longer be downloaded
    return data


def load(config):
    """Dataset of ActivityNet: (T, 112, 112, C) frames a video, T at most 768, or (T, C) features."""
    if config.data.input == "features":
        return features.folder_dataset(annotations(config), config.data.features, config.data, FEATURES_HINT)
    return frames.load(config, annotations(config), HOW_TO_GET)


def annotations(config):
    """Annotations of `config.data.annotations`, or of the official file in its usual place."""
    hint = ANNOTATIONS_HINT if config.data.input == "features" else HOW_TO_GET
    return load_annotations(config.data.annotations or ANNOTATIONS, config.data.ignored_labels, hint=hint)
