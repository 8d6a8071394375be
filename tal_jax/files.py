"""Writing files so that a reader never sees half of one."""

import contextlib
import os
import pathlib
import re
import secrets

import numpy as np


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path`, which takes its place if the block ends without an error."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")  # no two workers, on any machine, have the same
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder):
    """Removes what a killed run has left half-written in a folder: the temporary files of `replacing`, and nothing else."""
    for path in pathlib.Path(folder).glob(".*"):
        if re.fullmatch(r"\..+\.[0-9a-f]{8}", path.name) and path.is_file():
            path.unlink()


def write_rows(path, rows):
    """Writes a .npy file row by row, so that one row is held at a time.

    Args:
        path: the file.
        rows: iterable of T >= 1 uint8 arrays of one shape.

    Returns:
        T.
    """
    num_rows = 0
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for num_rows, row in enumerate(rows, 1):
            if num_rows == 1:
                _write_header(file, (0, *row.shape))
            file.write(row.data)
        file.seek(0)
        _write_header(file, (num_rows, *row.shape))  # as long as the first: NumPy leaves room for the length to grow
    return num_rows


def _write_header(file, shape):
    np.lib.format.write_array_header_1_0(file, dict(descr="|u1", fortran_order=False, shape=shape))
