"""What a page holds: its detections, signals, summary and curves, and that it stays small."""

import base64
import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest

from tal_jax.data.annotations import Annotations, Recording
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.diagnosis import diagnose
from tal_jax.page import content, judged, recordings, run_facts, signals, summary, write
from tests import tiny_config

WHICH = dict(subset="test", left_out=(), missing="missed")


TIOUS = (0.5,)


def config_of():
    config = tiny_config.get_config("toy")
    config.evaluate.tious = TIOUS
    config.data.input = "rgb"  # no signal is read
    config.data.frames = ""
    return config


def recording(name, labels, segments, duration_sec=100.0):
    segments = np.array(segments, float).reshape(-1, 2)
    return Recording(name, "test", duration_sec, segments, np.array(labels, np.int32))


def detection(label, start, end, score):
    return {"label": label, "segment": [start, end], "score": score}


@pytest.fixture
def case():
    """(annotations, results): class "b" is twice found too early, once missed, and once right."""
    one = recording("one", [0, 1, 1], [[0, 10], [20, 30], [40, 50]])
    two = recording("two", [1, 1], [[0, 10], [60, 70]])
    results = {
        "one": [
            detection("a", 0, 10, 0.9),
            detection("b", 16, 24, 0.8),
            detection("b", 36, 44, 0.7),
            detection("c", 1, 2, 0.1),
        ],
        "two": [detection("b", 0, 10, 0.6)],
    }
    return Annotations(("a", "b"), {"one": one, "two": two}), results


def made_of(case, **parts):
    annotations, results = case
    return content.of_run("name", config_of(), annotations, {"": results}, WHICH, **parts)


def test_recordings_say_what_is_right(case):
    one, two = made_of(case)["recordings"]
    assert one["truth"] == [[0, 0, 10000, 0.9], [1, 20000, 30000, None], [1, 40000, 50000, None]]
    (found,) = one["found"]
    labels, _, _, scores, kinds = zip(*found["rows"], strict=True)
    assert scores == (0.9, 0.8, 0.7, 0.1) and labels == (0, 1, 1, 2) and found["rest"] == 0
    verdicts = made_of(case)["verdicts"]
    assert [verdicts[kind] for kind in kinds] == ["right", "localization", "localization", "not scored"]
    assert [scores for *_, scores in two["truth"]] == [0.6, None]
    assert made_of(case)["classes"] == ["a", "b", "c"]


def test_the_summary_names_class_error_and_recording(case):
    scores = evaluate_detections(*case, tious=TIOUS, **WHICH)
    diagnosis = {"calibration": {"best_f1": {"b": {"score": 0.5}}}}
    said = summary.summary(judged.judge(*case, WHICH, TIOUS), scores, diagnosis)
    texts = [line["text"] for line in said]
    assert texts[0] == "mAP is 54.2 %, the mean over 1 threshold of tIoU."  # two recordings are too few
    assert texts[1:] == [
        "The weakest class is b: AP 8.3 %.",
        "Its commonest error: the class is right, but start or end is off (localization; 2 of its 3 errors from "
        "score 0.5 on).",
        "Look at one, which has 2 of them, the first at 16 s.",
    ]
    assert (said[3]["recording"], said[3]["time"], said[3]["score"]) == ("one", 16.0, 0.5)


def test_an_interval_is_that_of_the_score(case, monkeypatch):
    """The interval knows nothing of detections on other recordings, and so is not said where these count."""
    annotations, results = case
    monkeypatch.setattr(summary.bootstrap, "FEWEST", 2)
    results["elsewhere"] = [detection("a", 0, 10, 0.95)]
    for other, known in (("ignored", True), ("false positives", False)):
        scores = evaluate_detections(*case, tious=TIOUS, other_recordings=other, **WHICH)
        found = judged.judge(annotations, results, WHICH, TIOUS)
        sure = summary.map_interval(found, scores)
        assert (sure is not None) == known and (
            "interval" in summary.summary(found, scores, None)[0]["text"]
        ) == known
        assert not known or sure[0] <= scores["map_avg"] <= sure[1]
    results["one"].append(detection("a", 10, 5, 0.99))  # ends before it starts: a false positive
    scores = evaluate_detections(*case, tious=TIOUS, **WHICH)
    assert summary.map_interval(judged.judge(annotations, results, WHICH, TIOUS), scores) is None


