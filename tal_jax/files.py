"""Writing files so that a reader never sees half of one."""

import contextlib
import os
import pathlib
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
    except OSError as error:
        if error.errno and not error.filename:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
