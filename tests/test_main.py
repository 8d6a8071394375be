import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tal_jax import command_line
from tal_jax.data.detections_file import write_detections
from tal_jax.data.sets import thumos14
from tal_jax.run_config import remember_run
from tal_jax.runtime.files import only_run
from tests import tiny_config

ROOT = pathlib.Path(__file__).parents[1]
TINY, TINY_PGCN = "--config=tests/tiny_config.py:toy", "--config=tests/tiny_config.py:pgcn"

# Importing takes longer than most of what is tested: one process imports and each command line runs in a fork
# of it.
FORKS = """
import gc, json, os, sys
from tal_jax import main
gc.freeze()  # else each fork visits every object once more when it ends
for number, arguments in json.load(sys.stdin):
    if os.fork() == 0:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{number}.{name}", os.O_WRONLY | os.O_CREAT), stream)
        os.chdir(sys.argv[1])
        sys.argv = ["tal_jax.main", *arguments]
        main.run()
    _, status = os.wait()
    with open(f"{number}.code", "w") as file:
        file.write(str(os.waitstatus_to_exitcode(status)))
"""


def run_all(command_lines, folder):
    """{name: [argument, ...]} -> {name: (exit code, stdout, stderr)} of `python -m tal_jax.main` with these
    arguments.
    """
    numbered = list(enumerate(command_lines.values()))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", FORKS, str(ROOT)]
    subprocess.run(
        command, input=json.dumps(numbered), text=True, cwd=folder, env=environment, check=True, timeout=300
    )
    outcomes = {}
    for number, name in enumerate(command_lines):
        code, out, err = ((folder / f"{number}.{kind}").read_text() for kind in ("code", "out", "err"))
        outcomes[name] = int(code), out, err
    return outcomes


def copied(tiny_data, folder, **texts):
    """Options for a copy of the tiny data set in the folder, with some files replaced by these bytes."""
    folder.mkdir(parents=True)
    for path in tiny_data.iterdir():
        if path.stem not in texts:
            (folder / path.name).write_bytes(path.read_bytes())
    for stem, (suffix, content) in texts.items():
        (folder / f"{stem}{suffix}").write_bytes(content)
    return [f"--config.data.annotations={folder / 'labels.json'}", f"--config.data.features={folder}"]


