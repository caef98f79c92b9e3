"""``make mails``: what the local SES was given, as pages that a browser opens.

MiniStack keeps subject, text and HTML of an e-mail; headers and attached photos it forgets.
"""

import html
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from local.errors import StartFailed
from local.places import Places, read_port

_INDEX = """<!doctype html><meta charset="utf-8"><title>E-mails</title>
<style>
  body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; }}
  td {{ padding: 0 1.5rem .3rem 0; }}
</style>
<h1>E-mails</h1><table>{rows}</table>
"""


def main(environ: Mapping[str, str] = os.environ) -> int:
    """The command line; the exit code."""
    try:
        places = Places(port=0, aws_port=read_port(environ.get("AWS_PORT"), "AWS_PORT", 4566))
        mails = sent_mails(places)
    except StartFailed as failure:
        print(f"Error: {failure}", file=sys.stderr)
        return 1
    print(f"{len(mails)} e-mails: {write_pages(mails, places.folder / 'mails')}")
    return 0


def sent_mails(places: Places) -> list[dict[str, Any]]:
    """Everything that was sent, newest first.

    Raises:
        StartFailed: The local AWS does not run.
    """
    try:
        answer = httpx.get(mails_url(places), timeout=10)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise StartFailed(
            f"The local AWS does not answer at {places.aws_url}; is `make run` up? ({error})"
        ) from None
    found = [mail for account in answer.json()["messages"].values() for mail in account]
    return sorted(found, key=lambda mail: mail["Timestamp"], reverse=True)


def mails_url(places: Places) -> str:
    """Where the local SES shows them as JSON."""
    return f"{places.aws_url}/_ministack/ses/messages"


def write_pages(mails: list[dict[str, Any]], folder: Path) -> Path:
    """A page for each e-mail, its text beside it, and a list of all; the list's path."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = []
    for number, mail in enumerate(mails, start=1):
        lines = (mail["BodyText"] or "").replace("\r\n", "\n")
        (folder / f"{number}.html").write_text(mail["BodyHtml"] or "", encoding="utf-8")
        (folder / f"{number}.txt").write_text(lines, encoding="utf-8")
        sent = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(mail["Timestamp"]))
        rows.append(
            f"<tr><td>{sent}<td>{html.escape(', '.join(mail['To']))}"
            f'<td><a href="{number}.html">{html.escape(mail["Subject"])}</a>'
            f'<td><a href="{number}.txt">text</a>'
        )
    index = folder / "index.html"
    index.write_text(_INDEX.format(rows="\n".join(rows)), encoding="utf-8")
    return index


if __name__ == "__main__":
    sys.exit(main())
