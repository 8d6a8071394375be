"""The page of what every config needs of an accelerator, from the records of `benchmarks.accelerators`."""

import jax

from benchmarks import chips, compile_table, compiling
from tal_jax.runtime.files import replacing

HEAD = """# Every config, compiled for accelerators

No accelerator was at hand: XLA's own compilers (jax {jax}) made each program of the project for a TPU v5e-16
and for an H100, and this page says what they made. `python -m benchmarks.accelerators` writes it from
[accelerators.json](accelerators.json). Nothing here is a measured time of an accelerator.

One config, on these or other chips, with any fields as `tal_jax.main` takes them:

    pip install --no-deps --target=.compilers -r requirements-compile.txt
    python -m benchmarks.compile --chip=v5e-16 --config=thumos:dw_afsd,input=rgb --windows=2 \\
      --config.train.mixed_precision=True

`make compile-check` compiles again, and fails if a program no longer compiles or fits, or if its memory or
its kernels have grown by more than 10 %.

* **Programs.** The training step of one window a chip, and of the config's batch, spread over the chips; the
  detector of one window a chip; and the largest training step that fits: at most a tenth more may fit too, or
  as many as the cell says; more than {most} windows a chip are not tried. What has no row was not compiled.
* **Windows**: examples of a training step (of P-GCN videos), or what the detector sees at once. Those of a
  chip times the chips are `--config.train.batch_size`. With `--largest` the command above finds the most.
* **Memory** of a chip: arguments, results and what lies between, as the compiler lays them out. **Bold**:
  more than fits.
* **GFLOP** of a chip and call: counted by XLA before it optimises, with what is computed twice to save
  memory.
* **GB moved**: operands and results of all kernels in the large memory of the chip, read from the text of the
  compiled program. No cache of a GPU is counted on; what stays on the cores of a TPU moves nothing.
* **Kernels** that a chip launches in a call, those in loops as often as they turn. On a GPU a convolution of
  cuDNN counts as one. **Products by cuBLAS**: XLA makes products of matrices with kernels of its own, whose
  tiles it tunes on a GPU. Untuned, one of them could not be made, so the program was compiled with NVIDIA's
  library for all of them (`xla_gpu_enable_triton_gemm=False`). On a GPU XLA tunes first, which is not tried.
* **Convolutions and products** by the wider type of their operands. A GPU multiplies f32 as TF32, a TPU as
  bf16. The compiler for TPUs writes some products as convolutions.
* **Collectives**: how many, and the bytes that a chip gives them.
* **Roofline**: the time of a call at the least, max(FLOPs / peak, bytes / bandwidth) + launches, without
  collectives. **Launches**: their share of it, kernels x 3 µs on a GPU, x 1 µs on a TPU. Both are assumed;
  where XLA joins launches of a GPU in command buffers they cost less.
* **Compiling**: processor time of XLA.

| name | chips | peak, TFLOP/s: float32, mixed precision | bandwidth, GB/s | memory, GiB |
|---|---|---|---|---|
{chips}

Peaks and bandwidths are those of vendors' data sheets. The memory of a TPU is what XLA says it can fill, that
of a GPU 95 % of its data sheet's, which JAX takes with `XLA_PYTHON_CLIENT_MEM_FRACTION=0.95`; by default it
takes 75 %. Batches that wait on a chip for their step are not counted.

**Recomputing pays on a v5e, and little on an H100.** With `backbone.remat` a single window of THUMOS frames
takes 2.63 of a v5e's GiB, not 5.66, and moves 12.5 GB, not 14.7, so its roofline falls too. Of many windows
15 fit, not 12, and 4 of ActivityNet's, not 2. On an H100 a tenth more windows fit (65, not 58), and each
takes a tenth longer by its roofline; with `train.mixed_precision` nearly twice as many fit (111), and each
takes two fifths less. ECM's `model.remat` lets 440 windows fit on a v5e, not 262; on an H100 it saves nothing
and costs a fifth more time.
"""
NOTES = """## AFSD from frames on a TPU

The training step of `thumos:dw_afsd,input=rgb` with `train.mixed_precision=True` compiles for a v5e-16 from 1
window a chip on. Until its convolutions over time were products of matrices, the compiler crashed below 8.

| windows a chip | memory, GiB | GFLOP | GB moved | by XLA's count, GB | kernels |
|---|---|---|---|---|---|
| 1 | 5.02 | 848 | 10.3 | 41.2 | 1,979 |
| 8 | 9.18 | 6,778 | 35.9 | 80.4 | 1,866 |

XLA's own count of bytes has every operand of every kernel: also what stays on the cores (24 GB here), and
what is copied there ahead of its use. Of the 36 GB that the large memory moves, 4.2 are gradients of max
pools, and 2.9 are the first convolution and the gradient of its kernel. What is left in float32 are the two
heads that predict distances.
"""
PLACES = """## What mixed precision leaves in float32

Convolutions and products of training steps whose operands are float32 with `train.mixed_precision=True`, by
where they come from.
"""
_COLUMNS = "row windows memory gflop gb kernels products roofline launches compile".split()
TABLES = {
    "step": ("Training step", (*_COLUMNS[:7], "collectives", *_COLUMNS[7:])),
    "detect": ("Detector", _COLUMNS),
    "largest": ("Largest training step that fits", tuple(name for name in _COLUMNS if name != "products")),
}


def write(records, rows, page):
    """Writes the page.

    Args:
      records: of the results file.
      rows: the names of the table's rows, in their order; records of others are left out.
      page: path of the Markdown file.
    """
    records = [record for record in records if record["row"] in rows]
    records.sort(key=lambda record: (rows.index(record["row"]), record["windows"]))
    known = "\n".join(map(_chip_line, chips.CHIPS))
    parts = [HEAD.format(jax=jax.__version__, most=compiling.MOST_WINDOWS, chips=known)]
    for chip in chips.CHIPS:
        for program, (title, columns) in TABLES.items():
            found = [one for one in records if (one["chip"], one["program"]) == (chip, program)]
            if found:
                parts += [f"## {title}, {chip}\n", compile_table.text(found, columns)]
    with replacing(page) as temporary:
        temporary.write_text("\n".join([*parts, NOTES, *_places(records)]))


def _chip_line(name):
    chip = chips.CHIPS[name]
    peaks = (chip.peak_flops[precision] / 1e12 for precision in ("float32", "bfloat16"))
    cells = [f"{chip.number} x {chip.name}", "{:.0f}, {:.0f}".format(*peaks)]
    cells += [f"{chip.bytes_per_sec / 1e9:.0f}", f"{chip.memory_bytes / chips.GIB:.2f}"]
    return f"| {name} | {' | '.join(cells)} |"


def _places(records):
    """The section on float32 in steps of mixed precision; [] where none was compiled."""
    parts, mixed = [], [one for one in records if one["program"] == "step" and one.get("mixed_precision")]
    for record in (one for one in mixed if one["windows"] == 1):
        lines = [
            f"* {number} {kind}: `{place}`"
            for kind, places in sorted(record["places"].items())
            for place, number in sorted(places.items())
        ]
        title = f"### {compile_table.label(record)}, {record['chip']}\n"
        parts += [title, "\n".join(lines or ["None."]) + "\n"]
    return [PLACES, *parts] if parts else []
