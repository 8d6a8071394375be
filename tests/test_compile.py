"""What is read from compiled programs, on texts made by hand: nothing is compiled here (make compile-check does)."""

import json
import math
import pathlib
import subprocess

import jax
import pytest

from benchmarks import (
    accelerators,
    accelerators_page,
    chips,
    compile_check,
    compile_one,
    compile_table,
    compiled_text,
    compiling,
    study_results,
)
from tal_jax.errors import DataError

ROOT = pathlib.Path(__file__).parents[1]
OF_GPU = """HloModule jit_step, is_scheduled=true, entry_computation_layout={(f32[4,8]{1,0})->f32[4,8]{1,0}}

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%row_of_table (table: f32[100,8], at: s32[]) -> f32[1,8] {
  %table = f32[100,8]{1,0} parameter(0)
  %at = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %row = f32[1,8]{1,0} dynamic-slice(%table, %at, %zero), dynamic_slice_sizes={1,8}
}

%row_anew (at.2: s32[], table.2: f32[100,8], row.2: f32[1,8]) -> f32[100,8] {
  %row.2 = f32[1,8]{1,0} parameter(2)
  %table.2 = f32[100,8]{1,0} parameter(1)
  %at.2 = s32[] parameter(0)
  %zero.2 = s32[] constant(0)
  ROOT %anew = f32[100,8]{1,0} dynamic-update-slice(%table.2, %row.2, %at.2, %zero.2)
}

%gemm (left: bf16[4,8], right: bf16[8,8]) -> f32[4,8] {
  %left = bf16[4,8]{1,0} parameter(0)
  %right = bf16[8,8]{1,0} parameter(1)
  ROOT %dot = f32[4,8]{1,0} dot(%left, %right), lhs_contracting_dims={1}, metadata={op_name="jit(step)/head (a)/dot"}
}

%turn (carry: (s32[], f32[100,8])) -> (s32[], f32[100,8]) {
  %carry = (s32[], f32[100,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%carry), index=0
  %t = f32[100,8]{1,0} get-tuple-element(%carry), index=1
  %one = f32[1,8]{1,0} fusion(%t, %i), kind=kLoop, calls=%row_of_table
  %new = f32[100,8]{1,0} fusion(%i, %t, %one), kind=kLoop, calls=%row_anew
  ROOT %next = (s32[], f32[100,8]{1,0}) tuple(%i, %new)
}

%more (carry.2: (s32[], f32[100,8])) -> pred[] {
  %carry.2 = (s32[], f32[100,8]{1,0}) parameter(0)
  %i.2 = s32[] get-tuple-element(%carry.2), index=0
  %end = s32[] constant(3)
  ROOT %less = pred[] compare(%i.2, %end), direction=LT
}

%short (p: f32[4,8]) -> f32[4,8] {
  ROOT %p = f32[4,8]{1,0} parameter(0)
}

%long (q: f32[4,8]) -> f32[4,8] {
  %q = f32[4,8]{1,0} parameter(0)
  ROOT %copied = f32[4,8]{1,0} copy(%q)
}

%command_buffer (a: bf16[4,8], b: bf16[8,8]) -> f32[4,8] {
  %a = bf16[4,8]{1,0} parameter(0)
  %b = bf16[8,8]{1,0} parameter(1)
  ROOT %triton = f32[4,8]{1,0} fusion(%a, %b), kind=kCustom, calls=%gemm, backend_config={"kind":"__triton_gemm"}
}

ENTRY %main (a.1: bf16[4,8], b.1: bf16[8,8], c: f32[100,8], which: pred[]) -> f32[4,8] {
  %a.1 = bf16[4,8]{1,0} parameter(0)
  %b.1 = bf16[8,8]{1,0} parameter(1)
  %c = f32[100,8]{1,0} parameter(2)
  %which = pred[] parameter(3)
  %head = f32[4,8]{1,0} call(%a.1, %b.1), to_apply=%command_buffer
  %chosen = f32[4,8]{1,0} conditional(%which, %head, %head), true_computation=%long, false_computation=%short
  %first = s32[] constant(0)
  %pair = (s32[], f32[100,8]{1,0}) tuple(%first, %c)
  %loop = (s32[], /*index=1*/f32[100,8]{1,0}) while(%pair), condition=%more, body=%turn, backend_config={"known_trip_count":{"n":"3"}}
  %conv = (f32[4,8]{1,0}, u8[16]{0}) custom-call(%chosen, %b.1), window={size=3}, custom_call_target="__cudnn$convForward", metadata={op_name="jit(step)/neck/conv"}
  %of_conv = f32[4,8]{1,0} get-tuple-element(%conv), index=0
  %summed-start = f32[4,8]{1,0} all-reduce-start(%of_conv), to_apply=%add
  ROOT %summed = f32[4,8]{1,0} all-reduce-done(%summed-start)
}
"""
OF_TPU = """HloModule jit_step
%fused_computation (p0: bf16[1,8,4], p1: f32[3,4,4]) -> f32[1,8,4] {
  %p0 = bf16[1,8,4]{2,1,0:T(8,128)(2,1)} parameter(0)
  %p1 = f32[3,4,4]{2,1,0:T(4,128)} parameter(1)
  %p2 = bf16[3,4,4]{2,1,0:T(4,128)(2,1)} convert(%p1)
  ROOT %convolution = f32[1,8,4]{2,1,0:T(8,128)} convolution(%p0, %p2), window={size=3 pad=1_1}, dim_labels=b0f_0io->b0f, metadata={op_name="jit(step)/conv"}
}

%product_of (l: f32[8,4], r: f32[4,4]) -> f32[8,4] {
  %l = f32[8,4]{1,0:T(8,128)} parameter(0)
  %r = f32[4,4]{1,0:T(4,128)} parameter(1)
  ROOT %convolution.2 = f32[8,4]{1,0:T(8,128)} convolution(%l, %r), dim_labels=bf_io->bf, metadata={op_name="jit(step)/dot"}
}

ENTRY %main_spmd (a: bf16[1,8,4], b: f32[3,4,4], c: f32[8,4]) -> f32[8,4] {
  %a = bf16[1,8,4]{2,1,0:T(8,128)(2,1)} parameter(0)
  %b = f32[3,4,4]{2,1,0:T(4,128)} parameter(1)
  %c = f32[8,4]{1,0:T(8,128)} parameter(2)
  %seed = u32[]{:T(128)S(6)} constant(3)
  %mixed = u32[]{:T(128)S(6)} xor(%seed, %seed)
  %start = (f32[3,4,4]{2,1,0:T(4,128)S(1)}, f32[3,4,4]{2,1,0:T(4,128)}, u32[]{:S(2)}) copy-start(%b)
  %near = f32[3,4,4]{2,1,0:T(4,128)S(1)} copy-done(%start)
  %room = f32[8,4]{1,0:T(8,128)S(1)} custom-call(), custom_call_target="AllocateBuffer"
  %out = f32[1,8,4]{2,1,0:T(8,128)S(1)} fusion(%a, %near), kind=kOutput, calls=%fused_computation
  %flat = f32[8,4]{1,0:T(8,128)S(1)} bitcast(%out)
  ROOT %last = f32[8,4]{1,0:T(8,128)} fusion(%c, %flat), kind=kOutput, calls=%product_of
}
"""
RECORD = dict(
    chip="h100",
    program="step",
    windows=1,
    row="sbhar:ecm",
    fits=True,
    memory_bytes=1000,
    flops=495e9,
    bytes=3352e6,
)
RECORD |= dict(
    kernels=500, mixed_precision=False, products={}, collectives={}, places={}, compile_cpu_sec=3.0
)


