"""TCANet's forward pass here against a plain PyTorch one, on two CPU cores: 100 proposals, features of 2304
channels.

    pip install torch
    python -m benchmarks.tcanet [--steps=100] [--proposals=100] [--repeats=20]

Each runs in a process of its own, the best and the median of `repeats` after one to warm up. The PyTorch
network has the published layers, but gathers the two rows of every sample, where the published code copies
the feature map for each proposal. Prints wall time, CPU time, the peak of resident memory, ratios, and how
far apart the refined proposals are.
"""

import json

import numpy as np

from benchmarks import measure

CHANNELS, STEP_SEC, STAGES, HEADS, WINDOW = 2304, 8 / 15, 3, 8, 9


def make_problem(steps, proposals):
    """(features (1, C, T), proposals in seconds (1, P, 2))."""
    random = np.random.default_rng(0)
    start, length = random.uniform(0, 0.7, proposals), random.uniform(0.02, 0.3, proposals)
    segments = np.stack([start, start + length], axis=-1)[None] * steps * STEP_SEC
    features = np.abs(random.standard_normal((1, CHANNELS, steps)))
    return features.astype(np.float32), segments.astype(np.float32)


def make_parameters():
    """Published name -> array in PyTorch's layout, uniform as both initialise; proposals move a little."""
    shapes = {"x_1d_b_f.0": (512, CHANNELS // 4, 3), "x_1d_b_f.2": (512, 128, 3)}
    for i in range(2):
        attention = f"lgtes.{i}.self_atten.scale_attention."
        shapes |= {f"{attention}in_proj": (1536, 512), f"{attention}out_proj": (512, 512)}
        shapes |= {
            f"lgtes.{i}.linear1": (256, 512),
            f"lgtes.{i}.linear2": (512, 256),
            f"lgtes.{i}.norm1": (512,),
            f"lgtes.{i}.norm2": (512,),
        }
    for i in range(STAGES):
        for side in ("start", "end"):
            level = f"tbr{i + 1}.reg1se.{side}_reg_conv."
            shapes |= {f"{level}0": (128, 128, 3), f"{level}2": (128, 32, 3), f"{level}4": (1, 128, 8)}
        level = f"tbr{i + 1}.reg1xw.reg_1d_"
        shapes |= {
            f"{level}b.0": (512, 128, 3),
            f"{level}b.2": (512, 128, 3),
            f"{level}o.0": (512, 128, 32),
            f"{level}o.2": (3, 512, 1),
        }
    random, parameters = np.random.default_rng(1), {}
    for name, shape in shapes.items():
        bound = 1 / np.prod(shape[1:]) ** 0.5
        weight, bias = random.uniform(-bound, bound, shape), random.uniform(-bound, bound, shape[:1])
        joint = "_" if name.endswith("in_proj") else "."
        parameters[f"{name}{joint}weight"] = (weight + (len(shape) == 1)).astype(np.float32)
        parameters[f"{name}{joint}bias"] = bias.astype(np.float32)
    return parameters


def jax_forward(steps, proposals):
    """Function that gives the refined proposals of the last stage, (P, 2)."""
    import jax
    import jax.numpy as jnp

    from tal_jax.systems.tcanet import build
    from tal_jax.systems.tcanet.config import tcanet_config
    from tal_jax.systems.tcanet.published import tcanet_from_state_dict

    features, segments = make_problem(steps, proposals)
    variables = {"params": jax.tree.map(jnp.asarray, tcanet_from_state_dict(make_parameters()))}
    features = np.ascontiguousarray(features.transpose(0, 2, 1))
    arrays = (features, segments, np.ones((1, proposals)), np.full(1, steps * STEP_SEC))
    arrays, model = [jnp.asarray(array) for array in arrays], build(tcanet_config())
    apply = jax.jit(lambda *arrays: model.apply(*arrays).stages[-1].refined_sec[0])
    return lambda: np.asarray(apply(variables, *arrays))


def torch_forward(steps, proposals):
    """Function that gives the refined proposals of the last stage, (P, 2), of a plain PyTorch network."""
    from benchmarks import torch_tcanet

    return torch_tcanet.make_forward(steps, proposals)


def main():
    """Prints a table with two rows for each length of the features."""
    parser = measure.parser(__doc__)
    parser.add_argument("--steps", default=0, type=int, help="T; 0: 100 and 1000")
    parser.add_argument("--proposals", default=100, type=int)
    parser.add_argument("--repeats", default=20, type=int)
    parser.add_argument("--only", choices=measure.NETWORKS, help="measure one, in this process")
    options = parser.parse_args()
    if options.only:
        forward = {"here": jax_forward, "torch": torch_forward}[options.only](
            options.steps, options.proposals
        )
        print(json.dumps(measure.figures(forward, options.repeats) | dict(refined=forward().tolist())))
        return
    differences = []
    print(f"| T | {measure.COLUMNS} |\n{'|---' * 9}|")
    for steps in [options.steps] if options.steps else [100, 1000]:
        given = dict(steps=steps, proposals=options.proposals, repeats=options.repeats)
        found = measure.both_networks("benchmarks.tcanet", steps, **given)
        apart = np.abs(np.subtract(found["torch"]["refined"], found["here"]["refined"])).max()
        differences.append(f"T = {steps}: refined proposals, largest difference: {apart:.1e} s")
    print("", *differences, sep="\n")


if __name__ == "__main__":
    main()
