"""TCANet in plain PyTorch, for `benchmarks.tcanet`, with its inputs and parameters."""

import torch
import torch.nn.functional as F

from benchmarks.tcanet import HEADS, STAGES, STEP_SEC, WINDOW, make_parameters, make_problem


class Network:
    """The published layers, in test. Names are those of the published parameters."""

    def __init__(self, steps):
        """steps: T, the length of the features."""
        self.p = {name: torch.from_numpy(value) for name, value in make_parameters().items()}
        self.steps = steps
        apart = (torch.arange(steps)[:, None] - torch.arange(steps)).abs() > WINDOW // 2
        # (H, T, T): which keys a query of a head does not see; half of the heads see all
        self.hidden_keys = torch.stack([apart] * (HEADS // 2) + [torch.zeros_like(apart)] * (HEADS // 2))

    def conv(self, x, name, **fields):
        weight = self.p[f"{name}.weight"]
        return F.conv1d(x, weight, self.p[f"{name}.bias"], groups=x.shape[1] // weight.shape[1], **fields)

    def linear(self, x, name, joint="."):
        return F.linear(x, self.p[f"{name}{joint}weight"], self.p[f"{name}{joint}bias"])

    def norm(self, x, name):
        return F.layer_norm(x, (512,), self.p[f"{name}.weight"], self.p[f"{name}.bias"])

    def encode(self, x, name):
        """One encoder with local and global heads. (T, 512) -> (T, 512)."""
        attention = f"{name}.self_atten.scale_attention."
        parts = self.linear(x, attention + "in_proj", "_").chunk(3, dim=1)
        q, k, v = (part.reshape(self.steps, HEADS, -1).transpose(0, 1) for part in parts)
        scores = (q @ k.transpose(1, 2) * 64**-0.5).masked_fill(self.hidden_keys, -torch.inf)
        mixed = (scores.softmax(dim=2) @ v).transpose(0, 1).reshape(self.steps, 512)
        x = self.norm(x + self.linear(mixed, attention + "out_proj"), f"{name}.norm1")
        fed_forward = self.linear(self.linear(x, f"{name}.linear1").relu(), f"{name}.linear2")
        return self.norm(x + fed_forward, f"{name}.norm2")

    def sample(self, x, start, end, count):
        """Features at `count` times of each segment: (T, 512), (P,) twice in seconds -> (P, 512, count)."""
        low, high = ((bound / (self.steps * STEP_SEC)).clamp(0, 1)[:, None] for bound in (start, end))
        places = (low + (high - low) * (torch.arange(count) + 0.5) / count) * self.steps - 0.5
        before = places.floor()
        share, rows = (places - before)[..., None], before.long() + 1
        padded = F.pad(x, (0, 0, 1, 1))
        return torch.lerp(padded[rows], padded[rows + 1], share).transpose(1, 2)

    def level(self, x, name):
        """Two convolutions that halve the length each."""
        x = self.conv(x, f"{name}.0", stride=2, padding=1).relu()
        return self.conv(x, f"{name}.2", stride=2, padding=1).relu()

    def boundary_level(self, part, name):
        """Offset (P,) of a boundary from the features around it."""
        return self.conv(self.level(part, name), f"{name}.4").flatten()

    def segment_level(self, parts, name):
        """Offsets (P,) of the centre and of the log of the length, from all features."""
        hidden = self.level(torch.cat(parts, dim=2), f"{name}b")
        hidden = self.conv(hidden, f"{name}o.0").relu()
        return self.conv(hidden, f"{name}o.2")[..., 0].unbind(1)[:2]

    def refine(self, x, boxes, name):
        """One stage: the mean of what both levels propose. (T, 512), (P, 2) in seconds -> (P, 2)."""
        start, end = boxes.unbind(1)
        width = end - start
        spans = (start - width / 2, start, 32), (start, end, 64), (end, end + width / 2, 32)
        parts = [self.sample(x, *span) for span in spans]
        start_offset = self.boundary_level(parts[0], f"{name}.reg1se.start_reg_conv")
        end_offset = self.boundary_level(parts[2], f"{name}.reg1se.end_reg_conv")
        shift, stretch = self.segment_level(parts, f"{name}.reg1xw.reg_1d_")
        first = torch.stack([start + 0.2 * start_offset * width, end + 0.2 * end_offset * width], dim=1)
        centre, half = (start + end) / 2 + 0.1 * shift * width, width * (0.2 * stretch).exp() / 2
        return ((first + torch.stack([centre - half, centre + half], dim=1)) / 2).clamp(min=0)

    def __call__(self, features, segments):
        """(1, C, T), (1, P, 2) in seconds -> the refined proposals of the last stage, (P, 2)."""
        x = self.conv(features, "x_1d_b_f.0", padding=1).relu()
        x = self.conv(x, "x_1d_b_f.2", padding=1).relu()[0].T
        for i in range(2):
            x = self.encode(x, f"lgtes.{i}")
        boxes = segments[0]
        for i in range(STAGES):
            boxes = self.refine(x, boxes, f"tbr{i + 1}")
        return boxes


def make_forward(steps, proposals):
    """Function that gives the refined proposals of the last stage, (P, 2)."""
    torch.set_num_threads(2)
    features, segments = (torch.from_numpy(array) for array in make_problem(steps, proposals))
    network = Network(steps)

    @torch.inference_mode()
    def forward():
        return network(features, segments).numpy()

    return forward
