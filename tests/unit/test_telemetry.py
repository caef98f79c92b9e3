import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib import telemetry

NASTY = 'a\r\nb\nc\x1b[31m\u2028"}\n{"level":"forged"}\t\x00é'


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the logger writes."""
    buffer = io.StringIO()
    handler = telemetry.logger().registered_handler
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(buffer)
    yield buffer
    handler.setStream(before if before is not None else handler.stream)


def objects(text: str) -> list[dict[str, Any]]:
    # Split as a log collector does: at line feeds, not at what else Python calls a line's end.
    return [json.loads(line) for line in text.split("\n") if line]


def test_a_log_line_is_one_json_object(lines: io.StringIO) -> None:
    telemetry.logger().info("%s: dropped", "infer")
    (line,) = objects(lines.getvalue())
    assert line["level"] == "INFO"
    assert line["message"] == "infer: dropped"
    assert line["service"] == "darkroom"


def test_line_ends_in_a_message_or_field_forge_no_second_line(lines: io.StringIO) -> None:
    telemetry.logger().warning("refused %s", NASTY, extra={"filename_given": NASTY})
    assert lines.getvalue().count("\n") == 1
    (line,) = objects(lines.getvalue())
    assert line["message"] == f"refused {NASTY}"
    assert line["filename_given"] == NASTY


def test_an_exception_is_still_one_line(lines: io.StringIO) -> None:
    try:
        int(NASTY)
    except ValueError:
        telemetry.logger().exception("try failed")
    assert lines.getvalue().count("\n") == 1
    (line,) = objects(lines.getvalue())
    assert line["level"] == "ERROR"
    assert line["exception_name"] == "ValueError"


def test_fields_that_were_appended_stand_on_every_line_until_removed(lines: io.StringIO) -> None:
    log = telemetry.logger()
    log.append_keys(image_id="an-id")
    log.info("with")
    log.remove_keys(["image_id"])
    log.info("without")
    first, second = objects(lines.getvalue())
    assert first["image_id"] == "an-id"
    assert "image_id" not in second


def test_the_time_of_a_line_is_utc(lines: io.StringIO) -> None:
    telemetry.logger().info("now")
    (line,) = objects(lines.getvalue())
    assert re.search(r"(\+0000|Z|\+00:00)$", line["timestamp"])


def test_there_is_one_logger() -> None:
    assert telemetry.logger() is telemetry.logger()


def test_metrics_are_one_line_in_the_embedded_format(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.count("preprocess", ProcessedImages=1, ProcessingTime=61)
    (line,) = objects(capsys.readouterr().out)
    assert line["stage"] == "preprocess"
    assert (line["ProcessedImages"], line["ProcessingTime"]) == ([1.0], [61.0])
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Darkroom/local"
    assert directive["Dimensions"] == [["stage"]]
    units = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
    assert units == {"ProcessedImages": "Count", "ProcessingTime": "Milliseconds"}


def test_a_call_leaves_nothing_behind_for_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.count("preprocess", ProcessedImages=1)
    telemetry.count("infer", InferenceTime=9)
    _, second = objects(capsys.readouterr().out)
    assert second["stage"] == "infer"
    assert "ProcessedImages" not in second


def test_a_metric_that_is_not_registered_raises_and_writes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(KeyError, match="CatsSeen"):
        telemetry.count("infer", ProcessedImages=1, CatsSeen=1)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", sorted(telemetry.METRICS))
def test_every_registered_metric_can_be_written(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry.count("ingest", **{name: 2})
    (line,) = objects(capsys.readouterr().out)
    assert line[name] == [2.0]


@pytest.mark.parametrize("name", sorted(telemetry.METRICS))
def test_every_metric_is_explained_in_a_sentence(name: str) -> None:
    _, meaning = telemetry.METRICS[name]
    assert re.fullmatch(r"[A-Z].*\.", meaning)


@pytest.mark.parametrize("name", ["boto3", "botocore", "urllib3", "PIL"])
def test_libraries_are_heard_only_from_warnings_on(name: str) -> None:
    logger = logging.getLogger(name)
    before = logger.level
    try:
        telemetry.quiet_libraries()
        assert not logger.isEnabledFor(logging.INFO)
        assert logger.isEnabledFor(logging.WARNING)
    finally:
        logger.setLevel(before)
