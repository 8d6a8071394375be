"""Compiles one program of a config for chips that are not there, and prints what XLA says of it, a line of
JSON. A process of its own: a compiler may end it. `benchmarks.compile` starts it.

    python -m benchmarks.compile_one '{"chip": "h100", "program": "step", "windows": 1, "classes": 12,
      "channels": 48, "words": ["--config=sbhar:ecm"], "text": ""}'

windows: of an update, or of a call of the detector, on a chip. text: a file for the compiled program's text.
"""

import json
import pathlib
import sys
import time

import jax

from benchmarks import chips, compiled_text, flops, programs
from tal_jax import convert
from tal_jax.errors import DataError, sentence_of
from tal_jax.runtime.parallel import Parallel, make_parallel

# Nothing is tuned without a chip, and a tile that Triton takes untuned may not fit a product.
NO_TILE, NO_TRITON = "Couldn't find output tile sizes", {"xla_gpu_enable_triton_gemm": False}


def config_of(words):
    """The config of the words --config=… and --config.FIELD=… of a command line. Raises DataError."""
    spec, *fields = words
    before, sys.argv = sys.argv, ["compile", *words]  # config_flags finds the fields there
    try:
        return convert.load_config(spec.removeprefix("--config="), fields)
    finally:
        sys.argv = before


def traced(made, program, parallel):
    """A program of `programs.Programs`, traced for devices of a Parallel."""
    shapes = parallel.shapes
    if program == "step":
        return parallel.compile(made.step).trace(shapes(made.state), shapes(made.batch, split=True))
    return parallel.jit_map(made.detect).trace(shapes(made.variables), shapes(made.inputs, split=True))


def flops_of(config, program, windows, job, platform):
    """Floating point operations of a program on one chip; where batches are accumulated, without the pass
    that counts what losses are divided by.
    """
    config = config.copy_and_resolve_references()
    config.train.accumulate_steps = 1  # of a loop over batches XLA would count one
    made = programs.of_config(config, job["classes"], job["channels"], windows, windows)
    if program == "step":
        step = make_parallel("shard_map", 1).compile(made.step)
        return flops.count(step, made.state, made.batch, platform=platform)
    return flops.count(made.detect, made.variables, made.inputs, platform=platform)


def compiled_by(lowered):
    """(the compiled program, whether its products of matrices had to be cuBLAS's)."""
    try:
        return lowered.compile(), False
    except jax.errors.JaxRuntimeError as error:
        if NO_TILE not in str(error):
            raise
        return lowered.compile(NO_TRITON), True


def compiled(job):
    """What XLA says of a program, see `benchmarks.compile`."""
    chip, program, windows = chips.CHIPS[job["chip"]], job["program"], job["windows"]
    config = config_of(job["words"])
    steps = config.train.accumulate_steps
    if program == "step" and windows % steps:
        raise DataError(f"{windows} windows a chip cannot be dealt into {steps} batches.")
    rows = windows * chip.number
    made = programs.of_config(config, job["classes"], job["channels"], rows, rows)
    lowered = traced(made, program, Parallel(chips.devices(chip))).lower()
    began = time.process_time()
    done, by_cublas = compiled_by(lowered)
    seconds = time.process_time() - began
    memory, text = done.memory_analysis(), done.as_text()
    if job.get("text"):
        pathlib.Path(job["text"]).write_text(text)
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    found = dict(
        memory_bytes=kept + memory.temp_size_in_bytes + memory.generated_code_size_in_bytes,
        flops=flops_of(config, program, windows, job, chip.platform),
        mixed_precision=config.train.mixed_precision,
        compile_cpu_sec=round(seconds, 1),
    )
    found |= {"by_cublas": True} if by_cublas else {}
    return found | compiled_text.summary(text)


def main():
    """Prints the line."""
    job = json.loads(sys.argv[1])
    try:
        found = compiled(job)
    except DataError as error:
        found = {"wrong": sentence_of(error)}
    except jax.errors.JaxRuntimeError as error:
        found = {"error": str(error)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
