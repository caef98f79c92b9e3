"""Dead letters are listed and sent back: what was cured heals, and nothing is done twice."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from chalicelib import messages
from chalicelib.container import Container
from chalicelib.dead_letters import STEPS, DeadLetters, Letter, Outcome
from chalicelib.errors import ServiceUnavailable
from chalicelib.images import ConversionStatus, Status
from chalicelib.parcels import ParcelStatus
from chalicelib.pipeline.archive import keep
from operations.redrive import WrongChoice, age, chosen, send_back, step_of, table_of
from tests.fakes import Crash, FakeQueue, Phase, crash, unavailable
from tests.unit.mail_world import PARCEL, changes_of
from tests.unit.pipeline.world import World, first_message


class Feedback:
    """Takes in what SES says, or fails like the real one."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def __call__(self, event: Any) -> None:
        json.loads(event["Records"][0]["body"])
        self.events.append(event)


@pytest.fixture
def world() -> World:
    return World()


def letters_of(world: World) -> DeadLetters:
    """The dead letters of a world, as an operator gets them."""
    container = Container({})
    vars(container).update(
        uploads=world.uploads,
        images=world.images,
        retries=world.retries,
        preprocessing_queue=world.preprocessing_queue,
        inference_queue=world.inference_queue,
        conversion_queue=world.conversion_queue,
        notification_queue=FakeQueue(world.trail, label="notification"),
        ingest=world.ingest,
        feedback=Feedback(),
        announce=world.announce,
    )
    return container.letters


def given_up(world: World, queue: FakeQueue, step: str, status: Any) -> None:
    """The message in a queue is tried for the last time, and buried."""
    records = queue.receive(1)
    queue.removed([record["receiptHandle"] for record in records])
    world.bury({"Records": records}, step=step, failed_status=status)


def preparation_failed(world: World) -> str:
    image_id = world.create()
    world.deliver_event(world.upload(image_id).event())
    given_up(world, world.preprocessing_queue, "preprocess", Status.PREPROCESSING_FAILED)
    return image_id


def prediction_failed(world: World) -> str:
    image_id = world.create()
    world.deliver_event(world.upload(image_id).event())
    world.poll(world.preprocessing_queue, world.preprocess)
    given_up(world, world.inference_queue, "infer", Status.INFERENCE_FAILED)
    return image_id


def copies_failed(world: World) -> str:
    image_id = world.create()
    world.deliver_event(world.upload(image_id).event())
    world.poll(world.preprocessing_queue, world.preprocess)
    world.poll(world.inference_queue, world.infer)
    given_up(world, world.conversion_queue, "optimise", ConversionStatus.FAILED)
    return image_id


SCENES = [
    (preparation_failed, "preprocess"),
    (prediction_failed, "infer"),
    (copies_failed, "optimise"),
]
type Scene = Callable[[World], str]


def archived(world: World) -> list[str]:
    return [key for key in world.uploads.objects if key.startswith("dead-letters/")]


def send_all(world: World, step: str) -> list[Outcome]:
    dead_letters = letters_of(world)
    return [dead_letters.send_back(letter) for letter in dead_letters.all_of(step)]


@pytest.mark.parametrize(("scene", "step"), SCENES)
def test_a_letter_is_listed_with_its_image_and_reason(
    world: World, scene: Scene, step: str
) -> None:
    image_id = scene(world)
    (letter,) = letters_of(world).all_of(step)
    assert letter.image_id == image_id
    assert letter.reason is not None
    assert letter.reason.code == "worker_lost"
    assert letter.buried_at_ms > 1_700_000_000_000


@pytest.mark.parametrize(("scene", "step"), SCENES)
def test_once_the_cause_is_gone_a_letter_that_is_sent_back_heals_its_image(
    world: World, scene: Scene, step: str
) -> None:
    image_id = scene(world)
    assert send_all(world, step) == [Outcome.SENT]
    assert archived(world) == []
    world.work()
    row = world.row(image_id)
    assert (row.status, row.conversion_status) == (Status.COMPLETED, ConversionStatus.COMPLETED)
    assert row.attempt == 2
    world.assert_statuses_never_went_back()


