"""A page's proof has to run: tried out on a project of three tests."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.evidence import is_whole, named_tests

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = "| 1 | a | `tests/test_it.py::test_one`<br>`tests/test_it.py::TestMany` |\n"
CONFTEST = """
from pathlib import Path
from tests_evidence import Evidence
def pytest_configure(config):
    page = Path(__file__).parent.parent / "page.md"
    config.pluginmanager.register(Evidence([page], excused=[{excused!r}]))
"""
TESTS = """
import pytest
@pytest.mark.parametrize("number", [1, 2])
def test_one(number):
    {one}
class TestMany:
    def test_two(self):
        {two}
def test_nobody_names():
    pass
"""


def run(
    project: Path,
    *arguments: str,
    one: str = "pass",
    two: str = "pass",
    options: str = "",
    page: str = PAGE,
    excused: str = "no reason",
) -> subprocess.CompletedProcess[str]:
    """Run the project's tests."""
    (project / "tests").mkdir()
    (project / "page.md").write_text(page)
    (project / "pyproject.toml").write_text(
        f'[tool.pytest.ini_options]\ntestpaths = ["tests"]\naddopts = "{options}"\n'
    )
    (project / "tests_evidence.py").write_text((ROOT / "tests" / "evidence.py").read_text())
    (project / "tests" / "conftest.py").write_text(CONFTEST.format(excused=excused))
    (project / "tests" / "test_it.py").write_text(TESTS.format(one=one, two=two))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        # Without the plugins of others, which take seconds to load.
        env={"PYTHONPATH": str(project), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_in_which_all_of_it_passes_is_fine(tmp_path: Path) -> None:
    finished = run(tmp_path)
    assert finished.returncode == 0, finished.stdout
    assert "Proof" not in finished.stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"one": "pytest.skip('not today')"}, "test_one as proof, but it skipped."),
        ({"one": "number == 2 and pytest.skip('half')"}, "test_one as proof, but it skipped."),
        ({"two": "pytest.skip('not today')"}, "TestMany as proof, but it skipped."),
        ({"options": "--deselect tests/test_it.py::test_one"}, "but it did not run."),
        ({"options": "-k nobody"}, "test_one as proof, but it did not run."),
        ({"page": "`tests/test_it.py::test_three`"}, "test_three as proof, but it did not run."),
        ({"one": "pytest.skip('other')", "excused": "no data"}, "but it skipped."),
    ],
    ids=str,
)
def test_a_run_in_which_some_of_it_did_not_run_fails_with_a_sentence(
    changes: dict[str, str], said: str, tmp_path: Path
) -> None:
    finished = run(tmp_path, **changes)
    assert finished.returncode == 1, finished.stdout
    assert "Proof that is missing" in finished.stdout
    assert said in finished.stdout


def test_what_failed_is_said_there_too(tmp_path: Path) -> None:
    finished = run(tmp_path, one="assert False")
    assert finished.returncode == 1
    assert "test_one as proof, but it failed." in finished.stdout


@pytest.mark.parametrize(
    "arguments", [["tests/test_it.py"], ["-k", "two"], ["-knobody"], ["--deselect=tests/a.py"]]
)
def test_a_run_of_some_tests_is_not_asked(arguments: list[str], tmp_path: Path) -> None:
    finished = run(tmp_path, *arguments, one="pytest.skip('not today')")
    assert finished.returncode == 0, finished.stdout


def test_what_needs_data_that_is_not_here_is_excused(tmp_path: Path) -> None:
    finished = run(tmp_path, one="pytest.skip('no data here')", excused="no data")
    assert finished.returncode == 0, finished.stdout


def test_the_processes_of_a_run_in_parallel_know_of_each_other(tmp_path: Path) -> None:
    assert run(tmp_path, "-p", "xdist", "-n", "2").returncode == 0
    other = tmp_path / "other"
    other.mkdir()
    assert run(other, "-p", "xdist", "-n", "2", two="pytest.skip('not today')").returncode == 1


@pytest.mark.parametrize("arguments", [[], ["-q"], ["-n", "2"], ["-vv", "--durations=5"]])
def test_options_that_leave_nothing_out_make_no_run_of_some_tests(arguments: list[str]) -> None:
    assert is_whole(arguments, [])
    assert not is_whole(arguments, ["tests/docs"])


def test_both_pages_name_tests() -> None:
    for name in ("reliability.md", "security.md"):
        assert len(named_tests(ROOT / "docs" / name)) > 30, name
