"""Trains the rows of a system's ablation on SBHAR, several seeds each, and prints the table of
docs/results.md.

    python -m benchmarks.sbhar_ablation --system=ecm|kt_mgfn|pgcn|tcanet [--rows=full,pre] \
      [--seeds=1,2,3] [--out=runs/ablation]

Of ECM the rows of Table 4, of KT-MGFN those of the report's Table 2, of P-GCN those of Tables 3 to 6 and its
training with dynamic weights, of TCANet the proposals it is given and what it makes of them. The last two
start from the proposals of a first stage, one for each seed, which is trained first. The rows of AFSD and
ActionFormer are in curriculum_study.py.

Runs that are finished are not trained again, so the same command continues after an interruption.
"""

from benchmarks import training
from tal_jax.data.detections_file import read_detections
from tal_jax.data.proposals import read_proposals
from tal_jax.data.sets.sbhar import bundled_annotations
from tal_jax.evaluation.proposals import evaluate_proposals
from tal_jax.systems.ecm.config import TABLE_4
from tal_jax.systems.kt_mgfn.config import ABLATION

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


def first_stage(seed, out):
    """The file with the proposals of the first stage of a seed, which is trained and searched if need be."""
    workdir = out / "first_stage" / f"{FIRST_STAGE}_{seed}"
    training.train(FIRST_STAGE, [f"seed={seed}"], workdir)
    if not (workdir / "proposals.json").exists():
        training.run(FIRST_STAGE, [f"seed={seed}"], workdir, "--mode=propose")
    return workdir / "proposals.json"


def scores(workdir):
    """Six figures of a run in percent: mAP over 0.3:0.1:0.7, at 0.7, over 0.5:0.05:0.95 and of the six
    transitions alone; AR@50 and AUC of its detections as proposals.
    """
    annotations = bundled_annotations()
    detections = read_detections(workdir / "detections.json")
    proposals, _ = read_proposals(workdir / "detections.json", annotations)
    recall = evaluate_proposals(annotations, proposals, subset="test")
    return *training.figures(annotations, detections).values(), recall["ar"]["50"], recall["auc"]


def main():
    """Trains what is missing, then prints a markdown table, mean ± standard deviation over seeds."""
    parser = training.parser(__doc__, "runs/ablation")
    parser.add_argument("--system", required=True, choices=ROWS)
    parser.add_argument("--rows", default="", help="separated by commas; all")
    options = parser.parse_args()
    columns = "system | 0.3:0.1:0.7 | at 0.7 | 0.5:0.05:0.95 | six transitions | AR@50 | AUC"
    lines = [f"| {columns} |", "|---" * 7 + "|"]
    rows = ROWS[options.system]
    two_stages = options.system in ("pgcn", "tcanet")
    for row in options.rows.split(",") if options.rows else rows:
        (name, variant, fields), runs = rows[row], []
        for seed in options.seeds:
            workdir = options.out / options.system / f"{row}_{seed}"
            proposals = [f"proposals={first_stage(seed, options.out)}"] if two_stages else []
            training.train(variant, [*fields, *proposals, f"seed={seed}"], workdir)
            runs.append(scores(workdir))
        lines.append(f"| {name} | {training.spread(runs)} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
