"""The notebooks run from top to bottom, hold nothing but pictures, and name only what there is."""

import ast
import base64
import copy
import importlib
import json
import re

import nbformat
import numpy as np
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from colabs.execute import FOLDER, MOST_BYTES, NOTEBOOKS, execute, keep_pictures
from tal_jax.data.sets import shapes
from tal_jax.data.annotations import load_annotations
from tal_jax.data.detections_file import read_detections

ROOT = FOLDER.parent
REAL, VIDEO, OWN, DATA = NOTEBOOKS
RUNS = {REAL: "runs/colab_sbhar", VIDEO: "runs/colab_video", OWN: "runs/colab_my_system/run", DATA: "runs/colab_own_data/run"}
NUM_PICTURES = {REAL: 3, VIDEO: 2, OWN: 1, DATA: 1}
SMALL = {  # for each notebook what the short test puts into its cell of settings
    REAL: dict(EPOCHS=1, CHANNELS=32),
    VIDEO: dict(EPOCHS=1, CHANNELS=32, TRAIN_VIDEOS=3, TEST_VIDEOS=3),
    OWN: dict(EPOCHS=1, CHANNELS=8, REACHES=(1, 2)),
    DATA: dict(MINUTES=0.01, RECORDINGS=6),
}
every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def committed(name):
    return nbformat.read(FOLDER / name, as_version=4)


def sources(name, kind):
    return [cell.source for cell in committed(name).cells if cell.cell_type == kind]


def pictures(notebook):
    """The PNG pictures of its outputs, as bytes."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [
        base64.b64decode(output.data["image/png"])
        for output in outputs
        if "image/png" in output.get("data", {})
    ]


def plain_python(source):
    """A code cell without magics; a file that it writes is the cell's own text."""
    magic, _, rest = source.partition("\n")
    return rest if magic.startswith("%%writefile ") else TransformerManager().transform_cell(source)


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    """Kernels import this tree, leave no history, and have one device."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("XLA_FLAGS")


@pytest.fixture
def compiled_fast(monkeypatch, tmp_path):
    """Code that is compiled in less time, and once, however often it is asked for: most of the time of the
    short test.
    """
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def test_all_notebooks_are_known():
    assert sorted(NOTEBOOKS) == sorted(path.name for path in FOLDER.glob("*.ipynb"))


@every_notebook
def test_only_pictures_are_committed(name):
    notebook = committed(name)
    nbformat.validate(notebook)
    kept = copy.deepcopy(notebook)
    keep_pictures(kept)
    assert kept == notebook
    assert set(notebook.metadata) == {"kernelspec", "language_info"} and set(
        notebook.metadata.language_info
    ) == {"name"}
    sizes = [len(picture) for picture in pictures(notebook)]
    assert len(sizes) == NUM_PICTURES[name] and max(sizes) <= MOST_BYTES
    text = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"(^|[\s\"'(=])/\w+/", text), "an absolute path"
    assert max(map(len, text.split("\n"))) <= 130


@every_notebook
def test_cells_compile_and_the_first_installs(name):
    cells = sources(name, "code")
    for cell in cells:
        compile(plain_python(cell), name, "exec")
    assert "--editable" in cells[0] and cells[0] == sources(REAL, "code")[0]


@every_notebook
def test_what_the_text_names_exists(name):
    text = "\n".join(sources(name, "markdown"))
    files = set(re.findall(r"[\w/-]+\.(?:md|py|ipynb|txt)\b", text))
    files.discard("configs/my_system.py")  # which is for the reader to write
    assert files and not [
        file for file in files if not (ROOT / file).exists() and not (FOLDER / file).exists()
    ]
    modules = {}
    for cell in sources(name, "code"):
        for node in ast.walk(ast.parse(plain_python(cell))):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ("configs", "tal_jax"):
                found = importlib.import_module(node.module)
                for alias in node.names:
                    submodule = f"{node.module}.{alias.name}"
                    value = getattr(found, alias.name, None) or importlib.import_module(submodule)
                    modules[alias.asname or alias.name] = value
    for module, function in re.findall(r"`(\w+)\.(\w+)[(`]", text):
        assert module not in modules or callable(getattr(modules[module], function)), f"{module}.{function}"


@every_notebook
def test_short(name, kernel, compiled_fast, tmp_path):
    notebook, folder = committed(name), tmp_path / "content"
    folder.mkdir()
    execute(notebook, folder, SMALL[name])
    assert len(pictures(notebook)) == NUM_PICTURES[name]
    assert (folder / RUNS[name] / "evaluation.json").exists()
    assert [path.name for path in folder.iterdir()] == ["runs"]


def test_pictures_alone_are_kept():
    picture = {"image/png": "aaaa", "text/plain": "<Figure>"}
    metadata = {"tags": ["parameters"], "execution": {"iopub.status.busy": "2026"}}
    cell = nbformat.v4.new_code_cell("1", execution_count=3, metadata=metadata)
    cell.outputs = [
        nbformat.v4.new_output("stream", text="/root"),
        nbformat.v4.new_output("display_data", picture),
        nbformat.v4.new_output("execute_result", picture, execution_count=3),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("text"), cell])
    keep_pictures(notebook)
    assert [output.data for output in cell.outputs] == [{"image/png": "aaaa"}] * 2
    assert cell.execution_count is None and cell.metadata == {"tags": ["parameters"]}


@pytest.mark.slow
@pytest.mark.parametrize("name, least_map", [(REAL, 91.0), (VIDEO, 80.0), (OWN, 88.0), (DATA, 91.0)])
def test_as_it_is(name, least_map, kernel, tmp_path):
    notebook = committed(name)
    execute(notebook, tmp_path)
    assert json.loads((tmp_path / RUNS[name] / "evaluation.json").read_text())["map_avg"] > least_map
    assert len(pictures(notebook)) == NUM_PICTURES[name]
    if name == VIDEO:
        assert recall_of_new_video(tmp_path / RUNS[name]) >= 0.75


def recall_of_new_video(run):
    """The share of the actions of the new video that are shown with the right class and a tIoU of at least
    0.5.
    """
    truth = load_annotations(run / "annotations.json").recordings["new_000"]
    (detections,) = read_detections(run / "predictions" / "new_000.json").values()
    found = []
    for label, (start, end) in zip(truth.labels, truth.segments_sec, strict=True):
        segments = np.array(
            [d["segment"] for d in detections if d["label"] == shapes.CLASSES[label] and d["score"] >= 0.2]
        )
        segments = segments.reshape(-1, 2)
        intersection = np.maximum(np.minimum(segments[:, 1], end) - np.maximum(segments[:, 0], start), 0)
        found.append(
            (intersection / (np.ptp(segments, axis=1) + end - start - intersection)).max(initial=0) >= 0.5
        )
    return np.mean(found)
