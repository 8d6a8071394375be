"""--mode=report, and the page that an evaluation writes."""

import html
import json
import re
import shutil

import numpy as np
import pytest

from tal_jax import diagnosis_file, evaluate, planned_run, predict, report_page, train
from tal_jax.errors import DataError
from tal_jax.evaluation import bootstrap
from tal_jax.page import run_page, write
from tests.page.conftest import write_case


def content_of(page):
    """What the scripts of a page draw."""
    return json.loads(re.search('id="content">(.*?)</script>', page.read_text())[1])


def words_of(page):
    """The words that the templates have written into a page."""
    body = re.sub("<script.*?</script>", "", page.read_text().partition("<main>")[2], flags=re.DOTALL)
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", body)).split())


@pytest.fixture
def contents(monkeypatch):
    """The contents of the pages that are written; the last one is that of the last page."""
    made, page_text = [], write.page_text
    monkeypatch.setattr(write, "page_text", lambda content: made.append(content) or page_text(content))
    return made


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """(config, workdir) of a trained toy."""
    config, workdir = tiny("toy", epochs=2), tmp_path_factory.mktemp("run")
    train.train(config, workdir)
    return config, workdir


def test_training_ends_with_a_page(run):
    config, workdir = run
    made, said = content_of(workdir / "report.html"), words_of(workdir / "report.html")
    assert [row["name"] for row in made["recordings"]] == ["sunday"]
    assert made["recordings"][0]["signal"]["channels"] and "Losses" in said and "total" in said
    scores = json.loads((workdir / "evaluation.json").read_text())
    diagnosis = json.loads((workdir / "diagnosis.json").read_text())
    assert f"{workdir.name} {scores['map_avg']:.1f} mAP in %, average" in said
    assert f"Normalised mAP: {diagnosis['map_avg']:.2f} %" in said
    assert re.search(r"trained on \d devices?: cpu \(", said)  # as training has recorded
    shown = report_page.content_as_it_stands(config, workdir)
    assert (shown["scores"], shown["diagnosis"]) == (scores, diagnosis) and len(shown["training"]["map"]) == 1


def test_a_page_that_cannot_be_made_does_not_end_a_training(tiny, tmp_path, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "report.html")

    monkeypatch.setattr(run_page, "write_report", full)
    scores = train.train(tiny("toy", epochs=2, evaluate_every_epochs=1), tmp_path)
    assert scores["map_avg"] >= 0 and [*(tmp_path / "checkpoints" / "best").iterdir()]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert sum("map_avg" in line for line in lines) == 2
    (said,) = (record.message for record in caplog.records if "page" in record.message)
    assert "could not be made" in said and "No space left on device" in said and "--mode=report" in said
    with pytest.raises(OSError, match="No space"):
        evaluate.evaluate(tiny("toy"), tmp_path)


