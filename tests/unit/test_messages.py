import json
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.errors import MessageRejected
from chalicelib.messages import ImageMessage, decode, encode

MESSAGE = ImageMessage(image_id="an-id", generation="v1", attempt=2, queued_at_ms=1_795_000_000_000)
FIELDS: dict[str, Any] = {
    "image_id": "an-id",
    "generation": "v1",
    "attempt": 2,
    "queued_at_ms": 1_795_000_000_000,
    "renditions": [],
    "version": 1,
}


def test_a_message_reads_as_it_was_written() -> None:
    assert decode(encode(MESSAGE)) == MESSAGE


def test_the_form_on_the_wire_is_flat_json_with_its_version() -> None:
    assert json.loads(encode(MESSAGE)) == {**FIELDS, "model": None, "remade": False}


def test_a_message_of_a_writer_that_knew_of_no_models_is_read() -> None:
    assert decode(json.dumps(FIELDS)) == MESSAGE


@pytest.mark.parametrize("model", ["default", "darkroom-32@1.0.0", "a@b_c"])
def test_a_model_is_carried(model: str) -> None:
    assert decode(encode(replace(MESSAGE, model=model))).model == model


@pytest.mark.parametrize("model", ["", "a", "a@", "@1", "a/b@1", "a@1@2", "../x@1", 7])
def test_what_names_no_model_is_refused(model: object) -> None:
    with pytest.raises(MessageRejected, match="model"):
        decode(json.dumps({**FIELDS, "model": model}))


def test_a_field_that_a_later_writer_added_is_no_hindrance() -> None:
    assert decode(json.dumps({**FIELDS, "colour": "red"})) == MESSAGE


@pytest.mark.parametrize("version", [0, 2, -1, "1", None, 1.5])
def test_an_unknown_version_is_refused(version: object) -> None:
    with pytest.raises(MessageRejected, match="version"):
        decode(json.dumps({**FIELDS, "version": version}))


@pytest.mark.parametrize("name", ["image_id", "generation", "attempt", "queued_at_ms"])
def test_a_missing_field_is_refused_by_name(name: str) -> None:
    fields = {key: value for key, value in FIELDS.items() if key != name}
    with pytest.raises(MessageRejected, match=name):
        decode(json.dumps(fields))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_id", 7),
        ("image_id", None),
        ("generation", ["v1"]),
        ("attempt", "2"),
        ("attempt", 2.5),
        ("attempt", True),
        ("queued_at_ms", None),
    ],
)
def test_a_field_of_another_type_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(MessageRejected, match=name):
        decode(json.dumps({**FIELDS, name: value}))


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        "{",
        "[]",
        "null",
        "1",
        '"text"',
        "{}",
        '{"Event": "s3:TestEvent"}',
        "\x00",
        '{"image_id": "\ud800"}',
        '{"more": ' + "[" * 100_000 + "]" * 100_000 + "}",
        encode(MESSAGE) + encode(MESSAGE),
        encode(MESSAGE)[:-1],
    ],
    ids=range(14),
)
def test_garbage_is_refused_and_nothing_else_escapes(body: str) -> None:
    with pytest.raises(MessageRejected, match="unreadable message"):
        decode(body)


def test_what_people_read_of_a_refusal_has_no_words_of_the_parser() -> None:
    with pytest.raises(MessageRejected) as caught:
        decode("{")
    assert caught.value.public_message == "The queue message could not be read."
