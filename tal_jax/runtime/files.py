"""Writing files so that a reader never sees half of one, and keeping two runs out of one folder."""

import contextlib
import itertools
import os
import pathlib
import re
import secrets
import shutil
import socket
import tempfile
import threading

import numpy as np

from tal_jax.errors import DataError

try:
    import fcntl
except ImportError:  # Windows, where two runs are not kept apart
    fcntl = None

# Held while NumPy reads the header of an array: Python before 3.11.8 and 3.12.1 fails at times where two
# threads parse at once (CPython issue 106905).
ARRAY_HEADERS = threading.Lock()
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}")  # what `replacing` calls a file that is not whole yet
_unfinished = set()  # paths that are gone when this process ends


@contextlib.contextmanager
def _until_done(path):
    """Counts a path as unfinished during the block."""
    _unfinished.add(path)
    try:
        yield
    finally:
        _unfinished.discard(path)


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path`, which takes its place if the block ends without an error."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # no two workers, on any machine, have the same
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with _until_done(temporary):
        try:
            yield temporary
            os.replace(temporary, path)
        except OSError as error:
            if error.errno and str(error.filename or temporary) == str(temporary):
                error.filename, error.filename2 = str(path), None
            raise
        finally:
            temporary.unlink(missing_ok=True)


def require_apart(targets, sources):
    """Keeps a file that is read from being overwritten by a result.

    Args:
      targets: paths of the files that are to be written, and of folders whose files are.
      sources: {what names it, such as "--detections": path of a file or folder that is read, or ""}.

    Raises:
      DataError: a source is one of the targets, or lies in a folder that is one.
    """
    for (said, source), target in itertools.product(sources.items(), map(pathlib.Path, targets)):
        read = os.path.dirname(source) if target.is_dir() and os.path.isfile(source) else source
        if os.path.exists(source) and target.exists() and os.path.samefile(read or ".", target):
            raise DataError(
                f"{said}={source} would be overwritten, for results go to {target}; choose another --workdir."
            )


@contextlib.contextmanager
def temporary_folder():
    """Gives a new folder, which is gone after the block."""
    with tempfile.TemporaryDirectory() as folder, _until_done(folder):
        yield folder


def remove_unfinished():
    """Removes what the blocks of `replacing` and `temporary_folder` hold that have not ended, for a process
    that ends at once.
    """
    for path in tuple(_unfinished):
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.unlink(path)


@contextlib.contextmanager
def only_run(workdir, what, below=("first_stage",), choose="--workdir"):
    """Keeps other runs out of a folder until the block, or this process in any way, ends.

    Removes the unfinished files of killed runs. Leaves no folder behind that it has made and nobody has
    written to.

    Args:
      workdir: the folder; it is made.
      what: this run does, for the sentence that another run gets: "--mode=train".
      below: folders in it where runs leave unfinished files too.
      choose: the flag that names another folder, for this run's sentence.

    Raises:
      DataError: another run is in the folder; the sentence names its process.
    """
    workdir = pathlib.Path(workdir)
    made = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    workdir.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(workdir / ".lock", f"process {os.getpid()} on {socket.gethostname()} ({what})", choose):
            for folder in (workdir, *(workdir / name for name in below)):
                for path in folder.glob(".*"):
                    if _LEFTOVER.fullmatch(path.name) and path.is_file():
                        path.unlink(missing_ok=True)
            yield
    finally:
        with contextlib.suppress(OSError):  # one that is not empty
            for folder in made:
                folder.rmdir()


@contextlib.contextmanager
def _locked(path, who, choose):
    """Holds the lock of a file for the block, see `only_run`. The file says who has it, and is removed after
    the block.
    """
    while True:
        with open(path, "a+", errors="replace") as file:
            try:
                if fcntl:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                other = f"in use by {file.read(1000) or 'another process'}"
                raise DataError(
                    f"{path.parent} is {other}; wait until it ends, or choose another {choose}."
                ) from error
            except OSError:  # a file system without locks
                pass
            if not path.exists() or not os.path.samefile(path, file.fileno()):
                continue  # the run that had the lock before has just removed the file
            try:
                with _until_done(path):
                    file.truncate(0)
                    file.write(who)
                    file.flush()
                    yield
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(path)
            return


def list_files(folder, suffixes):
    """The files of a folder with given suffixes, and what is called so but is a link to nothing or a folder.

    Args:
        folder: the folder; one that is not there holds nothing.
        suffixes: in lower case, ".npy".

    Returns:
        (sorted paths, a sentence that counts what is left out and names the first, or ""), without hidden
        ones.
    """
    folder = pathlib.Path(folder)
    paths, others = [], []
    for entry in os.scandir(folder) if folder.is_dir() else ():
        path = folder / entry.name
        if path.suffix.lower() in suffixes and not entry.name.startswith("."):
            (paths if os.path.isfile(path) else others).append(path)
    if not others:
        return sorted(paths), ""
    what = f"{len(others)} left out of {folder}: called like files, but links to nothing or folders"
    return sorted(paths), f"{what}; the first is {min(others).name}."


def write_rows(path, rows):
    """Writes a .npy file row by row, so that one row is held at a time.

    Args:
        path: the file.
        rows: iterable of T >= 1 uint8 arrays of one shape.

    Returns:
        T.
    """
    header = dict(descr="|u1", fortran_order=False)
    num_rows = 0
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for num_rows, row in enumerate(rows, 1):
            if num_rows == 1:
                np.lib.format.write_array_header_1_0(file, header | {"shape": (0, *row.shape)})
            file.write(row.data)
        file.seek(0)
        # as long as the first: NumPy leaves room for the length to grow
        np.lib.format.write_array_header_1_0(file, header | {"shape": (num_rows, *row.shape)})
    return num_rows


def read_text(path, hint):
    """The text of an annotation file in UTF-8, a str.

    Args:
        path: the file, a pathlib.Path.
        hint: what to do where it cannot be read.

    Raises:
        DataError: the file cannot be read, or is no such text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"Cannot read the annotation file {path}: {error.strerror}. {hint}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file in UTF-8; save it in UTF-8.") from error
