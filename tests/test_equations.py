"""Each numbered equation of a paper is one function, and one row of a page of docs/, found by its tag."""

import ast
import importlib
import pathlib
import re

import pytest

import tal_jax

PACKAGE = pathlib.Path(tal_jax.__file__).parent
TESTS = pathlib.Path(__file__).parent
PAGES = sorted((TESTS.parent / "docs").glob("*.md"))
TAG = re.compile(r"(?:DW-AFSD|AFSD|ECM|P-GCN|TCANet) Eq\. \d+\b")


def leading_tags(docstring):
    """The tags that a docstring begins with: two in "AFSD Eq. 1, DW-AFSD Eq. 2: …"."""
    head = re.match(rf"{TAG.pattern}(?:, {TAG.pattern})*(?=: )", docstring or "")
    return head[0].split(", ") if head else []


def read_rows():
    """(page, tags, formula, path, tests) of every function in the tables "Equation → function → test"."""
    for page in PAGES:
        section = page.read_text().partition("## Equation → function → test")[2].partition("\n## ")[0]
        for line in section.splitlines():
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if line.startswith("|") and "`" in cells[-1]:
                paths = re.findall(r"`([\w.]+)`", cells[-2])
                assert paths, f"{page.name} names no function: {line}"
                for path in paths:
                    formula = cells[1] if len(cells) == 4 else None
                    tags = cells[0].split(", ") if TAG.match(cells[0]) else []
                    yield page, tags, formula, path, cells[-1]


def find(path):
    """What stands at a dotted path below the package, such as "curriculum.sample_weight"."""
    names = path.split(".")
    for end in range(len(names), 0, -1):
        try:
            found = importlib.import_module(".".join(["tal_jax", *names[:end]]))
        except ModuleNotFoundError:
            continue
        for name in names[end:]:
            found = getattr(found, name)
        return found
    raise AssertionError(f"tal_jax has no '{path}'.")


ROWS = list(read_rows())


@pytest.mark.parametrize("page, tags, formula, path, tests", ROWS, ids=[row[3] for row in ROWS])
def test_a_row_names_the_function_that_begins_with_its_tags(page, tags, formula, path, tests):
    assert leading_tags(find(path).__doc__) == tags, f"{page.name} and the docstring of {path} differ."
    for name in re.findall(r"`([\w/.]+)`", tests):
        assert any(TESTS.rglob(name)), f"{page.name}: there is no test {name}."
    assert not tags or "$" in formula, f"{page.name} shows no formula for {path}."


def test_every_tag_stands_once_in_the_code_and_once_in_the_pages():
    files = {path: path.read_text() for path in PACKAGE.rglob("*.py")}
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef
    nodes = [node for text in files.values() for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    in_code = sorted(tag for node in nodes for tag in leading_tags(ast.get_docstring(node)))
    in_pages = sorted(tag for _, tags, *_ in ROWS for tag in tags)
    assert in_code == in_pages == sorted(set(in_code))
    # A search for a tag has one hit: comments of configs aside, nothing else is called by it.
    hits = [tag for path, text in files.items() if path.name != "config.py" for tag in TAG.findall(text)]
    assert sorted(hits) == in_code


def test_formulas_are_such_as_github_shows():
    for _, _, cell, _, _ in ROWS:
        for formula in re.findall(r"\$([^$]*)\$", cell or ""):
            # Markdown takes such an underscore for the start of emphasis, such a backslash for an escape.
            assert not re.search(r"(?<![A-Za-z0-9])_|\\[^A-Za-z]|[*<>]", formula), formula
            assert formula.count("{") == formula.count("}")