def test_sizes_of_types():
    assert compiled_text.bytes_of("f32[2,3]{1,0}") == 24
    assert (
        compiled_text.bytes_of("(bf16[8]{0:T(256)S(1)}, pred[], s4[3]{0}, u8[0]{0}, f8e4m3fn[5]{0})")
        == 0 + 1 + 2 + 0 + 5
    )
    assert compiled_text.bytes_of("bf16[8]{0:T(256)S(1)}", everywhere=True) == 16


def test_a_program_of_a_gpu_by_hand():
    found = compiled_text.summary(OF_GPU)
    # the product, the copy of the longer branch, three turns of two fusions and a comparison, convolution, sum
    assert found["kernels"] == 1 + 1 + 3 * (2 + 1) + 1 + 1
    product, copy, conv, summed = 64 + 128 + 128, 2 * 128, 128 + 128 + 128 + 16, 2 * 128
    row_read, row_written, compared = 32 + 4 + 32, 4 + 32 + 32, 4 + 4 + 1
    assert found["bytes"] == product + copy + conv + summed + 3 * (row_read + row_written + compared)
    assert found["products"] == {"product bf16": 1, "convolution f32": 1}
    assert found["places"]["convolution f32"] == {"jit(step)/neck/conv": 1}
    assert found["places"]["product bf16"] == {"jit(step)/head (a)/dot": 1}
    assert found["collectives"] == {"all-reduce": [1, 128]}


