"""A table for people, on the screen and in a file of docs/."""

import datetime as dt
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

type Rows = Sequence[Sequence[object]]

ROOT = Path(__file__).resolve().parent.parent.parent


def published(path: Path, title: str, text: str, head: Sequence[str], rows: Rows) -> None:
    """Print a table, and keep it with the date and the machine."""
    table = Table(*head, title=title, box=None, header_style="bold")
    for row in rows:
        table.add_row(*map(str, row))
    Console(width=120).print(table)
    machine = (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    )
    lines = [
        f"# {title}",
        "",
        f"{dt.date.today():%Y-%m-%d}, {machine}. {text}",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
        "",
    ]
    path.write_text("\n".join(lines))
