"""Compiles the training step and the detector of a config for chips that are not there, and says what fits,
what it costs and what it waits for.

    python -m benchmarks.compile --chip=v5e-16|v5p-8|h100|h200x8 --config=CONFIG [--config.FIELD=VALUE …] \
      [--windows=1] [--programs=step,detect] [--largest] [--classes=N --channels=N] [--compilers=.compilers] \
      [--text=FOLDER]

CONFIG and its fields are those of `tal_jax.main`. The compilers are packages, in a folder of their own:

    pip install --no-deps --target=.compilers -r requirements-compile.txt

--windows   of an update, or of a call of the detector, on one chip.
--largest   The largest number of windows of an update, on one chip, that fits, to a tenth.
--classes, --channels    Classes of the data set, and channels of its features as the network sees them (0 for
            frames); needed for configs that `benchmarks.accelerators` does not list.
--text      Writes the compiled programs there, XLA's HLO.

`benchmarks.accelerators` says what the columns mean, and has those of all configs on docs/accelerators.md.
"""

def main():
    """Prints what is asked for."""
    from benchmarks import accelerators  # which imports this module

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
