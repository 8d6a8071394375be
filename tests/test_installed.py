"""Configs are found by name: in the project's folder, and by what pip installs of it."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest
from absl import flags

from tal_jax import config as config_module
from tal_jax.config import define_config, known_configs

ROOT = pathlib.Path(__file__).parents[1]
NAMES = [
    "activitynet",
    "ego4d",
    "epic",
    "folder",
    "hacs",
    "kinetics",
    "multithumos",
    "sbhar",
    "shapes",
    "thumos",
]
SOURCES = ("LICENSE", "README.md", "pyproject.toml", "setup.py", "requirements*.txt", "configs", "tal_jax")


def loaded(*words):
    values = flags.FlagValues()
    define_config(values, "")
    values(["program", *words])
    return values["config"].value


def test_a_name_and_a_file_are_one_config(monkeypatch, tmp_path):
    assert list(known_configs()) == NAMES
    by_file = [loaded(f"--config={ROOT}/configs/sbhar.py{variant}") for variant in ("", ":ecm,row=pre")]
    monkeypatch.chdir(tmp_path)
    by_name = [loaded(f"--config=sbhar{variant}") for variant in ("", ":ecm,row=pre")]
    assert [config.to_json() for config in by_name] == [config.to_json() for config in by_file]
    assert by_name[1].name == "sbhar_ecm_pre"


def test_a_name_that_nobody_knows_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    problem = lambda file: config_module.flag_problem(OSError(), file)
    names = ", ".join(NAMES)
    assert problem("sbar") == (
        f"no config is called 'sbar'; those that are known are {names}, and --config=FILE.py names yours."
    )
    assert problem("mine.py") == "cannot read the config file mine.py."
    assert problem("configs/sbhar.py") == (
        "cannot read the config file configs/sbhar.py. The one that comes with tal_jax is --config=sbhar."
    )


def test_a_wheel_carries_the_configs(tmp_path):
    """Away from the project's folder; building a wheel asks the network for setuptools."""
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    for path in (path for pattern in SOURCES for path in ROOT.glob(pattern)):
        if path.is_dir():
            shutil.copytree(path, source / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--quiet",
        f"--wheel-dir={tmp_path}",
        str(source),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if "requirement setuptools" in built.stderr + built.stdout:
        pytest.skip("no network")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "from tests_of_the_wheel import loaded; "
        "print(loaded('--config=sbhar:demo').name, loaded('--config=thumos').system)"
    )
    shutil.copy(__file__, site / "tests_of_the_wheel.py")
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout == "sbhar_demo dw_afsd\n", ended.stderr
    files = {
        path.relative_to(ROOT)
        for path in (ROOT / "tal_jax").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path.relative_to(site) for path in site.rglob("*") if path.is_file()} >= files
