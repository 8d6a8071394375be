"""One training step of ECM (forward, backward, Adam) here against a plain PyTorch one, on the CPU: 16 x 750 x
2048, 20 classes.

    pip install torch
    python -m benchmarks.ecm_step [--repeats=3] [--batch=16]

Each runs in a process of its own, the best of `repeats` steps after one to warm up. Of 16 recordings two have
two labels, as on THUMOS14. PyTorch loops over the labels of a recording; here all have two slots, whose
padding is computed in vain. Prints wall time, CPU time, the peak of resident memory and their ratios, and how
far apart the two total losses are without dropout.
"""

import argparse
import functools
import json
import subprocess
import sys

import numpy as np

from benchmarks.measure import figures

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
    shapes = {
        "conv_1": (CHANNELS, CHANNELS, 3), "conv_2": (CHANNELS, CHANNELS, 3), "classify": (CLASSES, CHANNELS, 1),
        "transition": (CLASSES, CLASSES, 1),
    }  # fmt: skip
    parameters = {}
    for name, shape in shapes.items():
        bound = 1 / np.prod(shape[1:]) ** 0.5
        weight = random.random(shape, np.float32)
        weight -= 0.5
        weight *= 2 * bound
        parameters[f"{name}.weight"] = weight
        if name != "classify":
            parameters[f"{name}.bias"] = random.uniform(-bound, bound, shape[:1]).astype(np.float32)
    return parameters


def jax_step(batch_size):
    """(step, function that gives the total loss of the first recordings without dropout) of the network here."""
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

    def step(number):
        carry[:] = jax.block_until_ready(update(*carry, batch, jax.random.key(number)))

    def check():
        nonlocal model
        config.model.dropout = 0.0
        model = build(config, CLASSES)
        return float(
            jax.jit(total)(make_params(), jax.tree.map(lambda x: x[:CHECKED], batch), jax.random.key(0))
        )

    return step, check


def torch_step(batch_size):
    """The same of a plain PyTorch network, layers as in the published one."""
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

    def step(number):
        optimizer.zero_grad()
        total(inputs, labels, 0.5).backward()
        optimizer.step()

    def check():
        p.update({name: torch.tensor(value) for name, value in make_parameters().items()})
        with torch.no_grad():
            return float(total(inputs[:CHECKED], labels[:CHECKED], 0.0))

    return step, check


def measure(which, batch_size, repeats):
    """Prints one line of JSON: the `figures`, checked."""
    step, check = {"tal_jax": jax_step, "torch": torch_step}[which](batch_size)
    print(json.dumps(figures(step, repeats) | dict(checked=check())))


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", default=3, type=int)
    parser.add_argument("--batch", default=16, type=int)
    parser.add_argument("--only", choices=["tal_jax", "torch"], help="measure one, in this process")
    options = parser.parse_args()
    if options.only:
        measure(options.only, options.batch, options.repeats)
        return
    found = {}
    for which in ("torch", "tal_jax"):
        command = [sys.executable, "-m", "benchmarks.ecm_step", f"--only={which}"]
        command += [f"--repeats={options.repeats}", f"--batch={options.batch}"]
        found[which] = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1]
        )
    print(
        "| network | wall s | CPU s | peak MiB | wall ratio | CPU ratio | memory ratio "
        "|\n|---|---|---|---|---|---|---|"
    )
    for which, name in (("torch", "PyTorch"), ("tal_jax", "here")):
        measured = [found[which][key] for key in ("wall_s", "cpu_s", "peak_mib")]
        ratios = [
            figure / found["torch"][key] for figure, key in zip(measured, ("wall_s", "cpu_s", "peak_mib"))
        ]
        row = [
            f"{measured[0]:.2f}",
            f"{measured[1]:.2f}",
            f"{measured[2]:.0f}",
            *(f"{ratio:.2f}" for ratio in ratios),
        ]
        print(f"| {name} | {' | '.join(row)} |")
    apart = abs(found["tal_jax"]["checked"] / found["torch"]["checked"] - 1)
    print(f"\nTotal loss without dropout, relative difference: {apart:.1e}")


if __name__ == "__main__":
    main()
