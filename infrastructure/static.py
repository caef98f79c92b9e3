"""Judge a package with checkov: ``python -m infrastructure.static CHECKOV FOLDER``.

Every finding stands in `reviewed.yaml` with a reason, or fails the build; and so does a reason
that nothing is found for any more.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

REVIEWED = Path(__file__).with_name("reviewed.yaml")


def findings(checkov: Path, template: Path) -> list[tuple[str, str, str]]:
    """What checkov finds: its check's id, the resource, and what it asks for."""
    finished = subprocess.run(
        [
            *(str(checkov), "--file", str(template), "--framework", "cloudformation"),
            *("--output", "json", "--quiet", "--compact", "--skip-download"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(finished.stdout)
    if report["summary"]["parsing_errors"] or not report["summary"]["passed"]:
        raise SystemExit(f"checkov could not read {template}: {report['summary']}")
    return [
        (found["check_id"], found["resource"].rpartition(".")[2], found["check_name"])
        for found in report["results"]["failed_checks"]
    ]


def problems(
    found: Iterable[tuple[str, str, str]], reviewed: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What is found and not reviewed, and what is reviewed and not found."""
    unused = set(reviewed)
    said = []
    for check, resource, wanted in found:
        entry = reviewed.get(check)
        if entry is not None and re.fullmatch(entry["where"], resource):
            unused.discard(check)
        else:
            said.append(f"{check} {resource}: {wanted}")
    return said + [f"{check} is reviewed, and no longer found" for check in sorted(unused)]


def main() -> int:
    """The command line; exit code 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkov", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    reviewed = yaml.safe_load(REVIEWED.read_text())
    found = findings(arguments.checkov, arguments.folder / "sam.json")
    said = problems(found, reviewed)
    for line in said:
        print(f"Error: {line}", file=sys.stderr)
    if not said:
        print(f"checkov: {len(found)} findings, all reviewed ({REVIEWED.name}).")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
