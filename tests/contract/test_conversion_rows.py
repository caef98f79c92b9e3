"""What rows tell of copies at full size: every conditional rule, on the fake and on DynamoDB."""

from dataclasses import dataclass, replace

import pytest

from chalicelib.aws.conversion_rows import ConversionRows
from chalicelib.aws.image_table import ImageTable
from chalicelib.errors import NotRetryable, ServiceUnavailable, Superseded
from chalicelib.images import (
    INPUT_UNUSABLE,
    ConversionStatus,
    Failure,
    Image,
    Original,
    Output,
    Source,
    Status,
    StoredCopy,
    new_image_id,
)
from chalicelib.messages import ImageMessage
from tests.contract.conftest import SHARDS, Edges
from tests.fakes import FakeConversionRows, FakeImageTable

BUSY = Failure(code="service_unavailable", message="Busy.")
TRUNCATED = Failure(code="image_truncated", message="The end of the file is missing.")
WEBP = StoredCopy(
    key="formats/1/v1/webp-0.webp",
    content_type="image/webp",
    bytes=321,
    width=40,
    height=30,
    quality=85,
    encoder="libwebp 1.6.0",
    encoding_ms=7,
    bytes_saved=-12,
    frames=3,
)
FORMATS = {"webp": WEBP, "png": replace(WEBP, key="p", quality=None, frames=None)}
FOUND = Original(bytes=333, sha256="ab" * 32, kind="photo")
MADE = (ConversionStatus.COMPLETED, ConversionStatus.SKIPPED)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Both halves of the same rows."""

    images: ImageTable
    conversions: ConversionRows

    def queued(self, *, outputs: tuple[Output, ...] = tuple(Output)) -> Image:
        """A row whose copies are to be made."""
        image_id = new_image_id()
        self.images.create(
            Image(
                image_id=image_id,
                status=Status.PENDING_UPLOAD,
                conversion_status=ConversionStatus.PENDING,
                created_at_ms=1_795_000_000_000,
                updated_at_ms=1_795_000_000_000,
                outputs=outputs,
                original=Original(filename="cat.jpg"),
            )
        )
        return self.images.accept(
            image_id,
            generation="v1",
            source=Source(key=f"uploads/{image_id}/source", version_id="v1"),
            size_bytes=321,
            now_ms=10,
        )

    def ended(self, status: Status, *, outputs: tuple[Output, ...] = tuple(Output)) -> Image:
        """A row whose predictions ended, its copies still pending."""
        image = self.queued(outputs=outputs)
        if status is Status.COMPLETED:
            return self.images.finish(message_for(image), status, now_ms=20, timings_ms={})
        return self.images.fail(message_for(image), status, TRUNCATED, now_ms=20)

    def converted(
        self, image: Image, status: ConversionStatus = ConversionStatus.COMPLETED
    ) -> Image:
        """Its copies made."""
        return self.conversions.finish(
            message_for(image), status, now_ms=30, took_ms=44, original=FOUND, formats=FORMATS
        )

    def failed(self, image: Image) -> Image:
        """Its copies given up."""
        return self.conversions.fail(message_for(image), BUSY, now_ms=31)

    def read(self, image: Image) -> Image:
        """The row as it is."""
        return self.images.get(image.image_id)

    def deleted(self, image: Image) -> None:
        """Nothing but a tombstone is left."""
        self.images.begin_removal(image.image_id, now=100)
        self.images.finish_removal(image.image_id)


@pytest.fixture
def rows(side: str, request: pytest.FixtureRequest) -> Rows:
    if side == "fake":
        fake = FakeImageTable()
        return Rows(images=fake, conversions=FakeConversionRows(fake))
    edges: Edges = request.getfixturevalue("edges")
    table = ImageTable(table=edges.clients.table(edges.images_table()), shards=SHARDS)
    return Rows(images=table, conversions=ConversionRows(images=table))


def message_for(
    image: Image, *, attempt: int | None = None, generation: str = "v1"
) -> ImageMessage:
    return ImageMessage(
        image_id=image.image_id,
        generation=generation,
        attempt=image.attempt if attempt is None else attempt,
        queued_at_ms=5,
    )


class TestStart:
    @pytest.mark.parametrize("status", [Status.QUEUED, Status.COMPLETED, Status.INFERENCE_FAILED])
    def test_pending_copies_may_be_made_wherever_the_predictions_are(
        self, rows: Rows, status: Status
    ) -> None:
        image = rows.queued() if status is Status.QUEUED else rows.ended(status)
        started = rows.conversions.start(message_for(image), now_ms=40)
        assert started == replace(image, updated_at_ms=40) == rows.read(image)

    def test_beginning_again_forgets_the_fault_of_the_try_before(self, rows: Rows) -> None:
        image = rows.queued()
        rows.conversions.note_fault(message_for(image), BUSY, now_ms=11)
        assert rows.read(image).conversion_last_error == BUSY
        started = rows.conversions.start(message_for(image), now_ms=12)
        assert started.conversion_last_error is None

    @pytest.mark.parametrize("status", MADE)
    def test_what_was_made_is_not_begun_again(self, rows: Rows, status: ConversionStatus) -> None:
        row = rows.converted(rows.queued(), status)
        with pytest.raises(Superseded) as caught:
            rows.conversions.start(message_for(row), now_ms=40)
        assert not caught.value.gone
        assert rows.read(row) == row

    def test_what_failed_is_not_begun_again_without_a_retry(self, rows: Rows) -> None:
        row = rows.failed(rows.queued())
        with pytest.raises(Superseded):
            rows.conversions.start(message_for(row), now_ms=40)
        assert rows.read(row) == row

    def test_a_message_of_another_attempt_or_upload_is_refused(self, rows: Rows) -> None:
        image = rows.queued()
        for message in (
            message_for(image, attempt=0),
            message_for(image, attempt=2),
            message_for(image, generation="v2"),
        ):
            with pytest.raises(Superseded):
                rows.conversions.start(message, now_ms=40)
        assert rows.read(image) == image

    def test_a_deleted_image_is_gone_and_an_unknown_one_gets_no_row(self, rows: Rows) -> None:
        image = rows.queued()
        rows.deleted(image)
        for message in (message_for(image), replace(message_for(image), image_id=new_image_id())):
            with pytest.raises(Superseded) as caught:
                rows.conversions.start(message, now_ms=40)
            assert caught.value.gone


class TestRetryThatLostItsOwnWrite:
    def test_copies_alone_are_taken_up_by_the_message(self, rows: Rows) -> None:
        image = rows.failed(rows.ended(Status.COMPLETED))
        started = rows.conversions.start(message_for(image, attempt=2), now_ms=40)
        assert (started.status, started.attempt) == (Status.COMPLETED, 2)
        assert started.conversion_status is ConversionStatus.PENDING
        assert started.conversion_error is None
        again = rows.conversions.start(message_for(image, attempt=2), now_ms=41)
        assert again.attempt == 2

    @pytest.mark.parametrize("failed", [False, True])
    def test_with_predictions_to_take_up_it_has_to_come_again(
        self, rows: Rows, *, failed: bool
    ) -> None:
        image = rows.ended(Status.INFERENCE_FAILED)
        if failed:
            image = rows.failed(image)
        with pytest.raises(ServiceUnavailable):
            rows.conversions.start(message_for(image, attempt=2), now_ms=40)
        assert rows.read(image) == image
        rows.images.retry(image, image.retry_from, now_ms=41)
        started = rows.conversions.start(message_for(image, attempt=2), now_ms=42)
        assert (started.status, started.attempt) == (Status.PREPROCESSED, 2)
        assert started.conversion_status is ConversionStatus.PENDING

    def test_copies_that_preprocess_will_send_on_their_way_are_not_taken_up(
        self, rows: Rows
    ) -> None:
        unusable = rows.images.fail(
            message_for(image := rows.queued()), Status.INFERENCE_FAILED, INPUT_UNUSABLE, now_ms=9
        )
        for row in (unusable, rows.ended(Status.PREPROCESSING_FAILED)):
            with pytest.raises(Superseded):
                rows.conversions.start(message_for(row, attempt=2), now_ms=40)
            assert rows.read(row) == row
        assert rows.read(image).attempt == 1

    @pytest.mark.parametrize("attempt", [0, 3])
    def test_a_message_of_no_next_attempt_takes_up_nothing(self, rows: Rows, attempt: int) -> None:
        image = rows.failed(rows.ended(Status.COMPLETED))
        with pytest.raises(Superseded):
            rows.conversions.start(message_for(image, attempt=attempt), now_ms=40)
        with pytest.raises(Superseded):
            rows.conversions.start(message_for(image, attempt=2, generation="v2"), now_ms=40)
        assert rows.read(image) == image

    def test_made_copies_and_running_predictions_are_left_alone(self, rows: Rows) -> None:
        made = rows.converted(rows.ended(Status.COMPLETED))
        running = rows.failed(rows.queued())
        for row in (made, running):
            with pytest.raises(Superseded):
                rows.conversions.start(message_for(row, attempt=2), now_ms=40)
            assert rows.read(row) == row


class TestFinish:
    @pytest.mark.parametrize("status", MADE)
    def test_everything_is_recorded_and_read_back(
        self, rows: Rows, status: ConversionStatus
    ) -> None:
        image = rows.queued()
        row = rows.converted(image, status)
        assert row == rows.read(image)
        assert row.conversion_status is status
        assert row.formats == FORMATS
        assert row.timings_ms == {"conversion": 44}
        assert row.original == replace(
            image.original, bytes=333, sha256="ab" * 32, kind="photo", filename="cat.jpg"
        )
        assert (row.status, row.attempt, row.updated_at_ms) == (Status.QUEUED, 1, 30)

    def test_the_fault_of_an_earlier_try_is_forgotten(self, rows: Rows) -> None:
        image = rows.queued()
        rows.conversions.note_fault(message_for(image), BUSY, now_ms=11)
        assert rows.converted(image).conversion_last_error is None

    def test_no_copies_at_all_are_a_record_too(self, rows: Rows) -> None:
        image = rows.queued()
        row = rows.conversions.finish(
            message_for(image),
            ConversionStatus.SKIPPED,
            now_ms=30,
            took_ms=1,
            original=Original(),
            formats={},
        )
        assert row.formats == {}
        assert row == rows.read(image)

    @pytest.mark.parametrize("end", ["converted", "failed"])
    def test_it_is_recorded_once(self, rows: Rows, end: str) -> None:
        image = rows.queued()
        row = rows.converted(image) if end == "converted" else rows.failed(image)
        with pytest.raises(Superseded):
            rows.converted(image, ConversionStatus.SKIPPED)
        assert rows.read(image) == row

    def test_of_a_deleted_image_nothing_is_recorded(self, rows: Rows) -> None:
        image = rows.queued()
        rows.deleted(image)
        with pytest.raises(Superseded) as caught:
            rows.converted(image)
        assert caught.value.gone

    def test_the_steps_to_the_predictions_leave_it_as_it_is(self, rows: Rows) -> None:
        image = rows.queued()
        rows.converted(image)
        rows.images.finish(
            message_for(image),
            Status.COMPLETED,
            now_ms=50,
            timings_ms={"preprocessing": 5},
            original=Original(width=40, height=30),
        )
        row = rows.read(image)
        assert row.formats == FORMATS
        assert row.timings_ms == {"conversion": 44, "preprocessing": 5}
        assert (row.original.kind, row.original.width) == ("photo", 40)


class TestFail:
    def test_the_reason_is_kept_and_the_predictions_are_left_alone(self, rows: Rows) -> None:
        image = rows.queued()
        rows.conversions.note_fault(message_for(image), TRUNCATED, now_ms=11)
        row = rows.failed(image)
        assert row == rows.read(image)
        assert (row.conversion_status, row.conversion_error) == (ConversionStatus.FAILED, BUSY)
        assert row.conversion_last_error is None
        assert (row.status, row.error) == (Status.QUEUED, None)

    def test_what_was_made_or_given_up_stays(self, rows: Rows) -> None:
        for row in (rows.converted(rows.queued()), rows.failed(rows.queued())):
            with pytest.raises(Superseded):
                rows.conversions.fail(message_for(row), TRUNCATED, now_ms=60)
            assert rows.read(row) == row

    def test_another_attempt_cannot_be_failed(self, rows: Rows) -> None:
        image = rows.queued()
        for attempt in (0, 2):
            with pytest.raises(Superseded):
                rows.conversions.fail(message_for(image, attempt=attempt), BUSY, now_ms=60)
        assert rows.read(image) == image

    @pytest.mark.parametrize("made", [False, True])
    def test_what_cannot_be_prepared_fails_copies_that_are_not_yet_made(
        self, rows: Rows, *, made: bool
    ) -> None:
        image = rows.queued()
        if made:
            image = rows.converted(image)
        row = rows.images.fail(
            message_for(image), Status.PREPROCESSING_FAILED, TRUNCATED, now_ms=70
        )
        assert row == rows.read(image)
        assert row.status is Status.PREPROCESSING_FAILED
        expected = ConversionStatus.COMPLETED if made else ConversionStatus.FAILED
        assert row.conversion_status is expected
        assert row.formats == (FORMATS if made else {})

    def test_what_cannot_be_prepared_and_is_gone_is_gone(self, rows: Rows) -> None:
        image = rows.queued()
        rows.deleted(image)
        with pytest.raises(Superseded) as caught:
            rows.images.fail(message_for(image), Status.PREPROCESSING_FAILED, BUSY, now_ms=70)
        assert caught.value.gone

    def test_a_failed_inference_leaves_pending_copies_pending(self, rows: Rows) -> None:
        row = rows.ended(Status.INFERENCE_FAILED)
        assert row.conversion_status is ConversionStatus.PENDING


class TestNoteFault:
    def test_it_stays_for_the_case_that_it_was_the_last(self, rows: Rows) -> None:
        image = rows.queued()
        rows.conversions.note_fault(message_for(image), BUSY, now_ms=11)
        row = rows.read(image)
        assert row.conversion_last_error == BUSY
        assert (row.conversion_error, row.last_error, row.error) == (None, None, None)

    def test_it_says_nothing_of_what_is_over(self, rows: Rows) -> None:
        gone = rows.queued()
        rows.deleted(gone)
        over = [rows.converted(rows.queued()), rows.failed(rows.queued())]
        for row in (*over, gone):
            with pytest.raises(Superseded):
                rows.conversions.note_fault(message_for(row), BUSY, now_ms=12)
        for row in over:
            assert rows.read(row) == row


class TestRetry:
    def test_failed_copies_of_a_completed_image_are_pending_again(self, rows: Rows) -> None:
        image = rows.failed(rows.ended(Status.COMPLETED))
        assert image.retryable
        row = rows.images.retry(image, image.retry_from, now_ms=80)
        assert row == rows.read(image)
        assert (row.status, row.attempt) == (Status.COMPLETED, 2)
        assert row.conversion_status is ConversionStatus.PENDING
        assert (row.conversion_error, row.conversion_last_error) == (None, None)

    def test_both_branches_are_taken_up_where_both_failed(self, rows: Rows) -> None:
        image = rows.failed(rows.ended(Status.INFERENCE_FAILED))
        row = rows.images.retry(image, image.retry_from, now_ms=80)
        assert (row.status, row.error) == (Status.PREPROCESSED, None)
        assert (row.conversion_status, row.conversion_error) == (ConversionStatus.PENDING, None)

    def test_copies_that_nobody_asked_for_are_skipped(self, rows: Rows) -> None:
        image = rows.ended(Status.PREPROCESSING_FAILED, outputs=(Output.PREDICTIONS,))
        assert image.conversion_status is ConversionStatus.FAILED
        row = rows.images.retry(image, image.retry_from, now_ms=80)
        assert row.conversion_status is ConversionStatus.SKIPPED

    @pytest.mark.parametrize("status", MADE)
    def test_made_copies_stay_made(self, rows: Rows, status: ConversionStatus) -> None:
        image = rows.converted(rows.ended(Status.INFERENCE_FAILED), status)
        row = rows.images.retry(image, image.retry_from, now_ms=80)
        assert (row.conversion_status, row.formats) == (status, FORMATS)

    def test_where_nothing_failed_nothing_is_retried(self, rows: Rows) -> None:
        pending = rows.ended(Status.COMPLETED)
        made = rows.converted(rows.ended(Status.COMPLETED))
        running = rows.failed(rows.queued())
        for row in (pending, made, running):
            assert not row.retryable
            with pytest.raises(NotRetryable):
                rows.images.retry(row, row.retry_from, now_ms=80)
            assert rows.read(row) == row

    def test_asked_for_twice_it_is_one(self, rows: Rows) -> None:
        image = rows.failed(rows.ended(Status.COMPLETED))
        first = rows.images.retry(image, image.retry_from, now_ms=80)
        assert rows.images.retry(image, image.retry_from, now_ms=81) == first


class TestAddRenditions:
    SMALL = StoredCopy(key="s", content_type="image/png", bytes=1, width=4, height=3)

    def prepared(self, rows: Rows) -> Image:
        image = rows.queued()
        return rows.images.finish(
            message_for(image),
            Status.COMPLETED,
            now_ms=20,
            timings_ms={},
            renditions={"thumb": self.SMALL},
        )

    @pytest.mark.parametrize("name", ["wide", "wide-2x", "size", "a-b-c"])
    def test_a_rendition_of_any_name_comes_beside_the_others(self, rows: Rows, name: str) -> None:
        """A name may have a hyphen, which DynamoDB's expressions may not, or be a reserved word."""
        image = self.prepared(rows)
        wide = replace(self.SMALL, key="w", encoding_ms=3)
        rows.conversions.add_renditions(message_for(image), {name: wide}, now_ms=90)
        row = rows.read(image)
        assert row == replace(image, renditions={"thumb": self.SMALL, name: wide}, updated_at_ms=90)

    def test_one_of_the_same_name_is_replaced_and_several_come_at_once(self, rows: Rows) -> None:
        image = self.prepared(rows)
        newer = replace(self.SMALL, key="newer")
        rows.conversions.add_renditions(
            message_for(image), {"thumb": newer, "a-1": newer, "a-2": self.SMALL}, now_ms=90
        )
        assert rows.read(image).renditions == {"thumb": newer, "a-1": newer, "a-2": self.SMALL}

    def test_it_does_not_matter_which_attempt_it_is_or_what_became_of_the_copies(
        self, rows: Rows
    ) -> None:
        image = self.prepared(rows)
        rows.failed(image)
        rows.conversions.add_renditions(
            message_for(image, attempt=7), {"wide": self.SMALL}, now_ms=90
        )
        assert set(rows.read(image).renditions) == {"thumb", "wide"}

    def test_another_upload_or_a_deleted_image_gets_none(self, rows: Rows) -> None:
        image = self.prepared(rows)
        with pytest.raises(Superseded) as caught:
            rows.conversions.add_renditions(
                message_for(image, generation="v2"), {"wide": self.SMALL}, now_ms=90
            )
        assert not caught.value.gone
        assert rows.read(image) == image
        rows.deleted(image)
        with pytest.raises(Superseded) as caught:
            rows.conversions.add_renditions(message_for(image), {"wide": self.SMALL}, now_ms=91)
        assert caught.value.gone


def test_a_requeue_is_counted_once_of_those_that_read_the_same_row(rows: Rows) -> None:
    seen = rows.queued()
    rows.conversions.count_requeue(seen, now_ms=20)
    with pytest.raises(Superseded):
        rows.conversions.count_requeue(seen, now_ms=21)
    assert rows.images.get(seen.image_id).conversion_requeues == 1


def test_copies_are_given_up_only_if_nobody_was_heard_of_since(rows: Rows) -> None:
    seen = rows.queued()
    message = ImageMessage(image_id=seen.image_id, generation="v1", attempt=1, queued_at_ms=1)
    rows.conversions.note_fault(message, BUSY, now_ms=20)
    with pytest.raises(Superseded):
        rows.conversions.fail(message, BUSY, now_ms=21, unchanged_since_ms=seen.updated_at_ms)
    ended = rows.conversions.fail(message, BUSY, now_ms=22, unchanged_since_ms=20)
    assert ended.conversion_status is ConversionStatus.FAILED
    with pytest.raises(Superseded):
        rows.conversions.count_requeue(ended, now_ms=23)
