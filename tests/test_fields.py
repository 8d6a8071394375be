"""docs/fields.md is what the functions that make configs say, and lists all fields of all configs."""

import importlib

from benchmarks import fields


def test_the_page_is_up_to_date():
    assert fields.OUT.read_text() == fields.text(), "write it with python -m benchmarks.fields"


def test_every_field_is_listed_and_read_somewhere():
    rows = [line.split(" | ") for line in fields.text().splitlines() if line.startswith("| `") and line.count(" | ") > 3]
    listed = {row[0].strip("| `") for row in rows}
    for name, variants in fields.CONFIGS.items():
        for variant in variants:
            config = importlib.import_module(f"configs.{name}").get_config(variant)
            assert fields.fields_of(config).keys() - listed <= {"name", "data.clips_subset"}
    assert [row[0] for row in rows if not row[-1].strip("| ")] == []


def test_a_field_that_nothing_reads_has_no_reader():
    assert fields.readers("train.epochs") and not fields.readers("train.nobody_reads_this")
