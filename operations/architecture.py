"""The picture of the architecture, from what the code imports: ``make architecture``.

A box is a module or package of `chalicelib`, or `app.py`; below its name stand the libraries that
it imports. An arrow is an import; one that follows from others is left out. Imports for the type
checker alone do not count.
"""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

from local.places import ROOT

PICTURE = ROOT / "docs" / "images" / "architecture.svg"
_PACKAGE = "chalicelib"
# How the libraries call themselves.
_NAMES = {
    "PIL": "Pillow",
    "aws_lambda_powertools": "powertools",
    "botocore": "boto3",
    "jinja2": "Jinja",
}
_WIDTH, _ROW, _BOX, _LANE, _GAP, _EDGE = 1100, 92, 44, 10, 18, 24
_LETTER, _SMALL_LETTER = 8.2, 6.2
_SWEEPS = 12

type Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Who imports whom, and which libraries each part imports."""

    imports: Graph
    libraries: Graph


def read(root: Path = ROOT) -> Architecture:
    """The architecture of a source tree."""
    found: dict[str, set[str]] = {}
    for path in [root / "app.py", *sorted((root / _PACKAGE).rglob("*.py"))]:
        parts = path.relative_to(root).with_suffix("").parts
        if parts == (_PACKAGE, "__init__"):
            continue
        names = _imported(ast.parse(path.read_text(encoding="utf-8")))
        found.setdefault(_part(parts), set()).update(_part(name.split(".")) for name in names)
    inner = set(found)
    standard = {*sys.stdlib_module_names, _PACKAGE}
    return Architecture(
        imports={name: frozenset(seen & inner - {name}) for name, seen in found.items()},
        libraries={
            name: frozenset(_NAMES.get(one, one) for one in seen - inner - standard)
            for name, seen in found.items()
        },
    )


def picture(architecture: Architecture) -> str:
    """The architecture as SVG: importers above what they import."""
    edges = reduced(architecture.imports)
    depth = _depths(architecture.imports)
    rows, chains = _rows(edges, depth)
    rows = _untangled(rows, chains)
    places = _places(rows, architecture)
    lines = [_line(chain, places) for chain in sorted(chains)]
    boxes = [
        _box(name, places[name], sorted(architecture.libraries[name])) for name in sorted(depth)
    ]
    height = len(rows) * _ROW + _EDGE
    return "\n".join([_HEAD.format(width=_WIDTH, height=height), *lines, *boxes, "</svg>", ""])


def reduced(graph: Graph) -> dict[str, list[str]]:
    """The same graph without the arrows that follow from others."""
    reach: dict[str, frozenset[str]] = {}

    def reached(name: str) -> frozenset[str]:
        if name not in reach:
            reach[name] = graph[name].union(*(reached(other) for other in graph[name]))
        return reach[name]

    return {
        name: sorted(
            one
            for one in others
            if not any(one in reached(other) for other in others if other != one)
        )
        for name, others in graph.items()
    }


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from chalicelib import messages` imports a module of it.
            below = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from below if node.module == _PACKAGE else [node.module]
        yield from _imported(node)


def _part(parts: Sequence[str]) -> str:
    return parts[1] if parts[0] == _PACKAGE and len(parts) > 1 else parts[0]


def _depths(graph: Graph) -> dict[str, int]:
    """The length of the longest way from the top to each."""
    depth = dict.fromkeys(graph, 0)
    for _ in graph:
        for name, others in graph.items():
            for other in others:
                depth[other] = max(depth[other], depth[name] + 1)
    return depth


def _rows(
    edges: Mapping[str, Sequence[str]], depth: Mapping[str, int]
) -> tuple[list[list[str]], list[tuple[str, ...]]]:
    """The boxes of each row, with a place for each arrow that passes; and the arrows."""
    rows: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name in sorted(depth):
        rows[depth[name]].append(name)
    chains = []
    for name in sorted(edges):
        for other in edges[name]:
            passes = []
            for row in range(depth[name] + 1, depth[other]):
                # Arrows to one box share a lane.
                passes.append(f"|{other}|{row}")
                if passes[-1] not in rows[row]:
                    rows[row].append(passes[-1])
            chains.append((name, *passes, other))
    return rows, chains


def _untangled(rows: Sequence[Sequence[str]], chains: Iterable[tuple[str, ...]]) -> list[list[str]]:
    """Each row in an order in which few arrows cross: by the middle of each one's neighbours."""
    above: dict[str, set[str]] = {}
    below: dict[str, set[str]] = {}
    for chain in chains:
        for upper, lower in pairwise(chain):
            above.setdefault(lower, set()).add(upper)
            below.setdefault(upper, set()).add(lower)
    ordered = [list(row) for row in rows]
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        numbers = range(1, len(rows)) if downwards else range(len(rows) - 2, -1, -1)
        for number in numbers:
            near = ordered[number - 1 if downwards else number + 1]
            place = {name: (index + 0.5) / len(near) for index, name in enumerate(near)}
            neighbours = above if downwards else below
            own = {name: index for index, name in enumerate(ordered[number])}

            def middle(
                name: str,
                neighbours: Mapping[str, set[str]] = neighbours,
                place: Mapping[str, float] = place,
                own: Mapping[str, int] = own,
            ) -> float:
                known = [place[other] for other in neighbours.get(name, ()) if other in place]
                return sum(known) / len(known) if known else (own[name] + 0.5) / len(own)

            ordered[number].sort(key=lambda name: (round(middle(name), 6), name))
    return ordered