@pytest.mark.parametrize(("scene", "step"), SCENES)
def test_a_letter_that_is_sent_back_twice_counts_once(
    world: World, scene: Scene, step: str
) -> None:
    image_id = scene(world)
    dead_letters = letters_of(world)
    (letter,) = dead_letters.all_of(step)
    assert dead_letters.send_back(letter) is Outcome.SENT
    world.work()
    before = world.row(image_id)
    assert dead_letters.send_back(letter) is Outcome.SETTLED
    world.work()
    assert world.row(image_id) == before
    assert len(world.results) == 1


@pytest.mark.parametrize(("scene", "step"), SCENES)
def test_a_letter_about_an_image_that_was_retried_meanwhile_is_settled(
    world: World, scene: Scene, step: str
) -> None:
    image_id = scene(world)
    world.api.retry(image_id)
    world.work()
    before = world.row(image_id)
    assert send_all(world, step) == [Outcome.SETTLED]
    world.work()
    assert (world.row(image_id), archived(world)) == (before, [])


@pytest.mark.parametrize(("scene", "step"), SCENES)
def test_a_letter_about_a_deleted_image_is_settled(world: World, scene: Scene, step: str) -> None:
    world.api.delete(scene(world))
    assert send_all(world, step) == [Outcome.SETTLED]
    assert archived(world) == []


@pytest.mark.parametrize(("scene", "step"), SCENES)
@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("action", [crash, unavailable])
def test_a_redrive_that_dies_at_any_call_is_made_good_by_the_next(
    scene: Scene, step: str, phase: Phase, action: Callable[[], None]
) -> None:
    """Enumerated: at every call, before it is made and after."""
    fired = 0
    for number in range(30):
        world = World()
        image_id = scene(world)
        world.trail.at(len(world.trail.calls) + number, phase, action)
        with suppress(Crash, ServiceUnavailable):
            send_all(world, step)
        if not world.trail.fired:
            break
        fired += 1
        # A worker may be quicker than whoever sends the letter again.
        if number % 2:
            world.work()
        send_all(world, step)
        world.work()
        row = world.row(image_id)
        assert (row.status, row.conversion_status, row.attempt) == (
            Status.COMPLETED,
            ConversionStatus.COMPLETED,
            2,
        ), number
        assert len(world.results) == 1
        assert archived(world) == []
        world.assert_statuses_never_went_back()
    assert fired >= 4


def test_a_letter_that_was_archived_before_its_image_was_marked_is_kept(world: World) -> None:
    """`bury` died in between, and its own message comes again."""
    image_id = world.create()
    world.deliver_event(world.upload(image_id).event())
    world.trail.at_next("images.fail", "before", unavailable)
    with suppress(ServiceUnavailable):
        given_up(world, world.preprocessing_queue, "preprocess", Status.PREPROCESSING_FAILED)
    assert send_all(world, "preprocess") == [Outcome.UNDER_WAY]
    assert len(archived(world)) == 1
    assert world.row(image_id).status is Status.QUEUED


def test_a_letter_that_nobody_can_read_is_kept(world: World) -> None:
    world.preprocessing_queue.send('{"poison": true}')
    given_up(world, world.preprocessing_queue, "preprocess", Status.PREPROCESSING_FAILED)
    assert send_all(world, "preprocess") == [Outcome.UNREADABLE]
    assert len(archived(world)) == 1


def test_an_upload_event_that_was_given_up_is_taken_in(world: World) -> None:
    image_id = world.create()
    event = world.upload(image_id).event()
    record = {"messageId": "1", "body": json.dumps(event), "attributes": {}}
    world.bury({"Records": [record]}, step="ingest", failed_status=None)
    assert send_all(world, "ingest") == [Outcome.SENT]
    world.work()
    assert world.row(image_id).status is Status.COMPLETED
    assert send_all(world, "ingest") == []


