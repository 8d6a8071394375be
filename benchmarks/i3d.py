"""I3D here against the same network in PyTorch, on the CPU, in one run: a clip of 256 x 96 x 96, forward and
forward with gradients; or clips of another size.

    pip install torch
    python -m benchmarks.i3d [--repeats=3] [--formulations=folded,native]
    python -m benchmarks.i3d --clips=4,64,224,224 --forward     # the snippets of configs/kinetics.py

PyTorch runs the plain stack (convolution, BatchNorm in inference mode, ReLU, max pools, SAME padding) in
channels_last_3d. Prints the best wall time and CPU time of each, their ratio to PyTorch's, and how far the
outputs are apart.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import figures, parser
from tal_jax.backbones.i3d import BN_EPS, I3D, LAYERS

CLIPS = "1,256,96,96"  # number, frames, height, width


def torch_network(variables):
    """(forward, parameters) of I3D in PyTorch with the values of our variables: (B, C, T, H, W) -> [Mixed_4f,
    Mixed_5c].
    """
    import torch
    import torch.nn.functional as F

    weights = {}

    def pad(x, kernel, stride):
        amounts = []
        for size, k, s in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride)):
            total = max((-(-size // s) - 1) * s + k - size, 0)
            amounts += [total // 2, total - total // 2]
        return F.pad(x, amounts) if any(amounts) else x

    def unit(x, path, stride=(1, 1, 1)):
        if path not in weights:
            params, constants = variables["params"], variables["batch_stats"]
            for part in path.split("/"):
                params, constants = params[part], constants[part]
            kernel = torch.tensor(np.array(params["conv"]["kernel"]).transpose(4, 3, 0, 1, 2)).contiguous(
                memory_format=torch.channels_last_3d
            )
            norm = [
                torch.tensor(np.array(constants["bn"][name])) for name in ("mean", "var", "scale", "bias")
            ]
            weights[path] = kernel.requires_grad_(), norm
        kernel, (mean, var, scale, bias) = weights[path]
        x = F.conv3d(pad(x, kernel.shape[2:], stride), kernel, stride=stride)
        return F.relu(F.batch_norm(x, mean, var, scale, bias, eps=BN_EPS))

    def pool(x, kernel, stride):
        return F.max_pool3d(pad(x, kernel, stride), kernel, stride)

    def forward(x):
        found = {}
        for name, layer in LAYERS.items():
            if len(layer) == 2:
                x = pool(x, *layer)
            elif len(layer) == 3:
                x = unit(x, name, layer[1])
            else:
                cube = (3, 3, 3)
                branches = [
                    unit(x, f"{name}/b0"),
                    unit(unit(x, f"{name}/b1a"), f"{name}/b1b"),
                    unit(unit(x, f"{name}/b2a"), f"{name}/b2b"),
                    unit(pool(x, cube, (1, 1, 1)), f"{name}/b3b"),
                ]
                x = torch.cat(branches, dim=1)
            found[name] = x
        return found["Mixed_4f"], found["Mixed_5c"]

    return forward, lambda: [kernel for kernel, _ in weights.values()]


def best_sec(function, repeats):
    """(2,) wall and CPU seconds of the fastest call, after one to warm up."""
    found = figures(function, repeats)
    return np.array([found["wall_s"], found["cpu_s"]])


def main():
    """Prints the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--repeats", default=3, type=int)
    arguments.add_argument("--formulations", default="folded")
    arguments.add_argument("--clips", default=CLIPS)
    arguments.add_argument("--forward", action="store_true", help="without gradients")
    options = arguments.parse_args()
    import torch

    shape = (*map(int, options.clips.split(",")), 3)
    clip = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    variables = jax.jit(I3D().init)(jax.random.key(0), clip[:, :16])
    forward, parameters = torch_network(variables)
    torch_clip = torch.tensor(clip).permute(0, 4, 1, 2, 3).contiguous(memory_format=torch.channels_last_3d)

    def torch_forward():
        with torch.no_grad():
            return forward(torch_clip)

    def torch_step():
        return torch.autograd.grad(sum((output**2).sum() for output in forward(torch_clip)), parameters())

    print("| what | network | wall s | CPU s | wall ratio | CPU ratio |\n|---|---|---|---|---|---|")
    expected = [output.permute(0, 2, 3, 4, 1).numpy() for output in torch_forward()]
    measured = {"forward": torch_forward} | ({} if options.forward else {"forward and gradients": torch_step})
    for what, torch_function in measured.items():
        reference = best_sec(torch_function, options.repeats)
        times = f"{reference[0]:.2f} | {reference[1]:.2f}"
        print(f"| {what} | PyTorch {torch.__version__} | {times} | 1 | 1 |", flush=True)
        for formulation in options.formulations.split(","):
            model = I3D(conv=formulation)

            def run(params, clip):
                return model.apply({**variables, "params": params}, clip)

            def loss(params, clip):
                return sum(jnp.square(output).sum() for output in run(params, clip))

            params, function = variables["params"], jax.jit(run if what == "forward" else jax.grad(loss))
            ours = best_sec(lambda: jax.block_until_ready(function(params, clip)), options.repeats)
            cells = " | ".join(f"{value:.2f}" for value in (*ours, *(ours / reference)))
            print(f"| {what} | here, {formulation} | {cells} |", flush=True)
            if what == "forward":
                pairs = zip(function(params, clip), expected)
                apart = max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs)
    print(f"\nLargest difference of an output, relative to the largest value: {apart:.1e}")


if __name__ == "__main__":
    main()
