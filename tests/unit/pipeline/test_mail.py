"""One change, at most one e-mail: whatever comes twice, fails, or dies."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import messages
from chalicelib.addresses import address_hash, parcel_hash
from chalicelib.errors import (
    MailOutcomeUnknown,
    MailRefused,
    NotificationInProgress,
    ServiceUnavailable,
    Superseded,
)
from chalicelib.flags import Flags
from chalicelib.images import ConversionStatus, Image, Status, StoredCopy
from chalicelib.notifications import Suppression
from chalicelib.parcels import ParcelStatus
from tests.fakes import Crash, Phase, crash, unavailable
from tests.unit.mail_world import (
    ADDRESS,
    MESSAGE,
    NOW,
    PARCEL,
    SENDER,
    MailWorld,
    changes_of,
    read,
    record_of,
)

NAME = MESSAGE.notification_id
THUMB = StoredCopy(
    key="renditions/i/thumb.jpg", content_type="image/jpeg", width=150, height=150, bytes=9
)
WITH_PHOTO = replace(MESSAGE, image_id="i")


@pytest.fixture
def world() -> MailWorld:
    return MailWorld()


def refuse() -> None:
    raise MailRefused("SendEmail: MessageRejected")


def lose_the_answer() -> None:
    raise MailOutcomeUnknown("SendEmail: ReadTimeoutError")


def photo(world: MailWorld, status: Status, *, thumb: bool) -> None:
    """A photo that is this far."""
    world.images.rows["i"] = Image(
        image_id="i",
        status=status,
        conversion_status=ConversionStatus.PENDING,
        created_at_ms=NOW,
        updated_at_ms=NOW,
        renditions={"thumb": THUMB} if thumb else {},
    )
    world.renditions.put(THUMB.key, b"\xff\xd8 thumb", content_type="image/jpeg")


# --- Sending ----------------------------------------------------------------------------------


def test_a_message_is_sent_and_its_row_names_what_ses_called_it(world: MailWorld) -> None:
    world.mail(MESSAGE)
    (sent,) = world.mailer.taken
    assert (read(sent.raw)["From"], sent.recipient) == (SENDER, ADDRESS)
    row = world.notifications.rows[NAME]
    assert (row.state, row.message_id, row.attempt) == ("sent", "message-1", 1)


def test_nothing_stands_between_the_mark_and_the_call(world: MailWorld) -> None:
    photo(world, Status.COMPLETED, thumb=True)
    world.trail.calls.clear()
    world.mail(WITH_PHOTO)
    assert world.trail.calls == [
        "suppressions.reason_against",
        "images.get",
        "renditions.get",
        "notifications.claim",
        "mailer.send",
        "notifications.sent",
    ]


def test_what_was_sent_is_not_sent_again(world: MailWorld) -> None:
    world.mail(MESSAGE)
    for _ in range(2):
        with pytest.raises(Superseded):
            world.mail(MESSAGE)
    assert len(world.mailer.taken) == 1


def test_a_copy_that_comes_while_the_first_is_being_sent_waits(world: MailWorld) -> None:
    caught: list[type[Exception]] = []

    def meanwhile() -> None:
        with suppress(NotificationInProgress):
            world.mail(MESSAGE)
            return
        caught.append(NotificationInProgress)

    world.trail.at_next("mailer.send", "before", meanwhile)
    world.mail(MESSAGE)
    assert caught == [NotificationInProgress]
    assert len(world.mailer.taken) == 1
    assert world.states == {NAME: ("sent", None)}


def test_a_worker_that_wakes_up_after_its_lease_sends_no_second_e_mail(world: MailWorld) -> None:
    """Invariant 29: it may be the one, but it is never one of two."""

    def overtaken() -> None:
        world.now += 100_000
        world.mail(MESSAGE)

    world.trail.at_next("mailer.send", "before", overtaken)
    with pytest.raises(Superseded):
        world.mail(MESSAGE)
    assert len(world.mailer.taken) == 1
    assert world.states == {NAME: ("failed", "outcome_unknown")}


# --- Faults -----------------------------------------------------------------------------------


def test_what_ses_did_not_take_is_tried_again(world: MailWorld) -> None:
    world.queue.send(messages.encode(MESSAGE))
    world.trail.at_next("mailer.send", "before", unavailable)
    world.work()
    assert len(world.mailer.taken) == 1
    row = world.notifications.rows[NAME]
    assert (row.state, row.attempt) == ("sent", 2)


def test_what_ses_refuses_for_what_it_is_ends_at_once(world: MailWorld) -> None:
    world.trail.at_next("mailer.send", "before", refuse)
    world.mail(MESSAGE)
    assert world.states == {NAME: ("failed", "mail_refused")}


def test_a_call_that_broke_off_is_not_made_again_and_the_row_says_so(world: MailWorld) -> None:
    world.trail.at_next("mailer.send", "after", lose_the_answer)
    world.mail(MESSAGE)
    assert world.states == {NAME: ("failed", "outcome_unknown")}
    with pytest.raises(Superseded):
        world.mail(MESSAGE)
    assert len(world.mailer.taken) == 1


def test_ses_that_never_answers_well_ends_as_a_dead_letter_with_its_reason(
    world: MailWorld,
) -> None:
    world.queue.send(messages.encode(MESSAGE))

    def again() -> None:
        world.trail.at_next("mailer.send", "before", again)
        raise ServiceUnavailable("SendEmail: SendingPausedException")

    world.trail.at_next("mailer.send", "before", again)
    world.work()
    assert world.mailer.taken == []
    assert world.states == {NAME: ("failed", "service_unavailable")}
    (letter,) = map(json.loads, world.archive.objects.values())
    assert letter["reason"]["code"] == "service_unavailable"
    assert letter["tracking_id"] == PARCEL.tracking_id
    assert messages.decode_notification(letter["body"]) == MESSAGE


# The two calls around which nobody can know: the mark, and SES itself.
WINDOW = {
    ("notifications.claim", "after"): 0,
    ("mailer.send", "before"): 0,
    ("mailer.send", "after"): 1,
    ("notifications.sent", "before"): 1,
}


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_crash_at_any_call_sends_one_e_mail_but_in_the_window_where_it_is_flagged(
    phase: Phase,
) -> None:
    """Invariants 11 and 26, enumerated: the process dies before or after every single call."""
    flagged: dict[tuple[str, Phase], int] = {}
    for number in range(100):
        world = MailWorld()
        photo(world, Status.COMPLETED, thumb=True)
        start = len(world.trail.calls)
        world.trail.at(start + number, phase, crash)
        world.deliver(record_of(replace(PARCEL, image_id="i")))
        world.work()
        if not world.trail.fired:
            break
        call = world.trail.calls[world.trail.fired[0]]
        if world.states == {NAME: ("failed", "outcome_unknown")}:
            flagged[call, phase] = len(world.mailer.taken)
        else:
            assert world.states == {NAME: ("sent", None)}, call
            assert len(world.mailer.taken) == 1, call
        assert world.queue.held == {}, call
    assert number == 7, "as docs/adr/0008 says"
    assert flagged == {key: mails for key, mails in WINDOW.items() if key[1] == phase}


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_fault_at_any_call_sends_one_e_mail_unless_the_mark_s_answer_is_lost(
    phase: Phase,
) -> None:
    """As above, but AWS does not answer and the process goes on."""
    flagged: set[str] = set()
    for number in range(100):
        world = MailWorld()
        photo(world, Status.COMPLETED, thumb=True)
        start = len(world.trail.calls)
        calls: list[str] = []

        def fault(world: MailWorld = world, calls: list[str] = calls) -> None:
            calls.append(world.trail.calls[-1])
            # What `Mailer` raises where the call may have arrived.
            (lose_the_answer if (calls[0], phase) == ("mailer.send", "after") else unavailable)()

        world.trail.at(start + number, phase, fault)
        world.deliver(record_of(replace(PARCEL, image_id="i")))
        world.work()
        if not calls:
            break
        if world.states == {NAME: ("failed", "outcome_unknown")}:
            flagged.add(calls[0])
            assert len(world.mailer.taken) <= 1
        else:
            assert world.states == {NAME: ("sent", None)}, calls
            assert len(world.mailer.taken) == 1, calls
    expected = {
        "before": {"notifications.sent"},
        "after": {"notifications.claim", "mailer.send"},
    }
    assert flagged == expected[phase]


PARCELS = st.lists(
    st.lists(st.sampled_from(ParcelStatus), min_size=1, max_size=4).map(
        lambda statuses: [s for n, s in enumerate(statuses) if n == 0 or statuses[n - 1] is not s]
    ),
    min_size=1,
    max_size=3,
)


@given(parcels=PARCELS, data=st.data())
def test_the_same_changes_are_the_same_e_mails_in_any_order_and_however_often_they_come(
    parcels: list[list[ParcelStatus]], data: st.DataObject
) -> None:
    """Invariant 18."""
    world = MailWorld()
    records = [
        record
        for number, statuses in enumerate(parcels)
        for record in changes_of(f"PX-{number}", statuses)
    ]
    repeated = data.draw(st.lists(st.sampled_from(records)))
    for record in data.draw(st.permutations([*records, *repeated])):
        world.deliver(record)
        if data.draw(st.booleans()):
            world.queue.duplicate()
        if data.draw(st.booleans()):
            world.work()
    world.work()
    assert len(world.mails) == len(records)
    assert len({str(mail["Subject"]) + mail.as_string() for mail in world.mails}) == len(records)
    assert set(world.states.values()) == {("sent", None)}


@given(
    faults=st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["before", "after"])), max_size=6)
)
def test_crashes_anywhere_and_copies_of_everything_never_send_a_change_twice(
    faults: list[tuple[int, Phase]],
) -> None:
    world = MailWorld()
    records = changes_of("PX-1", [ParcelStatus.PENDING, ParcelStatus.DELIVERED])
    for number, phase in faults:
        world.trail.at(number, phase, crash)
    for _ in range(2):
        world.deliver(*records)
        world.queue.duplicate()
        world.work()
    subjects = [mail["Subject"] for mail in world.mails]
    assert len(subjects) == len(set(subjects))
    for state, reason in world.states.values():
        assert (state, reason) in {("sent", None), ("failed", "outcome_unknown")}
    assert len(subjects) >= [state for state, _ in world.states.values()].count("sent")


# --- What is not sent -------------------------------------------------------------------------


@pytest.mark.parametrize("parcel", [None, parcel_hash(PARCEL.tracking_id)], ids=["all", "one"])
def test_who_is_suppressed_gets_nothing_and_the_row_says_why(
    world: MailWorld, parcel: str | None
) -> None:
    world.suppressions.rows[address_hash(ADDRESS), parcel] = Suppression.COMPLAINED
    world.mail(MESSAGE)
    assert world.mailer.taken == []
    assert world.states == {NAME: ("suppressed", "complained")}
    with pytest.raises(Superseded):
        world.mail(MESSAGE)


def test_a_suppression_for_another_parcel_counts_for_nothing(world: MailWorld) -> None:
    world.suppressions.rows[address_hash(ADDRESS), parcel_hash("other")] = Suppression.UNSUBSCRIBED
    world.mail(MESSAGE)
    assert len(world.mailer.taken) == 1


def test_the_case_of_an_address_is_no_way_round_a_suppression(world: MailWorld) -> None:
    world.suppressions.rows[address_hash(ADDRESS), None] = Suppression.UNSUBSCRIBED
    world.mail(replace(MESSAGE, email=ADDRESS.upper()))
    assert world.states == {NAME: ("suppressed", "unsubscribed")}


def test_no_log_line_holds_an_address_and_each_names_the_parcel(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    for action in (unavailable, refuse, lose_the_answer):
        world = MailWorld()
        world.trail.at_next("mailer.send", "before", action)
        world.deliver(record_of(PARCEL), {"eventID": "poison", "dynamodb": {"NewImage": ADDRESS}})
        world.work()
    world = MailWorld()
    world.queue.send(messages.encode(replace(MESSAGE, email=f"{ADDRESS}\r\n")))
    world.queue.send(messages.encode(MESSAGE).replace('"version":1', '"version":9'))
    world.work()
    printed = capsys.readouterr()
    assert "given up" in caplog.text
    assert ADDRESS not in caplog.text + printed.out + printed.err


def test_the_flag_stops_what_is_queued_already(world: MailWorld) -> None:
    world.flags = Flags(real_time_notifications=False)
    world.mail(MESSAGE)
    assert world.states == {NAME: ("suppressed", "switched_off")}


def test_without_a_sender_nothing_is_sent(world: MailWorld) -> None:
    replace(world.mail, sends=False)(MESSAGE)
    assert world.states == {NAME: ("suppressed", "no_sender")}


def test_an_address_that_is_none_ends_at_once_with_its_reason(world: MailWorld) -> None:
    world.mail(replace(MESSAGE, email="a@b.example\r\nBcc: all@b.example"))
    assert world.mailer.taken == []
    assert world.states == {NAME: ("failed", "recipient_invalid")}


def test_who_is_suppressed_after_a_worker_died_while_sending_has_a_row_that_says_so(
    world: MailWorld,
) -> None:
    world.trail.at_next("mailer.send", "after", crash)
    with pytest.raises(Crash):
        world.mail(MESSAGE)
    world.suppressions.rows[address_hash(ADDRESS), None] = Suppression.UNSUBSCRIBED
    with pytest.raises(NotificationInProgress):
        world.mail(MESSAGE)
    world.now += 100_000
    world.mail(MESSAGE)
    assert world.states == {NAME: ("failed", "outcome_unknown")}


# --- The photo --------------------------------------------------------------------------------


def test_a_photo_that_is_ready_goes_with_the_e_mail(world: MailWorld) -> None:
    photo(world, Status.COMPLETED, thumb=True)
    world.mail(WITH_PHOTO)
    (mail,) = world.mails
    pictures = [part for part in mail.walk() if part.get_content_maintype() == "image"]
    assert [part.get_content() for part in pictures] == [b"\xff\xd8 thumb"]
    html = mail.get_body(("html",))
    assert html is not None
    assert f'src="cid:{pictures[0]["Content-ID"][1:-1]}"' in html.get_content()


def test_a_photo_that_is_on_its_way_is_waited_for_and_then_no_longer(world: MailWorld) -> None:
    photo(world, Status.PREPROCESSING, thumb=False)
    world.queue.send(messages.encode(WITH_PHOTO))
    world.work()
    assert world.queue.delays == [0, 10, 10, 10]
    (mail,) = world.mails
    assert all(part.get_content_maintype() != "image" for part in mail.walk())
    assert world.states == {NAME: ("sent", None)}


def test_a_photo_that_gets_ready_meanwhile_goes_with_it(world: MailWorld) -> None:
    photo(world, Status.QUEUED, thumb=False)
    world.mail(WITH_PHOTO)
    assert world.mailer.taken == []
    photo(world, Status.PREPROCESSED, thumb=True)
    world.work()
    (mail,) = world.mails
    assert any(part.get_content_maintype() == "image" for part in mail.walk())


@pytest.mark.parametrize("state", ["unknown", "failed", "expired object"])
def test_a_photo_that_will_never_come_is_not_waited_for(world: MailWorld, state: str) -> None:
    if state == "failed":
        photo(world, Status.PREPROCESSING_FAILED, thumb=False)
    if state == "expired object":
        photo(world, Status.COMPLETED, thumb=True)
        world.renditions.versions.clear()
    world.mail(WITH_PHOTO)
    assert len(world.mails) == 1


# --- Dead letters -----------------------------------------------------------------------------


def letter(body: str) -> dict[str, object]:
    return {"messageId": "id-1", "body": body, "attributes": {"SentTimestamp": "1795000000000"}}


def test_a_dead_letter_that_cannot_be_read_is_kept(world: MailWorld) -> None:
    world.bury({"Records": [letter("poison")]})
    (document,) = map(json.loads, world.archive.objects.values())
    assert (document["body"], document["reason"]["code"]) == ("poison", "message_unreadable")
    assert world.notifications.rows == {}


def test_a_dead_letter_that_nobody_wrote_a_reason_for_says_that_it_was_given_up(
    world: MailWorld,
) -> None:
    world.bury({"Records": [letter(messages.encode(MESSAGE))]})
    assert world.states == {NAME: ("failed", "given_up")}


def test_a_letter_that_is_queued_again_is_sent_once(world: MailWorld) -> None:
    """Invariant 35: a redrive heals, and twice is once."""
    world.bury({"Records": [letter(messages.encode(MESSAGE))]})
    (document,) = map(json.loads, world.archive.objects.values())
    for _ in range(2):
        world.queue.send(document["body"])
    world.work()
    assert world.notifications.rows[NAME].state == "sent"
    assert len(world.mailer.taken) == 1


def test_a_letter_about_an_e_mail_that_may_have_gone_out_is_not_sent_when_it_is_queued_again(
    world: MailWorld,
) -> None:
    world.trail.at_next("mailer.send", "after", lose_the_answer)
    world.mail(MESSAGE)
    world.bury({"Records": [letter(messages.encode(MESSAGE))]})
    world.queue.send(messages.encode(MESSAGE))
    world.work()
    assert len(world.mailer.taken) == 1
    assert world.states == {NAME: ("failed", "outcome_unknown")}


def test_the_dead_letter_of_an_e_mail_that_went_out_changes_nothing(world: MailWorld) -> None:
    world.mail(MESSAGE)
    world.bury({"Records": [letter(messages.encode(MESSAGE))]})
    assert world.states == {NAME: ("sent", None)}


def test_the_dead_letter_of_a_worker_that_died_while_sending_says_that_nobody_knows(
    world: MailWorld,
) -> None:
    world.trail.at_next("mailer.send", "after", crash)
    with pytest.raises(Crash):
        world.mail(MESSAGE)
    with pytest.raises(NotificationInProgress):
        world.bury({"Records": [letter(messages.encode(MESSAGE))]})
    world.now += 100_000
    world.bury({"Records": [letter(messages.encode(MESSAGE))]})
    assert world.states == {NAME: ("failed", "outcome_unknown")}


@pytest.mark.parametrize(
    "call", ["notifications.last_fault", "archive.put", "notifications.give_up"]
)
@pytest.mark.parametrize("fault", [unavailable, crash])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_fault_while_burying_is_made_good_by_the_next_delivery(
    world: MailWorld, call: str, fault: Callable[[], None], phase: Phase
) -> None:
    world.trail.at_next(call, phase, fault)
    with pytest.raises((ServiceUnavailable, Crash)):
        world.bury({"Records": [letter(messages.encode(MESSAGE))]})
    world.bury({"Records": [letter(messages.encode(MESSAGE))]})
    assert world.states == {NAME: ("failed", "given_up")}
    assert len(world.archive.objects) == 1
