"""Look up every locked package: ``python -m infrastructure.audit PIP_AUDIT``.

Asks PyPI, with pip-audit, whether a locked version has a known vulnerability. Each has to be
upgraded, or stand in `vulnerabilities.yaml` with a reason. Exit codes: 0 where all were looked up
and none was found; 1 where something is wrong; 3 where nobody could be asked: no answer.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infrastructure.lock import LOCKS, ROOT

REVIEWED = Path(__file__).with_name("vulnerabilities.yaml")
FINE, WRONG, NOT_ASKED = 0, 1, 3


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found out about packages.

    Attributes:
        looked_up: Those that there was an answer for, as ``name==version``.
        vulnerable: Those that something is known of, with what that is called.
        unanswered: Those that there was no answer for, with what was said instead.
    """

    looked_up: frozenset[str]
    vulnerable: frozenset[tuple[str, str]]
    unanswered: Mapping[str, str]


def report_of(text: str) -> Report:
    """Read pip-audit's JSON.

    It ends with 0 where the index does not know a package, or does not answer as PyPI does: each
    is then only "skipped".

    Raises:
        ValueError: It is no report.
    """
    entries: Sequence[Mapping[str, Any]] = json.loads(text)["dependencies"]
    if not entries:
        raise ValueError("a report about nothing")
    looked_up, vulnerable, unanswered = set(), set(), {}
    for entry in entries:
        if "version" not in entry:
            unanswered[entry["name"]] = entry.get("skip_reason", "no answer")
            continue
        package = f"{entry['name']}=={entry['version']}"
        looked_up.add(package)
        vulnerable |= {(package, found["id"]) for found in entry["vulns"]}
    return Report(
        looked_up=frozenset(looked_up), vulnerable=frozenset(vulnerable), unanswered=unanswered
    )


def asked(pip_audit: Path, lock: str, options: Sequence[str] = ()) -> str:
    """What pip-audit says about a lock, nothing where it could ask nobody."""
    finished = subprocess.run(
        [
            *(str(pip_audit), "--requirement", lock, "--disable-pip", "--require-hashes"),
            *("--format", "json", "--progress-spinner", "off", "--timeout", "30", *options),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return finished.stdout


def judged(reports: Iterable[str], reviewed: Mapping[str, str]) -> tuple[int, list[str]]:
    """The exit code, and what is to be said.

    Args:
        reports: pip-audit's, one for each lock.
        reviewed: Why a vulnerability does not concern us, by its id.
    """
    looked_up: set[str] = set()
    vulnerable: set[tuple[str, str]] = set()
    unanswered: set[str] = set()
    for number, text in enumerate(reports, start=1):
        try:
            report = report_of(text)
        except (ValueError, KeyError, TypeError):
            unanswered.add(f"everything in lock {number}")
            continue
        looked_up |= report.looked_up
        vulnerable |= report.vulnerable
        unanswered |= report.unanswered.keys()
    wrong = [
        f"Error: {package} has {found}. Upgrade it, or say in {REVIEWED.name} why it is no matter."
        for package, found in sorted(vulnerable)
        if found not in reviewed
    ]
    if wrong:
        return WRONG, wrong
    if unanswered:
        some = ", ".join(sorted(unanswered)[:3])
        about = f"NOT AUDITED: there was no answer about {len(unanswered)} packages ({some}, ...)."
        return NOT_ASKED, [f"{about} Run make audit again where PyPI can be reached."]
    unused = sorted(set(reviewed) - {found for _, found in vulnerable})
    if unused:
        return WRONG, [f"Error: {found} is reviewed, and no longer found." for found in unused]
    return FINE, [f"{len(looked_up)} packages were looked up; none is known to be vulnerable."]


def main(ask: Callable[[Path, str, Sequence[str]], str] = asked) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pip_audit", type=Path)
    parser.add_argument("options", nargs="*", help="of pip-audit, behind a --")
    arguments = parser.parse_args()
    reviewed = yaml.safe_load(REVIEWED.read_text()) or {}
    reports = (ask(arguments.pip_audit, lock.target, arguments.options) for lock in LOCKS)
    code, said = judged(reports, reviewed)
    print(*said, sep="\n", file=sys.stdout if code == FINE else sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