def test_the_detection_of_the_best_threshold_is_shown(case):
    annotations, results = case
    results["two"] = [detection("b", 0, 10, 0.123446)]  # the page holds 0.1234
    scores = evaluate_detections(*case, tious=TIOUS, **WHICH)
    best = {"calibration": {"best_f1": {"b": {"score": 0.123446}}}}
    results["one"] = []
    made, found = made_of(case), judged.judge(*case, WHICH, TIOUS)
    assert made["recordings"][1]["found"][0]["rows"][0][3] == 0.1234 and made["threshold"] <= 0.1234
    assert summary.summary(found, scores, best)[-1]["score"] <= 0.1234


def test_recordings_that_are_not_scored_are_not_shown(case):
    annotations, results = case
    del results["two"]
    for missing, names in (("left out", ["one"]), ("missed", ["one", "two"])):
        made = content.of_run("a", config_of(), annotations, {"": results}, WHICH | {"missing": missing})
        assert [row["name"] for row in made["recordings"]] == names


def test_a_correction_says_what_the_annotations_say(case):
    annotations, results = case
    annotations.recordings["two"] = dataclasses.replace(annotations.recordings["two"], duration_sec=None)
    made = made_of(case)
    one, two = made["recordings"]
    assert (one["duration"], one["last"], one["entry"]["duration"]) == (100.0, 100_000, 100.0)
    assert (two["duration"], two["last"]) == (77.0, None) and "duration" not in two["entry"]
    assert made["classes"] == ["a", "b", "c"] and made["num_annotated"] == 2 and not made["uncorrectable"]
    config = config_of()
    config.data.class_agnostic = True
    said = content.of_run("a", config, annotations, {"": results}, WHICH)["uncorrectable"]
    assert "would lose the classes" in said


def test_the_summary_names_the_class_that_is_mistaken():
    truths = recording("one", [0, 0, 0, 1], [[0, 10], [20, 30], [40, 50], [60, 70]])
    results = {"one": [detection("b", start, start + 10, 0.9) for start in (0, 20, 60)]}
    annotations = Annotations(("a", "b"), {"one": truths})
    found = judged.judge(annotations, results, WHICH, (0.5,))
    assert judged.errors_of(found, 1, 0.5) == [
        ("wrong label", "one", 0.0, "a"),
        ("wrong label", "one", 20.0, "a"),
    ]
    assert judged.errors_of(found, 0, 0.5) == [("missed", "one", 40.0, "")]
    scores = {"ap": {"a": {"0.5": 90.0}, "b": {"0.5": 20.0}}, "map": {"0.5": 55.0}, "map_avg": 55.0,
              "protocol": {"name": "activitynet"}}  # fmt: skip
    text = summary.summary(found, scores, None)[2]["text"]
    assert text == (
        "Its commonest error: the time is right, the class is not (wrong label; 2 of its 2 errors from score 0.9 "
        "on, most often on a)."
    )


def test_curves_are_the_ap(case):
    annotations, results = case
    found = judged.judge(annotations, results, WHICH, (0.5, 0.3))
    config = config_of()
    config.evaluate.tious = (0.5, 0.3)
    curves = content.curves(config, annotations, results, WHICH)
    assert curves["tious"] == ["0.5", "0.3"] and curves["classes"]["a"] == [[100] * 41] * 2
    # one of four is found, after two that are wrong
    assert curves["classes"]["b"][0] == [33] * 11 + [0] * 30
    assert found.threshold == 0.6 and found.classes == ["a", "b"]


def test_nothing_to_score_against_is_a_page_too():
    annotations = Annotations(("a",), {"one": recording("one", [0], [[0, 200]])})
    made = content.of_run("name", config_of(), annotations, {"": {"one": []}}, WHICH,
                          diagnosis={"problem": "nothing"})  # fmt: skip
    assert made["curves"] is None and made["summary"] == [] and len(made["recordings"]) == 1
    assert "nothing" in write.page_text(made)


