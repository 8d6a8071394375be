"""docs/fields.md is what the functions that make configs say, and lists all fields of all configs."""

import importlib

from benchmarks import fields


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
            assert fields.fields_of(config).keys() - listed <= {"name", "data.clips_subset"}
    assert [row[0] for row in rows if not row[-1].strip("| ")] == []


def test_a_field_that_nothing_reads_has_no_reader():
    assert fields.readers("train.epochs") and not fields.readers("train.nobody_reads_this")


def test_a_config_lacks_what_its_system_or_its_input_does_not_read():
    def has(variant, *names):
        config = importlib.import_module("configs.thumos").get_config(variant)
        return [name for name in names if name in fields.fields_of(config)]

    of_frames = ("augment.flip", "backbone.remat", "train.backbone_weights", "window.first_frame")
    of_features = ("augment.scale", "augment.noise", "data.csv_columns", "extract.weights")
    assert has("dw_afsd", *of_frames, *of_features) == [*of_frames]
    assert has("dw_afsd,input=features", *of_frames, *of_features) == [*of_features]
    assert (
        has("pgcn", "augment.scale", "window.train_stride_frames", "decode.min_score", "decode.nms_sigma")
        == []
    )
    assert has("tcanet", "augment.noise", "decode.nms_tiou", "propose.grouping", "window.background") == []
