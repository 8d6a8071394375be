"""One training step of ECM (forward, backward, Adam) here against a plain PyTorch one, on the CPU: 16 x 750 x
2048, 20 classes.

    pip install torch
    python -m benchmarks.ecm_step [--repeats=3] [--batch=16]

Each runs in a process of its own, the best of `repeats` steps after one to warm up. Of 16 recordings two have
two labels, as on THUMOS14. PyTorch loops over the labels of a recording; here all have two slots, whose
padding is computed in vain. Prints wall time, CPU time, the peak of resident memory and their ratios, and how
far apart the two total losses are without dropout.
"""

import functools
import json

import numpy as np

from benchmarks import measure

SNIPPETS, CHANNELS, CLASSES, FOLDS, TOP_K = 750, 2048, 20, 3, 93
CHECKED = 2  # recordings whose loss without dropout is compared


def make_problem(batch):
    """(inputs (B, D, T), labels (B, K)), recordings 0 and 8 with two labels."""
    random = np.random.default_rng(0)
    inputs = random.random((batch, CHANNELS, SNIPPETS), np.float32)  # not negative, as features after a ReLU
    labels = np.zeros((batch, CLASSES), np.float32)
    labels[np.arange(batch), np.arange(batch) % CLASSES] = 1
    labels[::8, -1] = 1
    return inputs, labels


def make_parameters():
    """Name -> (out, in, taps) or (out,), uniform as both initialise."""
    random = np.random.default_rng(1)
    shapes = {"conv_1": (CHANNELS, CHANNELS, 3), "conv_2": (CHANNELS, CHANNELS, 3)}
    shapes |= {"classify": (CLASSES, CHANNELS, 1), "transition": (CLASSES, CLASSES, 1)}
    parameters = {}
    for name, shape in shapes.items():
        bound = 1 / np.prod(shape[1:]) ** 0.5
        parameters[f"{name}.weight"] = 2 * bound * (random.random(shape, np.float32) - np.float32(0.5))
        if name != "classify":
            parameters[f"{name}.bias"] = random.uniform(-bound, bound, shape[:1]).astype(np.float32)
    return parameters


def jax_step(batch_size):
    """(step, function that gives the total loss of the first recordings without dropout) of tal_jax."""
    import jax
    import jax.numpy as jnp
    import optax

    from tal_jax.optimizer import make_optimizer
    from tal_jax.systems.ecm import build, losses
    from tal_jax.systems.ecm.config import ecm_config

    config = ecm_config()
    model, optimizer = build(config, CLASSES), make_optimizer(config, 1)

    def make_params():
        values = {
            name: jnp.asarray(np.ascontiguousarray(value.T)) for name, value in make_parameters().items()
        }
        classifier = {
            name: {"kernel": values[f"{name}.weight"], "bias": values[f"{name}.bias"]}
            for name in ("conv_1", "conv_2")
        }
        transition = {"kernel": values["transition.weight"][0], "bias": values["transition.bias"]}
        return {
            "classifier": classifier | {"kernel": values["classify.weight"][0]},
            "transition": {"dense": transition},
        }

    inputs, labels = make_problem(batch_size)
    batch = dict(
        inputs=jnp.asarray(np.ascontiguousarray(inputs.transpose(0, 2, 1))),
        labels=jnp.asarray(labels),
        slots=jnp.asarray(np.stack([losses.label_slots(np.flatnonzero(row), 2) for row in labels])),
        sample_mask=jnp.ones(batch_size),
    )
    del inputs

    def total(params, batch, key):
        terms, _ = losses.loss(config, model, {"params": params}, batch, 0, key)
        return sum(term.weight * term.sum / term.count for term in terms.values())

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(params, state, batch, key):
        updates, state = optimizer.update(jax.grad(total)(params, batch, key), state, params)
        return optax.apply_updates(params, updates), state

    carry = [make_params()]
    carry.append(jax.jit(optimizer.init)(carry[0]))

    def step():
        carry[:] = jax.block_until_ready(update(*carry, batch, jax.random.key(0)))

    def check():
        nonlocal model
        config.model.dropout = 0.0
        model = build(config, CLASSES)
        first = jax.tree.map(lambda x: x[:CHECKED], batch)
        return float(jax.jit(total)(make_params(), first, jax.random.key(0)))

    return step, check


