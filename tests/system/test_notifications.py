"""E-mails about parcels, as the local SES shows them."""

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from chalicelib.addresses import address_hash
from tests.polling import eventually
from tests.system.conftest import SECONDS, Service, photo
from tests.system.test_tracking import send

FLAGS = "/darkroom/local/flags"


@pytest.fixture
def parcel() -> str:
    return f"PX {uuid.uuid4()}"


@pytest.fixture
def address() -> str:
    """An address that nobody has written to."""
    return f"{uuid.uuid4().hex}@recipient.example"


def mails(service: Service, address: str) -> list[dict[str, Any]]:
    """The e-mails to an address, oldest first."""
    answer = httpx.get(f"{service.deployed.places.aws_url}/_ministack/ses/messages").json()
    found = [
        mail for account in answer["messages"].values() for mail in account if address in mail["To"]
    ]
    return sorted(found, key=lambda mail: mail["Timestamp"])


def mailed(service: Service, address: str, number: int) -> list[dict[str, Any]]:
    """The e-mails to an address once there are so many."""
    return eventually(
        lambda: found if len(found := mails(service, address)) >= number else None,
        seconds=SECONDS,
        what=f"{number} e-mails",
    )


def row(service: Service, parcel: str, change_seq: int) -> dict[str, Any]:
    """The row of a notification once it is over with."""

    def ended() -> dict[str, Any] | None:
        answer = service.deployed.aws("dynamodb").get_item(
            TableName="darkroom-local-notifications",
            Key={"notification_id": {"S": f"{parcel}#{change_seq}"}},
        )
        item: dict[str, Any] = answer.get("Item", {})
        over = item.get("state", {}).get("S") in {"sent", "suppressed", "failed"}
        return item if over else None

    return eventually(ended, seconds=SECONDS, what="the notification is over with")


def unsubscribe_link(mail: dict[str, Any]) -> str:
    found = re.search(r"https?://\S+/unsubscribe\?token=\S+", mail["BodyText"])
    assert found is not None, mail["BodyText"]
    return found[0]


def test_each_change_is_one_e_mail_and_a_repeated_status_is_none(
    service: Service, parcel: str, address: str
) -> None:
    send(service, parcel, "pending", notify_email=address)
    send(service, parcel, "pending")
    (first,) = mailed(service, address, 1)
    assert first["Subject"] == f"Your parcel {parcel} is announced"
    send(service, parcel, "in_transit")
    send(service, parcel, "in_transit")
    send(service, parcel, "delivered")
    found = mailed(service, address, 3)
    service.until_quiet()
    assert len(mails(service, address)) == 3
    assert [mail["Subject"].partition(parcel)[2] for mail in found[:2]] == [
        " is announced",
        " is on its way",
    ]
    for mail in found:
        assert parcel in mail["BodyHtml"]
        assert "40.7128° N, 74.0060° W" in mail["BodyText"]
        assert f"{service.deployed.places.api_url}/status?tracking_id=" in mail["BodyText"]
    assert row(service, parcel, 3)["state"] == {"S": "sent"}


def test_a_replayed_stream_and_a_copied_message_send_nothing_more(
    service: Service, parcel: str, address: str
) -> None:
    send(service, parcel, "delivered", notify_email=address)
    mailed(service, address, 1)
    item = service.deployed.aws("dynamodb").get_item(
        TableName="darkroom-local-tracking",
        Key={"tracking_id": {"S": parcel}, "timestamp": {"N": "0"}},
    )["Item"]
    record = {"eventID": "again", "eventName": "INSERT", "dynamodb": {"NewImage": item}}
    answer = service.deployed.aws("lambda").invoke(
        FunctionName=service.function("Notify"), Payload=json.dumps({"Records": [record, record]})
    )
    assert "FunctionError" not in answer, answer["Payload"].read()
    service.until_quiet()
    assert len(mails(service, address)) == 1
    assert row(service, parcel, 1)["attempt"] == {"N": "1"}


def test_a_record_that_cannot_be_read_is_archived_and_its_neighbours_get_their_e_mails(
    service: Service, parcel: str, address: str
) -> None:
    """Chalice can set nothing against a poison record that blocks its shard."""
    send(service, parcel, "pending", notify_email=address)
    mailed(service, address, 1)
    poison = f"poison-{uuid.uuid4()}"
    service.deployed.aws("dynamodb").put_item(
        TableName="darkroom-local-tracking",
        Item={"tracking_id": {"S": poison}, "timestamp": {"N": "0"}, "status": {"S": "lost"}},
    )
    send(service, parcel, "in_transit")
    mailed(service, address, 2)
    s3 = service.deployed.aws("s3")
    letters = [
        s3.get_object(Bucket="darkroom-local-uploads-000000000000", Key=key)["Body"].read()
        for key in service.keys("darkroom-local-uploads-000000000000", "dead-letters/notify/")
    ]
    assert sum(poison.encode() in letter for letter in letters) == 1


