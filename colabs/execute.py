"""Runs the notebooks and keeps their pictures: what the committed ones show, they have shown.

    python colabs/execute.py [NAME.ipynb ...]      all of them without names; 8 minutes on two CPU cores

What they write goes to a temporary folder. Of the outputs only pictures are kept: text holds times, paths and
progress bars.
"""

import base64
import io
import pathlib
import sys
import tempfile

import nbclient
import nbformat
from PIL import Image

MOST_BYTES = 150_000  # of a picture
FOLDER = pathlib.Path(__file__).resolve().parent
NOTEBOOKS = (
    *("train_on_real_recordings.ipynb", "detect_in_your_video.ipynb", "add_your_own_system.ipynb"),
    "your_own_data.ipynb",
)


def execute(notebook, folder, settings=None):
    """Runs a notebook, in place, from top to bottom in a kernel of its own.

    Args:
      notebook: as nbformat reads it.
      folder: to run in.
      settings: dict name -> value; a cell after the one that is tagged "parameters" sets them.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell failed.
    """
    if settings:
        lines = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
        tags = [cell.metadata.get("tags", ()) for cell in notebook.cells]
        (place,) = (i for i, of_cell in enumerate(tags) if "parameters" in of_cell)
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(lines))
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, kernel_name="python3", resources=resources).execute()


def keep_pictures(notebook):
    """Drops, in place, all that differs from run to run: outputs that are no pictures, counters and times."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found = (output.get("data", {}).get("image/png") for output in cell.outputs)
            pictures = [{"image/png": small(picture)} for picture in found if picture]
            cell.outputs = [nbformat.v4.new_output("display_data", picture) for picture in pictures]
            cell.execution_count = None
            cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}


def small(picture):
    """A PNG picture in base64: itself, or where it is large 1,000 pixels wide and with 128 colours."""
    content = base64.b64decode(picture)
    if len(content) <= MOST_BYTES:
        return picture
    image = Image.open(io.BytesIO(content)).convert("RGB")
    width = min(image.width, 1000)
    image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.quantize(128, dither=Image.Dither.NONE).save(file, format="png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def main(names):
    """Runs the notebooks of these names, one after the other, and writes them back."""
    for name in names or NOTEBOOKS:
        notebook = nbformat.read(FOLDER / name, as_version=4)
        language, kernel = notebook.metadata.language_info, notebook.metadata.kernelspec
        with tempfile.TemporaryDirectory() as folder:
            execute(notebook, folder)
        notebook.metadata = {"kernelspec": kernel, "language_info": language}
        keep_pictures(notebook)
        nbformat.write(notebook, FOLDER / name)


if __name__ == "__main__":
    main(sys.argv[1:])
