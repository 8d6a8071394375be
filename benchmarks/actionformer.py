"""ActionFormer in THUMOS14 shapes here against a plain PyTorch one, on two CPU cores: a training step of 2 x
2,304 x 2,048 (forward, backward, AdamW, running mean), and the forward pass of one recording.

    pip install torch
    python -m benchmarks.actionformer [--repeats=3] [--turns=3]

Both have the published width, 29,251,612 parameters, the same ones, and read the same batch. Each runs in a
process of its own, `repeats` times after one to warm up, and they take turns. Prints the median wall time,
the CPU time of the fastest, the peak of resident memory above that of the imports, their ratios, and how far
apart the two losses, or the two outputs, are without stochastic depth.
"""

import json
import resource
import subprocess
import sys

import numpy as np

from benchmarks import measure

PARAMETERS = 29_251_612
FRAMES, CHANNELS, CLASSES, ACTIONS = 2304, 2048, 20, 15
LENGTHS = {"step": (2304, 1700), "forward": (1700,)}  # of the recordings, the rest is padding
KEYS = {"median_s": "wall ms", "cpu_s": "CPU ms", "above_mib": "MiB"}  # of a measurement -> in the table


def make_parameters():
    """Published name -> NumPy array, none of them near 0, so that every part of the network counts."""
    from benchmarks.actionformer_torch import shapes

    random, parameters = np.random.default_rng(1), {}
    for name, shape in shapes(CHANNELS, classes=CLASSES).items():
        x = random.standard_normal(shape, np.float32)
        scale, mean = 0.1, float(not name.endswith("bias"))
        if len(shape) > 1:
            scale, mean = (2 / np.prod(shape[1:])) ** 0.5, 0.0
        parameters[name] = np.asarray(x * scale + mean, np.float32)
    assert sum(value.size for value in parameters.values()) == PARAMETERS
    return parameters


def make_problem(lengths):
    """(inputs (B, T, C), segments (B, G, 2) on ActionFormer's grid, labels (B, G) in 0..K-1)."""
    random = np.random.default_rng(0)
    inputs = np.maximum(random.standard_normal((len(lengths), FRAMES, CHANNELS), np.float32), 0)
    for row, length in zip(inputs, lengths):
        row[length:] = 0
    starts = random.uniform(0, min(lengths) - 100, (len(lengths), ACTIONS, 1))
    ends = starts + random.exponential(17, starts.shape) + 2  # 4.4 s at 3.75 cells a second, about
    labels = random.integers(CLASSES, size=starts.shape[:2])
    return inputs, np.concatenate([starts, ends], axis=2).astype(np.float32), labels


def jax_side(what):
    """(run, check, above) of tal_jax: `run` does it once, `check` gives two numbers to compare, without
    stochastic depth, `above` the peak of memory.
    """
    import jax
    import jax.numpy as jnp

    from tal_jax.runtime.devices import keep_freed_memory

    keep_freed_memory()  # as tal_jax.main does
    import benchmarks.actionformer_torch  # names and shapes: what it imports is not counted  # noqa: F401
    from tal_jax.runtime.parallel import make_parallel
    from tal_jax.step import TrainState, make_step
    from tal_jax.systems import SYSTEMS
    from tal_jax.systems.actionformer.config import actionformer_config
    from tal_jax.systems.actionformer.losses import loss_terms
    from tal_jax.systems.actionformer.published import actionformer_from_state_dict
    from tal_jax.systems.interface import running_count

    above = measure_above()
    config = actionformer_config()
    system, lengths = SYSTEMS[config.system], LENGTHS[what]
    model = system.build(config, CLASSES)
    inputs, segments, labels = make_problem(lengths)
    num_frames = np.array(lengths, np.int32)
    params = jax.tree.map(np.ascontiguousarray, actionformer_from_state_dict(make_parameters()))
    variables = {"params": params, "normaliser": dict.fromkeys(["cls", "loc"], jnp.float32(100))}
    if what == "forward":
        forward = jax.jit(model.apply)
        variables, inputs = jax.device_put((variables, inputs))
        run = lambda: jax.block_until_ready(forward(variables, inputs, num_frames))
        return run, lambda: [float(x.mean()) for x in run()[:2]], above

    optimizer = system.optimizer(config, 3500)
    parallel = make_parallel(config.parallel.impl)
    batch = dict(inputs=inputs, num_frames=num_frames, segments_frame=segments + 0.5, labels=labels + 1)
    batch |= dict(sample_mask=np.ones(len(lengths), np.float32), stop=np.zeros(len(lengths), np.float32))
    body = make_step(config, system, model, optimizer, batches_per_epoch=100)
    step = parallel.compile(body)
    state = TrainState(
        jnp.int32(0), params, {"normaliser": variables["normaliser"]}, params, optimizer.init(params)
    )
    carry = [parallel.replicate(state)]
    del state, params, variables["params"]

    def run():
        carry[0], values = step(carry[0], parallel.shard(batch))
        jax.block_until_ready((carry[0], values))

    def check():
        params = actionformer_from_state_dict(make_parameters())

        @jax.jit
        def terms(params, batch):
            outputs = model.apply(variables | {"params": params}, batch["inputs"], batch["num_frames"])
            return loss_terms(config, outputs, batch, variables["normaliser"], 0.0)

        return [float(t.sum / running_count(100.0, t.count)) for t in terms(params, batch).values()]

    return run, check, above


