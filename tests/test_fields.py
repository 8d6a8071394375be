"""docs/fields.md is what the functions that make configs say, and lists all fields of all configs."""

import importlib

from benchmarks import fields
from benchmarks.field_readers import readers
from tal_jax.ranges import leaves


def test_the_page_is_up_to_date():
    assert fields.OUT.read_text() == fields.text(), "write it with python -m benchmarks.fields"


def test_every_field_is_listed_and_read_somewhere():
    rows = [
        line.split(" | ")
        for line in fields.text().splitlines()
        if line.startswith("| `") and line.count(" | ") > 3
    ]
    listed = {row[0].strip("| `") for row in rows}
    for name, variants in fields.CONFIGS.items():
        for variant in variants:
            config = importlib.import_module(f"configs.{name}").get_config(variant)
            assert not dict(leaves(config)).keys() - listed
    assert [row[0] for row in rows if not row[-1].strip("| ")] == []


def test_readers_of_a_field_are_found_whatever_the_code_calls_its_section():
    expected = {
        "train.ema_decay": {"convert", "step", "optimizer", "systems.actionformer.optimizer"},
        "localize.thresholds": {"ops.runs"},  # find_runs(config.localize, …)
        "pools.background": {"systems.pgcn.pools"},
        "window.background": {"data.labelled_windows"},
        # **config.backbone
        "backbone.channels": {
            *("systems.afsd.config", "backbones.sequence", "systems.actionformer.config"),
            *("systems.actionformer.model", "systems.actionformer.published"),
        },
        "graph.contextual": {"systems.pgcn.config", "systems.pgcn.graph"},
        "data.csv_skip_lines": {"data.csv_files"},  # by a table of functions
        "data.clips_subset": {"check_data", "data.features", "systems.kt_mgfn.examples"},
        "model.boundary": {f"systems.kt_mgfn{name}" for name in ("", ".config", ".decode", ".losses")},
        "train.nobody_reads_this": set(),
    }
    known = {name for of_heading in fields.all_fields().values() for name in of_heading}
    found = readers([*known, "train.nobody_reads_this"])
    assert {name: found[name] for name in expected} == expected


def test_a_config_lacks_what_its_system_or_its_input_does_not_read():
    def has(variant, *names):
        config = importlib.import_module("configs.thumos").get_config(variant)
        return [name for name in names if name in dict(leaves(config))]

    of_frames = ("augment.flip", "backbone.remat", "train.backbone_weights", "window.first_frame")
    of_features = ("augment.scale", "augment.noise", "data.csv_columns", "extract.weights")
    assert has("dw_afsd", *of_frames, *of_features) == [*of_frames]
    assert has("dw_afsd,input=features", *of_frames, *of_features) == [*of_features]
    assert (
        has("pgcn", "augment.scale", "window.train_stride_frames", "decode.min_score", "decode.nms_sigma")
        == []
    )
    assert has("tcanet", "augment.noise", "decode.nms_tiou", "propose.grouping", "window.background") == []
