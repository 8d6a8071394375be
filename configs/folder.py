"""AFSD, DW-AFSD, ActionFormer and ECM on any data set: an annotation file, and feature files or videos.

    python -m tal_jax.main --config=configs/folder.py:VARIANT --config.data.annotations=FILE ...

    plan --config.data.features=FOLDER                 ActionFormer, as planned from the data; the default
    dw_afsd --config.data.features=FOLDER              DW-AFSD on features or signals
    dw_afsd,input=rgb --config.data.frames=FOLDER      on frames; or input=flow
    actionformer --config.data.features=FOLDER         ActionFormer; or dw_actionformer; with mixer=max,
                                                       TemporalMaxer
    ecm --config.data.features=FOLDER                  ECM; with row=, one of its Table 4
    linear --config.data.features=FOLDER               a linear probe, as planned; for few labels

FILE has the ActivityNet schema (tal_jax/data/annotations.py), with subsets "train" and "test". The first
FOLDER holds one file of shape (T, C), NAME.npy, .csv or another of docs/data.md, for each recording; the
second is what `python -m tal_jax.prepare --dataset=folder` makes of the videos NAME.mp4.
`config.window.frames` should be longer than the longest action and at most about the length of a recording,
in feature vectors or frames (10 a second); it is a multiple of 128. Frames train the published network from
Kinetics weights (docs/data.md), on a GPU.

ActionFormer sees a whole recording, in training `config.window.frames` of it at a time, a multiple of 32. A
window is about as long as a recording, or a few times as long as the longest action. Actions of several
classes may go on at the same time. The plan chooses such fields from the data (docs/data.md), ActionFormer
for actions with times and ECM for labels without; docs/results.md has what it reaches. The other variants
are not tuned, and nothing was measured with them.

ECM learns from which actions a recording holds: in the subset "train" labels need no "segment". It sees a
whole recording as `config.window.snippets` of its feature vectors; where labels have times, long recordings
may be cut into windows (docs/ecm.md).
"""

from tal_jax.config import config_of, extract_config
from tal_jax.data.sets import folder
from tal_jax.planned_run import plan_config
from tal_jax.systems.actionformer.config import small_config, with_mixer
from tal_jax.systems.afsd.config import input_config
from tal_jax.systems.ecm.config import ecm_config
from tal_jax.systems.linear.config import linear_config


def get_config(variant="plan"):
    """The config of a variant, see the head of this file."""
    table = {"dw_afsd": afsd, "afsd": afsd, "actionformer": actionformer, "dw_actionformer": actionformer}
    return config_of(variant, table | {"ecm": ecm, "linear": linear, "plan": plan})


def plan(system):
    """ActionFormer whose fields are planned from the data (tal_jax/plan.py)."""
    config = actionformer("actionformer")
    config.name, config.plan = f"folder_{system}", plan_config()
    return config


def linear(system):
    """A linear probe on features, whose fields are planned from the data too."""
    config = linear_config()
    config.name, config.plan = f"folder_{system}", plan_config()
    config.data, config.extract = folder.data_config("features"), extract_config()
    return config


def afsd(system, input="features"):
    """AFSD or DW-AFSD. input: 'features', 'rgb' or 'flow'."""
    config = input_config(system, input)
    config.name = f"folder_{system}_{input}"
    config.data = folder.data_config(input)
    config.window.update(frames=256, train_stride_frames=128)
    config.augment.jitter_frames = 64
    if input == "features":
        config.extract = extract_config()
        config.model.channels, config.backbone.channels = 256, 128
    return config


def actionformer(system, mixer="attention"):
    """ActionFormer, also with dynamic weights. mixer: 'attention', 'max' (TemporalMaxer), 'sgp' (TriDet)."""
    config = small_config(system)
    config.name = f"folder_{system}_{mixer}"
    config.data, config.extract = folder.data_config("features"), extract_config()
    return with_mixer(config, mixer)


def ecm(system, row="full"):
    """ECM; row: of its Table 4."""
    config = ecm_config(row)
    config.name = f"folder_{system}_{row}"
    config.data = folder.data_config("features")
    config.extract = extract_config()
    config.model.hidden = 512
    config.decode.nms_extra_sec = 0.0  # actions may be shorter than the published second
    return config
