"""What Terraform's AWS provider takes: ``python -m infrastructure.terraform_schema JSII TARGET``.

Reads the manifest ``.jsii`` in npm's ``@cdktf/provider-aws``, which lists every argument of every
resource (19.65.1 is provider 5.99), and keeps what there is of the types that a package of ours
uses. Needed only when a type is added, or for another provider: the tests read what it wrote.
"""

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infrastructure.terraform import make_terraform

_NAMED = re.compile(r"/(?:resources|r)/\S+ (aws_\w+)\}")


def schema_of(manifest: Mapping[str, Any], wanted: set[str]) -> dict[str, Any]:
    """The arguments of each wanted type.

    Each argument is ``[is required, kind]``, where kind is a primitive's name, ``list``, ``map``,
    ``any``, or the arguments of a block.
    """
    types = manifest["types"]
    found = {}
    for entry in types.values():
        named = _NAMED.search(entry.get("docs", {}).get("summary", ""))
        parameters = entry.get("initializer", {}).get("parameters", [])
        if entry["kind"] == "class" and named and named[1] in wanted and len(parameters) > 2:
            found[named[1]] = _arguments(types, parameters[2]["type"]["fqn"], manifest["name"])
    return {name: found[name] for name in sorted(found)}


def _arguments(types: Mapping[str, Any], name: str, package: str) -> dict[str, Any]:
    entry = types[name]
    found: dict[str, Any] = {}
    for base in entry.get("interfaces", []):
        if base in types:
            found |= _arguments(types, base, package)
    for argument in entry.get("properties", []):
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", argument["name"]).lower()
        kind = _kind(types, argument["type"], package)
        found[snake] = [not argument.get("optional", False), kind]
    return found


def _kind(types: Mapping[str, Any], wanted: Mapping[str, Any], package: str) -> Any:
    if "primitive" in wanted:
        return wanted["primitive"]
    if "fqn" in wanted:
        block = wanted["fqn"]
        known = block in types and types[block]["kind"] == "interface"
        return _arguments(types, block, package) if known else "any"
    if "collection" in wanted:
        inner = _kind(types, wanted["collection"]["elementtype"], package)
        return inner if isinstance(inner, dict) else wanted["collection"]["kind"]
    kinds = [_kind(types, part, package) for part in wanted.get("union", {}).get("types", [])]
    blocks = [kind for kind in kinds if isinstance(kind, dict)]
    named = [kind for kind in kinds if kind != "any"]
    return blocks[0] if blocks else named[0] if named else "any"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    used: set[str] = set()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "package"
        make_terraform("prod", folder, with_dependencies=False)
        for path in folder.glob("*.tf.json"):
            used |= set(json.loads(path.read_text()).get("resource", {}))
    schema = schema_of(json.loads(arguments.manifest.read_text()), used)
    arguments.target.write_text(json.dumps(schema, indent=1) + "\n")
    print(f"{len(schema)} of {len(used)} types; missing: {sorted(used - set(schema)) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
