"""Writing files so that a reader never sees half of one."""

import contextlib
import os
import pathlib
import re
import secrets


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