def test_the_workspace_of_a_product_moves_nothing():
    program = """
ENTRY %main (a: f32[4,8], b: f32[8,2]) -> f32[4,2] {
  %a = f32[4,8]{1,0} parameter(0)
  %b = f32[8,2]{1,0} parameter(1)
  %product = (f32[4,2]{1,0}, s8[33554432]{0}) custom-call(%a, %b), custom_call_target="__cublas$lt$matmul"
  ROOT %y = f32[4,2]{1,0} get-tuple-element(%product), index=0
}
"""
    found = compiled_text.summary(program)
    assert found["bytes"] == 4 * (4 * 2 + 4 * 8 + 8 * 2) and found["products"] == {"product f32": 1}


def test_an_untuned_tile_that_does_not_fit_leaves_products_to_cublas(monkeypatch):
    """And any other error is that of the compiler."""
    given = []

    class Lowered:
        def __init__(self, error):
            self.error = error

        def compile(self, options=None):
            given.append(options)
            if options is None:
                raise jax.errors.JaxRuntimeError(self.error)
            return "compiled"

    tiles = Lowered("INTERNAL: Couldn't find output tile sizes that satisfy hlo: %dot.609")
    assert compile_one.compiled_by(tiles) == ("compiled", True)
    assert given == [None, compile_one.NO_TRITON]
    with pytest.raises(jax.errors.JaxRuntimeError, match="out of memory"):
        compile_one.compiled_by(Lowered("out of memory"))


def test_a_program_of_a_tpu_by_hand():
    found = compiled_text.summary(OF_TPU)
    assert found["kernels"] == 2  # scalars, transfers, names of memory and bitcasts are none
    # the transfer of b; a, but not b, which is near, and not what stays near; c and the result
    assert found["bytes"] == 192 + 64 + 128 + 128
    assert found["products"] == {"convolution bf16": 1, "product f32": 1}
    assert found["collectives"] == {}


