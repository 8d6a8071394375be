"""Compiles every config of the project for accelerators that are not there, and writes docs/accelerators.md.

    python -m benchmarks.accelerators [--chips=v5e-16,h100] [--rows=TEXT] [--programs=step,detect,largest] \
      [--again] [--workers=2] [--compilers=.compilers] [--results=docs/accelerators.json]

It compiles what the results file lacks: of the rows of ROWS whose names contain TEXT, the training step of
one window a chip and of the config's batch, the detector of one window a chip, and the largest training step
that fits, which starts from the steps that the file has. Each is a process of its own, --workers of them at
once. With --again it also compiles anew what is there. The page is written from the results file at the end;
the same command continues after an interruption.

`benchmarks.compile` compiles one config, with any fields.
"""

import concurrent.futures
import functools
import json
import math
import pathlib
import threading
from typing import NamedTuple

from benchmarks import accelerators_page, chips, compile_one, compiling, measure, study_results
from tal_jax.errors import DataError

PROGRAMS = ("step", "detect", "largest")
MIXED, REMAT = "train.mixed_precision=True", "backbone.remat=True"
# A config and fields that differ -> classes of the data set, channels of features as the network sees them
# (0: frames).
ROWS = {
    "thumos:dw_afsd,input=rgb": (20, 0),
    f"thumos:dw_afsd,input=rgb {REMAT}": (20, 0),
    f"thumos:dw_afsd,input=rgb {MIXED}": (20, 0),
    "thumos:dw_afsd,input=flow": (20, 0),
    "thumos:dw_afsd,input=features": (20, 2048),
    f"thumos:dw_afsd,input=features {MIXED}": (20, 2048),
    "thumos:actionformer": (20, 2048),
    f"thumos:actionformer {MIXED}": (20, 2048),
    "thumos:actionformer,mixer=max": (20, 2048),
    "thumos:actionformer,mixer=sgp": (20, 2048),
    "thumos:ecm": (20, 2048),
    f"thumos:ecm {MIXED}": (20, 2048),
    "thumos:ecm model.remat=False": (20, 2048),
    "thumos:pgcn": (20, 1024),
    f"thumos:pgcn {MIXED}": (20, 1024),
    "thumos:tcanet": (20, 2048),
    f"thumos:tcanet {MIXED}": (20, 2048),
    "activitynet:dw_afsd,input=rgb": (1, 0),
    f"activitynet:dw_afsd,input=rgb {REMAT}": (1, 0),
    f"activitynet:dw_afsd,input=rgb {REMAT} {MIXED}": (1, 0),
    "activitynet:actionformer": (1, 512),
    "activitynet:ecm": (200, 2048),
    "activitynet:pgcn": (200, 2048),
    "activitynet:tcanet": (200, 2304),
    "hacs:kt_mgfn": (200, 1024),
    f"hacs:kt_mgfn {MIXED}": (200, 1024),
    "hacs:tcanet": (200, 2304),
    "multithumos:actionformer": (65, 2048),
    "epic:actionformer": (97, 2304),
    "ego4d:actionformer": (110, 256),
    "sbhar:dw_afsd": (12, 60),
    "sbhar:actionformer": (12, 48),
    "sbhar:ecm": (12, 48),
    "sbhar:kt_mgfn": (12, 48),
    "sbhar:pgcn": (12, 48),
    "sbhar:tcanet": (12, 48),
    "shapes:dw_afsd": (8, 0),
}


class Task(NamedTuple):
    """A program to compile. The record of it in the results file has these fields too."""

    row: str
    chip: str
    program: str
    windows: int  # a chip; 0: those that are found

    @property
    def job(self):
        """The dict that `compile_one` takes: the fields, the sizes of the data set, and the command line."""
        config, *fields = self.row.split()
        classes, channels = ROWS[self.row]
        words = [f"--config={config}", *(f"--config.{field}" for field in fields)]
        return self._asdict() | dict(classes=classes, channels=channels, words=words)


def sizes_of(config):
    """(classes, channels) of a config by its name or its file; None if no row has it."""
    name, colon, variant = config.partition(":")
    return ROWS.get(pathlib.Path(name).stem + colon + variant)


def tasks_of(row, chip, programs):
    """The Tasks of a row on a chip."""
    number = chips.CHIPS[chip].number
    config = compile_one.config_of(Task(row, chip, "step", 1).job["words"])
    batch = math.ceil(config.train.batch_size * config.train.accumulate_steps / number)
    found = [Task(row, chip, "step", windows) for windows in dict.fromkeys((1, batch))]
    found += [Task(row, chip, "detect", 1), Task(row, chip, "largest", 0)]
    return [task for task in found if task.program in programs]


def key_of(record):
    """The Task that a record of the results file belongs to."""
    windows = 0 if record["program"] == "largest" else record["windows"]
    return Task(record["row"], record["chip"], record["program"], windows)


def compiled(task, compilers, known):
    """The record of a Task. known: records of the results file; the largest is looked for from its steps."""
    job = task.job
    if task.program == "largest":
        steps = {one["windows"]: one for one in known if key_of(one)[:3] == (task.row, task.chip, "step")}
        fits, too_many, records = compiling.largest_of(job, compilers, steps)
        record = records[fits or min(records)] | dict(program="largest", windows=fits, too_many=too_many)
        if too_many and "memory_bytes" not in records[too_many]:
            record["not_compiled"] = too_many
    else:
        record = compiling.one(job, compilers)
    record = {name: value for name, value in record.items() if name != "words"}
    if "places" in record:
        kept = record["mixed_precision"] and {k: v for k, v in record["places"].items() if "f32" in k}
        record["places"] = kept or {}
    return dict(row=task.row) | record


def compile_all(tasks, path, workers, compilers):
    """Compiles tasks, several at once, and adds their records to a results file, as they end."""
    lock = threading.Lock()

    def make(task):
        record = compiled(task, compilers, study_results.read(path))
        with lock:
            others = [one for one in study_results.read(path) if key_of(one) != task]
            study_results.write(path, [*others, record])
            print(json.dumps(record)[: study_results.MOST_PRINTED], flush=True)

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            list(pool.map(make, tasks))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


read = functools.partial(study_results.read, keys=("row", "chip", "program", "windows", "fits"))


def main():
    """Compiles what is missing, and writes the page."""
    parser = measure.parser(__doc__)
    names = lambda text: text.split(",")
    parser.add_argument("--chips", default="v5e-16,h100", type=names)
    parser.add_argument("--rows", default="")
    parser.add_argument("--programs", default=",".join(PROGRAMS), type=names)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--workers", default=2, type=int)
    parser.add_argument("--compilers", default=chips.FOLDER, type=pathlib.Path)
    parser.add_argument("--results", default="docs/accelerators.json", type=pathlib.Path)
    options = parser.parse_args()
    for option, known in (("chips", chips.CHIPS), ("programs", PROGRAMS)):
        if unknown := {*getattr(options, option)} - {*known}:
            raise DataError(f"--{option} names '{min(unknown)}'; it may name {', '.join(known)}.")
    tasks = [
        task
        for chip in options.chips
        for row in ROWS
        if options.rows in row
        for task in tasks_of(row, chip, options.programs)
    ]
    there = set() if options.again else {key_of(record) for record in read(options.results)}
    tasks.sort(key=lambda task: PROGRAMS.index(task.program))
    missing = [task for task in tasks if task not in there]
    compile_all(missing, options.results, options.workers, options.compilers)
    accelerators_page.write(read(options.results), [*ROWS], options.results.with_suffix(".md"))


if __name__ == "__main__":
    measure.end_with_sentence(main)
