"""What people read: e-mails and pages, as files. The only place that knows Jinja.

``mail/STATUS/subject.txt``, ``body.txt`` and ``body.html`` make the e-mail about a status; HTML is
escaped, and a name that a template uses and nobody gives fails at once.
"""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape


def rendered(name: str, **values: Any) -> str:
    """A template of this folder with its values filled in."""
    return _environment().get_template(name).render(values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