def test_a_command_says_nothing_but_what_became_of_the_letters(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json the standard output is one document; a function's metrics stood there too."""
    event = world.upload(world.create()).event()
    record = {"messageId": "1", "body": json.dumps(event), "attributes": {}}
    world.bury({"Records": [record]}, step="ingest", failed_status=None)
    dead_letters = letters_of(world)
    capsys.readouterr()
    assert list(send_back(dead_letters, dead_letters.all_of("ingest"))) == [Outcome.SENT]
    said = capsys.readouterr()
    assert (said.out, "UploadAccepted" in said.err) == ("", True)


def test_an_upload_event_comes_in_an_envelope_too(world: World) -> None:
    """A failure destination of Lambda puts the event into one, and so does the local AWS."""
    image_id = world.create()
    event = world.upload(image_id).event()
    body = json.dumps({"requestContext": {}, "requestPayload": event, "responsePayload": {}})
    record = {"messageId": "1", "body": body, "attributes": {}}
    world.bury({"Records": [record]}, step="ingest", failed_status=None)
    (found,) = letters_of(world).all_of("ingest")
    assert (found.image_id, found.reason and found.reason.code) == (image_id, "given_up")
    assert send_all(world, "ingest") == [Outcome.SENT]
    world.work()
    assert world.row(image_id).status is Status.COMPLETED


@pytest.mark.parametrize("body", ["{}", "[]", '{"requestPayload": 1}', '{"Records": 1}', "x"])
def test_what_is_no_upload_event_is_kept_and_not_taken_for_sent(world: World, body: str) -> None:
    record = {"messageId": "1", "body": body, "attributes": {}}
    world.bury({"Records": [record]}, step="ingest", failed_status=None)
    (found,) = letters_of(world).all_of("ingest")
    assert found.reason is not None
    assert found.reason.code == "message_unreadable"
    assert send_all(world, "ingest") == [Outcome.UNREADABLE]
    assert len(archived(world)) == 1


def test_an_event_of_a_direct_upload_says_which_image_it_is_going_to_be(world: World) -> None:
    event = world.store("uploads/my photo.jpg").event()
    record = {"messageId": "1", "body": json.dumps(event), "attributes": {}}
    world.bury({"Records": [record]}, step="ingest", failed_status=None)
    (found,) = letters_of(world).all_of("ingest")
    assert send_all(world, "ingest") == [Outcome.SENT]
    assert list(world.images.rows) == [found.image_id]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (json.dumps({"eventType": "Delivery"}), "given_up"),
        ("not of SES", "message_unreadable"),
    ],
)
def test_feedback_that_was_given_up_says_why(world: World, body: str, code: str) -> None:
    record = {"messageId": "1", "body": body, "attributes": {}}
    world.bury({"Records": [record]}, step="feedback", failed_status=None)
    (found,) = letters_of(world).all_of("feedback")
    assert (found.image_id, found.reason and found.reason.code) == (None, code)


def test_an_event_that_fails_again_is_kept(world: World) -> None:
    event = {"Records": [{"eventName": "ObjectCreated:Put", "s3": {}}]}
    record = {"messageId": "1", "body": json.dumps(event), "attributes": {}}
    world.bury({"Records": [record]}, step="ingest", failed_status=None)
    assert send_all(world, "ingest") == [Outcome.FAILED]
    assert len(archived(world)) == 1


def buried_record(world: World, record: Any, *, step: str = "notify") -> None:
    keep(world.uploads, step=step, letter_id="e1", body=record, reason=None)


def test_a_record_of_the_stream_that_was_given_up_is_an_email_again(world: World) -> None:
    """Whoever sends it back may not know whether e-mails are sent: `mail` does."""
    (record,) = changes_of("PX-1", [ParcelStatus.DELIVERED])
    buried_record(world, record)
    letters = letters_of(world)
    assert [letters.send_back(letter) for letter in letters.all_of("notify")] == [Outcome.SENT]
    queue = letters.queues["mail"]
    assert isinstance(queue, FakeQueue)
    (body,) = queue.sent
    message = messages.decode_notification(body)
    assert (message.notification_id, message.email) == ("PX-1#1", PARCEL.notify_email)
    assert archived(world) == []


