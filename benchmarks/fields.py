"""Writes docs/fields.md: every field of every config, from the source of the functions that make configs.

python -m benchmarks.fields
"""

import ast
import importlib
import io
import pathlib
import re
import tokenize

from benchmarks.field_readers import readers
from tal_jax.ranges import allowed_of, leaves

ROOT = pathlib.Path(__file__).parent.parent
OUT = ROOT / "docs" / "fields.md"
SOURCES = {  # heading -> file, and the system whose choices go before those of ranges.py
    "Every system": ("tal_jax/config.py", None),
    "Data: features, signals and frames": ("tal_jax/data/features.py", None),
    "Data: frames alone": ("tal_jax/data/frames.py", None),
    "Data: EPIC-Kitchens": ("tal_jax/data/sets/epic.py", None),
    "AFSD and DW-AFSD": ("tal_jax/systems/afsd/config.py", "afsd"),
    "ECM": ("tal_jax/systems/ecm/config.py", "ecm"),
    "KT-MGFN": ("tal_jax/systems/kt_mgfn/config.py", "kt_mgfn"),
    "P-GCN": ("tal_jax/systems/pgcn/config.py", "pgcn"),
    "TCANet": ("tal_jax/systems/tcanet/config.py", "tcanet"),
    "ActionFormer": ("tal_jax/systems/actionformer/config.py", "actionformer"),
    "Linear probe": ("tal_jax/systems/linear/config.py", "linear"),
    "Sliding snippets": ("tal_jax/systems/sliding/config.py", "sliding"),
}
IN_CONFIGS = {  # heading -> {field: (default, meaning)} of those that the files in configs/ add
    "Every system": {
        "name": ('"sbhar_dw_afsd"', "of the run, which is kept in runs/NAME; each variant has its own")
    },
    "KT-MGFN": {
        "data.clips_subset": ('""', 'subset of the trimmed clips; "": the training actions, cut out')
    },
}
CONFIGS = {  # config file -> the variants whose fields are counted, one for each set of fields
    "sbhar": ("dw_afsd", "ecm", "kt_mgfn", "pgcn", "tcanet", "actionformer"),
    "thumos": ("dw_afsd,input=features", "dw_afsd,input=rgb", "ecm", "pgcn", "tcanet"),
    "hacs": ("kt_mgfn", "tcanet"),
    "epic": ("actionformer",),
    "kinetics": ("sliding",),
}
MOST_READERS = 4
HEAD = """# Fields of the configs

`python -m benchmarks.fields` writes this page from the functions that make configs; do not change it by hand.
A config has the fields of every system, those of its data and those of its system, whose values go before the
shared ones. Any field can be set on the command line: `--config.train.epochs=3`. The files in `configs/` set
what suits a data set.

A default is as the source has it. *May be* is checked before anything is read (`tal_jax/ranges.py` and the
`CHOICES` of a system); an empty cell: anything of the default's type. *Read by* names modules in `tal_jax/`
that read the field: those of its system come first, and … stands for more than four.

| config | fields, its first stage not counted |
|---|---|
"""


def declared(path):
    """{"section.field": (default, meaning)} of the functions of a file; the first value of a field counts."""
    source = (ROOT / path).read_text()
    comments = {
        token.start[0]: (token.line.strip().startswith("#"), token.string.lstrip("# "))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign)]
    for node in sorted(nodes, key=lambda node: node.lineno):
        target, value = ast.unparse(node.targets[0]), ast.unparse(node.value)
        parts = target.replace("config.", "", 1).split(".")
        of_section = isinstance(node.targets[0], ast.Attribute) and re.fullmatch(r"[a-z_0-9.]+", target)
        if not of_section or parts[0] == "self" or "ConfigDict" in value or len(parts) > 2:
            continue
        above, line = [], node.lineno - 1
        while comments.get(line, (False, ""))[0]:
            above.insert(0, comments[line][1])
            line -= 1
        beside = comments.get(node.end_lineno, (False, ""))[1]
        parts[0] = "curriculum" if parts[0] == "c" else parts[0]
        found.setdefault(".".join(parts), (value, " ".join([*above, beside]).strip()))
    return found


def all_fields():
    """{heading: {field: (default, meaning)}} of SOURCES and IN_CONFIGS."""
    found = {heading: declared(path) for heading, (path, _) in SOURCES.items()}
    for heading, fields in IN_CONFIGS.items():
        found[heading] |= fields
    return found


def own_readers(modules, system):
    """The modules that are not of another system, in the order of the page: the system's own come first."""
    systems = {f"systems.{name}" for _, name in SOURCES.values() if name}
    folder = {module: ".".join(module.split(".")[:2]) for module in modules}
    kept = [m for m in modules if not system or folder[m] not in systems - {f"systems.{system}"}]
    return sorted(kept, key=lambda m: (folder[m] != f"systems.{system}", m.count("."), m))


def points(system):
    """[(name, values, meaning)] of the open points that the READINGS of a system list, and of those they
    share.
    """
    found = importlib.import_module(f"tal_jax.systems.{system}.config")
    readings = getattr(found, "READINGS", {})
    meanings = {}
    for path in (
        ROOT / "tal_jax/curriculum.py",
        ROOT / "tal_jax/systems/candidates.py",
        pathlib.Path(found.__file__),
    ):
        lines, above = path.read_text().splitlines(), []
        for line in lines:
            key = re.match(r'    "([\w.]+)": (?:.*?),(?:  # (.*))?$', line)
            if key and key[1] in readings:
                meanings[key[1]] = " ".join([*above, key[2] or ""]).strip()
            above = [*above, line.strip("# ")] if line.startswith("    #") else []
    return [(name, values, meanings[name]) for name, values in readings.items()]


def allowed(field, default, system):
    """The cell that tells which values a field can have; "": any of the type of its default."""
    choices = {}
    if system:
        choices = importlib.import_module(f"tal_jax.systems.{system}.config").CHOICES
    found = choices.get(field) or allowed_of(field)
    if isinstance(found, tuple):
        return ", ".join(f"`{choice}`" for choice in found)
    return "" if default in ("True", "False", "on") or default[0] in "\"'" else found or ""


def text():
    """The page."""
    lines = [HEAD.rstrip("\n")]
    for name, variants in CONFIGS.items():
        for variant in variants:
            config = importlib.import_module(f"configs.{name}").get_config(variant)
            lines.append(f"| `configs/{name}.py:{variant}` | {len([*leaves(config)])} |")
    fields = all_fields()
    read_by = readers([name for of_heading in fields.values() for name in of_heading])
    for heading, (path, system) in SOURCES.items():
        lines += ["", f"## {heading}", "", f"`{path}`", ""]
        lines += ["| field | default | meaning | may be | read by |", "|---|---|---|---|---|"]
        for field, (default, meaning) in fields[heading].items():
            found = own_readers(read_by[field], system)
            more = ", …" if len(found) > MOST_READERS else ""
            shown = ", ".join(f"`{module}`" for module in found[:MOST_READERS]) + more
            cells = (f"`{field}`", f"`{default}`", meaning, allowed(field, default, system), shown)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        if system and points(system):
            lines += [
                "",
                "Open points, `config.readings`:",
                "",
                "| point | default | other values | meaning |",
                "|---|---|---|---|",
            ]
            for name, (default, *others), meaning in points(system):
                others = (
                    "some, or none, of these names"
                    if "" in others
                    else ", ".join(f"`{value}`" for value in others)
                )
                lines.append(f"| `{name}` | `{default}` | {others} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    OUT.write_text(text())
