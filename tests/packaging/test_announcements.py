"""What the packaged template says of announcements."""

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.image_events import events_of
from chalicelib.images import ConversionStatus, Status
from tests.packaging.test_notifications import statements
from tests.unit.test_image_events import COMPLETED


@pytest.fixture
def source(resources: dict[str, Any]) -> dict[str, Any]:
    """What feeds `announce`."""
    (event,) = resources["Announce"]["Properties"]["Events"].values()
    assert event["Type"] == "DynamoDB"
    properties: dict[str, Any] = event["Properties"]
    return properties


def test_announce_reads_the_stream_that_the_stack_makes_from_its_beginning(
    source: dict[str, Any], resources: dict[str, Any]
) -> None:
    assert source["Stream"] == {"Fn::Sub": "${ImagesTable.StreamArn}"}
    assert source["StartingPosition"] == "TRIM_HORIZON"
    view = resources["ImagesTable"]["Properties"]["StreamSpecification"]["StreamViewType"]
    assert view == "NEW_AND_OLD_IMAGES"


def test_the_filter_lets_through_what_is_announced_and_nothing_else(
    source: dict[str, Any],
) -> None:
    patterns = [
        json.loads(entry["Pattern"])["dynamodb"] for entry in source["FilterCriteria"]["Filters"]
    ]
    seen = set()
    for old, new, was, becomes in itertools.product(
        Status, Status, ConversionStatus, ConversionStatus
    ):
        before = replace(COMPLETED, status=old, conversion_status=was)
        after = replace(COMPLETED, status=new, conversion_status=becomes)
        record = {
            name: {"status": {"S": row.status}, "conversion_status": {"S": row.conversion_status}}
            for name, row in (("OldImage", before), ("NewImage", after))
        }
        passes = any(_matches(record, pattern) for pattern in patterns)
        assert passes == bool(events_of(before, after)), record
        seen.add(passes)
    assert seen == {True, False}


def _matches(record: Any, pattern: Any) -> bool:
    if isinstance(pattern, list):
        return record in pattern
    return all(_matches(record[name], part) for name, part in pattern.items())


def test_the_topic_is_encrypted_takes_tls_alone_and_is_an_output(
    template: dict[str, Any], resources: dict[str, Any]
) -> None:
    topic = resources["ImageEventsTopic"]["Properties"]
    assert topic["KmsMasterKeyId"] == "alias/aws/sns"
    policy = resources["ImageEventsTopicPolicy"]["Properties"]
    assert policy["Topics"] == [{"Ref": "ImageEventsTopic"}]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    # SNS refuses a policy that says sns:*.
    assert statement["Action"] == "sns:Publish"
    assert template["Outputs"]["ImageEventsTopicArn"]["Value"] == {"Ref": "ImageEventsTopic"}
    variables = resources["Announce"]["Properties"]["Environment"]["Variables"]
    assert variables["IMAGE_EVENTS_TOPIC"] == {"Ref": "ImageEventsTopic"}


def test_announce_may_publish_and_do_nothing_else(resources: dict[str, Any]) -> None:
    roles = [name for name, r in resources.items() if r["Type"] == "AWS::IAM::Role"]
    may = {
        name: {
            action for entry in statements(resources, name).values() for action in entry["Action"]
        }
        for name in roles
    }
    # The API publishes what was given up and is sent back: POST /dead-letters/redrive.
    publishing = {name for name in roles if "sns:Publish" in may[name]}
    assert publishing == {"AnnounceRole", "ApiHandlerRole"}
    own = statements(resources, "AnnounceRole")
    assert set(own) == {"WriteLogs", "Trace", "Stream", "Announcements", "Topic", "Archive"}
    assert own["Topic"]["Resource"]["Fn::Sub"].endswith(":darkroom-prod-image-events")
    assert own["Archive"]["Resource"]["Fn::Sub"].endswith("/dead-letters/announce/*")
    assert own["Announcements"]["Action"] == ["dynamodb:UpdateItem"]
    assert own["Announcements"]["Resource"]["Fn::Sub"].endswith(
        ":table/darkroom-prod-announcements"
    )


def test_a_mark_is_kept_and_runs_out_by_itself(resources: dict[str, Any]) -> None:
    table = resources["AnnouncementsTable"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    assert table["Properties"]["TimeToLiveSpecification"]["AttributeName"] == "expires_at"
