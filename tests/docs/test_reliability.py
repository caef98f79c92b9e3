"""The page of invariants names tests that there are."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "reliability.md"
INVARIANTS = 47


def rows() -> dict[int, str]:
    found = re.findall(r"^\| (\d+) \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    return {int(number): rest for number, rest in found}


@cache
def collected(path: str) -> frozenset[str]:
    """What pytest runs of a file: its functions, those of its classes, but for what is skipped."""
    names = set()
    body = ast.parse((ROOT / path).read_text()).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    for node in (*body, *(part for found in classes for part in found.body)):
        if isinstance(node, ast.FunctionDef):
            marks = "".join(ast.unparse(mark) for mark in node.decorator_list)
            if not re.search(r"\b(skip|skipif|xfail)\b", marks):
                names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(name for name in names if name.startswith(("test_", "Test")))


def test_every_invariant_has_its_row() -> None:
    assert list(rows()) == list(range(1, INVARIANTS + 1))


def test_every_row_names_a_test_that_is_run_or_says_why_there_is_none() -> None:
    for number, row in rows().items():
        named = re.findall(r"`(tests/[\w/]+\.py)::(?:\w+::)?(\w+)`", row)
        assert named or "Not yet: " in row or "Does not apply: " in row, number
        for path, name in named:
            assert Path(path).name.startswith("test_"), f"{number}: pytest collects no {path}"
            assert name in collected(path), f"{number}: {path} has no {name}"