def truncated_npz(folder):
    np.savez(folder / "whole.npz", np.ones((200, 3), np.float32))
    content = (folder / "whole.npz").read_bytes()
    return content[: len(content) // 2]


def npy(folder, array):
    np.save(folder / "array.npy", array)
    return (folder / "array.npy").read_bytes()


# name -> the sentence after "Error: ", or a part of it
SENTENCES = {
    "misspelt field": "config.train.epoch is not a field of the config. Did you mean config.train.epochs?",
    "misspelt section": "config.tran.epochs is not a field of the config. Did you mean config.train.epochs?",
    "unknown field": "config.foo.bar is not a field of the config.",
    "wrong type": "config.train.epochs is 'x'; it must be a whole number.",
    "no such config file": "cannot read the config file configs/nothing.py.",
    "half a number": "config.train.epochs is '2.5'; it must be a whole number.",
    "neither yes nor no": "config.data.allow_missing is 'yes'; it must be True or False.",
    "a rate in letters": "config.train.learning_rate is 'fast'; it must be a number.",
    "a whole section": "config.data is '{}'; it must be set field by field, as in --config.train.epochs=3.",
    "config file is no Python": "the config file LICENSE is not Python: unexpected indent in line 2.",
    "config file is binary": "the config file docs/timeline.png is not Python",
    "config file is a folder": "cannot read the config file tests.",
    "no such config file for a field": "cannot read the config file configs/nothing.py.",
    "an option twice": "the variant 'afsd,input=features,input=rgb' says an option twice; say it once.",
    "workdir that nobody sees": "--workdir is ' ', a name that nobody sees; name another.",
    "config file without get_config": "the config file tests/conftest.py has no function get_config.",
    "no config": "say which config, for example --config=sbhar; --help lists modes and flags.",
    "a config that nobody knows": "no config is called 'sbar'; those that are known are activitynet, ego4d, epic, folder, hacs, kinetics, multithumos, sbhar, shapes, thumos, and",
    "field without config": "Unknown command line flag 'config.train.epochs'. Say first which config, for example --config=sbhar.",
    "unknown system": "the system 'foo' is not one of dw_afsd, afsd, demo, actionformer, dw_actionformer, ecm, kt_mgfn, pgcn, pgcn_dw, tcanet; the head of the config file lists its variants.",
    "unknown mode": "flag --mode=foo: value should be one of <train|evaluate|diagnose|report|watch|predict|export|propose|check_data|extract|shots>",
    "unknown flag": "Unknown command line flag 'workdri'. Did you mean: workdir ?",
    "endless flag": "an argument is too long, or nested too deeply; shorten it.",
    "unknown argument": "unknown argument 'train'; --help lists modes and flags.",
    "kinetics evaluated": "The config kinetics only predicts, with published weights: the system 'sliding' is not trained. Use --mode=predict",
    "config file that exits": "the config file ends the program: first set \\x1b[31mDATA",
    "config file that exits with 0": "the config file ends the program: it calls sys.exit(0)",
    "no annotations": "config.data.annotations is empty; set it with --config.data.annotations=PATH.",
    "no plan": "Cannot read the plan nothing.json: No such file or directory.",
    "no annotation file": "Cannot read the annotation file nowhere.json: No such file or directory.",
    "empty annotation file": "labels.json: the annotation file is empty.",
    "thumos without data": "410 of 410 recordings have no frames in data/thumos14/frames/rgb, a folder that does not exist (the first is 'video_",
    "truncated features": "tuesday.npz: it is not a zip archive, or it is cut off.",
    "wrong channels": "has 4 channels, but config.data.num_channels is 3.",
    "wrong implementation": "config.parallel.impl is 'xmap'; it must be 'pmap' or 'shard_map'.",
    "batch of no size": "config.train.batch_size is 0; it must be at least 1",
    "evaluate without run": "holds no trained run (there is no config.json); train first with --mode=train.",
    "evaluate without checkpoint": "checkpoints/latest; train first with --mode=train.",
    "predict without checkpoint": "checkpoints/latest; train first with --mode=train.",
    "other classes": "Recording 'sunday' has the class 'slow', which the run was not trained on; it knows left, right. Call",
    "evaluate nothing": "Cannot read the detections file nothing.json: No such file or directory.",
    "wrong protocol": "config.evaluate.protocol is 'thumos'; it must be one of activitynet, thumos14, detad.",
    "predict without run": "holds no trained run (there is no config.json); train first with --mode=train.",
    "export without run": "holds no trained run (there is no config.json); train first with --mode=train.",
    "export without checkpoint": "checkpoints/latest; train first with --mode=train.",
    "predict without input": "Say what to detect in: --input=FILE, --input=FOLDER or --input=NAME of a recording",
    "predict nothing": "--input=nothing.npy is neither a file, nor a folder, nor a recording of the config's data set.",
    "predict an empty folder": "holds no .npy, .npz, .csv, .parquet, ",
    "workdir is a file": "labels.json: File exists.",
    "propose without run": "holds no trained run (there is no config.json); train first with --mode=train.",
    "no proposals file": "Cannot read the proposals file nothing.json: No such file or directory.",
    "proposals on others": "others.json: none of its recordings is in the annotations. Its first is 'nobody', that of the annotations 'monday'",
    "second stage without run": "holds no trained run (there is no config.json); train first with --mode=train.",
    "actionness of many channels": "recording 'monday' has 3 channels; a sequence of actionness has one.",
    "input without mode": "--input is for --mode=predict, propose, extract, report, watch, shots; add one of them.",
    "detections without mode": "--detections is for --mode=evaluate, diagnose, report; add one of them.",
    "draw without mode": "--draw is for --mode=predict; add it.",
    "unknown format": "--export names 'vtx', which is no format; the formats are csv, vtt, srt, eaf, textgrid, audacity, boris.",
    "format that nobody sees": "--export names '', which is no format; the formats are csv, ",
    "export to train": "--export is for --mode=predict, evaluate; add one of them.",
    "figures to train": "--figures is for --mode=evaluate, diagnose; add one of them.",
    "unknown figures": "flag --figures=gif: value should be one of <pdf|svg|png>",
    "detections to predict": "--detections is for --mode=evaluate, diagnose, report; leave it out, or choose another mode.",
    "input to check": "--input is for --mode=predict, propose, extract, report, watch, shots; leave it out, or choose another mode.",
    "input to evaluate": "--input is for --mode=predict, propose, extract, report, watch, shots; leave it out, or choose another mode.",
    "draw to evaluate": "--draw is for --mode=predict; leave it out, or choose another mode.",
    "actionness nowhere": "--input=nowhere is not there",
    "left out nobody": "config.data.left_out names 'nobody', which is no recording of the annotations; correct the name",
    "tIoU of letters": "config.evaluate.tious is ('abc',); each of its numbers must be above 0 and at most 1.",
    "half a list": "(0.3, is not a list such as a,b or (1, 2).",
    "average of more than all": "config.train.ema_decay is 1.5; it must be at least 0 and below 1.",
    "two runs": "is in use by process ",
    "no proposals wanted": "config.propose.most is 0; it must be at least 1.",
}


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """The workdir of another run, which is this process."""
    workdir = tmp_path_factory.mktemp("busy")
    with only_run(workdir, "--mode=train"):
        yield workdir


@pytest.fixture(scope="module")
def outcomes(tiny, tiny_data, tmp_path_factory, busy):
    """{name: (exit code, stdout, stderr)} of wrong command lines, and of data sets checked."""
    folder = tmp_path_factory.mktemp("main")
    (folder / "empty").mkdir()
    nan = np.ones((200, 3), np.float32)
    nan[7:9, 1] = np.nan
    good = copied(tiny_data, folder / "good")
    empty = copied(tiny_data, folder / "no_labels", labels=(".json", b""))
    cut = copied(tiny_data, folder / "cut", tuesday=(".npz", truncated_npz(folder)))
    four = copied(tiny_data, folder / "four", tuesday=(".npy", npy(folder, np.ones((200, 4)))))
    broken = copied(tiny_data, folder / "nan", tuesday=(".npy", npy(folder, nan)))
    content = json.loads((tiny_data / "labels.json").read_text())
    for name in ("monday", "tuesday"):
        content["database"][name]["annotations"] = []
    texts = {"labels": (".json", json.dumps(content).encode()), "sunday": (".npy", npy(folder, nan))}
    unlabelled = copied(tiny_data, folder / "unlabelled", **texts)
    perfect = folder / "detections.json"
    write_detections(perfect, {"sunday": [{"label": "slow", "segment": [1, 4], "score": 1}]})

    write_detections(folder / "others.json", {"nobody": [{"segment": [1, 4], "score": 1}]})
    write_detections(
        folder / "odd.json", {"sunday": [{"segment": [4, 1], "score": 1}, {"segment": [8, 10], "score": 1}]}
    )
    (folder / "actionness").mkdir()
    np.save(folder / "actionness" / "sunday.npy", np.repeat([0.1, 0.9, 0.2], [10, 30, 50])[:, None])

    exits = "import sys\ndef get_config(code=''): sys.exit(int(code) if code else 'first set \x1b[31mDATA')\n"
    (folder / "exits.py").write_text(exits)
    remember_run(tiny("toy"), ("fast", "slow"), folder / "begun")
    remember_run(tiny("toy"), ("left", "right"), folder / "other")

    run, sbhar, check = (
        [TINY, f"--workdir={folder}/run"],
        "--config=configs/sbhar.py",
        [TINY, "--mode=check_data"],
    )
    evaluate, predict = [*run, *good, "--mode=evaluate"], [*run, *good, "--mode=predict"]
    propose, second = [*run, *good, "--mode=propose"], [TINY_PGCN, f"--workdir={folder}/second", *good]
    return run_all(
        {
            "misspelt field": [sbhar, "--config.train.epoch=3"],
            "misspelt section": [sbhar, "--config.tran.epochs", "3"],
            "unknown field": [sbhar, "--config.foo.bar=3"],
            "wrong type": [sbhar, "--config.train.epochs=x"],
            "no such config file": ["--config=configs/nothing.py"],
            "half a number": [sbhar, "--config.train.epochs=2.5"],
            "neither yes nor no": [sbhar, "--config.data.allow_missing=yes"],
            "a rate in letters": [sbhar, "--config.train.learning_rate=fast"],
            "a whole section": [*check, "--config.data={}"],
            "config file is no Python": ["--config=LICENSE"],
            "config file is binary": ["--config=docs/timeline.png"],
            "config file is a folder": ["--config=tests", "--config.data.fps=3"],
            "no such config file for a field": ["--config=configs/nothing.py", "--config.data.fps=3"],
            "an option twice": ["--config=configs/thumos.py:afsd,input=features,input=rgb"],
            "workdir that nobody sees": [sbhar, "--workdir= "],
            "config file without get_config": ["--config=tests/conftest.py"],
            "no config": [],
            "a config that nobody knows": ["--config=sbar:demo", "--config.train.epochs=3"],
            "field without config": ["--config.train.epochs=3"],
            "unknown system": ["--config=configs/sbhar.py:foo"],
            "unknown mode": [sbhar, "--mode=foo"],
            "unknown flag": [sbhar, "--workdri=runs"],
            "endless flag": [sbhar, "--" + "a" * 5000],
            "unknown argument": [sbhar, "train"],
            "kinetics evaluated": ["--config=kinetics", "--mode=evaluate"],
            "config file that exits": [f"--config={folder}/exits.py"],
            "config file that exits with 0": [f"--config={folder}/exits.py:0"],
            "no annotations": run,
            "no plan": ["--config=folder", "--config.plan", "nothing.json"],
            "no annotation file": [
                *run,
                f"--config.data.features={folder}",
                "--config.data.annotations=nowhere.json",
            ],
            "empty annotation file": [*run, *empty],
            "thumos without data": ["--config=configs/thumos.py", f"--workdir={folder}/run"],
            "truncated features": [*run, *cut],
            "wrong channels": [*run, *four],
            "wrong implementation": [*run, *good, "--config.parallel.impl=xmap"],
            "batch of no size": [*run, *good, "--config.train.batch_size=0"],
            "evaluate without run": evaluate,
            "evaluate without checkpoint": [*evaluate, f"--workdir={folder}/begun"],
            "predict without checkpoint": [*predict, f"--workdir={folder}/begun", "--input=sunday"],
            "other classes": [*evaluate, f"--workdir={folder}/other"],
            "evaluate nothing": [*evaluate, "--detections=nothing.json"],
            "wrong protocol": [*evaluate, f"--detections={perfect}", "--config.evaluate.protocol=thumos"],
            "predict without run": [*predict, "--input=sunday"],
            "export without run": [*run, *good, "--mode=export"],
            "export without checkpoint": [*run, *good, "--mode=export", f"--workdir={folder}/begun"],
            "predict without input": [*predict, f"--workdir={folder}/begun"],
            "predict nothing": [*predict, f"--workdir={folder}/begun", "--input=nothing.npy"],
            "predict an empty folder": [*predict, f"--workdir={folder}/begun", f"--input={folder}/empty"],
            "workdir is a file": [TINY, *good, f"--workdir={folder}/good/labels.json"],
            "propose without run": propose,
            "no proposals file": [*second, "--config.proposals=nothing.json"],
            "proposals on others": [*second, f"--config.proposals={folder}/others.json"],
            "second stage without run": [*second, "--mode=evaluate"],
            "actionness of many channels": [*propose, f"--input={folder}/good"],
            "actionness nowhere": [*propose, "--input=nowhere"],
            "input without mode": [*run, *good, "--input=sunday"],
            "detections without mode": [*run, *good, f"--detections={perfect}"],
            "draw without mode": [*run, *good, "--draw=cas"],
            "unknown format": [*predict, "--input=sunday", "--export=csv,vtx"],
            "format that nobody sees": [*evaluate, "--export= "],
            "export to train": [*run, *good, "--export=csv"],
            "figures to train": [*run, *good, "--figures=pdf"],
            "unknown figures": [*evaluate, f"--detections={perfect}", "--figures=gif"],
            "figures": [*evaluate, f"--workdir={folder}/drawn", f"--detections={perfect}", "--figures=svg"],
            "detections to predict": [*predict, f"--detections={perfect}"],
            "input to check": [*check, *good, "--input=sunday"],
            "input to evaluate": [*evaluate, "--input=sunday"],
            "draw to evaluate": [*evaluate, "--draw=cas"],
            "no proposals wanted": [*propose, f"--input={folder}/actionness", "--config.propose.most=0"],
            "left out nobody": [*check, *good, "--config.data.left_out=monday,nobody"],
            "tIoU of letters": [*evaluate, "--config.evaluate.tious=abc"],
            "half a list": [*evaluate, "--config.evaluate.tious=(0.3,"],
            "average of more than all": [*run, *good, "--config.train.ema_decay=1.5"],
            "two runs": [TINY, *good, f"--workdir={busy}"],
            "check left out": [*check, *good, "--config.data.left_out=monday,sunday"],
            "actionness": [*propose, f"--workdir={folder}/grouped", f"--input={folder}/actionness"],
            "check proposals": [*second, "--mode=check_data", f"--config.proposals={folder}/odd.json"],
            "check no proposals": [*second, "--mode=check_data", "--config.proposals=nothing.json"],
            "check good": [*check, *good],
            "check truncated": [*check, *cut],
            "check nan": [*check, *broken],
            "check channels": [*check, *four],
            "check empty": [*check, *empty],
            "check unplanned": ["--config=folder", "--mode=check_data", *unlabelled],
            "help": ["--help"],
            "all help": ["--helpfull"],
        },
        folder,
    )


@pytest.mark.parametrize("name", SENTENCES)
def test_what_is_wrong_is_said_in_one_sentence(outcomes, name):
    code, out, err = outcomes[name]
    assert code == 1
    (line,) = (line for line in err.splitlines() if not line.startswith("4 devices: "))
    assert line.startswith("Error: ")
    assert SENTENCES[name] in line
    assert "Traceback" not in out + err


def test_thumos_says_how_to_get_the_data(outcomes):
    for part in (
        "videos of THUMOS14",
        "tal_jax.prepare --dataset=thumos14",
        "--config.data.frames=FOLDER",
        "input=features",
    ):
        assert part in outcomes["thumos without data"][2]


@pytest.mark.parametrize(
    "name, expected, lines",
    [
        ("check good", 0, ["No problem found."]),
        (
            "check nan",
            1,
            [
                "Recording 'tuesday' has features that are NaN or beyond 1e15 in 2 of 200 rows, the first is row 7."
            ],
        ),
        ("check truncated", 1, ["tuesday.npz: it is not a zip archive, or it is cut off."]),
        (
            "check channels",
            1,
            ["Recording 'tuesday' in", "has 4 channels, but config.data.num_channels is 3."],
        ),
        (
            "check proposals",
            1,
            [
                "No recording of the subset 'train' has actions and proposals; check config.proposals.",
                "odd.json: 2 proposals read, 1 kept, in 1 of 3 recordings; dropped: 1 empty or reversed; cut "
                "at an end of their "
                "recording: 1.\n",
            ],
        ),
        (
            "check unplanned",
            3,
            [
                "No recording of the subset 'train' has a label, from which a plan could be made",
                "Recording 'sunday' has features that are NaN or beyond 1e15",
            ],
        ),
        ("check left out", 1, ["1 recordings (1 train)", "No recording with features has the subset 'test'"]),
        ("check no proposals", 1, ["nothing.json: No such file or directory."]),
    ],
)
def test_check_data(outcomes, name, expected, lines):
    code, out, err = outcomes[name]
    assert (code, err) == (min(expected, 1), "")
    assert all(line in out for line in lines), out
    assert (f"{expected} problem(s) found." in out) == (expected > 0)


def test_check_data_of_what_cannot_be_read(outcomes):
    code, out, err = outcomes["check empty"]
    assert code == 1 and out == ""
    assert err.startswith("Error: ") and err.endswith("labels.json: the annotation file is empty.\n")


def test_proposals_of_actionness_need_no_run(outcomes):
    code, out, err = outcomes["actionness"]
    assert code == 0 and "Traceback" not in err
    assert "2 of 3 recordings have no feature file" in err
    assert "AR@" in out and "/grouped/proposals.json" in out


def test_figures_of_anyones_detections(outcomes):
    code, out, err = outcomes["figures"]
    assert code == 0, err
    assert "mAP" in out
    assert (
        "/drawn/figures: false_positives.svg, error_costs.svg, sensitivity.svg, precision_recall.svg" in err
    )


def test_help(outcomes):
    code, out, err = outcomes["help"]
    assert code == outcomes["all help"][0] == 0
    assert all(
        flag in out + err
        for flag in ("--config", "--mode", "--workdir", "--detections", "--input", "--export")
    )
    assert "Traceback" not in out + err and "tal-jax look VIDEO" in out and "kinetics" in out


def test_a_file_whose_name_begins_with_a_dash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-clip.mp4").touch()
    with pytest.raises(SystemExit, match=r"A file of that name is \./-clip.mp4\."):
        command_line.parse(["tal-jax", "look", "-clip.mp4"])


# THUMOS14, whose annotations are here and whose features are not


def test_anyones_detections_are_scored_without_features_and_without_a_model(thumos_scores):
    (code, out, err), workdir = thumos_scores
    assert code == 0, err
    assert "mAP" in out and "BaseballPitch" in out
    result = json.loads((workdir / "evaluation_thumos14.json").read_text())
    assert result.keys() == {"protocol", "map", "map_avg", "ap", "counts"}
    assert result["protocol"]["name"] == "thumos14" and result["protocol"]["subset"] == "test"
    assert (
        result["map"] == {"0.3": 100, "0.4": 100, "0.5": 50, "0.6": 50, "0.7": 50} and result["map_avg"] == 70
    )
    assert len(result["ap"]) == 20
    assert (
        result["counts"]["recordings"] == 210
        and result["counts"]["ground_truths"] == result["counts"]["detections"]
    )
    written = ["detections.json", "diagnosis.json", "evaluation_thumos14.json", "report.html"]
    assert sorted(path.name for path in workdir.iterdir()) == written


@pytest.fixture(scope="module")
def thumos_scores(tmp_path_factory):
    """Detections that are the ground truth, but for every other class only the first half of it (tIoU 0.5)."""
    folder = tmp_path_factory.mktemp("thumos_scores")
    annotations, results = thumos14.bundled_annotations(), {}
    for name, recording in annotations.subset("test").recordings.items():
        results[name] = [
            {
                "label": annotations.classes[label],
                "segment": [start, end - 0.51 * (end - start) * (label % 2)],
                "score": 0.9,
            }
            for label, (start, end) in zip(recording.labels, recording.segments_sec)
        ]
    write_detections(folder / "detections.json", results)
    arguments = ["--config=configs/thumos.py", "--mode=evaluate", "--config.evaluate.protocol=thumos14"]
    arguments += [f"--detections={folder / 'detections.json'}", f"--workdir={folder / 'run'}"]
    return run_all({"evaluate": arguments}, folder)["evaluate"], folder / "run"


def test_thumos_from_features_to_scores(tmp_path):
    recordings = thumos14.bundled_annotations().recordings
    names = [
        "video_validation_0000190",
        "video_validation_0000986",
        "video_test_0000062",
        "video_test_0000846",
    ]
    for name in names:
        num_features = (recordings[name].num_frames - 16) // 4 + 1
        np.save(
            tmp_path / f"{name}.npy", np.random.default_rng(0).standard_normal((num_features, 8), np.float32)
        )
    fields = {
        "data.features": tmp_path,
        "data.num_channels": 8,
        "data.allow_missing": True,
        "train.epochs": 2,
    }
    fields |= {"model.channels": 32, "model.groups": 4, "backbone.channels": 8, "parallel.max_devices": 1}
    arguments = ["--config=configs/thumos.py:afsd,input=features", f"--workdir={tmp_path / 'run'}"]
    arguments += [f"--config.{name}={value}" for name, value in fields.items()]
    done = subprocess.run(
        [sys.executable, "-m", "tal_jax.main", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "406 of 410 recordings have no feature file" in done.stderr
    assert "2 recordings, 2 windows, 1 steps an epoch, 2 epochs, 1 device(s)." in done.stderr
    result = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert result["counts"]["recordings"] == 210 and result["counts"]["ground_truths"] == 3311
    assert len(result["protocol"]["recordings_missing"]) == 208
    assert "210 of 210 recordings, 208 of them missed" in done.stdout
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [2, 2]
    detections = json.loads((tmp_path / "run" / "detections.json").read_text())["results"]
    assert sorted(detections) == sorted(names[2:])
    assert all(
        0 <= d["segment"][0] < d["segment"][1] <= recordings[n].duration_sec
        for n in detections
        for d in detections[n]
    )


@pytest.mark.parametrize(
    "given, readings",
    [
        ((), ("normalised_fusion=False", "oic_scaled=True")),
        (("mmd_kernel=linear",), ("normalised_fusion=False", "oic_scaled=True", "mmd_kernel=linear")),
        (("oic_scaled=False",), ("normalised_fusion=False", "oic_scaled=False")),
    ],
)
def test_readings_of_the_config_stay_where_the_flag_says_others(given, readings):
    code = "import sys; from tal_jax import main; main.parse(sys.argv); print(main.FLAGS.config.readings)"
    argv = ["--config=sbhar:kt_mgfn", *(f"--config.readings={reading}" for reading in given)]
    command = [sys.executable, "-c", code, *argv]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert found.stdout.strip() == str(readings), found.stderr


@pytest.mark.parametrize(
    "flags, fields",
    [
        ([], ("validation", 50.0, ("x", "y"), True)),
        (["--config.data.test_subset=test", "--config.data.fps=0"], ("test", 0.0, ("x", "y"), True)),
        (["--config.data.csv_columns="], ("validation", 50.0, (), True)),
        (["--noconfig.data.allow_missing"], ("validation", 50.0, ("x", "y"), False)),
    ],
)
def test_flags_go_before_training_in_every_mode(tmp_path, flags, fields):
    """Some have the values that they have in the config."""
    config = tiny_config.get_config("toy")
    config.data.update(test_subset="validation", fps=50.0, csv_columns=("x", "y"), allow_missing=True)
    remember_run(config, ("fast", "slow"), tmp_path)
    code = """
import dataclasses, sys
from tal_jax import main, run_config
def found(*arguments):
    data = run_config.trained_run(*arguments)[0].data
    print(main.FLAGS.mode, (data.test_subset, data.fps, tuple(data.csv_columns), data.allow_missing))
    raise main.DataError("")
main.parse(sys.argv)
systems = main.evaluate.SYSTEMS
systems["toy"] = dataclasses.replace(systems["toy"], stored_run=found)
for main.FLAGS.mode in ("evaluate", "predict", "propose"):
    try: main.run_mode(main.FLAGS.config)
    except main.DataError: pass
"""
    command = [sys.executable, "-c", code, TINY, f"--workdir={tmp_path}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    modes = ("evaluate", "predict", "propose")
    assert done.stdout.splitlines() == [f"{mode} {fields}" for mode in modes], done.stderr