@pytest.mark.parametrize(
    "fixed, slope, unit", [(100, 10, 1), (0, 1000, 1), (900, 7, 2), (5, 0.001, 1), (300, 333, 1)]
)
def test_the_largest_batch_of_a_memory_that_grows_in_a_line(fixed, slope, unit):
    capacity, tried = 1000, []

    def memory_at(windows):
        tried.append(windows)
        return fixed + slope * windows

    found, too_many = compiling.largest(memory_at, capacity, unit)
    best = min(math.floor((capacity - fixed) / slope) // unit * unit, compiling.MOST_WINDOWS)
    assert found in tried and best / compiling.CLOSE <= found <= best
    assert too_many is None or found < too_many and memory_at(too_many) > capacity
    assert len(tried) <= compiling.MOST_TRIES + 1 and not any(windows % unit for windows in tried)


def test_the_largest_batch_where_the_compiler_ends_or_nothing_fits():
    ends_from_40 = lambda windows: windows if windows < 40 else math.inf
    found, too_many = compiling.largest(ends_from_40, 1000)
    assert found < 40 <= too_many
    assert compiling.largest(lambda windows: 2000, 1000) == (0, 1)


def test_a_step_that_exceeds_the_memory_by_less_than_is_said_does_not_fit(monkeypatch):
    capacity = chips.CHIPS["v5e-16"].memory_bytes

    def one(job, compilers):
        fits = job["windows"] < 490
        used = job["windows"] / 500 * capacity if fits else capacity  # "Used 15.75G of 15.75G"
        return {"memory_bytes": used, "fits": fits}

    monkeypatch.setattr(compiling, "one", one)
    job = dict(chip="v5e-16", words=["--config=thumos:ecm"])
    fits, too_many, records = compiling.largest_of(job, "")
    assert records[fits]["fits"] and not records[too_many]["fits"] and fits < 490 <= too_many


def test_the_largest_step_is_found_from_the_steps_that_are_in_the_results(monkeypatch, tmp_path):
    task = accelerators.Task("thumos:ecm", "v5e-16", "largest", 0)
    there = dict(
        task._asdict(), program="step", windows=1, memory_bytes=2**30, fits=True, mixed_precision=False
    )
    other = there | dict(windows=15, memory_bytes=2**40, fits=False)
    others = [other | dict(row="hacs:tcanet"), other | dict(chip="h100"), other | dict(program="detect")]
    compiled = []

    def one(job, compilers):
        compiled.append(job["windows"])
        used = job["windows"] * 2**30
        return there | job | {"memory_bytes": used, "fits": used <= chips.CHIPS["v5e-16"].memory_bytes}

    monkeypatch.setattr(compiling, "one", one)
    for known in ([there], []):
        results = tmp_path / f"{len(known)}.json"
        study_results.write(results, [*known, *others])
        accelerators.compile_all([task], results, 1, "")
        assert (1 in compiled) == (not known)
        found = [record for record in accelerators.read(results) if record["program"] == "largest"]
        assert [(record["windows"], record["too_many"]) for record in found] == [(15, None)]
        assert all(record in accelerators.read(results) for record in (*known, *others))


def test_a_time_by_hand():
    seconds, launches = compile_table.roofline(RECORD)
    assert seconds == pytest.approx(1e-3 + 500 * 3e-6) and launches == pytest.approx(0.6)
    seconds, launches = compile_table.roofline(RECORD | dict(mixed_precision=True, bytes=0))
    assert seconds == pytest.approx(495 / 989 * 1e-3 + 1.5e-3)


@pytest.mark.parametrize(
    "windows, too_many, said",
    [(58, 63, "58"), (1024, None, "1024 or more"), (580, 1024, "580 to 1023"), (300, None, "300")],
)
def test_how_many_windows_fit(windows, too_many, said):
    record = RECORD | dict(program="largest", windows=windows, too_many=too_many)
    assert f"| {said} |" in compile_table.text([record], ["row", "windows", "memory"])


def test_a_compiler_that_ends_is_quoted(monkeypatch):
    job = dict(chip="v5e-16", program="step", windows=1, words=[])
    monkeypatch.setattr(chips, "environment", lambda folder: {})

    def ended(code, out="", err=""):
        monkeypatch.setattr(
            subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], code, out, err)
        )
        return compiling.one(job, "")

    found = ended(-6, err="W0\nF1129 19:06:00.1 12 window.cc:10] Check failed: a == b\n*** trace\n")
    assert found["error"] == "The compiler ended: Check failed: a == b" and not found["fits"]
    text = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm.\n\nmore"
    found = ended(0, json.dumps({"error": text}))
    assert found["memory_bytes"] == 20.5 * 2**30 and not found["fits"] and "more" not in found["error"]
    text = (
        "CompileTimeHbmOom: the memory required for HLO temporaries (256.00G) exceeds available HBM (15.75G)."
    )
    assert ended(0, json.dumps({"error": text}))["memory_bytes"] == 256 * 2**30
    found = ended(0, "\n".join(["said", json.dumps({"memory_bytes": 16 * 2**30})]))
    assert not found["fits"] and found["memory_bytes"] == 16 * 2**30
    with pytest.raises(DataError, match="no such field"):
        ended(0, json.dumps({"wrong": "no such field"}))


def test_missing_compilers_are_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"pip install --no-deps --target=.* -r requirements-compile.txt"):
        chips.environment(tmp_path)


def test_what_the_check_complains_of():
    grown = RECORD | dict(kernels=551)
    assert compile_check.complaint(RECORD, RECORD | dict(kernels=550, memory_bytes=1100)) == ""
    assert "kernels from 500 to 551" in compile_check.complaint(RECORD, grown)
    assert "memory from 1,000 to 1,101" in compile_check.complaint(RECORD, RECORD | dict(memory_bytes=1101))
    assert "does not fit" in compile_check.complaint(RECORD, RECORD | dict(fits=False))
    assert "does not compile: why" in compile_check.complaint(RECORD, RECORD | dict(fits=False, error="why"))


def test_the_page_is_that_of_its_results(tmp_path):
    records = accelerators.read(ROOT / "docs/accelerators.json")
    accelerators_page.write(records, [*accelerators.ROWS], tmp_path / "page.md")
    said = (ROOT / "docs/accelerators.md").read_text()
    assert (tmp_path / "page.md").read_text() == said, "write it with python -m benchmarks.accelerators"
    assert len({accelerators.key_of(record) for record in records}) == len(records)


def test_rows_are_configs():
    for row in accelerators.ROWS:
        assert {task.program for task in accelerators.tasks_of(row, "v5e-16", accelerators.PROGRAMS)} == {
            *accelerators.PROGRAMS
        }
    assert accelerators.sizes_of("configs/sbhar.py:ecm") == accelerators.sizes_of("sbhar:ecm") == (12, 48)
    assert accelerators.sizes_of("sbhar:afsd") is None
