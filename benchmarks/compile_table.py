"""The table of compiled programs: what the compiler says of each, and the time that follows from it."""

from benchmarks import chips

COLUMNS = {
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


def cells(record):
    """dict of COLUMNS -> text, of a record of `one`."""
    memory = f"{record['memory_bytes'] / chips.GIB:.2f}" if "memory_bytes" in record else ""
    shown = dict(chip=record["chip"], program=record["program"], windows=str(record["windows"]))
    if "error" in record:
        return shown | dict(memory=memory and f"**{memory}**", kernels=f"does not compile: {record['error']}")
    seconds, launches = roofline(record)
    return shown | dict(
        memory=memory if record["fits"] else f"**{memory}**",
        gflop=f"{record['flops'] / 1e9:.4g}",
        gb=f"{record['bytes'] / 1e9:.3g}",
        kernels=f"{record['kernels']:,}",
        products=", ".join(f"{number} {name}" for name, number in sorted(record["products"].items())),
        collectives=", ".join(
            f"{number} {name}, {size / 1e6:.3g} MB" for name, (number, size) in record["collectives"].items()
        ),
        roofline=f"{1e3 * seconds:.3g}",
        launches=f"{100 * launches:.0f} %",
        compile=f"{record['compile_cpu_sec']:.0f}",
    )


def table(records, columns=COLUMNS):
    """The lines of a markdown table of records."""
    lines = [f"| {' | '.join(COLUMNS[name] for name in columns)} |", "|---" * len(columns) + "|"]
    for record in records:
        of_record = cells(record)
        lines.append(f"| {' | '.join(of_record.get(name, '') for name in columns)} |")
    return lines


