"""What the packaged template says of e-mails."""

import json
import zipfile
from pathlib import Path
from typing import Any

from chalicelib.parcels import ParcelStatus


def statements(resources: dict[str, Any], role: str) -> dict[str, dict[str, Any]]:
    """The statements of a function's role, by their names."""
    (policy,) = resources[role]["Properties"].get(
        "Policies", [{"PolicyDocument": {"Statement": []}}]
    )
    return {entry["Sid"]: entry for entry in policy["PolicyDocument"]["Statement"]}


def test_notify_reads_the_stream_that_the_stack_makes_from_its_beginning(
    resources: dict[str, Any],
) -> None:
    """Chalice wants the stream's name before there is one."""
    (event,) = resources["Notify"]["Properties"]["Events"].values()
    assert event["Type"] == "DynamoDB"
    assert event["Properties"]["Stream"] == {"Fn::Sub": "${TrackingTable.StreamArn}"}
    assert event["Properties"]["StartingPosition"] == "TRIM_HORIZON"
    assert "set-by-the-template" not in json.dumps(resources)
    view = resources["TrackingTable"]["Properties"]["StreamSpecification"]["StreamViewType"]
    assert view == "NEW_AND_OLD_IMAGES"


def test_each_queue_of_mail_is_read_by_its_own_function(resources: dict[str, Any]) -> None:
    for function, queue in (
        ("Mail", "NotificationQueue"),
        ("BuryNotification", "NotificationDeadLetters"),
        ("Feedback", "MailFeedbackQueue"),
        ("BuryFeedback", "MailFeedbackDeadLetters"),
    ):
        (event,) = resources[function]["Properties"]["Events"].values()
        assert event["Properties"]["Queue"] == {"Fn::Sub": f"${{{queue}.Arn}}"}
        assert event["Properties"]["BatchSize"] == 1
    feedback = resources["MailFeedbackQueue"]["Properties"]
    letters = resources["MailFeedbackDeadLetters"]["Properties"]
    assert letters["MessageRetentionPeriod"] > feedback["MessageRetentionPeriod"]


def test_only_ses_of_this_account_may_publish_and_only_the_topic_may_send(
    resources: dict[str, Any],
) -> None:
    """T19: a confused deputy."""
    (publish,) = resources["MailFeedbackTopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert publish["Principal"] == {"Service": "ses.amazonaws.com"}
    assert publish["Condition"]["StringEquals"] == {"AWS:SourceAccount": {"Ref": "AWS::AccountId"}}
    (send,) = resources["MailFeedbackQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert send["Principal"] == {"Service": "sns.amazonaws.com"}
    assert send["Condition"]["ArnEquals"] == {"aws:SourceArn": {"Ref": "MailFeedbackTopic"}}
    assert send["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    destination = resources["MailFeedbackDestination"]["Properties"]["EventDestination"]
    assert {"bounce", "complaint"} <= set(destination["MatchingEventTypes"])
    assert destination["SnsDestination"] == {"TopicARN": {"Ref": "MailFeedbackTopic"}}
    subscription = resources["MailFeedbackSubscription"]["Properties"]
    assert subscription["RawMessageDelivery"] is True


def test_mail_uses_the_configuration_set_that_reports_bounces(resources: dict[str, Any]) -> None:
    variables = resources["Mail"]["Properties"]["Environment"]["Variables"]
    assert variables["MAIL_CONFIGURATION_SET"] == {"Ref": "MailConfigurationSet"}
    assert variables["MAIL_FROM"] == {"Ref": "MailFrom"}
    assert resources["Notify"]["Properties"]["Environment"]["Variables"]["MAIL_FROM"] == {
        "Ref": "MailFrom"
    }
    chosen, given, own = variables["PUBLIC_URL"]["Fn::If"]
    assert (chosen, given) == ("HasPublicUrl", {"Ref": "PublicUrl"})
    assert own["Fn::Sub"].endswith("/api"), "the stage of the API"


def test_only_mail_may_send_and_nobody_may_forget_who_unsubscribed(
    resources: dict[str, Any],
) -> None:
    roles = [name for name, r in resources.items() if r["Type"] == "AWS::IAM::Role"]
    texts = {name: json.dumps(resources[name]) for name in roles}
    assert [name for name in roles if "ses:" in texts[name]] == ["MailRole"]
    for name in roles:
        for statement in statements(resources, name).values():
            if "-suppressions" in json.dumps(statement["Resource"]):
                assert set(statement["Action"]) <= {"dynamodb:GetItem", "dynamodb:PutItem"}, name
    assert resources["SuppressionsTable"]["DeletionPolicy"] == "Retain"
    assert "TimeToLiveSpecification" not in resources["SuppressionsTable"]["Properties"]


def test_the_archive_of_each_burier_is_its_own(resources: dict[str, Any]) -> None:
    for role, step in (
        ("NotifyRole", "notify"),
        ("BuryNotificationRole", "mail"),
        ("BuryFeedbackRole", "feedback"),
    ):
        archive = statements(resources, role)["Archive"]
        assert archive["Action"] == ["s3:PutObject"]
        assert archive["Resource"]["Fn::Sub"].endswith(f"/dead-letters/{step}/*")


def test_nobody_has_to_sign_to_unsubscribe(resources: dict[str, Any]) -> None:
    paths = resources["RestAPI"]["Properties"]["DefinitionBody"]["paths"]
    for method in ("get", "post"):
        assert "security" not in paths["/unsubscribe"][method]


def test_the_templates_of_all_e_mails_ship(package: Path) -> None:
    with zipfile.ZipFile(package / "deployment.zip") as app:
        names = set(app.namelist())
    for status in ParcelStatus:
        for name in ("subject.txt", "body.txt", "body.html"):
            assert f"chalicelib/templates/mail/{status.value}/{name}" in names
    assert {"chalicelib/templates/mail/base.html", "chalicelib/templates/unsubscribe.html"} <= names
