"""`docs/how-to-add.md` is followed to the letter, in a copy of the code, and what it adds works."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.inference.graphs import graph

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "how-to-add.md"
SECTIONS = ["A rendition", "A model", "A route", "A stage"]
# What is not code, and what others of these tests bring with them.
LEFT = shutil.ignore_patterns(
    *(".git", ".venv*", ".local", "build", "__pycache__", ".*_cache", "node_modules", "*.pyc")
)


def blocks(text: str, kind: str) -> list[str]:
    """The code blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def section(title: str) -> str:
    """What the document says under a heading."""
    found = re.search(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
    )
    assert found is not None, title
    return found[1]


def take(change: str, root: Path) -> Path:
    """Take one change to a tree; the file that it is of."""
    head, *lines = change.splitlines()
    if head == "--- /dev/null":
        path = root / lines[0].removeprefix("+++ b/")
        assert not path.exists(), f"{path} is there already"
        assert all(line.startswith("+") for line in lines[1:]), path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line[1:]}\n" for line in lines[1:]))
        return path
    path = root / head.removeprefix("--- a/")
    text = path.read_text().splitlines()
    hunks: list[tuple[int, list[str]]] = []
    for line in lines:
        mark = re.fullmatch(r"@@(?: (\d+) times @@)?", line)
        if mark:
            hunks.append((int(mark[1] or 1), []))
        else:
            assert line[:1] in {" ", "+", "-"}, f"{path}: {line}"
            hunks[-1][1].append(line)
    for times, hunk in hunks:
        text = replaced(text, hunk, times=times, where=path)
    path.write_text("".join(f"{line}\n" for line in text))
    return path


def replaced(text: list[str], hunk: list[str], *, times: int, where: Path) -> list[str]:
    """Lines with a hunk taken wherever its context stands, which must be so many times."""
    old = [line[1:] for line in hunk if line[0] != "+"]
    new = [line[1:] for line in hunk if line[0] != "-"]
    places = [at for at in range(len(text)) if text[at : at + len(old)] == old]
    assert len(places) == times, f"{where}: these lines stand there {len(places)} times: {old}"
    for at in reversed(places):
        text = [*text[:at], *new, *text[at + len(old) :]]
    return text


@pytest.fixture(scope="module")
def changed() -> list[str]:
    """The files that the document changes, filled as it is followed."""
    return []


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, changed: list[str]) -> Path:
    """A copy of the code to which everything in the document was done, in its order."""
    root = tmp_path_factory.mktemp("how-to") / "darkroom"
    shutil.copytree(ROOT, root, ignore=LEFT)
    changes = blocks(DOCUMENT.read_text(), "diff")
    changed += (str(take(change, root).relative_to(root)) for change in changes)
    # The one file that nobody can write down.
    (root / "mine" / "model.onnx").write_bytes(graph(width=6, height=4))
    return root


def run(tree: Path, *words: str) -> None:
    """A command in the tree, with this environment's Python; it has to succeed."""
    finished = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": f"{tree}:{tree / 'vendor'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def commands(title: str) -> Iterator[list[str]]:
    """The words of each command of a section."""
    for block in blocks(section(title), "sh"):
        for line in block.splitlines():
            yield shlex.split(line)


def test_the_document_has_these_sections_in_numbered_steps() -> None:
    text = DOCUMENT.read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    for title in SECTIONS:
        numbers = [int(n) for n in re.findall(r"^(\d+)\. ", section(title), re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1)), title
        assert len(numbers) >= 3, title


@pytest.mark.parametrize("title", ["A route", "A stage"])
def test_what_is_added_passes_the_tests_that_the_document_names(tree: Path, title: str) -> None:
    (command,) = commands(title)
    assert command[:2] == ["make", "test"]
    # As the Makefile has it.
    assert "$(PYTHON) -m pytest $(T)" in (ROOT / "Makefile").read_text()
    run(tree, "pytest", "-q", "-p", "no:cacheprovider", *command[2].removeprefix("T=").split())


def test_a_rendition_and_a_model_are_there_after_the_commands_that_the_document_names(
    tree: Path,
) -> None:
    named = [" ".join(words) for title in ("A rendition", "A model") for words in commands(title)]
    assert named == [
        "make backfill RENDITION=card",
        "make model-check MODEL=mine",
        "make model-publish MODEL=mine",
        "make model-use MODEL=mine@1.0",
    ]
    run(tree, "pytest", "-q", "-p", "no:cacheprovider", "tests/docs/followed.py")


def test_what_is_added_is_in_the_style_of_the_rest(tree: Path, changed: list[str]) -> None:
    files = sorted({name for name in changed if name.endswith(".py")})
    assert len(files) > 10
    run(tree, "ruff", "check", "--no-cache", *files)
    run(tree, "ruff", "format", "--no-cache", "--check", *files)


def test_a_step_that_no_longer_fits_the_code_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one\ntwo\ntwo\n")
    take("--- a/a.py\n@@\n one\n+new\n", tmp_path)
    take("--- a/a.py\n@@ 2 times @@\n-two\n+three\n", tmp_path)
    assert (tmp_path / "a.py").read_text() == "one\nnew\nthree\nthree\n"
    for context in ("nowhere", "three"):
        with pytest.raises(AssertionError, match=r"these lines stand there [02] times"):
            take(f"--- a/a.py\n@@\n {context}\n+more\n", tmp_path)
