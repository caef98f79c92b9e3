"""The console: files for browsers, put together into one page.

One page, because deployed it lies at ``/api``: relative to that a browser would look for its files
beside the stage and not below it. Nothing is built; comments and indentation are left out.
"""

import re
from functools import cache
from pathlib import Path
from string import Template

_FOLDER = Path(__file__).parent
_STYLES = ("theme.css", "console.css")
# In the order of their use: they share one scope.
_SCRIPTS = (
    *("base.js", "uploads.js", "images.js", "image.js", "parcels.js", "health.js"),
    "main.js",
)


def page(*, stage: str, signed: bool) -> str:
    """The page as HTML.

    Args:
        stage: Name of the stage, to show.
        signed: Whether the routes of parcels take signed requests alone.
    """
    return Template((_FOLDER / "index.html").read_text(encoding="utf-8")).substitute(
        stage=stage, signed="yes" if signed else "no", style=style(), script=script()
    )


@cache
def style() -> str:
    """What stands in the page's ``<style>``."""
    return "".join(stylesheet(name) for name in _STYLES)


@cache
def script() -> str:
    """What stands in the page's ``<script>``."""
    text = "".join((_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    lines = (line.strip() for line in text.splitlines())
    kept = "\n".join(line for line in lines if line and not line.startswith("//"))
    # No text goes over more than one line, so what follows these may stand on the same.
    return re.sub(r"(?<=[{,;(])\n", "", kept)


@cache
def stylesheet(name: str) -> str:
    """A stylesheet of this folder, without comments and needless spaces."""
    text = re.sub(r"/\*.*?\*/", "", (_FOLDER / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"\s*([{};,])\s*", r"\1", re.sub(r":\s+", ":", text)).strip()
    return text.replace(";}", "}")
