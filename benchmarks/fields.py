"""Writes docs/fields.md: every field of every config, from the source of the functions that make configs.

python -m benchmarks.fields
"""

import ast
import functools
import importlib
import io
import pathlib
import re
import tokenize

from tal_jax.ranges import allowed_of

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
}
CONFIGS = {  # config file -> the variants whose fields are counted, one for each set of fields
    "sbhar": ("dw_afsd", "ecm", "kt_mgfn", "pgcn", "tcanet", "actionformer"),
    "thumos": ("dw_afsd,input=features", "dw_afsd,input=rgb", "ecm", "pgcn", "tcanet"),
    "hacs": ("kt_mgfn", "tcanet"),
    "epic": ("actionformer",),
}
MOST_READERS = 4
HEAD = """# Fields of the configs

`python -m benchmarks.fields` writes this page from the functions that make configs; do not change it by hand.
A config has the fields of every system, those of its data and those of its system, whose values go before the
shared ones. Any field can be set on the command line: `--config.train.epochs=3`. The files in `configs/` set
what suits a data set.

A default is as the source has it. *May be* is checked before anything is read (`tal_jax/ranges.py` and the
`CHOICES` of a system); an empty cell: anything of the default's type. *Read by* names the first modules in
`tal_jax/` that read the field.

| config | fields, its first stage not counted |
|---|---|
"""


def fields_of(config, prefix=""):
    """{"section.field": value} of a config, without its first stage."""
    found = {}
    for name, value in config.items():
        if hasattr(value, "items"):
            found |= fields_of(value, f"{prefix}{name}.") if name != "first_stage" else {}
        else:
            found[f"{prefix}{name}"] = value
    return found


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


@functools.cache
def modules():
    """[(module, its source)] of all of tal_jax."""
    paths = sorted((ROOT / "tal_jax").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT / "tal_jax").with_suffix("").parts) for path in paths]
    return [(name.removesuffix(".__init__"), path.read_text()) for name, path in zip(names, paths)]


def readers(field, system=None):
    """The modules that read a field, those of its system first."""
    section, _, name = field.rpartition(".")
    # The fields of these sections are arguments of a module or function.
    given = section in ("model", "backbone", "graph", "extract", "augment")
    found = []
    for module, source in modules():
        parts = module.split(".")
        own = parts[0] == "systems" and len(parts) > 1 and parts[1] == system
        of_another = system and parts[0] == "systems" and len(parts) > 2 and not own
        if name not in source or module in ("config", "ranges") or of_another:
            continue
        owners = [section or "config", "settings", *(["config", "self", "stages"] if own else [])]
        owners += {"curriculum": ["c"], "augment": ["a"]}.get(section, [])
        reads = rf"\b(?:{'|'.join(owners)})\.{name}\b(?!\s*=[^=])|\b{section or 'config'}\.get\(\"{name}\""
        reads += rf"|\"{name}\"|\b{name}(?:=|: )" if given and (own or section in module) else ""
        if re.search(reads, source):
            found.append(module)
    own_prefix = f"systems.{system}"
    return sorted(found, key=lambda module: (not module.startswith(own_prefix), module.count("."), module))


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
            lines.append(f"| `configs/{name}.py:{variant}` | {len(fields_of(config))} |")
    for heading, (path, system) in SOURCES.items():
        lines += ["", f"## {heading}", "", f"`{path}`", ""]
        lines += ["| field | default | meaning | may be | read by |", "|---|---|---|---|---|"]
        for field, (default, meaning) in declared(path).items():
            found = readers(field, system)
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