def torch_step(batch_size):
    """(step, function that gives the total loss of the first recordings without dropout) of a plain PyTorch
    network, with the layers of the published one.
    """
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(2)
    inputs, labels = (torch.from_numpy(array) for array in make_problem(batch_size))
    p = {name: torch.tensor(value).requires_grad_() for name, value in make_parameters().items()}
    optimizer = torch.optim.Adam(p.values(), lr=2e-4, weight_decay=5e-4)

    def hidden(x, dropout):
        x = F.leaky_relu(F.conv1d(x, p["conv_1.weight"], p["conv_1.bias"], padding=1))
        x = F.leaky_relu(F.conv1d(x, p["conv_2.weight"], p["conv_2.bias"], padding=1))
        return F.dropout(x, dropout)

    # (B, K, T), (B, D, T) -> (B * K, D, folds), by a product of matrices for each fold
    def aggregate(weights, x):
        sums = [
            torch.matmul(weights[:, :, f::FOLDS], x[:, :, f::FOLDS].transpose(1, 2)) for f in range(FOLDS)
        ]
        return torch.stack(sums, dim=3).flatten(0, 1)

    # every class has its own sequence: a convolution with a group for each class
    def score(aggregated, dropout):
        x = hidden(aggregated, dropout).reshape(-1, CLASSES * CHANNELS, FOLDS)
        return F.conv1d(x, p["classify.weight"], groups=CLASSES).mean(2)

    def total(x, y, dropout):
        cas = F.conv1d(hidden(x, dropout), p["classify.weight"])
        weights = torch.sigmoid(F.conv1d(cas, p["transition.weight"], p["transition.bias"]))
        pre, post = cas.topk(TOP_K, dim=2)[0].mean(2), score(aggregate(weights, x), dropout)
        collected = []
        for one, weight, label in zip(x, weights, y):
            classes = label.nonzero()[:, 0].tolist()
            scores = [
                score(aggregate(weight[None], (one * (1 - weight[k]))[None]), dropout)[0] for k in classes
            ]
            row = torch.stack(scores).mean(0)
            for k, own in zip(classes, scores):
                row = torch.where(torch.arange(CLASSES) == k, own, row)
            collected.append(row)
        probabilities = torch.softmax(torch.cat([post, torch.stack(collected)], dim=1), dim=1)
        target = y / y.sum(1, keepdim=True)
        entropies = [-(target * F.log_softmax(scores, dim=1)).sum(1).mean() for scores in (pre, post)]
        pairs = torch.stack([probabilities[:, :CLASSES], 1 - probabilities[:, CLASSES:]])
        apart = (-(torch.log(pairs) * y).sum((0, 2)) / (2 * y.sum(1))).mean()
        return sum(entropies) + 0.05 * (pre - post).square().mean() + 5 * apart

    def step():
        optimizer.zero_grad()
        total(inputs, labels, 0.5).backward()
        optimizer.step()

    def check():
        p.update({name: torch.tensor(value) for name, value in make_parameters().items()})
        with torch.no_grad():
            return float(total(inputs[:CHECKED], labels[:CHECKED], 0.0))

    return step, check


def main():
    """Prints the table."""
    parser = measure.parser(__doc__)
    parser.add_argument("--repeats", default=3, type=int)
    parser.add_argument("--batch", default=16, type=int)
    parser.add_argument("--only", choices=measure.NETWORKS, help="measure one, in this process")
    options = parser.parse_args()
    if options.only:
        step, check = {"here": jax_step, "torch": torch_step}[options.only](options.batch)
        print(json.dumps(measure.figures(step, options.repeats) | dict(checked=check())))
        return
    print(f"| batch | {measure.COLUMNS} |\n{'|---' * 9}|")
    found = measure.both_networks(
        "benchmarks.ecm_step", options.batch, repeats=options.repeats, batch=options.batch
    )
    apart = abs(found["here"]["checked"] / found["torch"]["checked"] - 1)
    print(f"\nTotal loss without dropout, relative difference: {apart:.1e}")


if __name__ == "__main__":
    main()
