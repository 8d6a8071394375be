"""Compiles the training step and the detector of a config for chips that are not there, and prints a table of
what fits, what it costs and what it waits for.

    python -m benchmarks.compile --chip=v5e-16|v5p-8|h100|h200x8 --config=CONFIG [--config.FIELD=VALUE …] \
      [--windows=1] [--programs=step,detect] [--largest] [--classes=N --channels=N] [--compilers=.compilers] \
      [--text=FOLDER]

CONFIG and its fields are those of `tal_jax.main`. The compilers are packages, in a folder of their own:

    pip install --no-deps --target=.compilers -r requirements-compile.txt

--windows   of an update, or of a call of the detector, on one chip.
--largest   The largest number of windows of an update, on one chip, that fits, to a tenth.
--classes, --channels    Classes of the data set, and channels of its features as the network sees them (0 for
            frames); needed for configs that ROWS of `benchmarks.accelerators` does not have.
--text      Writes the compiled programs there, XLA's HLO.

docs/accelerators.md says what the columns mean, and has the tables of all configs.
"""

import pathlib

from benchmarks import accelerators, chips, compile_one, compile_table, compiling, measure

PROGRAMS = ("step", "detect")
COLUMNS = [name for name in compile_table.COLUMNS if name != "row"]


def main():
    """Prints what is asked for."""
    parser = measure.parser(__doc__)
    parser.add_argument("--chip", choices=chips.CHIPS, required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--windows", default=1, type=int)
    parser.add_argument("--programs", default=",".join(PROGRAMS), type=lambda text: text.split(","))
    parser.add_argument("--largest", action="store_true")
    parser.add_argument("--classes", type=int)
    parser.add_argument("--channels", type=int)
    parser.add_argument("--compilers", default=chips.FOLDER, type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path)
    options, fields = parser.parse_known_args()
    if unknown := [word for word in fields if not word.startswith("--config.")]:
        parser.error(f"unknown {unknown[0]}")
    if unknown := {*options.programs} - {*PROGRAMS}:
        parser.error(f"--programs names '{min(unknown)}'; it may name {', '.join(PROGRAMS)}.")
    listed, given = accelerators.sizes_of(options.config), (options.classes, options.channels)
    classes, channels = (said if said is not None else own for said, own in zip(given, listed or given))
    if classes is None or channels is None:
        parser.error(f"--config={options.config} is not in the list: --classes and --channels are needed.")
    job = dict(chip=options.chip, classes=classes, channels=channels)
    job["words"] = [f"--config={options.config}", *fields]
    compile_one.config_of(job["words"])  # raises DataError now, not after the compilers are looked for
    if options.largest:
        fits, too_many, records = compiling.largest_of(job, options.compilers)
        print(compile_table.text([*records.values()], COLUMNS))
        print(f"\n{fits} windows a chip fit" + (f", {too_many} do not." if too_many else "."))
        return
    if options.text:
        options.text.mkdir(parents=True, exist_ok=True)
    records = []
    for program in options.programs:
        text = options.text and str(options.text / f"{options.chip}_{program}_{options.windows}.txt")
        of_program = dict(program=program, windows=options.windows, text=text)
        records.append(compiling.one(job | of_program, options.compilers))
    print(compile_table.text(records, COLUMNS))
    for record in records:
        for name, places in record.get("places", {}).items():
            if record["mixed_precision"] and "f32" in name:
                print(f"\n{record['program']}: {name}\n")
                print("\n".join(f"* {number} {place}" for place, number in places.items()))


if __name__ == "__main__":
    measure.end_with_sentence(main)
