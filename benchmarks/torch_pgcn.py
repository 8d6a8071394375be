"""P-GCN in plain PyTorch, for `benchmarks.pgcn`, with its inputs and parameters."""

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.pgcn import CHANNELS, CLASSES, NODES, SAMPLED, make_batch, make_parameters, make_video

DROPOUT, BRANCH_DROPOUT = 0.8, 0.7


def parameters():
    """Name -> tensor that learns."""
    return {name: torch.tensor(value).requires_grad_() for name, value in make_parameters().items()}


def branch(p, name, x, mask, dropout):
    """A branch of two graph convolutions. x: (..., nodes, channels); mask: (nodes, nodes)."""
    unit = x / x.norm(dim=-1, keepdim=True)
    adjacency = F.relu(unit @ unit.mT) * mask
    h = F.relu(adjacency @ (x @ p[f"{name}.gc1.weight"]) + p[f"{name}.gc1.bias"])
    h = F.dropout(h, dropout)
    return torch.cat([adjacency @ (h @ p[f"{name}.gc2.weight"]) + p[f"{name}.gc2.bias"], x], dim=-1)


def forward(p, x, mask, dropouts, centres):
    """Scores of activity and completeness, and offsets (..., K, 2).

    Args:
      p: see `parameters`.
      x: features (..., nodes, 3C).
      mask: how much of each node goes to each node, (nodes, nodes).
      dropouts: before the activity head, and in the branches.
      centres: whether of the first node alone, the centre of a tree.
    """
    action = branch(p, "Act_GCN", x[..., CHANNELS : 2 * CHANNELS], mask, dropouts[1])
    completeness = branch(p, "Comp_GCN", x, mask, dropouts[1])
    if centres:
        action, completeness = action[..., 0, :], completeness[..., 0, :]
    action = F.dropout(action, dropouts[0])
    offsets = F.linear(completeness, p["regressor_fc.weight"], p["regressor_fc.bias"])
    return (
        F.linear(action, p["activity_fc.weight"], p["activity_fc.bias"]),
        F.linear(completeness, p["completeness_fc.weight"], p["completeness_fc.bias"]),
        offsets.unflatten(-1, (CLASSES, 2)),
    )


def total_loss(p, batch, mask, dropouts):
    """The sum of the three losses of a batch."""
    inputs, types, labels, targets = (batch[name] for name in ("inputs", "types", "labels", "targets"))
    activity, completeness, regression = forward(p, inputs, mask, dropouts, True)
    scored, foreground, labels = types != 1, types == 0, labels.long()
    entropy = F.cross_entropy(activity[scored], labels[scored])
    own = completeness.gather(-1, (labels[..., None] - 1) % CLASSES)[..., 0]
    positive, negative = F.relu(1 - own[:, 0]), F.relu(1 + own[:, 1:7]).max(dim=1)[0]
    hinge = (positive.sum() + negative.sum()) / (len(inputs) + max(int(6 * len(inputs) * 0.17), 1))
    of_class = regression[foreground][torch.arange(int(foreground.sum())), labels[foreground] - 1]
    return entropy + 0.5 * hinge + 0.5 * 2 * F.smooth_l1_loss(of_class, targets[foreground])


def tree_mask():
    """How much of each node of a tree goes to each: itself, and the mean of its children."""
    children = torch.zeros(NODES, NODES)
    for node in range(1 + SAMPLED):
        children[node, node] = 1
        children[node, 1 + SAMPLED * node : 1 + SAMPLED * (node + 1)] = 1 / SAMPLED
    return children


def make_optimizer(p):
    """SGD as published: without weight decay, and twice as fast, on biases."""
    weights = [value for name, value in p.items() if name.endswith("weight")]
    biases = [value for name, value in p.items() if name.endswith("bias")]
    groups = [dict(params=weights, weight_decay=5e-4), dict(params=biases, lr=0.02)]
    return torch.optim.SGD(groups, lr=0.01, momentum=0.9)


def test(size):
    """(function to time, function that gives the sum of class scores) of a test of `size` proposals."""
    torch.set_num_threads(2)
    p, (features, counts) = parameters(), make_video(size)
    mask = torch.tensor(counts.astype(np.float32)) / 10 + torch.eye(size)
    features = torch.tensor(features)

    def run():
        with torch.no_grad():
            return forward(p, features, mask, (0.0, 0.0), False)

    return run, lambda: float(run()[0].sum())


def train(size):
    """(function to time, function that gives the loss without dropout) of a step on `size` videos."""
    torch.set_num_threads(2)
    p, mask = parameters(), tree_mask()
    batch = {name: torch.tensor(value) for name, value in make_batch(size).items()}
    optimizer = make_optimizer(p)

    def step():
        optimizer.zero_grad()
        total_loss(p, batch, mask, (DROPOUT, BRANCH_DROPOUT)).backward()
        optimizer.step()

    def check():
        with torch.no_grad():
            return float(total_loss(parameters(), batch, mask, (0.0, 0.0)))

    return step, check