def test_a_record_of_the_stream_that_nobody_can_read_is_kept(world: World) -> None:
    """It was archived again under its own key, and then removed as sent."""
    (record,) = changes_of("PX-1", [ParcelStatus.DELIVERED])
    record["dynamodb"]["NewImage"]["status"] = {"S": "sold"}
    buried_record(world, record)
    assert send_all(world, "notify") == [Outcome.FAILED]
    assert len(archived(world)) == 1


def test_a_document_that_is_no_letter_is_listed_and_kept(world: World) -> None:
    world.store("dead-letters/infer/x.json", b"[]")
    (letter,) = letters_of(world).all_of()
    assert (letter.step, letter.message_id, letter.body) == ("infer", "x", None)
    assert send_all(world, "infer") == [Outcome.UNREADABLE]
    assert len(archived(world)) == 1


def test_a_back_fill_goes_back_as_it_is(world: World) -> None:
    image_id = world.completed()
    message = first_message(world.row(image_id))
    body = messages.encode(message).replace('"renditions":[]', '"renditions":["small"]')
    world.conversion_queue.send(body)
    given_up(world, world.conversion_queue, "optimise", ConversionStatus.FAILED)
    before = world.row(image_id)
    assert send_all(world, "optimise") == [Outcome.SENT]
    assert world.conversion_queue.sent[-1] == body
    world.work()
    assert world.row(image_id) == before


def letter(number: int, *, step: str = "infer") -> Letter:
    return Letter(
        key=f"dead-letters/{step}/{number}.json",
        step=step,
        message_id=str(number),
        body="",
        buried_at_ms=number,
    )


def test_one_some_or_all_letters_are_chosen() -> None:
    letters = [letter(number) for number in range(4)]
    assert list(chosen(letters, "2")) == [letters[2]]
    assert list(chosen(letters, "0, 3")) == [letters[0], letters[3]]
    assert list(chosen(letters, "all")) == letters
    with pytest.raises(WrongChoice, match="the id 9"):
        list(chosen(letters, "1,9"))


def test_a_queue_that_does_not_exist_is_told_which_do() -> None:
    with pytest.raises(WrongChoice, match="it is ingest, preprocessing"):
        step_of("cats")
    assert step_of("") is None


def test_a_letter_is_named_after_the_queue_that_it_comes_from() -> None:
    assert [letter(1, step=step).queue for step in STEPS.values()] == list(STEPS)
    assert letter(1, step="of-another-version").queue == "of-another-version"


def test_the_list_begins_with_the_oldest() -> None:
    table = table_of([letter(2000), letter(1000), letter(0)], now=3000)
    assert list(table.columns[0].cells) == ["0", "1000", "2000"]
    assert list(table.columns[1].cells) == ["inference"] * 3
    assert list(table.columns[2].cells) == ["-", "2 s", "1 s"]


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(-5, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (7_200_000, "2 h"), (172_800_000, "2 d")],
)
def test_an_age_is_told_in_its_largest_unit(milliseconds: int, text: str) -> None:
    assert age(milliseconds) == text


def test_an_end_of_an_image_that_was_given_up_is_announced_once(world: World) -> None:
    world.completed()
    for record in world.records:
        buried_record(world, record, step="announce")
        assert send_all(world, "announce") == [Outcome.SENT]
    assert len(world.events) == 2
    buried_record(world, world.records[-1], step="announce")
    world.trail.at_next("announcements.claim", "before", unavailable)
    with pytest.raises(ServiceUnavailable):
        send_all(world, "announce")
    assert len(archived(world)) == 1, "it may be sent back once more"
    assert send_all(world, "announce") == [Outcome.SENT]
    assert (len(world.events), archived(world)) == (2, [])


@pytest.mark.parametrize("record", [None, {}, {"dynamodb": {"NewImage": {"status": {"S": "?"}}}}])
def test_an_end_that_nobody_can_read_is_kept(world: World, record: Any) -> None:
    buried_record(world, record, step="announce")
    assert send_all(world, "announce") == [Outcome.FAILED]
    assert len(archived(world)) == 1