def test_42000_detections_fit():
    rng, labels = np.random.default_rng(0), [f"class {k}" for k in range(20)]
    known, results = {}, {}
    for i in range(210):
        starts = rng.uniform(0, 3000, 200)
        known[f"r{i}"] = recording(
            f"r{i}", rng.integers(0, 20, 30), np.stack([starts, starts + 5], 1)[:30], 3600.0
        )
        results[f"r{i}"] = [
            detection(labels[rng.integers(20)], start, start + 7.123, rng.uniform()) for start in starts
        ]
    annotations = Annotations(tuple(labels), known)
    made = content.of_run("name", config_of(), annotations, {"": results}, WHICH)
    assert len(write.page_text(made).encode()) <= 3_000_000
    assert (
        sum(len(row["found"][0]["rows"]) for row in made["recordings"]) == 42_000 and len(made["notes"]) == 1
    )
    made = content.of_run("name", config_of(), annotations, {name: results for name in "abc"}, WHICH)
    assert len(write.page_text(made).encode()) <= 3_000_000
    assert re.match("To keep the page small, it holds the [0-9]+ best detections of each", made["notes"][0])


def test_5000_classes_with_long_names_fit():
    """Tables and charts show the weakest ones; names that are too long in all are cut."""
    for letters, cut in ((150, False), (600, True)):
        labels = [f"{k:05d} {'x' * letters}" for k in range(5000)]
        known, results = {}, {}
        for i in range(10):
            starts = np.arange(500) * 7.0
            numbers = np.arange(500 * i, 500 * (i + 1))
            known[f"r{i}"] = recording(f"r{i}", numbers, np.stack([starts, starts + 5], 1), 3600.0)
            found = zip(numbers, starts, strict=True)
            results[f"r{i}"] = [detection(labels[k], start, start + 4, 0.5) for k, start in found]
        annotations = Annotations(tuple(labels), known)
        scores = evaluate_detections(annotations, results, tious=TIOUS, **WHICH)
        diagnosis = diagnose(annotations, results, tious=TIOUS, **WHICH)
        made = content.of_run(
            "name", config_of(), annotations, {"": results}, WHICH, scores=scores, diagnosis=diagnosis
        )
        page = write.page_text(made)
        assert len(page.encode()) <= 3_000_000
        assert "Of 5000 classes the 300 of lowest AP are" in page
        assert ("Names of classes are cut" in page) == cut
        assert sum(len(row["found"][0]["rows"]) for row in made["recordings"]) == 5000


def test_most_of_each():
    counts = np.array([10, 100, 1000])
    size = recordings.DETECTION_BYTES
    assert recordings.most_of_each(counts, 1110 * size) is None
    assert recordings.most_of_each(counts, 510 * size) == 400
    assert recordings.most_of_each(counts, 0) == 1


def test_what_could_run_is_escaped():
    text = "</script><script>alert(1)</script>\u2028&<!--"
    page = write.page_text(content.empty("a title", text) | {"recordings": [{"name": text}]})
    assert page.count("<script") == 2 and "<!--" not in page
    data = page.split('id="content">')[1].split("</script>")[0]
    assert not {*"<>&\u2028"} & {*data} and json.loads(data)["recordings"][0]["name"] == text
    assert "<title>&lt;b&gt;" in write.page_text(content.empty("<b>", ""))


def test_the_page_is_in_plain_files():
    folder = pathlib.Path(write.__file__).parent
    assert {path.name for path in folder.glob("*.js")} == {*write.SCRIPTS}
    lines = 0
    for script in folder.glob("*.js"):
        text = script.read_text()
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "eval(" not in text
        assert max(map(len, text.splitlines())) <= 110
        lines += len(text.splitlines())
    assert lines < 600
    for template in folder.glob("*.html"):
        assert "|safe" not in template.read_text() and "<script>" not in template.read_text().replace(
            "<script>{{ script }}</script>", ""
        )