def test_only_the_last_evaluation_of_a_training_makes_a_page(tiny, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(run_page, "write_report", lambda *_, **__: made.append(1))
    train.train(tiny("toy", epochs=3, evaluate_every_epochs=1), tmp_path)
    assert len(made) == 1


def test_the_chart_has_the_scores_that_were_logged(run, tmp_path):
    """Detections of another time are no score of the last step."""
    config, workdir = run
    shutil.copytree(workdir, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    path = tmp_path / "run" / "metrics.jsonl"
    lines = [line for line in path.read_text().splitlines() if "map_avg" not in line]
    path.write_text("\n".join(lines) + "\n")
    made = report_page.content_as_it_stands(config, tmp_path / "run")
    assert made["scores"] and made["training"]["map"] == []


def test_the_mode_makes_the_same_page(run, tmp_path):
    config, workdir = run
    shutil.copytree(workdir, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    page = tmp_path / "run" / "report.html"
    before = page.read_text().replace(workdir.name, "run")
    page.unlink()
    after = report_page.report(config, tmp_path / "run").read_text()
    made = re.compile("<dt>page made</dt><dd>.*?</dd>")
    assert made.sub("", after) == made.sub("", before)


def test_a_run_that_has_detected_nothing_has_a_page(run, tmp_path):
    config, workdir = run
    for name in ("config.json", "metrics.jsonl"):
        shutil.copy(workdir / name, tmp_path / name)
    page = report_page.report(config, tmp_path)
    said = words_of(page)
    assert content_of(page)["recordings"] == [] and "Losses" in said and "AP (%)" not in said
    assert "Nothing is detected yet" in said


def test_where_there_is_no_diagnosis_the_page_says_why(case, tmp_path, monkeypatch):
    config, _, folder = case
    monkeypatch.setattr(
        diagnosis_file.diagnosis, "diagnose", lambda *_, **__: (_ for _ in ()).throw(DataError("Why."))
    )
    (tmp_path / "diagnosis.json").write_text("{}")
    evaluate.evaluate(config, tmp_path, str(folder / "detections.json"))
    assert "There is no diagnosis: Why." in words_of(tmp_path / "report.html")
    assert not (tmp_path / "diagnosis.json").exists()


def test_a_prediction_has_a_page(run, tmp_path):
    config, workdir = run
    shutil.copytree(workdir, tmp_path / "run")
    np.save(tmp_path / "walk.npy", np.random.default_rng(0).standard_normal((300, 3)).astype(np.float32))
    predict.predict(config, tmp_path / "run", str(tmp_path / "walk.npy"))
    made = content_of(tmp_path / "run" / "predictions" / "walk.html")
    (row,) = made["recordings"]
    assert made["predicted"] and row["duration"] == 30.0 and len(row["signal"]["channels"]) == 3
    assert row["entry"] == {"subset": "train", "duration": 30.0}
    found = json.loads((tmp_path / "run" / "predictions" / "walk.json").read_text())["results"]["walk"]
    assert len(row["found"][0]["rows"]) == len(found)


def test_channels_have_the_names_of_their_columns(run, tmp_path):
    config, workdir = run
    shutil.copytree(workdir, tmp_path / "run")
    samples = np.random.default_rng(0).standard_normal((300, 3))
    np.savetxt(tmp_path / "walk.csv", samples, delimiter=",", header="hip,knee,ankle", comments="")
    predict.predict(config, tmp_path / "run", str(tmp_path / "walk.csv"))
    (row,) = content_of(tmp_path / "run" / "predictions" / "walk.html")["recordings"]
    assert [channel["name"] for channel in row["signal"]["channels"]] == ["hip", "knee", "ankle"]


def test_videos_of_a_folder_are_linked(case, tmp_path):
    config, _, folder = case
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "rec1.mp4").write_bytes(b"")
    detections = str(folder / "detections.json")
    made = content_of(
        report_page.report(config, tmp_path / "out", detections, media=str(tmp_path / "videos"))
    )
    assert {row["name"]: row.get("media") for row in made["recordings"]}["rec1"] == {
        "src": "../videos/rec1.mp4",
        "sound": False,
    }
    with pytest.raises(DataError, match="--input=nowhere is no folder; name the folder of the videos"):
        report_page.report(config, tmp_path / "out", detections, media="nowhere")


@pytest.fixture
def two(tmp_path):
    """(config, folder of run "a", folder of run "b") of detections on the same recordings; b is worse."""
    for name in "ab":
        (tmp_path / name).mkdir()
    config = write_case(tmp_path / "a")
    results = json.loads((tmp_path / "a" / "detections.json").read_text())
    for found in results["results"].values():
        for d in found:
            d["segment"][0] -= 3
    (tmp_path / "b" / "detections.json").write_text(json.dumps(results))
    return config, tmp_path / "a", tmp_path / "b"


def test_runs_side_by_side(two, tmp_path, monkeypatch, contents):
    config, a, b = two
    monkeypatch.setattr(bootstrap, "FEWEST", 4)
    page = report_page.report(config, tmp_path / "both", runs=[str(a), str(b / "detections.json")])
    made = contents[-1]
    assert made["runs"] == ["a", "detections"]
    first, second = made["comparison"]["runs"]
    assert second["difference"] == second["map_avg"] - first["map_avg"] < 0
    low, high = second["interval"]
    assert low < second["difference"] < high
    assert first["map_avg"] == pytest.approx(made["scores"]["map_avg"])
    assert len(made["comparison"]["recordings"]) == 4
    assert all(len(row["found"]) == 2 for row in made["recordings"])
    said = words_of(page)
    assert f"detections is worse than a: −{-second['difference']:.2f} points, 95 % interval −" in said
    assert "The figures above, the scores and the errors are those of a" in said


def test_a_comparison_names_the_fields_that_differ(run, tmp_path):
    for name, epochs in (("one", 2), ("two", 5)):
        shutil.copytree(run[1], tmp_path / name, ignore=shutil.ignore_patterns("checkpoints"))
        stored = json.loads((tmp_path / name / "config.json").read_text())
        stored["config"]["train"]["epochs"] = epochs
        (tmp_path / name / "config.json").write_text(json.dumps(stored))
    said = words_of(
        report_page.report(run[0], tmp_path / "both", runs=[str(tmp_path / name) for name in ("one", "two")])
    )
    assert "Fields of the configs that differ field one two train.epochs 2 5 Scores" in said


def test_an_empty_name_of_a_run_is_said(case, tmp_path):
    with pytest.raises(DataError, match="--runs=a, has an empty name; take a comma out"):
        report_page.report(case[0], tmp_path, runs=["a", ""])


def test_a_run_does_not_differ_from_itself(two, tmp_path, monkeypatch, contents):
    config, a, b = two
    report_page.report(config, tmp_path / "few", runs=[str(a), str(b)])
    assert contents[-1]["comparison"]["runs"][1]["interval"] is None  # four recordings
    monkeypatch.setattr(bootstrap, "FEWEST", 4)
    shutil.copytree(a, tmp_path / "c")
    report_page.report(config, tmp_path / "both", runs=[str(a), str(tmp_path / "c")])
    second = contents[-1]["comparison"]["runs"][1]
    assert second["difference"] == 0 == second["interval"][0]


def test_a_comparison_has_one_setting(two, tmp_path, contents):
    """A recording that the first run lacks is missed in all that the page says, whatever the config says."""
    config, a, b = two
    config.evaluate.missing = "left out"
    results = json.loads((a / "detections.json").read_text())
    del results["results"]["rec1"]
    (a / "detections.json").write_text(json.dumps(results))
    report_page.report(config, tmp_path / "both", runs=[str(a), str(b)])
    made = contents[-1]
    assert made["scores"]["protocol"]["missing"] == "missed" and len(made["recordings"]) == 4
    assert made["comparison"]["runs"][0]["map_avg"] == pytest.approx(made["scores"]["map_avg"])


@pytest.mark.parametrize("change", ["labels", "ignored"])
def test_runs_on_other_labels_do_not_compare(two, run, tiny_data, tmp_path, change):
    labels = json.loads((tiny_data / "labels.json").read_text())
    for name in ("sunday", "monday"):
        actions = labels["database"][name]["annotations"]
        if change == "labels":
            actions[0]["label"], actions[1]["label"] = actions[1]["label"], actions[0]["label"]
        else:
            actions.append({"label": "Ambiguous", "segment": [0.1, 0.4]})
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    for name in ("one", "two"):
        shutil.copytree(run[1], tmp_path / name, ignore=shutil.ignore_patterns("checkpoints"))
    stored = json.loads((tmp_path / "two" / "config.json").read_text())
    stored["config"]["data"].update(annotations=str(tmp_path / "labels.json"), ignored_labels=["Ambiguous"])
    (tmp_path / "two" / "config.json").write_text(json.dumps(stored))
    with pytest.raises(DataError, match="two was made on other annotations of the recording 'sunday'"):
        report_page.report(run[0], tmp_path / "both", runs=[str(tmp_path / "one"), str(tmp_path / "two")])


def test_planned_runs_whose_annotations_are_gone_compare_on_others(run, tmp_path, contents):
    for name in ("one", "two"):
        shutil.copytree(run[1], tmp_path / name, ignore=shutil.ignore_patterns("checkpoints"))
        stored = json.loads((tmp_path / name / "config.json").read_text())
        stored["config"]["data"]["annotations"] = str(tmp_path / "gone.json")
        stored["config"]["plan"] = dict(planned_run.plan_config())
        (tmp_path / name / "config.json").write_text(json.dumps(stored))
    report_page.report(run[0], tmp_path / "both", runs=[str(tmp_path / "one"), str(tmp_path / "two")])
    assert contents[-1]["runs"] == ["one", "two"]


def test_runs_that_do_not_compare(two, run, tiny, tmp_path):
    config, a, b = two
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged.json").write_text("{")
    cases = {
        "--runs names one run, .*; name two or more": [a],
        "--runs: .*empty holds no detections.json; run --mode=evaluate there first": [a, tmp_path / "empty"],
        "--runs: .*nowhere is neither the folder of a run nor a file": [a, tmp_path / "nowhere"],
        "--runs names a run twice": [a, a],
        "damaged.json": [a, tmp_path / "damaged.json"],
    }
    for sentence, runs in cases.items():
        with pytest.raises(DataError, match=sentence):
            report_page.report(config, tmp_path / "both", runs=[*map(str, runs)])
    with pytest.raises(DataError, match="holds one of the runs, whose own page would be lost"):
        report_page.report(config, a, runs=[str(a), str(b)])
    with pytest.raises(DataError, match="--runs and --detections both"):
        report_page.report(config, tmp_path / "both", "x.json", runs=[str(a), str(b)])
    trained = tmp_path / "trained"
    shutil.copytree(run[1], trained, ignore=shutil.ignore_patterns("checkpoints"))
    other = json.loads((run[1] / "config.json").read_text())
    labels = json.loads((a / "labels.json").read_text())
    other["config"]["data"]["annotations"] = str(a / "labels.json")
    shutil.copytree(run[1], tmp_path / "other", ignore=shutil.ignore_patterns("checkpoints"))
    (tmp_path / "other" / "config.json").write_text(json.dumps(other))
    with pytest.raises(
        DataError, match="other was made on other classes: .* is not in both; compare runs on"
    ):
        report_page.report(run[0], tmp_path / "both", runs=[str(trained), str(tmp_path / "other")])
    assert labels["classes"]
    assert not (tmp_path / "both").exists()


def test_the_benchmark_has_a_page(tmp_path):
    benchmark = pytest.importorskip("benchmarks.page", reason="playwright is not installed")
    benchmark.write_data(tmp_path, 3, 20, length_sec=30.0)
    config = benchmark.config_of(tmp_path)
    made = content_of(report_page.report(config, tmp_path / "out", str(tmp_path / "detections.json")))
    assert [len(row["found"][0]["rows"]) for row in made["recordings"]] == [20] * 3
    assert made["recordings"][2]["signal"]["channels"]


def test_bad_input(case, run, tmp_path):
    config, _, folder = case
    with pytest.raises(DataError, match="holds no detections.json; run --mode=evaluate first, or name"):
        report_page.report(config, tmp_path)
    with pytest.raises(DataError, match="holds a trained run, whose page would be lost; choose another"):
        report_page.report(run[0], run[1], str(folder / "detections.json"))
    (tmp_path / "bad.json").write_text('{"results": 3}')
    with pytest.raises(DataError, match='bad.json: field "results" must be an object'):
        report_page.report(config, tmp_path / "out", str(tmp_path / "bad.json"))
    shutil.copy(folder / "detections.json", tmp_path / "report.html")
    with pytest.raises(DataError, match="--detections=.*report.html would be overwritten"):
        report_page.report(config, tmp_path, str(tmp_path / "report.html"))
