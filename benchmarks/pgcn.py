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


def here(task, size):
    """(function to time, function that gives the value to compare) of the network here."""
    import jax
    import jax.numpy as jnp
    import optax

    from tal_jax.systems.pgcn import build, losses
    from tal_jax.systems.pgcn.config import pgcn_config
    from tal_jax.systems.pgcn.optimizer import make_optimizer
    from tal_jax.systems.pgcn.published import pgcn_from_state_dict

    config = pgcn_config()
    model, variables = build(config, CLASSES), pgcn_from_state_dict(make_parameters())
    if task == "test":
        features, counts = make_video(size)

        @jax.jit
        def test(variables, features, counts):
            outputs = model.apply(variables, features, counts)
            return outputs.activity_logits, outputs.completeness_logits, outputs.offsets

        def run():
            return jax.block_until_ready(test(variables, features, counts))

        return run, lambda: float(run()[0].sum())

    config.train.batch_size = size
    optimizer = make_optimizer(config, 1000)
    batch = make_batch(size)
    batch |= dict(target_mean=np.zeros((size, 2), np.float32), target_std=np.ones((size, 2), np.float32))
    batch = jax.tree.map(jnp.asarray, batch | dict(sample_mask=np.ones(size, np.float32)))

    def total(params, batch, key):
        terms, _ = losses.loss(config, model, {"params": params}, batch, 0, key)
        return sum(term.weight * term.sum / term.count for term in terms.values())

    @jax.jit
    def update(params, state, batch, key):
        updates, state = optimizer.update(jax.grad(total)(params, batch, key), state, params)
        return optax.apply_updates(params, updates), state

    carry = [variables["params"], optimizer.init(variables["params"])]

    def step():
        carry[:] = jax.block_until_ready(update(*carry, batch, jax.random.key(0)))

    def check():
        nonlocal model
        config.model.update(dropout=0.0, branch_dropout=0.0)
        model = build(config, CLASSES)
        return float(jax.jit(total)(variables["params"], batch, jax.random.key(0)))

    return step, check


def pytorch(task, size):
    """(function to time, function that gives the value to compare) of a plain PyTorch network."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(2)
    p = {name: torch.tensor(value).requires_grad_() for name, value in make_parameters().items()}
    children = torch.zeros(NODES, NODES)
    for node in range(1 + SAMPLED):
        children[node, node] = 1
        children[node, 1 + SAMPLED * node : 1 + SAMPLED * (node + 1)] = 1 / SAMPLED

    def branch(x, mask, name, dropout):  # (..., nodes, channels), (nodes, nodes)
        unit = x / x.norm(dim=-1, keepdim=True)
        adjacency = F.relu(unit @ unit.mT) * mask
        h = F.relu(adjacency @ (x @ p[f"{name}.gc1.weight"]) + p[f"{name}.gc1.bias"])
        h = F.dropout(h, dropout)
        return torch.cat([adjacency @ (h @ p[f"{name}.gc2.weight"]) + p[f"{name}.gc2.bias"], x], dim=-1)

    def forward(x, mask, dropouts, centres):
        action = branch(x[..., CHANNELS : 2 * CHANNELS], mask, "Act_GCN", dropouts[1])
        completeness = branch(x, mask, "Comp_GCN", dropouts[1])
        if centres:
            action, completeness = action[..., 0, :], completeness[..., 0, :]
        action = F.dropout(action, dropouts[0])
        return (
            F.linear(action, p["activity_fc.weight"], p["activity_fc.bias"]),
            F.linear(completeness, p["completeness_fc.weight"], p["completeness_fc.bias"]),
            F.linear(completeness, p["regressor_fc.weight"], p["regressor_fc.bias"]).unflatten(
                -1, (CLASSES, 2)
            ),
        )

    if task == "test":
        features, counts = make_video(size)
        mask = torch.tensor(counts.astype(np.float32)) / 10 + torch.eye(size)
        features = torch.tensor(features)

        def test():
            with torch.no_grad():
                return forward(features, mask, (0.0, 0.0), False)

        return test, lambda: float(test()[0].sum())

    batch = {name: torch.tensor(value) for name, value in make_batch(size).items()}
    inputs, types, labels, targets = (batch[name] for name in ("inputs", "types", "labels", "targets"))
    labels = labels.long()
    weights = [value for name, value in p.items() if name.endswith("weight")]
    biases = [value for name, value in p.items() if name.endswith("bias")]
    groups = [dict(params=weights, weight_decay=5e-4), dict(params=biases, lr=0.02)]
    optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9)

    def total(dropouts):
        activity, completeness, regression = forward(inputs, children, dropouts, True)
        scored, foreground = types != 1, types == 0
        entropy = F.cross_entropy(activity[scored], labels[scored])
        own = completeness.gather(-1, (labels[..., None] - 1) % CLASSES)[..., 0]
        positive, negative = F.relu(1 - own[:, 0]), F.relu(1 + own[:, 1:7]).max(dim=1)[0]
        hinge = (positive.sum() + negative.sum()) / (size + max(int(6 * size * 0.17), 1))
        of_class = regression[foreground][torch.arange(int(foreground.sum())), labels[foreground] - 1]
        return entropy + 0.5 * hinge + 0.5 * 2 * F.smooth_l1_loss(of_class, targets[foreground])

    def step():
        optimizer.zero_grad()
        total((0.8, 0.7)).backward()
        optimizer.step()

    def check():
        p.update({name: torch.tensor(value) for name, value in make_parameters().items()})
        with torch.no_grad():
            return float(total((0.0, 0.0)))

    return step, check


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
        step, check = {"here": here, "torch": pytorch}[options.only](options.task, sizes[options.task])
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