def test_the_photo_of_a_delivery_goes_with_the_e_mail(
    service: Service, parcel: str, address: str
) -> None:
    """It is uploaded together with its update, and is waited for."""
    headers = {"Content-Type": "image/jpeg"}
    image_id = service.api.post("/images", content=photo(), headers=headers).json()["image_id"]
    send(service, parcel, "delivered", notify_email=address, image_id=image_id)
    (mail,) = mailed(service, address, 1)
    assert 'src="cid:' in mail["BodyHtml"]


@contextmanager
def flags(service: Service, **changes: bool) -> Iterator[None]:
    """Other flags, in processes that have not read them yet."""
    ssm = service.deployed.aws("ssm")
    before = ssm.get_parameter(Name=FLAGS)["Parameter"]["Value"]
    text = json.dumps({**json.loads(before), **changes})
    ssm.put_parameter(Name=FLAGS, Value=text, Overwrite=True)
    try:
        # A changed environment ends the processes that keep the old value for five minutes.
        with service.environment("Notify", FLAGS_SEEN="other"):
            yield
    finally:
        ssm.put_parameter(Name=FLAGS, Value=before, Overwrite=True)


def test_nothing_is_sent_while_the_flag_is_off(service: Service, parcel: str, address: str) -> None:
    with flags(service, real_time_notifications=False):
        send(service, parcel, "pending", notify_email=address)
        send(service, parcel, "in_transit")
        invoked_with_a_change(service, parcel)
        service.until_quiet()
        assert mails(service, address) == []
    with service.environment("Notify", FLAGS_SEEN="again"):
        send(service, parcel, "delivered")
        (mail,) = mailed(service, address, 1)
    assert "was delivered" in mail["Subject"]


def invoked_with_a_change(service: Service, parcel: str) -> None:
    """`notify` is done with the parcel as it stands: whatever the poller does, it has seen it."""
    item = service.deployed.aws("dynamodb").get_item(
        TableName="darkroom-local-tracking",
        Key={"tracking_id": {"S": parcel}, "timestamp": {"N": "0"}},
    )["Item"]
    answer = service.deployed.aws("lambda").invoke(
        FunctionName=service.function("Notify"),
        Payload=json.dumps({"Records": [{"eventID": "now", "dynamodb": {"NewImage": item}}]}),
    )
    assert "FunctionError" not in answer, answer["Payload"].read()


def test_who_unsubscribes_gets_no_more_and_opening_the_link_is_not_enough(
    service: Service, parcel: str, address: str
) -> None:
    send(service, parcel, "pending", notify_email=address)
    (mail,) = mailed(service, address, 1)
    link = unsubscribe_link(mail)
    page = httpx.get(link)
    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert '<form method="post">' in page.text
    send(service, parcel, "in_transit")
    mailed(service, address, 2)
    done = httpx.post(link, data={"List-Unsubscribe": "One-Click"})
    assert done.status_code == 200, done.text
    send(service, parcel, "delivered")
    ended = row(service, parcel, 3)
    assert (ended["state"], ended["reason"]) == ({"S": "suppressed"}, {"S": "unsubscribed"})
    assert len(mails(service, address)) == 2


def test_an_address_that_bounced_gets_no_more(service: Service, parcel: str, address: str) -> None:
    event = {
        "eventType": "Bounce",
        "bounce": {
            "bounceType": "Permanent",
            "bounceSubType": "General",
            "bouncedRecipients": [{"emailAddress": address}],
        },
        "mail": {"destination": [address]},
    }
    service.deployed.aws("sns").publish(
        TopicArn="arn:aws:sns:us-east-1:000000000000:darkroom-local-mail-feedback",
        Message=json.dumps(event),
    )
    key = {"address_hash": {"S": address_hash(address)}, "scope": {"S": "all"}}
    table = "darkroom-local-suppressions"
    eventually(
        lambda: service.deployed.aws("dynamodb").get_item(TableName=table, Key=key).get("Item"),
        seconds=SECONDS,
        what="the address is suppressed",
    )
    send(service, parcel, "delivered", notify_email=address)
    assert row(service, parcel, 1)["reason"] == {"S": "bounced"}
    assert mails(service, address) == []
