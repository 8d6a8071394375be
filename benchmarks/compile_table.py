"""The table of compiled programs: what the compiler says of each, and the time that follows from it."""

from benchmarks import chips, compiling

COLUMNS = {  # name -> head
    "row": "config",
    "chip": "chip",
    "program": "program",
    "windows": "windows a chip",
    "memory": "memory, GiB",
    "gflop": "GFLOP",
    "gb": "GB moved",
    "kernels": "kernels",
    "products": "convolutions and products",
    "collectives": "collectives",
    "roofline": "roofline, ms",
    "launches": "launches",
    "compile": "compiling, CPU s",
}


def roofline(record):
    """(seconds of a call at the least, the share that launches take): the longer of computing and moving, and
    after it the launches, a sum that no overlap makes smaller.
    """
    chip = chips.CHIPS[record["chip"]]
    peak = chip.peak_flops["bfloat16" if record["mixed_precision"] else "float32"]
    busy = max(record["flops"] / peak, record["bytes"] / chip.bytes_per_sec)
    launches = record["kernels"] * chip.launch_sec
    return busy + launches, launches / (busy + launches)


def label(record):
    """The config of a record and the fields that differ, as code."""
    return f"`{record['row']}`"


def _cells(record):
    """dict of COLUMNS -> text."""
    shown = dict(chip=record["chip"], program=record["program"], windows=str(record["windows"]))
    if record["program"] == "largest" and record["windows"] == compiling.MOST_WINDOWS:
        shown["windows"] += " or more"
    elif record.get("too_many", 0) and record["too_many"] > compiling.CLOSE * max(record["windows"], 1):
        shown["windows"] += f" to {record['too_many'] - 1}"
    if "not_compiled" in record:
        shown["windows"] += f" ({record['not_compiled']} do not compile)"
    if "row" in record:
        shown["row"] = label(record)
    if "memory_bytes" in record:
        memory = f"{record['memory_bytes'] / chips.GIB:.3g}"
        shown["memory"] = memory if record["fits"] else f"**{memory}**"
    if "error" in record:
        return shown | dict(kernels=f"does not compile: {record['error'].replace('|', '/')}")
    seconds, launches = roofline(record)
    return shown | dict(
        gflop=f"{record['flops'] / 1e9:.4g}",
        gb=f"{record['bytes'] / 1e9:.3g}",
        kernels=f"{record['kernels']:,}" + ", products by cuBLAS" * record.get("by_cublas", False),
        products=", ".join(f"{number} {name}" for name, number in sorted(record["products"].items())),
        collectives=", ".join(
            f"{number} {name}, {size / 1e6:.3g} MB"
            for name, (number, size) in sorted(record["collectives"].items())
        ),
        roofline=f"{1e3 * seconds:.3g}",
        launches=f"{100 * launches:.0f} %",
        compile=f"{record['compile_cpu_sec']:.0f}",
    )


def text(records, columns):
    """A markdown table of records. columns: names of COLUMNS."""
    lines = [f"| {' | '.join(COLUMNS[name] for name in columns)} |", "|---" * len(columns) + "|"]
    for record in records:
        shown = _cells(record)
        lines.append(f"| {' | '.join(shown.get(name, '') for name in columns)} |")
    return "\n".join([*lines, ""])