@dataclass(frozen=True, kw_only=True)
class _Place:
    x: float
    y: float
    width: float
    is_box: bool


def _places(rows: Sequence[Sequence[str]], architecture: Architecture) -> dict[str, _Place]:
    places = {}
    for number, row in enumerate(rows):
        widths = [
            _LANE if name.startswith("|") else _box_width(name, architecture.libraries[name])
            for name in row
        ]
        gap = min(max((_WIDTH - 2 * _EDGE - sum(widths)) / (len(row) + 1), _GAP / 3), 4 * _GAP)
        x = (_WIDTH - sum(widths) - gap * (len(row) - 1)) / 2
        for name, width in zip(row, widths, strict=True):
            places[name] = _Place(
                x=round(x + width / 2, 1),
                y=_EDGE + number * _ROW,
                width=width,
                is_box=not name.startswith("|"),
            )
            x += width + gap
    return places


def _box_width(name: str, libraries: Iterable[str]) -> float:
    longest = max(len(_title(name)) * _LETTER, len(", ".join(libraries)) * _SMALL_LETTER)
    return round(longest + 16, 1)


def _title(name: str) -> str:
    return "app.py" if name == "app" else name


def _line(chain: Sequence[str], places: Mapping[str, _Place]) -> str:
    first = places[chain[0]]
    path = [f"M{first.x:g} {first.y + _BOX:g}"]
    for upper, lower in pairwise(chain):
        start, end = places[upper], places[lower]
        top, bottom = start.y + _BOX, end.y - (5 if end.is_box else 0)
        half = (top + bottom) / 2
        path.append(f"C{start.x:g} {half:g} {end.x:g} {half:g} {end.x:g} {bottom:g}")
        if not end.is_box:
            path.append(f"V{end.y + _BOX:g}")
    title = f"{_title(chain[0])} imports {chain[-1]}"
    return f'<path class="arrow" d="{" ".join(path)}"><title>{escape(title)}</title></path>'


def _box(name: str, place: _Place, libraries: Sequence[str]) -> str:
    left = round(place.x - place.width / 2, 1)
    middle = place.y + (20 if libraries else 27)
    texts = [f'<text x="{place.x:g}" y="{middle:g}">{escape(_title(name))}</text>']
    if libraries:
        below = escape(", ".join(libraries))
        texts.append(f'<text class="library" x="{place.x:g}" y="{place.y + 35:g}">{below}</text>')
    box = f'<rect x="{left:g}" y="{place.y:g}" width="{place.width:g}" height="{_BOX}" rx="6"/>'
    return "".join([box, *texts])


_HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>Who imports whom in Darkroom</title>
<style>
svg {{ background: #fff; font: 600 13px ui-sans-serif, system-ui, sans-serif; }}
rect {{ fill: #eef3f8; stroke: #5b7186; }}
text {{ fill: #16202a; text-anchor: middle; }}
.library {{ fill: #9a4a00; font-size: 11px; font-weight: 400; }}
.arrow {{ fill: none; stroke: #7d90a3; marker-end: url(#head); }}
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" \
orient="auto"><path d="M0 0L8 4L0 8z" fill="#7d90a3"/></marker></defs>"""


def main() -> int:
    """The command line."""
    PICTURE.write_text(picture(read()), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)} is written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
