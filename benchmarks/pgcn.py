"""P-GCN here against plain PyTorch, on the CPU: a training step of 32 videos, and a test of a video of 800
proposals.

    pip install torch
    python -m benchmarks.pgcn [--repeats=5] [--videos=32] [--proposals=800]

Features are pooled already: 3 x 1024 channels, 20 classes. A training step is forward, backward and SGD over
trees of 21 nodes, 8 of a video, with dropout. PyTorch has a 21 x 21 adjacency matrix for each tree and passes
all nodes through both layers; so does the published code, with one matrix for the whole batch. At test all
proposals are scored at once, with all their neighbours. Each runs in a process of its own, the best of
`repeats` after one to warm up. Prints wall time, CPU time, the peak of resident memory, their ratios, and how
far apart the losses of both are without dropout, and the sums of their class scores.
"""

import json

import numpy as np

from benchmarks import measure

CHANNELS, HIDDEN, CLASSES, CENTRES, SAMPLED, NODES = 1024, 512, 20, 8, 4, 21
SHAPES = {
    "Act_GCN.gc1.weight": (CHANNELS, HIDDEN), "Act_GCN.gc1.bias": (HIDDEN,),
    "Act_GCN.gc2.weight": (HIDDEN, CHANNELS), "Act_GCN.gc2.bias": (CHANNELS,),
    "Comp_GCN.gc1.weight": (3 * CHANNELS, HIDDEN), "Comp_GCN.gc1.bias": (HIDDEN,),
    "Comp_GCN.gc2.weight": (HIDDEN, 3 * CHANNELS), "Comp_GCN.gc2.bias": (3 * CHANNELS,),
    "activity_fc.weight": (CLASSES + 1, 2 * CHANNELS), "activity_fc.bias": (CLASSES + 1,),
    "completeness_fc.weight": (CLASSES, 6 * CHANNELS), "completeness_fc.bias": (CLASSES,),
    "regressor_fc.weight": (2 * CLASSES, 6 * CHANNELS), "regressor_fc.bias": (2 * CLASSES,),
}  # fmt: skip


def make_parameters():
    """Name -> array, the layers as both initialise them."""
    random = np.random.default_rng(1)
    parameters = {}
    for name, shape in SHAPES.items():
        values = random.uniform(-1, 1, shape).astype(np.float32)
        parameters[name] = values / shape[-1] ** 0.5 if "GCN" in name else 0.01 * values
    return parameters


def make_batch(videos):
    """A batch of training: trees of features that are not negative, types, labels and regression targets."""
    random = np.random.default_rng(0)
    types = np.tile(np.int32([0, 1, 1, 1, 1, 1, 1, 2]), (videos, 1))
    labels = np.where(types == 2, 0, random.integers(1, CLASSES + 1, types.shape)).astype(np.int32)
    targets = np.where(types[..., None] == 0, random.standard_normal((*types.shape, 2)), 0).astype(np.float32)
    inputs = random.random((videos, CENTRES, NODES, 3 * CHANNELS), np.float32)
    return dict(inputs=inputs, types=types, labels=labels, targets=targets)


def make_video(proposals):
    """Features of all proposals of a video (N, 3C), and how many times each is a neighbour of each (N, N)."""
    from tal_jax.systems.pgcn import graph

    random = np.random.default_rng(0)
    start = random.integers(0, 5000, proposals)
    segments = np.stack([start, start + random.integers(30, 300, proposals)], axis=1)
    counts = graph.neighbour_counts(graph.candidates(segments), proposals)
    return random.random((proposals, 3 * CHANNELS), np.float32), counts


def here_test(size):
    """(function to time, function that gives the sum of class scores) of a test of `size` proposals."""
    import jax

    from tal_jax.systems.pgcn import build
    from tal_jax.systems.pgcn.config import pgcn_config
    from tal_jax.systems.pgcn.published import pgcn_from_state_dict

    model, variables = build(pgcn_config(), CLASSES), pgcn_from_state_dict(make_parameters())
    features, counts = make_video(size)

    @jax.jit
    def test(variables, features, counts):
        outputs = model.apply(variables, features, counts)
        return outputs.activity_logits, outputs.completeness_logits, outputs.offsets

    def run():
        return jax.block_until_ready(test(variables, features, counts))

    return run, lambda: float(run()[0].sum())


def here_train(size):
    """(function to time, function that gives the loss without dropout) of a step on `size` videos."""
    import jax
    import jax.numpy as jnp
    import optax

    from tal_jax.systems.pgcn import build, losses
    from tal_jax.systems.pgcn.config import pgcn_config
    from tal_jax.systems.pgcn.optimizer import make_optimizer
    from tal_jax.systems.pgcn.published import pgcn_from_state_dict

    config, params = pgcn_config(), pgcn_from_state_dict(make_parameters())["params"]
    config.train.batch_size = size
    optimizer = make_optimizer(config, 1000)
    batch = make_batch(size)
    batch |= dict(target_mean=np.zeros((size, 2), np.float32), target_std=np.ones((size, 2), np.float32))
    batch = jax.tree.map(jnp.asarray, batch | dict(sample_mask=np.ones(size, np.float32)))

    def total(params, batch, key):
        model = build(config, CLASSES)
        terms, _ = losses.loss(config, model, {"params": params}, batch, 0, key)
        return sum(term.weight * term.sum / term.count for term in terms.values())

    @jax.jit
    def update(params, state, batch, key):
        updates, state = optimizer.update(jax.grad(total)(params, batch, key), state, params)
        return optax.apply_updates(params, updates), state

    carry = [params, optimizer.init(params)]

    def step():
        carry[:] = jax.block_until_ready(update(*carry, batch, jax.random.key(0)))

    def check():
        config.model.update(dropout=0.0, branch_dropout=0.0)
        return float(jax.jit(total)(params, batch, jax.random.key(0)))

    return step, check


def network(name, task):
    """The function of a size that makes what is timed. name: of `measure.NETWORKS`; task: train or test."""
    if name == "here":
        return {"train": here_train, "test": here_test}[task]
    from benchmarks import torch_pgcn

    return {"train": torch_pgcn.train, "test": torch_pgcn.test}[task]


def main():
    """Prints the table."""
    parser = measure.parser(__doc__)
    parser.add_argument("--repeats", default=5, type=int)
    parser.add_argument("--videos", default=32, type=int)
    parser.add_argument("--proposals", default=800, type=int)
    parser.add_argument("--only", choices=measure.NETWORKS, help="measure one, in this process")
    parser.add_argument("--task", default="train", choices=("train", "test"), help="of --only")
    options = parser.parse_args()
    sizes = {"train": options.videos, "test": options.proposals}
    if options.only:
        step, check = network(options.only, options.task)(sizes[options.task])
        print(json.dumps(measure.figures(step, options.repeats) | dict(checked=check())))
        return
    print(f"| task | {measure.COLUMNS} |\n{'|---' * 9}|")
    apart = []
    for task in sizes:
        given = dict(repeats=options.repeats, videos=options.videos, proposals=options.proposals, task=task)
        found = measure.both_networks("benchmarks.pgcn", task, **given)
        apart.append(abs(found["here"]["checked"] / found["torch"]["checked"] - 1))
    print(
        "\nRelative difference without dropout: of the loss {:.1e}, of the scores' sum {:.1e}".format(*apart)
    )


if __name__ == "__main__":
    main()
