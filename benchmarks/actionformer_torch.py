"""ActionFormer as one writes it in plain PyTorch, for benchmarks/actionformer.py.

Layout (batch, channel, time). A mask (B, 1, T) is 1 where a recording has features. `p` is a dict of
parameters by their published names; LayerNorm weights and residual scales have shape (C,).
"""

import torch
import torch.nn.functional as F

PARTS = ("query", "key", "value")
RANGES = ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 10000))  # of distances at each level, THUMOS14


def shapes(channels=2048, width=512, classes=20, stem=2, branch=5):
    """Published name -> shape of every parameter."""
    norm = lambda name: {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    conv = lambda name, out, inside, kernel: {f"{name}.weight": (out, inside, kernel), f"{name}.bias": (out,)}
    found = {"backbone.embd.0.conv.weight": (width, channels, 3)}
    found |= {"backbone.embd.1.conv.weight": (width, width, 3)} | norm("backbone.embd_norm.0")
    found |= norm("backbone.embd_norm.1")
    for block in block_names(stem, branch):
        found |= norm(f"{block}.ln1") | norm(f"{block}.ln2")
        for part in PARTS:
            found |= {f"{block}.attn.{part}_conv.conv.weight": (width, 1, 3)}
            found |= norm(f"{block}.attn.{part}_norm") | conv(f"{block}.attn.{part}", width, width, 1)
        found |= conv(f"{block}.attn.proj", width, width, 1)
        found |= conv(f"{block}.mlp.0", 4 * width, width, 1) | conv(f"{block}.mlp.3", width, 4 * width, 1)
        found |= {f"{block}.drop_path_{name}.scale": (width,) for name in ("attn", "mlp")}
    for level in range(branch + 1):
        found |= norm(f"neck.fpn_norms.{level}") | {f"reg_head.scale.{level}.scale": ()}
    for head, last, out in (("cls_head", "cls_head", classes), ("reg_head", "offset_head", 2)):
        for layer in range(2):
            found |= {f"{head}.head.{layer}.conv.weight": (width, width, 3)} | norm(f"{head}.norm.{layer}")
        found |= conv(f"{head}.{last}.conv", out, width, 3)
    return found


def block_names(stem, branch):
    """Names of the blocks, first to last."""
    return [f"backbone.stem.{i}" for i in range(stem)] + [f"backbone.branch.{i}" for i in range(branch)]


# --------------------------------------------------------------------------------------------------- network
def conv(p, name, x, mask, stride=1):
    """Convolution of odd kernel, dense or depthwise; its output is masked."""
    weight = p[f"{name}.weight"]
    groups, padding = x.shape[1] // weight.shape[1], weight.shape[2] // 2
    return F.conv1d(x, weight, p.get(f"{name}.bias"), stride, padding, groups=groups) * mask[..., ::stride]


def norm(p, name, x):
    """LayerNorm over channels."""
    x = x - x.mean(1, keepdim=True)
    x = x / torch.sqrt(x.square().mean(1, keepdim=True) + 1e-5)
    return x * p[f"{name}.weight"][:, None] + p[f"{name}.bias"][:, None]


def local_attention(q, k, v, mask, heads, window):
    """Softmax over the valid keys at most window // 2 away, in blocks of 2 * (window // 2) queries.

    Args:
      q, k, v: (B, C, T), T a multiple of the block.
    """
    half = window // 2
    block = 2 * half
    split = lambda x: x.unflatten(1, (heads, -1))
    # keys of a block: its own and `half` on either side, (B, H, d, blocks, 2 * block)
    around = lambda x: F.pad(x, (half, half)).unfold(-1, 2 * block, block)
    queries = split(q).unflatten(-1, (-1, block)).permute(0, 1, 3, 4, 2)
    keys, values = around(split(k)).permute(0, 1, 3, 2, 4), around(split(v)).permute(0, 1, 3, 4, 2)
    apart = torch.arange(2 * block) - half - torch.arange(block)[:, None]
    exists = around(torch.ones_like(mask))[:, :, :, None] > 0
    bias = -1e4 * (1 - around(mask)[:, :, :, None])
    bias = bias.masked_fill(~(exists & (apart.abs() <= half)), -torch.inf)
    weights = torch.softmax(queries @ keys / keys.shape[3] ** 0.5 + bias, dim=-1)
    return (weights @ values).permute(0, 1, 4, 2, 3).flatten(3).flatten(1, 2)


def drop_path(p, name, x, rate):
    """A branch times its scale, dropped for some recordings in training."""
    x = x * p[f"{name}.scale"][:, None]
    if rate:
        x = x * torch.floor(1 - rate + torch.rand(len(x), 1, 1)) / (1 - rate)
    return x


def transformer_block(p, name, x, mask, stride, heads, window, rate):
    """(x, mask) of the next level if the stride is 2, else of the same."""
    h, skip, out_mask = norm(p, f"{name}.ln1", x), x, mask[..., ::stride]
    q, k, v = (
        F.conv1d(
            norm(p, f"{name}.attn.{part}_norm", conv(p, f"{name}.attn.{part}_conv.conv", h, mask, stride)),
            p[f"{name}.attn.{part}.weight"],
            p[f"{name}.attn.{part}.bias"],
        )
        for part in PARTS
    )
    if stride > 1:
        skip = F.max_pool1d(x, stride + 1, stride, stride // 2)
    branch = conv(p, f"{name}.attn.proj", local_attention(q, k, v, out_mask, heads, window), out_mask)
    x = skip * out_mask + drop_path(p, f"{name}.drop_path_attn", branch, rate)
    h = F.gelu(F.conv1d(norm(p, f"{name}.ln2", x), p[f"{name}.mlp.0.weight"], p[f"{name}.mlp.0.bias"]))
    branch = conv(p, f"{name}.mlp.3", h, out_mask)
    return x + drop_path(p, f"{name}.drop_path_mlp", branch, rate), out_mask


def embed(p, x, mask):
    """Two convolutions to the width of the network."""
    for layer in range(2):
        x = conv(p, f"backbone.embd.{layer}.conv", x, mask)
        x = torch.relu(norm(p, f"backbone.embd_norm.{layer}", x))
    return x


def forward(p, x, mask, stem=2, branch=5, heads=4, window=19, rate=0.0):
    """The network.

    Returns:
      logits (B, N, K), distances (B, N, 2) in strides, masks (B, N); N points, level after level.
    """
    x, levels = embed(p, x, mask), []
    for block, name in enumerate(block_names(stem, branch)):
        x, mask = transformer_block(p, name, x, mask, 1 if block < stem else 2, heads, window, rate)
        levels += [(x, mask)] if block >= stem - 1 else []
    found = [[], [], []]
    for level, (x, mask) in enumerate(levels):
        x = norm(p, f"neck.fpn_norms.{level}", x)
        outputs = []
        for head, last in (("cls_head", "cls_head"), ("reg_head", "offset_head")):
            h = x
            for layer in range(2):
                h = torch.relu(norm(p, f"{head}.norm.{layer}", conv(p, f"{head}.head.{layer}.conv", h, mask)))
            outputs.append(conv(p, f"{head}.{last}.conv", h, mask))
        logits, distances = outputs
        distances = torch.relu(distances * p[f"reg_head.scale.{level}.scale"])
        for parts, part in zip(found, (logits, distances, mask)):
            parts.append(part)
    return tuple(torch.cat(parts, dim=2).transpose(1, 2) for parts in found[:2]) + (
        torch.cat(found[2], dim=2)[:, 0] > 0,
    )


# ---------------------------------------------------------------------------------------------------- losses
def points_of(frames, ranges):
    """(N, 4): position, least and greatest distance, stride of every point."""
    rows = [
        torch.tensor([[i * 2**level, low, high, 2**level] for i in range(frames >> level)])
        for level, (low, high) in enumerate(ranges)
    ]
    return torch.cat(rows).float()


def assign(points, segments, labels, classes):
    """Classes (N, K) and distances (N, 2) in strides that the points of one recording shall predict.

    Args:
      segments: (G, 2) on the grid.
      labels: (G,) int64 in 0..K-1.
    """
    position, low, high, stride = points.T[:, :, None]
    start, end = segments.T[:, None]
    left, right, middle = position - start, end - position, (start + end) / 2
    from_start = torch.maximum(middle - 1.5 * stride, start)
    to_end = torch.minimum(middle + 1.5 * stride, end)
    longest = torch.maximum(left, right)
    fits = torch.minimum(position - from_start, to_end - position) > 0
    fits &= (low <= longest) & (longest <= high)
    lengths = torch.where(fits, end - start, torch.inf)
    least, index = lengths.min(1, keepdim=True)
    chosen = fits & (lengths <= least + 1e-3)
    targets = (chosen.float() @ F.one_hot(labels, classes).float()).clamp(max=1)
    return targets, (torch.stack([left, right], 2) / stride[..., None]).gather(
        1, index[..., None].expand(-1, 1, 2)
    )[:, 0]


def losses(outputs, points, segments, labels, normaliser):
    """(classification, regression, normaliser): sums over the running mean of positives."""
    logits, distances, mask = outputs
    with torch.no_grad():
        pairs = [assign(points, *one, logits.shape[2]) for one in zip(segments, labels)]
        targets, truth = (torch.stack(parts) for parts in zip(*pairs))
        positive = mask & (targets.sum(2) > 0)
        normaliser = 0.9 * normaliser + 0.1 * max(int(positive.sum()), 1)
    logits, targets = logits[mask], targets[mask]
    p = torch.sigmoid(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    away = 1 - (p * targets + (1 - p) * (1 - targets))
    focal = (0.25 * targets + 0.75 * (1 - targets)) * away**2 * entropy
    predicted, truth = distances[positive], truth[positive]
    common = torch.minimum(predicted, truth).sum(1)
    union = predicted.sum(1) + truth.sum(1) - common
    hull = torch.maximum(predicted, truth).sum(1)
    apart = (predicted[:, 1] - predicted[:, 0] - truth[:, 1] + truth[:, 0]) / 2
    diou = 1 - common / union.clamp(min=1e-8) + (apart / hull.clamp(min=1e-8)) ** 2
    return focal.sum() / normaliser, diou.sum() / normaliser, normaliser


# -------------------------------------------------------------------------------------------------- training
class Training:
    """Parameters, AdamW and the running means."""

    def __init__(self, p, ranges, frames, decay=0.999, first_normaliser=100.0, **network):
        self.p = {name: torch.tensor(value).requires_grad_() for name, value in p.items()}
        self.ema = {name: value.detach().clone() for name, value in self.p.items()}
        decaying = [value for value in self.p.values() if value.ndim == 3]
        others = [value for value in self.p.values() if value.ndim < 3]
        groups = [dict(params=decaying, weight_decay=0.05), dict(params=others, weight_decay=0.0)]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)
        self.points, self.decay, self.normaliser = points_of(frames, ranges), decay, first_normaliser
        self.network = network

    def step(self, inputs, mask, segments, labels, rate_of_learning):
        """One update; (classification, regression, norm of the gradient) of the batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_of_learning
        self.optimizer.zero_grad()
        outputs = forward(self.p, inputs, mask, **self.network)
        cls, reg, self.normaliser = losses(outputs, self.points, segments, labels, self.normaliser)
        (cls + reg).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.p.values(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            for name, value in self.ema.items():
                value.mul_(self.decay).add_(self.p[name], alpha=1 - self.decay)
        return cls.item(), reg.item(), norm.item()
