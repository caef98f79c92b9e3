"""The page about security: every threat has its row, every control its test."""

import ast
import re
from pathlib import Path

import pytest

from tests.evidence import named_tests

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "security.md"
THREATS = 20
ROWS = {
    int(number): [cell.strip() for cell in rest.split(" | ")]
    for number, rest in re.findall(r"^\| T(\d+) \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
}


def test_every_threat_has_its_row() -> None:
    assert list(ROWS) == list(range(1, THREATS + 1))


@pytest.mark.parametrize("number", ROWS)
def test_a_row_says_what_stands_against_it_where_and_what_proves_it(number: int) -> None:
    threat, control, kept_in, proof = ROWS[number]
    assert threat
    assert control
    assert re.search(r"`[\w./*-]+`", kept_in) or "does not apply: " in control
    assert re.search(r"`tests/[\w/]+\.py::\w+", proof)


@pytest.mark.parametrize("test", named_tests(PAGE))
def test_a_test_that_is_named_is_there(test: str) -> None:
    path, *names = test.split("::")
    body: list[ast.stmt] = ast.parse((ROOT / path).read_text()).body
    for name in names:
        (found,) = (
            node
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name
        )
        body = found.body
