"""The study of the curriculum: what is chosen, which runs are missing, and what its page says."""

import argparse
import concurrent.futures
import pathlib
import time

import pytest

from benchmarks import curriculum_choices as study
from benchmarks import curriculum_page, curriculum_study, study_results
from configs import folder, sbhar
from tal_jax.errors import DataError
from tal_jax.systems import require_valid

SYSTEM = "temporalmaxer"


def record_of(run, average):
    figures = {"average": average, "at_0.7": average - 3, "strict": average - 20, "transitions": average - 2}
    return run._asdict() | {"figures": figures}


def test_a_choice_is_the_best_mean_over_the_folds_and_later_ones_build_on_it():
    choice = study.CHOICES[SYSTEM][0]
    records, best = [], choice.values[1]
    for run in study.plan("select", [SYSTEM], []):
        if run.label.startswith(choice.name):
            records.append(record_of(run, 95.0 if run.fields[choice.field] == best else 94.0))
    (first, _, chosen), (second, candidates, pending), *_ = study.greedy(SYSTEM, records)
    assert (first, chosen, pending) == (choice, best, None)
    assert all(run.fields[choice.field] == best for one in candidates for run in one.runs)
    planned = study.plan("select", [SYSTEM], records)
    assert not any(study.find(records, run) for run in planned)
    assert planned and all(run.label.startswith(second.name) for run in planned)


def test_what_a_person_freezes_keeps_the_runs_of_the_selection(monkeypatch):
    before, frozen = study.rest_of("actionformer", "select"), sbhar.get_config("dw_actionformer")
    frozen.train.update(epochs=7, learning_rate=0.1)
    frozen.readings = (*frozen.readings, "weighted_entries=all")
    monkeypatch.setattr(sbhar, "get_config", lambda variant: frozen)
    assert study.rest_of("actionformer", "select") == before
    frozen.window.frames = 512
    assert study.rest_of("actionformer", "select") != before


def test_each_row_of_the_test_is_run_once_with_each_seed():
    runs = study.plan("test", [SYSTEM], [])
    assert len(runs) == len(study.rows(SYSTEM)) * len(study.SEEDS)
    records = [record_of(run, 90.0) for run in runs]
    assert study.plan("test", [SYSTEM], records) == []
    assert {run.label for run in study.plan("myo", [SYSTEM], records)} == set(study.MYO_ROWS)


@pytest.mark.parametrize("gains, verdict", [
    ((1.0, 1.2, 0.9, 1.0, 1.1), "**a gain**"),
    ((-1.0, -1.2, -0.9, -1.0, -1.1), "**a loss**"),
    ((1.0, -1.2, 0.3, 0.1, -0.2), "no difference"),
    ((1.0, 1.2, 0.9), "3 of 5 seeds are there"),
])  # fmt: skip
def test_the_page_says_whether_the_interval_is_above_0(tmp_path, gains, verdict):
    records = []
    for run in study.plan("test", [SYSTEM], []):
        if run.label in ("base", "curriculum") and run.seed <= len(gains):
            gain = gains[run.seed - 1] if run.label == "curriculum" else 0.0
            records.append(record_of(run, 90.0 + run.seed + gain))
    assert curriculum_page.differences(records, "test", SYSTEM, "curriculum") == pytest.approx(gains)
    page, picture = tmp_path / "page.md", tmp_path / "page.png"
    curriculum_page.write(records, page, picture)
    text = page.read_text()
    assert verdict in text and picture.stat().st_size > 1000
    assert len(gains) < 5 or "93.00 ± 1.58" in text


def test_the_page_shows_which_errors_are_left(tmp_path):
    records = []
    for run in study.plan("test", [SYSTEM], []):
        gain = {"background": 1.0 + run.seed, "wrong label": 0.5}
        group = {"true positive": 60.0, "background": 40.0}
        errors = {"shares": group, "gain": gain, "groups": [group] * 10}
        records.append(record_of(run, 90.0) | {"false_positives": errors})
    page, picture = tmp_path / "page.md", tmp_path / "page.png"
    curriculum_page.write(records, page, picture)
    text = page.read_text()
    assert "4.00 ± 1.58" in text and (tmp_path / "page_errors.png").stat().st_size > 1000


