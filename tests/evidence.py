"""A test that a page of docs/ names as proof has to run, and to pass.

In a run of everything: whoever runs some tests sees nothing of it. A table that names a test that
is skipped, or that somebody deselected for good, proves nothing and still looks as if it did.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

# What makes a run one of some tests, if it stands on the command line.
_NARROWING = (
    *("-k", "-m", "-x", "--exitfirst", "--maxfail", "--deselect", "--ignore", "--ignore-glob"),
    *("--lf", "--last-failed", "--sw", "--stepwise", "--collect-only", "--co", "--pyargs"),
)
_NAMED = re.compile(r"`(tests/[\w/]+\.py(?:::\w+)+)`")


def named_tests(page: Path) -> list[str]:
    """The tests that a page names, each once, as pytest calls them, without parameters."""
    return list(dict.fromkeys(_NAMED.findall(page.read_text())))


def is_whole(arguments: Sequence[str], paths: Sequence[str]) -> bool:
    """Whether these arguments of a command line ask for all tests.

    What stands in pyproject.toml narrows a run too, but is no excuse.
    """
    return not paths and not any(
        argument == option
        or argument.startswith(f"{option}=")
        or (len(option) == 2 and argument.startswith(option) and argument[1] != "-")
        for argument in arguments
        for option in _NARROWING
    )


class Evidence:
    """A plugin of pytest that fails a whole run in which a named test proved nothing.

    Args:
        pages: The pages.
        excused: Why a test may be skipped here, as it says itself.
    """

    def __init__(self, pages: Iterable[Path], *, excused: Sequence[str] = ()) -> None:
        self._pages = tuple(pages)
        self._excused = tuple(excused)
        self._outcomes: dict[str, set[str]] = {}
        self._missing: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of one test."""
        if report.passed and report.when != "call":
            return
        outcome: str = report.outcome
        if report.skipped and any(why in str(report.longrepr) for why in self._excused):
            outcome = "excused"
        self._outcomes.setdefault(report.nodeid.partition("[")[0], set()).add(outcome)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail, if something that was named did not run."""
        config = session.config
        worker = hasattr(config, "workerinput")
        if worker or not is_whole(config.invocation_params.args, config.option.file_or_dir):
            return
        if session.exitstatus in {pytest.ExitCode.INTERRUPTED, pytest.ExitCode.USAGE_ERROR}:
            return
        self._missing = [
            f"{page.name} names {test} as proof, but {reason}."
            for page in self._pages
            for test in named_tests(page)
            if (reason := self._problem(test)) is not None
        ]
        if self._missing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what."""
        if self._missing:
            terminalreporter.section("Proof that is missing", red=True)
            for line in self._missing:
                terminalreporter.write_line(line)

    def _problem(self, test: str) -> str | None:
        outcomes = {
            outcome
            for ran, found in self._outcomes.items()
            # A class is named for all that it holds.
            if ran == test or ran.startswith(f"{test}::")
            for outcome in found
        }
        if not outcomes:
            return "it did not run"
        if bad := outcomes - {"passed", "excused"}:
            return f"it {' and '.join(sorted(bad))}"
        return None
