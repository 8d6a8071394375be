"""Damaged files of every kind: each is read, or refused in one sentence that names it, and does no harm.

A failure names reader, damage and number, and the command that runs this case alone, such as

FUZZ_CASE=17 pytest 'tests/fuzz/test_fuzz.py::test_damaged_files[npz]'
"""

import contextlib
import faulthandler
import functools
import os
import pathlib
import random
import shutil
import signal
import sys
import traceback

import pytest

from tal_jax.errors import DataError, plain
from tests.fuzz import inputs, label_files

READERS = inputs.READERS | label_files.READERS
SEED, QUICK, THOROUGH = 2026, 1_000, 20_000
MOST_CHARACTERS = 1_500
MOST_SEC = 10  # of the processor's time, for one file
ONE_CASE = os.environ.get("FUZZ_CASE")
CHANGES = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "shutil.",
)  # a file system
RUNS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "ctypes.dlopen",
)

_watched = []  # of the case that runs now: the folder in which it may write; then what it did elsewhere


def _audit(event, arguments):
    """What Python tells of everything that is opened, changed or run."""
    if not _watched or len(_watched) > 5:
        return
    if event == "open" and isinstance(arguments[2], int):
        changes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    else:
        changes = event.startswith(CHANGES)
    path = os.fsdecode(arguments[0]) if changes and not isinstance(arguments[0], int) else ""
    inside = (
        os.path.abspath(path).startswith(_watched[0]) or path.startswith("/dev/") or "__pycache__" in path
    )
    if event.startswith(RUNS) or (changes and path and not inside):
        _watched.append(f"{event} {arguments}")


sys.addaudithook(_audit)


class Hang(BaseException):
    """A reader takes too long. No `except Exception` keeps it."""


@contextlib.contextmanager
def watched(folder):
    """Ends what takes longer than MOST_SEC, and gives a list of what is done outside a folder or is run."""

    def hang(*_):
        raise Hang(f"took more than {MOST_SEC} s")

    before = signal.signal(signal.SIGPROF, hang)
    signal.setitimer(signal.ITIMER_PROF, MOST_SEC)
    # Where no Python runs that a signal could reach, the whole process ends.
    faulthandler.dump_traceback_later(12 * MOST_SEC, exit=True)
    _watched[:] = [str(folder)]
    try:
        yield _watched
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGPROF, before)


def listing(folder):
    """{path: its bytes, None for a folder} of all that is below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@functools.cache
def files_of(name):
    return READERS[name].files()


def problem_of(name, number, folder):
    """What goes wrong when a reader gets the damaged file of a number: "" where nothing does.

    Args:
        name: of the reader.
        number: of the case; with SEED it decides all.
        folder: an empty one.
    """
    reader, files, rng = READERS[name], files_of(name), random.Random(f"{SEED} {name} {number}")
    chosen, kind = rng.choice(list(files)), rng.choice(list(reader.damages))
    inside = folder / "inside"
    for file in files if reader.together else [chosen]:
        path = inside / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(reader.damages[kind](files[file], rng) if file == chosen else files[file])
    before, result = listing(folder), "is read"
    with watched(inside if reader.writes else folder / "nowhere") as done:
        try:
            reader.read(inside / chosen)
        except DataError as error:
            result = str(error)
            problem = _fault_of_sentence(result, chosen, reader)
        except (Exception, Hang):
            problem = traceback.format_exc()
        else:
            problem = ""
        harm = done[1:]
        done.clear()
    if harm:
        problem += f"\nIt does {harm}."
    after = listing(folder)
    may_differ = reader.writes and (result == "is read" or reader.together)
    changed = {path for path in {*before, *after} if before.get(path, "") != after.get(path, "")}
    changed -= {path for path in changed if after.get(path, "") is None}  # a new folder
    if changed and not (may_differ and all(path.startswith("inside") for path in changed)):
        problem += f"\nIt leaves {sorted(changed)}."
    alone = f"FUZZ_CASE={number} pytest 'tests/fuzz/test_fuzz.py::test_damaged_files[{name}]'"
    return problem and f"{name}, file {chosen}, damage '{kind}', case {number}: {alone}\n{problem}"


def _fault_of_sentence(sentence, file, reader):
    """What is wrong with the text of a DataError."""
    if sentence != plain(sentence) or len(sentence) > MOST_CHARACTERS:
        return f"It says no plain sentence: {sentence[:2_000]!r}"
    named = any(word in sentence for word in (pathlib.Path(file).stem.split(".")[0], "config.", "argument"))
    return "" if named or reader.together else f"The sentence does not name {file}: {sentence}"


def share(name, total):
    """How many of all cases are of one reader."""
    return round(total * READERS[name].share / sum(reader.share for reader in READERS.values())) + 1


def run_cases(name, numbers, tmp_path):
    """Runs cases, each in an empty folder, and fails with the first problems."""
    problems = []
    for number in numbers:
        folder = tmp_path / "case"
        folder.mkdir()
        problems.append(problem_of(name, number, folder))
        shutil.rmtree(folder)
    problems = [problem for problem in problems if problem]
    text = "\n".join(problems[:3])
    found = f"{len(problems)} of {len(numbers)} files are not read or refused as they should be"
    assert not problems, f"{found}:\n{text}"
    assert not pathlib.Path("MARKER").exists()  # which the pickles would write


@pytest.mark.parametrize("name", READERS)
def test_valid_files_are_read(name, tmp_path):
    for file, content in files_of(name).items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(content)
    files = list(files_of(name))
    for file in files[:: len(files) // 10 + 1]:
        READERS[name].read(tmp_path / file)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_damaged_files(name, tmp_path):
    numbers = [int(ONE_CASE)] if ONE_CASE else range(share(name, QUICK))
    run_cases(name, numbers, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_many_damaged_files(name, tmp_path):
    run_cases(name, range(share(name, QUICK), share(name, THOROUGH)), tmp_path)
