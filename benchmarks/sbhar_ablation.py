"""Trains the rows of DW-AFSD's Tables 5 and 6 on SBHAR, several seeds each, and prints the table of docs/results.md.

    python -m benchmarks.sbhar_ablation [--rows=all,base] [--seeds=1,2,3] [--out=runs/ablation]

Runs that are finished are not trained again, so the same command continues after an interruption.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np

from tal_jax.data.sbhar import bundled_annotations
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.detections_file import read_detections

ROWS = {
    "base": ("AFSD", ["curriculum.weights=False", "curriculum.schedule=False", "curriculum.auxiliary=none"]),
    "weights": ("+ weights", ["curriculum.schedule=False", "curriculum.auxiliary=none"]),
    "auxiliary": ("+ weights, auxiliary", ["curriculum.schedule=False"]),
    "curriculum": ("+ weights, curriculum", ["curriculum.auxiliary=none"]),
    "all": ("DW-AFSD: all three", []),
    "classification": ("all, auxiliary on the classification branch", ["curriculum.auxiliary=classification"]),
}
STRICT_TIOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


def train(row, seed, workdir):
    """One run of one row, unless its evaluation is there."""
    if (workdir / "evaluation.json").exists():
        return
    overrides = [f"--config.{field}" for field in ROWS[row][1]]
    command = [sys.executable, "-m", "tal_jax.main", "--config=configs/sbhar.py", f"--workdir={workdir}", f"--config.seed={seed}"]
    subprocess.run(command + overrides, check=True)


def scores(workdir):
    """mAP over 0.3:0.1:0.7, at 0.7, over 0.5:0.05:0.95, and over 0.3:0.1:0.7 of the six transitions alone; percent."""
    result = json.loads((workdir / "evaluation.json").read_text())
    detections = read_detections(workdir / "detections.json")
    strict = evaluate_detections(bundled_annotations(), detections, subset="test", tious=STRICT_TIOUS)
    transitions = [np.mean(list(row.values())) for name, row in result["ap"].items() if "_to_" in name]
    return result["map_avg"], result["map"]["0.7"], strict["map_avg"], np.mean(transitions)


def main():
    """Trains what is missing, then prints a markdown table, mean ± standard deviation over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="base,weights,auxiliary,curriculum,all,classification")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--out", default="runs/ablation", type=pathlib.Path)
    arguments = parser.parse_args()
    lines = ["| system | 0.3:0.1:0.7 | at 0.7 | 0.5:0.05:0.95 | six transitions |", "|---|---|---|---|---|"]
    for row in arguments.rows.split(","):
        runs = []
        for seed in arguments.seeds.split(","):
            workdir = arguments.out / f"{row}_{seed}"
            train(row, seed, workdir)
            runs.append(scores(workdir))
        cells = (f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in zip(np.mean(runs, 0), np.std(runs, 0, ddof=1)))
        lines.append(f"| {ROWS[row][0]} | {' | '.join(cells)} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