def test_lowest_and_highest_of_each_part():
    values = np.array([[0, 9], [4, 8], [np.nan, 7], [np.inf, 1], [-3, 5]], float)
    low, high, step = signals.reduced(values, 3)
    assert step == 2
    np.testing.assert_array_equal(low, [[0, 8], [np.nan, 1], [-3, 5]])
    np.testing.assert_array_equal(high, [[4, 9], [np.nan, 7], [-3, 5]])


def test_a_packed_signal_comes_back():
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.standard_normal((5000, 2)), axis=0)
    for most_bytes, pairs in ((1e6, False), (4000, True)):
        packed = signals.packed(values, 1.0, 0.02, (), most_bytes)
        assert (
            packed["pairs"] == pairs and packed["start"] == 1.0 and len(json.dumps(packed)) < most_bytes + 400
        )
        for channel, column in zip(packed["channels"], values.T, strict=True):
            data = np.frombuffer(base64.b64decode(channel["data"]), np.uint8).astype(float)
            back = channel["low"] + (data - 1) / 254 * (channel["high"] - channel["low"])
            step = round(packed["step"] / 0.02)
            parts = [column[i : i + step] for i in range(0, len(column), step)]
            known = [[part.min(), part.max()] for part in parts] if pairs else [[part[0]] for part in parts]
            assert np.abs(back - np.ravel(known)).max() < (channel["high"] - channel["low"]) / 254


def test_many_channels_are_thinned():
    values = np.random.default_rng(0).standard_normal((1000, 20)) * np.arange(20)
    packed = signals.packed(values, 0.0, 0.1, (), 1e6)
    assert [channel["name"] for channel in packed["channels"]] == [f"channel {k}" for k in range(15, 21)]
    assert packed["more"] == "The signal has 14 more channels."
    assert len(signals.packed(values, 0.0, 0.1, (), 2000)["channels"]) == 3


def test_channels_that_vary_most_are_chosen_among_gaps():
    """What is missing counts for nothing: a constant far from 0 with gaps does not vary."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((1000, 8))
    values[:, 0] = np.where(rng.uniform(size=1000) < 0.5, 100.0, np.nan)
    values[:, 1] = np.nan
    names = [channel["name"] for channel in signals.packed(values, 0.0, 0.1, (), 1e6)["channels"]]
    assert names == [f"channel {k}" for k in range(3, 9)]


def test_curves_of_training_are_thinned(tmp_path):
    lines = [
        json.dumps({"step": s, "total": 1 / s, "epoch": 1, "seconds_per_step": 0.5})
        for s in range(10, 7060, 10)
    ]
    lines += [json.dumps({"step": 3000, "map_avg": 50.0}), '{"step": 70']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    found = run_facts.training(tmp_path / "metrics.jsonl")
    assert list(found["losses"]) == ["total"] and len(found["losses"]["total"]) <= run_facts.MOST_POINTS
    assert [found["losses"]["total"][i][0] for i in (0, -1)] == [10, 7050]  # the last step is kept
    assert found["map"] == [[3000, 50.0]] and found["seconds"] == 3525
    assert run_facts.training(tmp_path / "none.jsonl") is None


def test_fields_that_differ_from_the_config_of_the_name():
    from configs import sbhar

    config = sbhar.get_config("ecm")
    assert run_facts.differences(config) == []
    config.train.epochs = 3
    assert run_facts.differences(config) == [("train.epochs", "36", "3")]
    config.name = "unknown"
    assert run_facts.differences(config) is None


def test_damaged_lines_of_a_training_are_left_out(tmp_path):
    lines = ['{"step": 3, "total": NaN}', '{"step": 1e999, "total": 1}', '{"step": true, "total": "<b>"}']
    lines += [100_000 * "[", "3", '{"step": 4, "map_avg": null}', '{"step": 5, "total": 2.5}', '{"step"']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    made = run_facts.training(tmp_path / "metrics.jsonl")
    assert made["losses"] == {"total": [[5, 2.5]]} and made["map"] == []
