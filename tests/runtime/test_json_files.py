import codecs
import json

import pytest

from tal_jax.errors import DataError
from tal_jax.runtime.json_files import read_json
from tal_jax.runtime.writers import MetricWriter


@pytest.mark.parametrize(
    "raw",
    [
        '{"a": [1, "é"]}'.encode(),
        codecs.BOM_UTF8 + '{"a": [1, "é"]}'.encode(),
        '{"a": [1, "é"]}'.encode("utf-16"),  # with its mark
        b'{"a": [1, "\\u00e9"]}',
    ],
)
def test_reads_every_encoding_of_json(tmp_path, raw):
    (tmp_path / "a.json").write_bytes(raw)
    assert read_json(tmp_path / "a.json", "test file") == {"a": [1, "é"]}


def test_a_character_of_two_escapes_is_whole(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(["🏃"]))
    assert read_json(tmp_path / "a.json", "test file") == ["🏃"]


@pytest.mark.parametrize(
    "raw, sentence",
    [
        (b"", "the test file is empty"),
        (b"\xef\xbb\xbf \n", "the test file is empty"),
        ("é".encode("latin-1"), "not a text file in UTF-8"),
        (b"\x93NUMPY\x01\x00", "not a text file in UTF-8"),
        (b'{"a": 1,\n}', "not valid JSON at line 2, column 1"),
        (b'{"a": {"rec1": 1, "rec2": 2, "rec1": 3}}', "the key 'rec1' twice"),
        (b'{"a\\u001b[31m": 1, "a\\u001b[31m": 3}', r"the key 'a\\x1b\[31m' twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[1" + b"0" * 400 + b"]", "a whole number of 401 digits, 10000000000000000000…"),
        (b"[-1" + b"0" * 5000 + b"]", "a whole number of 5002 digits"),
        (b'["\\ud800"]', r"half of a character, '\\ud800'"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, raw, sentence):
    (tmp_path / "a.json").write_bytes(raw)
    with pytest.raises(DataError, match=sentence) as error:
        read_json(tmp_path / "a.json", "test file")
    assert str(error.value).startswith(str(tmp_path / "a.json")) and str(error.value).isprintable()


def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path):
    with pytest.raises(
        DataError, match="Cannot read the test file .*a.json: No such file or directory. Get it."
    ):
        read_json(tmp_path / "a.json", "test file", "Get it.")
    with pytest.raises(DataError, match="Cannot read the test file .*: Is a directory."):
        read_json(tmp_path, "test file")


@pytest.mark.parametrize("line", ["{", "[1]", '{"loss": 1}', "[" * 100_000])
def test_a_damaged_line_of_a_log_is_one_sentence(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{line}\n')
    with pytest.raises(DataError, match="metrics.jsonl is damaged: "):
        MetricWriter(tmp_path, 5)
