"""An image as a row of DynamoDB, there and back."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from boto3.dynamodb.types import TypeDeserializer

from chalicelib.images import Image, Original

# DynamoDB knows no smaller number but zero, and boto3 raises for one:
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
_SMALLEST = 1e-128


def item_of(image: Image) -> dict[str, Any]:
    """The row of a new image."""
    plain = msgspec.to_builtins(image)
    item = {name: value for name, value in plain.items() if value is not None}
    # Written part by part later, so the map has to be there, even if it is empty.
    item["original"] = {name: value for name, value in plain["original"].items() if value}
    stored: dict[str, Any] = _stored(item)
    return stored


def image_of(item: Mapping[str, Any]) -> Image:
    """The image of a row."""
    return msgspec.convert(_loaded(item), Image)


def image_in_stream(image: Mapping[str, Any] | None) -> Image | None:
    """The image in an image of a stream record; None where there is none, or it is no image's.

    A tombstone is no image, nor is what the check leaves behind.

    Args:
        image: ``NewImage`` or ``OldImage``, in the wire's form.
    """
    if not image or "status" not in image:
        return None
    deserialize = TypeDeserializer().deserialize
    return image_of({name: deserialize(value) for name, value in image.items()})


def facts_of(original: Original | None) -> dict[str, Any]:
    """Each known fact of an original by its path in the row."""
    facts = {} if original is None else msgspec.to_builtins(original)
    return {f"original.{name}": value for name, value in facts.items() if value is not None}


def row_in_error(item: Any) -> dict[str, Any] | None:
    """The row in the error of a refused write, which boto3 leaves in the wire's form."""
    if not item:
        return None
    deserialize = TypeDeserializer().deserialize
    return {name: deserialize(value) for name, value in item.items()}


class UpdateExpression:
    """An update with placeholders for all names and values, so that no name is a reserved word.

    Args:
        set_values: What to set, by path with dots.
        remove: The paths to remove.
    """

    def __init__(self, set_values: Mapping[str, Any], remove: list[str]) -> None:
        self.names: dict[str, str] = {}
        self.values: dict[str, Any] = {}
        parts = [
            "SET "
            + ", ".join(
                f"{self._path(path)} = {self._value(value)}" for path, value in set_values.items()
            )
        ]
        if remove:
            parts.append("REMOVE " + ", ".join(self._path(path) for path in remove))
        self.text = " ".join(parts)

    def _path(self, path: str) -> str:
        # A part may have a hyphen in it, which a placeholder may not.
        return ".".join(self._name(part) for part in path.split("."))

    def _name(self, part: str) -> str:
        known = {name: placeholder for placeholder, name in self.names.items()}
        placeholder = known.get(part, f"#set{len(self.names)}")
        self.names[placeholder] = part
        return placeholder

    def _value(self, value: Any) -> str:
        # boto3 numbers the placeholders of conditions as :v0, :v1, ...
        placeholder = f":set{len(self.values)}"
        self.values[placeholder] = _stored(msgspec.to_builtins(value))
        return placeholder


def _stored(value: Any) -> Any:
    """As DynamoDB takes it: no float, which boto3 refuses, but an exact Decimal."""
    if isinstance(value, float):
        return Decimal(str(value)) if abs(value) >= _SMALLEST else Decimal(0)
    if isinstance(value, Mapping):
        return {key: _stored(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [_stored(entry) for entry in value]
    return value


def _loaded(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {key: _loaded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_loaded(entry) for entry in value]
    return value