def torch_side(what):
    """(run, check, above) of plain PyTorch: `run` does it once, `check` gives two numbers to compare, `above`
    the peak of memory.
    """
    import torch

    from benchmarks import actionformer_torch as plain

    above = measure_above()
    torch.set_num_threads(2)
    lengths = LENGTHS[what]
    inputs, segments, labels = map(torch.from_numpy, make_problem(lengths))
    inputs = inputs.transpose(1, 2).contiguous()
    mask = (torch.arange(FRAMES) < torch.tensor(lengths)[:, None])[:, None].float()
    if what == "forward":
        p = {name: torch.from_numpy(value) for name, value in make_parameters().items()}
        run = torch.no_grad()(lambda: plain.forward(p, inputs, mask))
        return run, lambda: [float(x.mean()) for x in run()[:2]], above

    training = plain.Training(make_parameters(), plain.RANGES, FRAMES, rate=0.1)
    run = lambda: training.step(inputs, mask, segments, labels, 1e-4)

    def check():
        p = {name: torch.from_numpy(value) for name, value in make_parameters().items()}
        with torch.no_grad():
            outputs = plain.forward(p, inputs, mask)
            return [float(x) for x in plain.losses(outputs, training.points, segments, labels, 100.0)[:2]]

    return run, check, above


def measure_above():
    """A function that gives the peak of resident memory, MiB, above that at the call of this one."""
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    before = peak()
    return lambda: peak() - before


def main():
    """Prints the table."""
    parser = measure.parser(__doc__)
    parser.add_argument("--repeats", default=3, type=int, help="in a process")
    parser.add_argument("--turns", default=3, type=int, help="processes of each")
    parser.add_argument("--only", choices=measure.NETWORKS, help="measure one, in this process")
    parser.add_argument("--what", choices=LENGTHS, help="measure it alone")
    options = parser.parse_args()
    if options.only:
        run, check, above = {"here": jax_side, "torch": torch_side}[options.only](options.what)
        found = measure.figures(run, options.repeats)
        found["above_mib"] = above()
        print(json.dumps(found | dict(checked=check())))
        return
    print(f"| what | network | {' | '.join(KEYS.values())} | ratios |\n{'|---' * (len(KEYS) + 3)}|")
    for what in [options.what] if options.what else LENGTHS:
        measure_turns(what, options)


def measure_turns(what, options):
    """Measures both networks in turns, and prints their rows."""
    turns = {network: [] for network in measure.NETWORKS}
    for _ in range(options.turns):
        for network, found in turns.items():
            command = [sys.executable, "-m", "benchmarks.actionformer", f"--only={network}", f"--what={what}"]
            command += [f"--repeats={options.repeats}"]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            found.append(json.loads(printed.splitlines()[-1]))
    median = {
        network: {key: np.median([turn[key] for turn in found]) for key in KEYS}
        for network, found in turns.items()
    }
    for network, name in measure.NETWORKS.items():
        cells = [f"{median[network][key] * (1e3 if key.endswith('_s') else 1):.0f}" for key in KEYS]
        ratios = [f"{median[network][key] / median['torch'][key]:.2f}" for key in KEYS]
        print(f"| {what} | {name} | {' | '.join(cells)} | {', '.join(ratios)} |", flush=True)
    ours, theirs = (np.array(turns[network][0]["checked"]) for network in ("here", "torch"))
    print(f"{what}: relative difference {np.abs(ours / theirs - 1).max():.1e}", flush=True)


if __name__ == "__main__":
    main()
