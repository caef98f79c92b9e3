"""What ``python -X importtime`` says, summed up by the libraries that were asked for."""

import re
from collections.abc import Iterable, Mapping

_LINE = re.compile(r"^import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)$")
# Everything that comes with boto3 and is of no other use here.
_GROUPS: Mapping[str, str] = {
    "onnxruntime": "onnxruntime",
    "numpy": "numpy",
    "boto3": "boto3",
    "botocore": "boto3",
    "s3transfer": "boto3",
    "urllib3": "boto3",
    "jmespath": "boto3",
    "dateutil": "boto3",
    "aws_lambda_powertools": "powertools",
    "PIL": "Pillow",
    "msgspec": "msgspec",
    "chalice": "chalice",
    "app": "our code",
    "chalicelib": "our code",
}
# What Python itself and Lambda's runtime load before and beside all that.
REST = "Python"
GROUPS = (*dict.fromkeys(_GROUPS.values()), REST)


def shares(lines: Iterable[str]) -> dict[str, float]:
    """Milliseconds of each group.

    A module counts for its own library, or else for the one that imported it: what boto3 needs of
    the standard library is boto3's, numpy is numpy's whoever imports it.
    """
    found = dict.fromkeys(GROUPS, 0.0)
    owners: list[str] = []
    # Python writes a module after those that it imports; backwards, the importer comes first.
    for line in reversed(list(lines)):
        match = _LINE.match(line)
        if match is None:
            continue
        depth = len(match[3]) // 2
        # An import that the program's end cut off leaves those inside it without their importer.
        importer = owners[min(depth, len(owners)) - 1] if depth and owners else REST
        owner = _GROUPS.get(match[4].partition(".")[0], importer)
        owners[depth:] = [owner]
        found[owner] += int(match[1]) / 1000
    return found