def test_the_page_leaves_out_runs_of_other_settings():
    base, other, row = (run for run in study.runs_of("test", [SYSTEM])[:3])
    records = [
        record_of(base, 90.0),
        record_of(base._replace(fields=base.fields | {"train.epochs": 1}), 50.0),
    ]
    assert curriculum_page.by_seed(records, "test", SYSTEM, "base") == {1: records[0]["figures"]}


@pytest.mark.parametrize("system", study.SYSTEMS)
def test_every_setting_of_the_study_is_a_field(system):
    for part, config in (("test", sbhar), ("myo", folder)):
        for run in study.runs_of(part, [system]):
            config_of_run = config.get_config(study.SYSTEMS[system][1])
            fields = run.fields | (study.MYO_FIELDS if part == "myo" else {})
            readings = {name.removeprefix("readings.") for name in fields if name.startswith("readings.")}
            plain = {name: value for name, value in fields.items() if not name.startswith("readings.")}
            config_of_run.update_from_flattened_dict(plain)
            said = curriculum_study.arguments(config_of_run, fields)[-1].removeprefix("readings=").split(",")
            assert readings <= {entry.split("=")[0] for entry in said}
            config_of_run.readings = tuple(said)
            require_valid(config_of_run, training=True)


def test_two_processes_share_the_runs_and_wait_for_each_other(tmp_path, monkeypatch):
    """Runs a1 and a2 use one folder, so they are not made at once; b comes after both."""
    options = argparse.Namespace(results=tmp_path / "results.json", out=tmp_path, budget_minutes=0)
    monkeypatch.setattr(study_results, "WAIT_SEC", 0.01)
    at_work, made = [], []

    def plan(records):
        done = [record["name"] for record in records]
        return [name for name in ("a1", "a2", "c") if name not in done] or [n for n in "b" if n not in done]

    def make(name):
        assert not any(other[0] == name[0] for other in at_work)
        at_work.append(name)
        time.sleep(0.05)
        at_work.remove(name)
        made.append(name)
        return {"name": name}

    run = lambda _: study_results.run_all(plan, make, options, claim=lambda name: name[0])
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(2)))
    assert sorted(made) == ["a1", "a2", "b", "c"] and made[-1] == "b"
    assert sorted(record["name"] for record in study_results.read(options.results)) == sorted(made)


@pytest.mark.parametrize("content", ['{"a": 1}', "[1]", '[{"part": "select"}]'])
def test_another_file_is_no_results_file(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(DataError, match="results.json is no results file of this study; name another"):
        study_results.read(path, study.SAME)


def test_runs_of_another_config_are_others():
    (run,) = study.runs_of("test", [SYSTEM])[:1]
    assert study.find([record_of(run, 90.0)], run)
    assert study.find([record_of(run._replace(config="other"), 90.0)], run) is None


def test_a_misspelt_results_file_leaves_the_page(tmp_path, monkeypatch):
    page = tmp_path / "study.md"
    page.write_text("figures")
    monkeypatch.setattr("sys.argv", ["study", "--part=page", f"--results={tmp_path / 'study.jsn'}"])
    with pytest.raises(SystemExit):
        curriculum_study.main()
    assert page.read_text() == "figures"


def test_the_interval_by_hand():
    mean, half = study_results.interval([1.0, 2.0, 3.0])
    assert mean == 2.0 and half == pytest.approx(4.302653 / 3**0.5, rel=1e-5)
    assert study_results.interval([1.0]) == (1.0, float("inf"))


@pytest.mark.parametrize("system", [*study.SYSTEMS])
def test_the_config_has_what_the_training_persons_chose(system):
    records = study_results.read(pathlib.Path(__file__).parents[1] / "docs" / "curriculum.json")
    chosen = {choice.field: value for choice, _, value in study.greedy(system, records)}
    if None in chosen.values():
        pytest.skip(f"the selection of {system} is not complete")
    assert chosen == study.frozen_settings(system)
    missing = {(run.label, run.seed) for run in study.plan("test", [system], records)}
    assert not missing & {(row, seed) for row in ("base", "curriculum", "all") for seed in study.SEEDS}
