"""An audit says what it knows, and never takes silence for good news."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infrastructure import audit
from infrastructure.lock import LOCKS
from infrastructure.template import ROOT

GOOD = {"name": "pillow", "version": "13.0.0", "vulns": []}
BAD = {"name": "jinja2", "version": "3.1.3", "vulns": [{"id": "PYSEC-2024-1"}]}
# What pip-audit says where an index does not answer as PyPI does. It ends with 0.
SKIPPED = {"name": "numpy", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def text(*entries: dict[str, Any]) -> str:
    """A report of pip-audit's."""
    return json.dumps({"dependencies": entries, "fixes": []})


def test_it_is_fine_where_everything_was_looked_up_and_nothing_found() -> None:
    code, (said,) = audit.judged([text(GOOD), text(GOOD, {**GOOD, "name": "numpy"})], {})
    assert code == audit.FINE
    assert said.startswith("2 packages were looked up; none is")


def test_a_vulnerability_fails_with_the_package_and_its_name() -> None:
    code, (said,) = audit.judged([text(GOOD), text(BAD)], {})
    assert code == audit.WRONG
    assert "jinja2==3.1.3 has PYSEC-2024-1" in said


def test_one_that_is_reviewed_does_not_and_a_review_of_nothing_does() -> None:
    reviewed = {"PYSEC-2024-1": "no template of ours is a stranger's"}
    assert audit.judged([text(BAD)], reviewed)[0] == audit.FINE
    code, (said,) = audit.judged([text(GOOD)], reviewed)
    assert code == audit.WRONG
    assert "no longer found" in said


@pytest.mark.parametrize(
    "silence",
    ["", "<html>proxy</html>", "{}", text(), text(GOOD, SKIPPED), '{"dependencies": [{}]}', "null"],
)
def test_no_answer_is_neither_fine_nor_wrong(silence: str) -> None:
    code, (said,) = audit.judged([text(GOOD), silence], {})
    assert code == audit.NOT_ASKED
    assert said.startswith("NOT AUDITED: ")


def test_what_was_found_counts_even_where_others_were_not_asked() -> None:
    assert audit.judged([text(BAD), ""], {})[0] == audit.WRONG


def test_every_lock_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def ask(_: Path, lock: str, options: Any) -> str:
        seen.append(lock)
        return text(GOOD)

    monkeypatch.setattr(sys, "argv", ["audit", "pip-audit"])
    assert audit.main(ask) == audit.FINE
    assert seen == [lock.target for lock in LOCKS]


def test_a_program_that_cannot_ask_is_no_audit(tmp_path: Path) -> None:
    """For real, with a program in place of pip-audit that says nothing and fails."""
    program = tmp_path / "pip-audit"
    program.write_text("#!/bin/sh\necho 'no route to host' >&2\nexit 1\n")
    program.chmod(0o755)
    finished = subprocess.run(
        [sys.executable, "-m", "infrastructure.audit", str(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == audit.NOT_ASKED
    assert "NOT AUDITED" in finished.stderr


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_ci_fails_on_a_finding_and_goes_on_without_an_answer(code: int, tmp_path: Path) -> None:
    fails = code not in {audit.FINE, audit.NOT_ASKED}
    script = (ROOT / ".ci" / "run").read_text()
    (block,) = re.findall(r"# --- audit\n(.*?)# ---\n", script, re.DOTALL)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\nexit {code}\n")
    python.chmod(0o755)
    finished = subprocess.run(
        ["bash", "-euc", f"make() {{ :; }}\n{block}\necho went on"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("went on" in finished.stdout) != fails, finished.stderr
    assert (finished.returncode != 0) == fails
