"""Published PyTorch parameters, by their `state_dict` names, as trees for the Flax modules here."""

import re

import flax.traverse_util
import numpy as np

from tal_jax.errors import DataError

_PREFIX = "coarse_pyramid_detection."

# (their name, our name): the block or convolution that the rest of the name belongs to.
_AFSD_MODULES = [
    (r"loc_tower\.(\d)", r"loc_tower_\1"),
    (r"conf_tower\.(\d)", r"cls_tower_\1"),
    (r"deconv\.0", "frame_0"),
    (r"deconv\.3", "frame_1"),
    (r"deconv\.6", "frame_2"),
    (r"(loc|conf)_proposal_branch\.cur_point_conv", r"\1_branch/current"),
    (r"(loc|conf)_proposal_branch\.lr_conv", r"\1_branch/sides"),
    (r"(loc|conf)_proposal_branch\.roi_conv", r"\1_branch/region"),
    (r"(loc|conf)_proposal_branch\.proposal_conv", r"\1_branch/merge"),
    (r"prop_loc_head", "refined_loc_head"),
    (r"prop_conf_head", "refined_cls_head"),
    (r"center_head", "quality_head"),
    (r"loc_head", "loc_head"),
    (r"conf_head", "cls_head"),
]


def afsd_from_state_dict(state_dict, top_down=True):
    """Parameters of the published AFSD detector (all after the backbone) for `systems.afsd.model.AFSD`.

    Args:
      state_dict: name -> array, as PyTorch's `state_dict()`: names begin with "coarse_pyramid_detection.", convolution
        weights are (out, in, time) or (out, in, time, height, width). Names of other parts ("backbone.") are left alone.
      top_down: the THUMOS pyramid, whose level 1 is a projection too; False for ActivityNet.

    Returns:
      Nested dict of NumPy arrays.

    Raises:
      DataError: a name is not known.
    """
    flat, scales, unknown = {}, {}, []
    for name, value in state_dict.items():
        if not name.startswith(_PREFIX):
            continue
        rest, value = name.removeprefix(_PREFIX), np.asarray(value)
        if match := re.fullmatch(r"loc_heads\.(\d)\.scale", rest):
            scales[int(match[1])] = value.reshape(())
        elif path := _afsd_path(rest, top_down):
            flat[path] = _to_flax(path, value)
        else:
            unknown.append(name)
    if unknown:
        raise DataError(f"These names are not of a published AFSD checkpoint: {', '.join(unknown)}.")
    flat["scales"] = np.stack([scales[level] for level in sorted(scales)]) if scales else np.zeros(0, np.float32)
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def _afsd_path(name, top_down):
    """Our path of one of their parameters below the prefix, None if unknown."""
    if match := re.fullmatch(r"pyramids\.(\d)\.(.+)", name):
        level, leaf = int(match[1]), match[2]
        module = f"project_{level}" if level <= (1 if top_down else 0) else f"down_{level}"
        return _leaf(f"pyramid/{module}", leaf)
    for theirs, ours in _AFSD_MODULES:
        if match := re.match(theirs + r"\.", name):
            module = match.expand(ours).replace("conf_", "cls_")
            leaf = name[match.end() :]
            if theirs.startswith("deconv"):  # a flat list of layers: the norm is the entry after its convolution
                return _leaf(module, f"0.{leaf}")
            return _leaf(module, leaf)
    if match := re.fullmatch(r"deconv\.([147])\.(weight|bias)", name):
        return _leaf(f"frame_{int(match[1]) // 3}", f"1.{match[2]}")
    return None


def _leaf(module, leaf):
    """conv1d.weight (a head), 0.conv1d.weight (the convolution of a block) or 1.weight (its norm) -> our path."""
    if match := re.fullmatch(r"(0\.)?conv[13]d\.(weight|bias)", leaf):
        inner = "conv/conv" if match[1] else "conv"
        return f"{module}/{inner}/{'kernel' if match[2] == 'weight' else 'bias'}"
    if match := re.fullmatch(r"1\.(weight|bias)", leaf):
        return f"{module}/norm/{'scale' if match[1] == 'weight' else 'bias'}"
    return None


def _to_flax(path, value):
    """(out, in, time) -> (time, in, out); (out, in, 1, height, width) -> (1, height * width * in, out)."""
    if not path.endswith("kernel"):
        return value
    if value.ndim == 5:
        return value[:, :, 0].transpose(2, 3, 1, 0).reshape(1, -1, value.shape[0])
    return value.transpose(2, 1, 0)
