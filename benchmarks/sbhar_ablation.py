"""Trains the rows of a system's ablation on SBHAR, several seeds each, and prints the table of
docs/results.md.

    python -m benchmarks.sbhar_ablation [--system=dw_afsd|ecm|kt_mgfn|pgcn|tcanet] [--rows=all,base] [--seeds=1,2,3] \
      [--out=runs/ablation]

Of DW-AFSD the rows of Tables 5 and 6, of ECM those of Table 4, of KT-MGFN those of the report's Table 2, of
P-GCN those of Tables 3 to 6 and its training with dynamic weights, of TCANet the proposals it is given and
what it makes of them. The last two start from the proposals of a first stage, one for each seed, which is
trained first.

Runs that are finished are not trained again, so the same command continues after an interruption.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np

from tal_jax.data.detections_file import read_detections
from tal_jax.data.proposals import read_proposals
from tal_jax.data.sets.sbhar import bundled_annotations
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.proposals import evaluate_proposals
from tal_jax.systems.ecm.config import TABLE_4
from tal_jax.systems.kt_mgfn.config import ABLATION

DW_AFSD = {  # row -> its name, the fields that differ
    "base": ("AFSD", ["curriculum.weights=False", "curriculum.schedule=False", "curriculum.auxiliary=none"]),
    "weights": ("+ weights", ["curriculum.schedule=False", "curriculum.auxiliary=none"]),
    "auxiliary": ("+ weights, auxiliary", ["curriculum.schedule=False"]),
    "curriculum": ("+ weights, curriculum", ["curriculum.auxiliary=none"]),
    "all": ("DW-AFSD: all three", []),
    "classification": (
        "all, auxiliary on the classification branch",
        ["curriculum.auxiliary=classification"],
    ),
}
NAMES = {
    "pre": "ECM, pre-classification stream alone",
    "post": "post-classification stream alone",
    "shared": "both, with one classifier",
    "shared_a2c": "+ action-background consistency",
    "full": "+ classification consistency: ECM",
    "not_shared": "ECM, each stream with its own classifier",
    "class_agnostic": "ECM, one weight for all classes",
    "simple": "KT-MGFN, simple activation sequences",
    "multi_dilated": "+ multi-dilated convolution",
    "cascade": "+ cascade with erasing",
    "transfer": "+ knowledge transfer from clips",
    "boundary": "+ boundary regression: KT-MGFN",
    "mlp_mlp": "P-GCN, without neighbours",
    "mean_mean": "P-GCN, mean over the neighbours",
    "no_self_term": "P-GCN, without the self term",
    "embedded_cos": "P-GCN, cosines of learned projections",
    "no_surrounding": "P-GCN, contextual edges alone",
    "no_contextual": "P-GCN, surrounding edges alone",
}
PGCN_ROWS = ("mlp_mlp", "mean_mean", "no_self_term", "embedded_cos", "no_surrounding", "no_contextual")
ROWS = {  # system -> row -> its name, the variant of configs/sbhar.py, the fields that differ
    "dw_afsd": {row: (name, "dw_afsd", fields) for row, (name, fields) in DW_AFSD.items()},
    "ecm": {row: (NAMES[row], f"ecm,row={row}", []) for row in TABLE_4},
    "kt_mgfn": {row: (NAMES[row], f"kt_mgfn,row={row}", []) for row in ABLATION},
    "pgcn": {
        "full": ("P-GCN", "pgcn", []),
        **{row: (NAMES[row], f"pgcn,row={row}", []) for row in PGCN_ROWS},
        "dw": ("P-GCN with dynamic weights", "pgcn_dw", []),
    },
    "tcanet": {
        "full": ("TCANet", "tcanet", []),
        "given": ("the proposals it is given", "tcanet", ["readings=decode.refined=False", "train.epochs=1"]),
    },
}
FIRST_STAGE = "demo"  # variant of configs/sbhar.py, as configs/sbhar.py:pgcn and :tcanet have it
STRICT_TIOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


def run(variant, fields, workdir, *arguments):
    """One command."""
    command = [
        sys.executable,
        "-m",
        "tal_jax.main",
        f"--config=configs/sbhar.py:{variant}",
        f"--workdir={workdir}",
        *arguments,
    ]
    subprocess.run(command + [f"--config.{field}" for field in fields], check=True)


def train(variant, fields, workdir):
    """One run of one row, unless its evaluation is there."""
    if not (workdir / "evaluation.json").exists():
        run(variant, fields, workdir)


def first_stage(seed, out):
    """The file with the proposals of the first stage of a seed, made where it is not there."""
    workdir = out / "first_stage" / f"{FIRST_STAGE}_{seed}"
    train(FIRST_STAGE, [f"seed={seed}"], workdir)
    if not (workdir / "proposals.json").exists():
        run(FIRST_STAGE, [f"seed={seed}"], workdir, "--mode=propose")
    return workdir / "proposals.json"


def scores(workdir):
    """mAP over 0.3:0.1:0.7, at 0.7, over 0.5:0.05:0.95, of the six transitions alone; AR@50 as proposals,
    AUC. In percent.
    """
    result, annotations = json.loads((workdir / "evaluation.json").read_text()), bundled_annotations()
    detections = read_detections(workdir / "detections.json")
    strict = evaluate_detections(annotations, detections, subset="test", tious=STRICT_TIOUS)
    transitions = [np.mean(list(row.values())) for name, row in result["ap"].items() if "_to_" in name]
    proposals, _ = read_proposals(workdir / "detections.json", annotations)
    recall = evaluate_proposals(annotations, proposals, subset="test")
    return (
        result["map_avg"],
        result["map"]["0.7"],
        strict["map_avg"],
        np.mean(transitions),
        recall["ar"]["50"],
        recall["auc"],
    )


def main():
    """Trains what is missing, then prints a markdown table, mean ± standard deviation over seeds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--system", default="dw_afsd", choices=ROWS)
    parser.add_argument("--rows", default="", help="separated by commas; all")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--out", default="runs/ablation", type=pathlib.Path)
    arguments = parser.parse_args()
    lines = [
        "| system | 0.3:0.1:0.7 | at 0.7 | 0.5:0.05:0.95 | six transitions | AR@50 | AUC |",
        "|---" * 7 + "|",
    ]
    rows = ROWS[arguments.system]
    two_stages = arguments.system in ("pgcn", "tcanet")
    for row in arguments.rows.split(",") if arguments.rows else rows:
        (name, variant, fields), runs = rows[row], []
        for seed in arguments.seeds.split(","):
            workdir = arguments.out / arguments.system / f"{row}_{seed}"
            proposals = [f"proposals={first_stage(seed, arguments.out)}"] if two_stages else []
            train(variant, [*fields, *proposals, f"seed={seed}"], workdir)
            runs.append(scores(workdir))
        cells = (
            f"{mean:.2f} ± {deviation:.2f}"
            for mean, deviation in zip(np.mean(runs, 0), np.std(runs, 0, ddof=1))
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
