"""Whoever is woken by an alarm finds its entry, and in it what to do."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from infrastructure.alarms import LETTER_STEPS
from infrastructure.template import ROOT
from tests.packaging.test_template import of_type

PAGE = (ROOT / "docs" / "operate.md").read_text()
ENTRIES: Mapping[str, str] = {
    entry[1]: entry[0]
    for entry in re.finditer(r"^### `([\w-]+)`\n(?:(?!^###? ).*\n?)*", PAGE, re.MULTILINE)
}
# What the words in capitals stand for. The entries stand in the order in which they are looked up.
PLACEHOLDERS = {
    "STEP": "|".join(LETTER_STEPS),
    "FUNCTION": r"\w+",
    # Of a stream.
    "READER": "announce|notify",
    "QUEUE": r"[a-z-]+",
}


def entry_for(alarm: str) -> str | None:
    """The first entry that an alarm's name fits."""
    for name in ENTRIES:
        pattern = re.sub(r"[A-Z]+", lambda found: f"(?:{PLACEHOLDERS[found[0]]})", name)
        if re.fullmatch(pattern, alarm):
            return name
    return None


def names_of(resources: dict[str, Any]) -> list[str]:
    """Every alarm of the packaged stack, as the page calls it."""
    alarms = of_type(resources, "AWS::CloudWatch::Alarm").values()
    return [alarm["AlarmName"]["Fn::Sub"].removeprefix("darkroom-${Stage}-") for alarm in alarms]


def test_every_alarm_has_an_entry_and_every_entry_an_alarm(resources: dict[str, Any]) -> None:
    names = names_of(resources)
    assert len(names) > 60
    found = {name: entry_for(name) for name in names}
    assert [name for name, entry in found.items() if entry is None] == []
    assert set(found.values()) == set(ENTRIES)


@pytest.mark.parametrize(
    ("alarm", "entry"),
    [
        ("bury_inference-errors", "bury_QUEUE-errors"),
        ("check-errors", "check-errors"),
        ("api-errors", "FUNCTION-errors"),
        ("inference-dead-letters-age", "QUEUE-dead-letters-age"),
        ("inference-age", "QUEUE-age"),
        ("notification-age", "QUEUE-age"),
        ("announce-age", "READER-age"),
        ("mail-dead-letters", "STEP-dead-letters"),
        ("something-new", None),
    ],
)
def test_an_alarm_leads_to_its_own_entry(alarm: str, entry: str | None) -> None:
    assert entry_for(alarm) == entry


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_says_what_it_means_where_to_look_what_to_do_and_when_it_is_over(
    name: str,
) -> None:
    text = ENTRIES[name]
    parts = re.findall(r"^- \*\*(Means|Look first|Do|Over)\*\*", text, re.MULTILINE)
    assert parts == ["Means", "Look first", "Do", "Over"]
    assert re.search(r"^  ```sh\n  \S", text, re.MULTILINE), "a command"
    assert len(text.split()) > 60


@pytest.mark.parametrize("name", ENTRIES)
def test_what_an_entry_names_is_there(name: str, resources: dict[str, Any]) -> None:
    """Log groups, functions and queues in its commands."""
    functions = {
        function["FunctionName"]["Fn::Sub"].replace("${Stage}", "STAGE")
        for function in of_type(resources, "AWS::Serverless::Function").values()
    }
    queues = {
        queue["QueueName"]["Fn::Sub"].replace("${Stage}", "STAGE")
        for queue in of_type(resources, "AWS::SQS::Queue").values()
    }
    text = ENTRIES[name]
    for pattern, there in (
        (r"/aws/lambda/(\S+?)(?:\s|$)", functions),
        (r"--function-name (\S+)", functions),
        (r"FunctionName,Value=(\S+)", functions),
        (r"--queue-name (\S+)", queues),
    ):
        for found in re.findall(pattern, text):
            assert found == "darkroom-STAGE-FUNCTION" or found in there, found
