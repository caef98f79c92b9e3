"""The images table: every conditional rule, on the fake and on DynamoDB."""

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.aws.image_rows import item_of
from chalicelib.aws.image_table import TOMBSTONE_SECONDS, UNUSED_SECONDS, ImageTable
from chalicelib.errors import ImageExists, ImageNotFound, NotRetryable, Superseded
from chalicelib.images import (
    INPUT_UNUSABLE,
    Camera,
    ConversionStatus,
    Failure,
    Image,
    ImageInfo,
    Original,
    Output,
    Prediction,
    Source,
    Status,
    StoredCopy,
    new_image_id,
    shard_of,
)
from chalicelib.messages import ImageMessage
from tests.contract.conftest import SHARDS, Edges
from tests.fakes import FakeImageTable
from tests.polling import eventually

FAULT = Failure(code="service_unavailable", message="Busy.")
TRUNCATED = Failure(code="image_truncated", message="The end of the file is missing.")
PREDICTION = Prediction(
    classes=("ship", "truck"),
    probabilities=(0.912345, 0.000001),
    model_name="test",
    model_version="1.2",
)
COPIES = {"thumb": StoredCopy(key="t", content_type="image/jpeg", bytes=9, width=150, height=150)}
CAMERA = Camera(make="Example", exposure_seconds=0.0166667, f_number=4.0, iso=200)
INFO = ImageInfo(
    placeholder="EykODYQHZ3iOdXeIhleHdieAdghI",
    dominant_color="#311f0b",
    # All digits: it must not come back as a number.
    perceptual_hash="1234567890123456",
)
RUNNING = (Status.QUEUED, Status.PREPROCESSING, Status.PREPROCESSED, Status.INFERENCING)
FINAL = (Status.COMPLETED, Status.PREPROCESSING_FAILED, Status.INFERENCE_FAILED)


@pytest.fixture
def table(side: str, request: pytest.FixtureRequest) -> ImageTable:
    if side == "fake":
        return FakeImageTable()
    edges: Edges = request.getfixturevalue("edges")
    return ImageTable(table=edges.clients.table(edges.images_table()), shards=SHARDS)


def new_image(image_id: str | None = None, *, created_at_ms: int = 1_795_000_000_000) -> Image:
    return Image(
        image_id=image_id or new_image_id(),
        status=Status.PENDING_UPLOAD,
        conversion_status=ConversionStatus.PENDING,
        created_at_ms=created_at_ms,
        updated_at_ms=created_at_ms,
        original=Original(filename="cat.jpg", content_type="image/jpeg"),
        metadata={"album": "summer", "name": "a reserved word", "empty": ""},
        link_expires_at=1_795_000_900,
    )


def message_for(image: Image, *, attempt: int = 1, generation: str = "v1") -> ImageMessage:
    return ImageMessage(
        image_id=image.image_id, generation=generation, attempt=attempt, queued_at_ms=5
    )


def accept(table: ImageTable, image: Image, generation: str = "v1") -> Image:
    return table.accept(
        image.image_id,
        generation=generation,
        source=Source(key=f"uploads/{image.image_id}/source", version_id=generation),
        size_bytes=321,
        now_ms=10,
    )


def queued(table: ImageTable) -> Image:
    image = new_image()
    table.create(image)
    return accept(table, image)


def at_status(table: ImageTable, status: Status) -> Image:
    """A row that came to a status by the ways of the service."""
    image = queued(table)
    message = message_for(image)
    match status:
        case Status.QUEUED:
            return image
        case Status.PREPROCESSING:
            return table.start(message, Status.PREPROCESSING, now_ms=11)
        case Status.PREPROCESSED:
            return table.finish(message, Status.PREPROCESSED, now_ms=11, timings_ms={})
        case Status.INFERENCING:
            return table.start(message, Status.INFERENCING, now_ms=11)
        case Status.COMPLETED:
            return table.finish(
                message, status, now_ms=11, timings_ms={}, prediction=PREDICTION, results_key="r"
            )
        case _:
            return table.fail(message, status, TRUNCATED, now_ms=11)


def deleted(table: ImageTable, image: Image) -> None:
    table.begin_removal(image.image_id, now=100)
    table.finish_removal(image.image_id)


class TestCreate:
    def test_what_was_created_is_read_back_unchanged(self, table: ImageTable) -> None:
        image = new_image()
        table.create(image)
        assert table.get(image.image_id) == image

    def test_a_second_row_with_the_same_id_is_refused_and_changes_nothing(
        self, table: ImageTable
    ) -> None:
        image = new_image()
        table.create(image)
        with pytest.raises(ImageExists):
            table.create(replace(image, metadata={}))
        assert table.get(image.image_id) == image

    def test_a_deleted_id_cannot_be_created_again(self, table: ImageTable) -> None:
        image = new_image()
        table.create(image)
        deleted(table, image)
        with pytest.raises(ImageExists):
            table.create(image)

    def test_an_unknown_id_is_not_found(self, table: ImageTable) -> None:
        with pytest.raises(ImageNotFound):
            table.get(new_image_id())


class TestAccept:
    def test_the_first_version_wins_and_queues_the_image(self, table: ImageTable) -> None:
        image = new_image()
        table.create(image)
        accepted = accept(table, image)
        assert accepted == replace(
            image,
            status=Status.QUEUED,
            generation="v1",
            source=Source(key=f"uploads/{image.image_id}/source", version_id="v1"),
            original=replace(image.original, bytes=321),
            link_expires_at=None,
            updated_at_ms=10,
        )
        assert table.get(image.image_id) == accepted

    def test_the_same_version_again_finds_the_row_as_it_is(self, table: ImageTable) -> None:
        image = at_status(table, Status.PREPROCESSED)
        assert accept(table, image) == image
        assert table.get(image.image_id) == image

    def test_another_version_is_superseded_and_changes_nothing(self, table: ImageTable) -> None:
        image = queued(table)
        with pytest.raises(Superseded) as caught:
            accept(table, image, "v2")
        assert not caught.value.gone
        assert table.get(image.image_id) == image

    def test_an_upload_after_the_deletion_finds_the_image_gone(self, table: ImageTable) -> None:
        image = new_image()
        table.create(image)
        deleted(table, image)
        with pytest.raises(Superseded) as caught:
            accept(table, image)
        assert caught.value.gone
        with pytest.raises(ImageNotFound):
            table.get(image.image_id)

    def test_an_upload_during_the_deletion_finds_the_image_gone(self, table: ImageTable) -> None:
        image = new_image()
        table.create(image)
        table.begin_removal(image.image_id, now=100)
        with pytest.raises(Superseded) as caught:
            accept(table, image)
        assert caught.value.gone

    def test_an_unknown_id_makes_no_ghost_row(self, table: ImageTable) -> None:
        """Defect 24: update_item upserts ghost rows."""
        image = new_image()
        with pytest.raises(ImageNotFound):
            accept(table, image)
        with pytest.raises(ImageNotFound):
            table.get(image.image_id)
        table.create(image)

    def test_a_late_upload_revives_an_expired_link(self, table: ImageTable) -> None:
        image = replace(new_image(), status=Status.EXPIRED)
        table.create(image)
        assert accept(table, image).status is Status.QUEUED

    def test_an_expired_row_that_has_a_version_takes_no_other(self, table: ImageTable) -> None:
        image = replace(new_image(), status=Status.EXPIRED, generation="v1")
        table.create(image)
        with pytest.raises(Superseded):
            accept(table, image, "v2")
        assert table.get(image.image_id) == image


class TestStart:
    @pytest.mark.parametrize(
        ("step", "status"),
        [
            (Status.PREPROCESSING, Status.QUEUED),
            (Status.PREPROCESSING, Status.PREPROCESSING),
            (Status.INFERENCING, Status.QUEUED),
            (Status.INFERENCING, Status.PREPROCESSING),
            (Status.INFERENCING, Status.PREPROCESSED),
            (Status.INFERENCING, Status.INFERENCING),
        ],
    )
    def test_a_step_starts_from_every_status_up_to_its_own(
        self, table: ImageTable, step: Status, status: Status
    ) -> None:
        image = at_status(table, status)
        started = table.start(message_for(image), step, now_ms=20)
        assert started == replace(image, status=step, updated_at_ms=20)
        assert table.get(image.image_id) == started

    @pytest.mark.parametrize(
        ("step", "status"),
        [(Status.PREPROCESSING, s) for s in (*RUNNING[2:], *FINAL)]
        + [(Status.INFERENCING, s) for s in FINAL],
    )
    def test_a_step_that_is_over_does_not_start_again(
        self, table: ImageTable, step: Status, status: Status
    ) -> None:
        """Defect 12: a replay takes a completed image back."""
        image = at_status(table, status)
        with pytest.raises(Superseded) as caught:
            table.start(message_for(image), step, now_ms=20)
        assert not caught.value.gone
        assert table.get(image.image_id) == image

    def test_a_message_of_an_earlier_attempt_does_not_start(self, table: ImageTable) -> None:
        image = at_status(table, Status.PREPROCESSING_FAILED)
        retried = table.retry(image, Status.QUEUED, now_ms=20)
        with pytest.raises(Superseded):
            table.start(message_for(image), Status.PREPROCESSING, now_ms=21)
        assert table.get(image.image_id) == retried

    @pytest.mark.parametrize("ahead", [1, 2])
    def test_a_message_ahead_of_a_running_row_does_not_start(
        self, table: ImageTable, ahead: int
    ) -> None:
        image = queued(table)
        with pytest.raises(Superseded):
            table.start(message_for(image, attempt=1 + ahead), Status.PREPROCESSING, now_ms=20)
        assert table.get(image.image_id) == image

    def test_a_message_one_attempt_ahead_of_a_failed_row_makes_up_for_the_lost_retry(
        self, table: ImageTable
    ) -> None:
        image = at_status(table, Status.PREPROCESSING_FAILED)
        assert image.conversion_status is ConversionStatus.FAILED
        started = table.start(message_for(image, attempt=2), Status.PREPROCESSING, now_ms=20)
        assert started == replace(
            image,
            status=Status.PREPROCESSING,
            conversion_status=ConversionStatus.PENDING,
            attempt=2,
            error=None,
            updated_at_ms=20,
        )

    def test_a_lost_retry_of_the_inference_starts_there(self, table: ImageTable) -> None:
        image = at_status(table, Status.INFERENCE_FAILED)
        started = table.start(message_for(image, attempt=2), Status.INFERENCING, now_ms=20)
        assert (started.status, started.attempt) == (Status.INFERENCING, 2)
        assert started.error is None

    def test_a_lost_retry_of_a_completed_image_starts_where_it_names_a_model(
        self, table: ImageTable
    ) -> None:
        image = at_status(table, Status.COMPLETED)
        message = message_for(image, attempt=2)
        with pytest.raises(Superseded):
            table.start(message, Status.INFERENCING, now_ms=20)
        assert table.get(image.image_id) == image
        started = table.start(replace(message, model="m@1"), Status.INFERENCING, now_ms=20)
        assert (started.status, started.attempt) == (Status.INFERENCING, 2)

    @pytest.mark.parametrize("status", [Status.PREPROCESSING_FAILED, Status.INFERENCE_FAILED])
    def test_a_message_two_attempts_ahead_of_a_failed_row_does_not_start(
        self, table: ImageTable, status: Status
    ) -> None:
        image = at_status(table, status)
        with pytest.raises(Superseded):
            table.start(message_for(image, attempt=3), Status.PREPROCESSING, now_ms=20)
        assert table.get(image.image_id) == image

    def test_a_lost_retry_of_the_inference_does_not_start_at_preprocessing(
        self, table: ImageTable
    ) -> None:
        image = at_status(table, Status.INFERENCE_FAILED)
        with pytest.raises(Superseded):
            table.start(message_for(image, attempt=2), Status.PREPROCESSING, now_ms=20)
        assert table.get(image.image_id) == image

    @pytest.mark.parametrize("status", [Status.QUEUED, Status.PREPROCESSING_FAILED])
    def test_a_message_of_another_generation_does_not_start(
        self, table: ImageTable, status: Status
    ) -> None:
        image = at_status(table, status)
        for attempt in (1, 2):
            message = message_for(image, attempt=attempt, generation="v2")
            with pytest.raises(Superseded) as caught:
                table.start(message, Status.PREPROCESSING, now_ms=20)
            assert not caught.value.gone
        assert table.get(image.image_id) == image

    @pytest.mark.parametrize(
        ("asked", "left_over"), [(None, "cats@1"), ("cats@1", None), ("cats@1", "dogs@1")]
    )
    def test_a_message_of_a_broken_off_retry_with_another_model_is_none_of_this_attempt(
        self, table: ImageTable, asked: str | None, left_over: str | None
    ) -> None:
        image = at_status(table, Status.COMPLETED)
        table.retry(image, Status.PREPROCESSED, now_ms=20, completed=True, model=asked)
        message = message_for(image, attempt=2)
        with pytest.raises(Superseded) as caught:
            table.start(replace(message, model=left_over), Status.INFERENCING, now_ms=21)
        assert not caught.value.gone
        table.start(replace(message, model=asked), Status.INFERENCING, now_ms=22)
        with pytest.raises(NotRetryable):
            table.retry(image, Status.PREPROCESSED, now_ms=23, completed=True, model=left_over)


class TestDescribe:
    @pytest.mark.parametrize("status", RUNNING)
    def test_what_is_known_of_the_original_is_kept(self, table: ImageTable, status: Status) -> None:
        image = at_status(table, status)
        table.describe(
            message_for(image),
            original=Original(width=4, sha256="ab", camera=CAMERA),
            info=INFO,
            renditions=COPIES,
            model_input_key="processed/x",
            now_ms=20,
        )
        assert table.get(image.image_id) == replace(
            image,
            original=replace(image.original, width=4, sha256="ab", camera=CAMERA),
            info=INFO,
            renditions=COPIES,
            model_input_key="processed/x",
            updated_at_ms=20,
        )

    def test_what_another_model_sees_changes_nothing_else(self, table: ImageTable) -> None:
        image = at_status(table, Status.PREPROCESSED)
        table.describe(message_for(image), model_input_key="processed/y", now_ms=20)
        assert table.get(image.image_id) == replace(
            image, model_input_key="processed/y", updated_at_ms=20
        )

    @pytest.mark.parametrize("status", FINAL)
    def test_an_image_that_ended_is_not_described_any_more(
        self, table: ImageTable, status: Status
    ) -> None:
        image = at_status(table, status)
        with pytest.raises(Superseded):
            table.describe(
                message_for(image),
                original=Original(width=4),
                renditions=COPIES,
                model_input_key="processed/x",
                now_ms=20,
            )
        assert table.get(image.image_id) == image

    def test_a_worker_of_another_attempt_or_generation_describes_nothing(
        self, table: ImageTable
    ) -> None:
        image = queued(table)
        for message in (message_for(image, attempt=2), message_for(image, generation="v2")):
            with pytest.raises(Superseded):
                table.describe(
                    message,
                    original=Original(width=4),
                    renditions=COPIES,
                    model_input_key="processed/x",
                    now_ms=20,
                )
        assert table.get(image.image_id) == image


class TestFinish:
    def test_a_finished_step_moves_on_and_keeps_what_was_found(self, table: ImageTable) -> None:
        image = at_status(table, Status.PREPROCESSING)
        finished = table.finish(
            message_for(image),
            Status.PREPROCESSED,
            now_ms=20,
            timings_ms={"queued": 1, "preprocessing": 61},
            original=Original(width=4032, height=3024, sha256="ab"),
            info=INFO,
            model_input_key="processed/x",
        )
        assert finished == replace(
            image,
            status=Status.PREPROCESSED,
            updated_at_ms=20,
            timings_ms={"queued": 1, "preprocessing": 61},
            original=replace(image.original, width=4032, height=3024, sha256="ab"),
            info=INFO,
            model_input_key="processed/x",
        )
        assert table.get(image.image_id) == finished

    def test_a_prediction_comes_back_with_the_numbers_that_it_had(self, table: ImageTable) -> None:
        """Defect 2: DynamoDB takes no float."""
        image = at_status(table, Status.INFERENCING)
        finished = table.finish(
            message_for(image),
            Status.COMPLETED,
            now_ms=20,
            timings_ms={"inferencing": 9},
            prediction=PREDICTION,
            results_key="results/x.json",
        )
        assert finished.prediction == PREDICTION
        assert table.get(image.image_id) == finished
        assert finished.status is Status.COMPLETED

    @pytest.mark.parametrize("status", [Status.INFERENCING, Status.COMPLETED])
    def test_a_step_that_was_overtaken_keeps_its_facts_and_takes_no_status_back(
        self, table: ImageTable, status: Status
    ) -> None:
        image = at_status(table, status)
        finished = table.finish(
            message_for(image),
            Status.PREPROCESSED,
            now_ms=20,
            timings_ms={"preprocessing": 61},
            original=Original(width=7),
            model_input_key="processed/x",
        )
        assert finished == replace(
            image,
            updated_at_ms=20,
            timings_ms={**image.timings_ms, "preprocessing": 61},
            original=replace(image.original, width=7),
            model_input_key="processed/x",
        )
        assert table.get(image.image_id) == finished

    @pytest.mark.parametrize("status", FINAL)
    def test_an_attempt_ends_only_once(self, table: ImageTable, status: Status) -> None:
        image = at_status(table, status)
        with pytest.raises(Superseded):
            table.finish(
                message_for(image),
                Status.COMPLETED,
                now_ms=20,
                timings_ms={"inferencing": 9},
                prediction=replace(PREDICTION, model_version="other"),
                results_key="other",
            )
        assert table.get(image.image_id) == image

    def test_a_worker_of_an_earlier_attempt_commits_nothing(self, table: ImageTable) -> None:
        image = at_status(table, Status.INFERENCE_FAILED)
        retried = table.retry(image, Status.PREPROCESSED, now_ms=20)
        for status in (Status.PREPROCESSED, Status.COMPLETED):
            with pytest.raises(Superseded):
                table.finish(message_for(image), status, now_ms=21, timings_ms={"x": 1})
        assert table.get(image.image_id) == retried

    def test_a_worker_of_another_generation_commits_nothing(self, table: ImageTable) -> None:
        image = at_status(table, Status.PREPROCESSING)
        with pytest.raises(Superseded):
            table.finish(
                message_for(image, generation="v2"),
                Status.PREPROCESSED,
                now_ms=20,
                timings_ms={"x": 1},
            )
        assert table.get(image.image_id) == image

    def test_a_step_that_is_done_forgets_the_fault_of_an_earlier_try(
        self, table: ImageTable
    ) -> None:
        image = at_status(table, Status.PREPROCESSING)
        table.note_fault(message_for(image), FAULT, now_ms=20)
        finished = table.finish(message_for(image), Status.COMPLETED, now_ms=21, timings_ms={})
        assert finished.last_error is None


class TestFail:
    @pytest.mark.parametrize("status", RUNNING)
    def test_a_running_image_fails_with_its_reason(self, table: ImageTable, status: Status) -> None:
        """Defect 3: `error` is a reserved word, and the write of it was lost."""
        image = at_status(table, status)
        failed = table.fail(
            message_for(image),
            Status.PREPROCESSING_FAILED,
            TRUNCATED,
            now_ms=20,
            original=Original(sha256="ab"),
        )
        assert failed == replace(
            image,
            status=Status.PREPROCESSING_FAILED,
            conversion_status=ConversionStatus.FAILED,
            error=TRUNCATED,
            original=replace(image.original, sha256="ab"),
            updated_at_ms=20,
        )
        assert table.get(image.image_id) == failed

    def test_a_failed_inference_says_nothing_of_the_conversion(self, table: ImageTable) -> None:
        image = at_status(table, Status.INFERENCING)
        failed = table.fail(message_for(image), Status.INFERENCE_FAILED, INPUT_UNUSABLE, now_ms=20)
        assert failed.conversion_status is ConversionStatus.PENDING

    @pytest.mark.parametrize("status", FINAL)
    def test_an_image_that_ended_cannot_fail_any_more(
        self, table: ImageTable, status: Status
    ) -> None:
        image = at_status(table, status)
        for failure in (Status.PREPROCESSING_FAILED, Status.INFERENCE_FAILED):
            with pytest.raises(Superseded):
                table.fail(message_for(image), failure, FAULT, now_ms=20)
        assert table.get(image.image_id) == image

    def test_a_message_of_another_attempt_or_generation_fails_nothing(
        self, table: ImageTable
    ) -> None:
        image = queued(table)
        for message in (
            message_for(image, attempt=2),
            message_for(image, attempt=0),
            message_for(image, generation="v2"),
        ):
            with pytest.raises(Superseded):
                table.fail(message, Status.PREPROCESSING_FAILED, FAULT, now_ms=20)
        assert table.get(image.image_id) == image


class TestNoteFault:
    @pytest.mark.parametrize("status", RUNNING)
    def test_the_fault_of_a_running_image_is_kept(self, table: ImageTable, status: Status) -> None:
        image = at_status(table, status)
        table.note_fault(message_for(image), FAULT, now_ms=20)
        assert table.get(image.image_id) == replace(image, last_error=FAULT, updated_at_ms=20)

    @pytest.mark.parametrize("status", FINAL)
    def test_an_image_that_ended_keeps_no_fault(self, table: ImageTable, status: Status) -> None:
        image = at_status(table, status)
        with pytest.raises(Superseded):
            table.note_fault(message_for(image), FAULT, now_ms=20)
        assert table.get(image.image_id) == image

    def test_the_next_try_begins_without_the_fault(self, table: ImageTable) -> None:
        image = queued(table)
        table.note_fault(message_for(image), FAULT, now_ms=20)
        started = table.start(message_for(image), Status.PREPROCESSING, now_ms=21)
        assert started.last_error is None

    def test_a_fault_of_an_earlier_attempt_is_not_kept(self, table: ImageTable) -> None:
        image = at_status(table, Status.PREPROCESSING_FAILED)
        retried = table.retry(image, Status.QUEUED, now_ms=20)
        with pytest.raises(Superseded):
            table.note_fault(message_for(image), FAULT, now_ms=21)
        assert table.get(image.image_id) == retried


class TestRetry:
    def test_a_retry_opens_the_next_attempt(self, table: ImageTable) -> None:
        image = at_status(table, Status.PREPROCESSING_FAILED)
        retried = table.retry(image, Status.QUEUED, now_ms=20)
        assert retried == replace(
            image,
            status=Status.QUEUED,
            conversion_status=ConversionStatus.PENDING,
            attempt=2,
            error=None,
            updated_at_ms=20,
        )
        assert table.get(image.image_id) == retried

    def test_a_conversion_that_was_not_asked_for_is_not_waited_for(self, table: ImageTable) -> None:
        image = replace(
            new_image(),
            conversion_status=ConversionStatus.SKIPPED,
            outputs=(Output.PREDICTIONS,),
        )
        table.create(image)
        accept(table, image)
        failed = table.fail(message_for(image), Status.PREPROCESSING_FAILED, TRUNCATED, now_ms=20)
        retried = table.retry(failed, Status.QUEUED, now_ms=21)
        assert retried.conversion_status is ConversionStatus.SKIPPED

    def test_of_two_that_race_one_opens_the_attempt_and_both_see_it(
        self, table: ImageTable
    ) -> None:
        image = at_status(table, Status.INFERENCE_FAILED)
        first = table.retry(image, Status.PREPROCESSED, now_ms=20)
        second = table.retry(image, Status.PREPROCESSED, now_ms=21)
        assert first == second
        assert second.attempt == 2

    def test_a_retry_that_the_worker_overtook_sees_the_worker(self, table: ImageTable) -> None:
        image = at_status(table, Status.INFERENCE_FAILED)
        started = table.start(message_for(image, attempt=2), Status.INFERENCING, now_ms=20)
        assert table.retry(image, Status.PREPROCESSED, now_ms=21) == started
        assert table.get(image.image_id) == started

    def test_a_retry_of_an_attempt_long_past_is_refused(self, table: ImageTable) -> None:
        image = at_status(table, Status.PREPROCESSING_FAILED)
        table.retry(image, Status.QUEUED, now_ms=20)
        again = table.fail(
            message_for(image, attempt=2), Status.PREPROCESSING_FAILED, TRUNCATED, now_ms=21
        )
        third = table.retry(again, Status.QUEUED, now_ms=22)
        with pytest.raises(NotRetryable):
            table.retry(image, Status.QUEUED, now_ms=23)
        assert table.get(image.image_id) == third

    @pytest.mark.parametrize("status", [*RUNNING, Status.COMPLETED])
    def test_where_nothing_failed_there_is_nothing_to_retry(
        self, table: ImageTable, status: Status
    ) -> None:
        image = at_status(table, status)
        with pytest.raises(NotRetryable):
            table.retry(image, Status.QUEUED, now_ms=20)
        assert table.get(image.image_id) == image

    def test_a_completed_image_is_taken_up_again_where_that_is_asked_for(
        self, table: ImageTable
    ) -> None:
        image = at_status(table, Status.COMPLETED)
        again = table.retry(image, Status.PREPROCESSED, now_ms=20, completed=True)
        assert again == replace(image, status=Status.PREPROCESSED, attempt=2, updated_at_ms=20)
        assert table.retry(image, Status.PREPROCESSED, now_ms=21, completed=True) == again

    @pytest.mark.parametrize("status", RUNNING)
    def test_an_image_on_its_way_is_not_taken_up_again(
        self, table: ImageTable, status: Status
    ) -> None:
        image = at_status(table, status)
        with pytest.raises(NotRetryable):
            table.retry(image, Status.PREPROCESSED, now_ms=20, completed=True)
        assert table.get(image.image_id) == image

    def test_a_deleted_image_cannot_be_retried(self, table: ImageTable) -> None:
        image = at_status(table, Status.PREPROCESSING_FAILED)
        deleted(table, image)
        with pytest.raises(ImageNotFound):
            table.retry(image, Status.QUEUED, now_ms=20)


class TestRemoval:
    def test_a_removal_says_where_the_original_lies_until_it_is_finished(
        self, table: ImageTable
    ) -> None:
        image = at_status(table, Status.COMPLETED)
        assert table.begin_removal(image.image_id, now=100) == image.source
        with pytest.raises(ImageNotFound):
            table.get(image.image_id)
        assert table.begin_removal(image.image_id, now=101) == image.source
        table.finish_removal(image.image_id)
        with pytest.raises(ImageNotFound):
            table.begin_removal(image.image_id, now=102)

    def test_an_image_without_an_upload_has_no_original_to_remove(self, table: ImageTable) -> None:
        image = new_image()
        table.create(image)
        assert table.begin_removal(image.image_id, now=100) is None
        assert table.begin_removal(image.image_id, now=100) is None

    def test_an_unknown_image_cannot_be_removed_and_leaves_no_tombstone(
        self, table: ImageTable
    ) -> None:
        image = new_image()
        with pytest.raises(ImageNotFound):
            table.begin_removal(image.image_id, now=100)
        table.create(image)

    def test_no_late_write_brings_a_deleted_row_back(self, table: ImageTable) -> None:
        image = at_status(table, Status.PREPROCESSING)
        message = message_for(image)
        deleted(table, image)
        for write in late_writes(table, message):
            with pytest.raises(Superseded) as caught:
                write()
            assert caught.value.gone
        with pytest.raises(ImageNotFound):
            table.get(image.image_id)
        assert table.page(status=None, limit=10, before=None) == ([], None)

    def test_no_write_makes_a_row_that_was_never_created(self, table: ImageTable) -> None:
        """Defect 24: update_item upserts ghost rows."""
        image = new_image()
        for write in late_writes(table, message_for(image)):
            with pytest.raises(Superseded):
                write()
        with pytest.raises(ImageNotFound):
            table.retry(image, Status.QUEUED, now_ms=20)
        table.create(image)
        assert table.get(image.image_id) == image


def late_writes(table: ImageTable, message: ImageMessage) -> list[Any]:
    return [
        lambda: table.start(message, Status.PREPROCESSING, now_ms=20),
        lambda: table.describe(
            message,
            original=Original(width=1),
            renditions=COPIES,
            model_input_key="processed/x",
            now_ms=20,
        ),
        lambda: table.finish(message, Status.PREPROCESSED, now_ms=20, timings_ms={"x": 1}),
        lambda: table.finish(message, Status.COMPLETED, now_ms=20, timings_ms={}),
        lambda: table.fail(message, Status.PREPROCESSING_FAILED, FAULT, now_ms=20),
        lambda: table.note_fault(message, FAULT, now_ms=20),
    ]


class TestPage:
    @pytest.fixture
    def twenty(self, table: ImageTable) -> list[Image]:
        """Rows in every shard, newest first; three each share their millisecond."""
        images = [new_image(created_at_ms=1_795_000_000_000 + n // 3) for n in range(16)]
        images += [
            new_image(id_in_shard(shard), created_at_ms=1_795_000_000_005)
            for shard in range(SHARDS)
        ]
        for image in images:
            table.create(image)
        return sorted(images, key=lambda i: (i.created_at_ms, i.image_id), reverse=True)

    def test_pages_of_every_size_add_up_to_everything_once_newest_first(
        self, table: ImageTable, twenty: list[Image]
    ) -> None:
        for limit in range(1, 8):
            seen: list[Image] = []
            before: str | None = None
            while True:
                page, before = table.page(status=None, limit=limit, before=before)
                seen += page
                if before is None:
                    break
                assert len(page) == limit
            assert seen == twenty

    def test_images_are_found_by_their_ids_and_those_that_are_not_there_are_left_out(
        self, table: ImageTable
    ) -> None:
        images = [new_image() for _ in range(3)]
        for image in images:
            table.create(image)
        deleted(table, gone := images.pop())
        ids = [image.image_id for image in images]
        asked = [*ids, *ids, gone.image_id, *(new_image_id() for _ in range(120))]
        assert table.find(asked) == {image.image_id: image for image in images}
        assert table.find([]) == {}

    def test_a_page_that_ends_with_the_last_row_is_the_last_page(
        self, table: ImageTable, twenty: list[Image]
    ) -> None:
        assert table.page(status=None, limit=20, before=None) == (twenty, None)

    def test_a_status_shows_only_its_own(self, table: ImageTable, twenty: list[Image]) -> None:
        chosen = twenty[3::4]
        moved = [accept(table, image) for image in chosen]
        seen: list[Image] = []
        before: str | None = None
        for _ in range(len(chosen)):
            page, before = table.page(status=Status.QUEUED, limit=2, before=before)
            seen += page
            if before is None:
                break
        assert seen == moved
        left, _ = table.page(status=Status.PENDING_UPLOAD, limit=100, before=None)
        assert left == [image for image in twenty if image not in chosen]
        assert table.page(status=Status.COMPLETED, limit=5, before=None) == ([], None)

    def test_deleted_rows_are_absent(self, table: ImageTable, twenty: list[Image]) -> None:
        for image in twenty[::2]:
            deleted(table, image)
        shown, _ = table.page(status=None, limit=100, before=None)
        assert shown == twenty[1::2]
        shown, _ = table.page(status=Status.PENDING_UPLOAD, limit=100, before=None)
        assert shown == twenty[1::2]

    def test_an_empty_table_has_one_empty_page(self, table: ImageTable) -> None:
        assert table.page(status=None, limit=5, before=None) == ([], None)


def id_in_shard(shard: int) -> str:
    return next(i for i in iter(new_image_id, "") if shard_of(i, SHARDS) == shard)


class TestInDynamoDb:
    """What only the real table can show."""

    @pytest.fixture
    def name(self, edges: Edges) -> str:
        return edges.images_table()

    @pytest.fixture
    def real(self, edges: Edges, name: str) -> ImageTable:
        return ImageTable(table=edges.clients.table(name), shards=SHARDS)

    def item(self, edges: Edges, name: str, image: Image) -> dict[str, Any]:
        answer = edges.admin("dynamodb").get_item(
            TableName=name, Key={"image_id": {"S": image.image_id}}, ConsistentRead=True
        )
        row: dict[str, Any] = answer["Item"]
        return row

    def test_only_a_row_without_an_upload_runs_out(
        self, edges: Edges, name: str, real: ImageTable
    ) -> None:
        """Defect 25: abandoned rows stay for ever."""
        image = new_image()
        real.create(image)
        assert image.link_expires_at is not None
        expiry = {"N": str(image.link_expires_at + UNUSED_SECONDS)}
        assert self.item(edges, name, image)["expires_at"] == expiry
        accept(real, image)
        assert "expires_at" not in self.item(edges, name, image)

    def test_a_tombstone_holds_nothing_of_the_image_and_outlives_every_message(
        self, edges: Edges, name: str, real: ImageTable
    ) -> None:
        image = at_status(real, Status.COMPLETED)
        deleted(real, image)
        assert self.item(edges, name, image) == {
            "image_id": {"S": image.image_id},
            "expires_at": {"N": str(100 + TOMBSTONE_SECONDS)},
        }
        assert TOMBSTONE_SECONDS > 18 * 24 * 3600

    @pytest.mark.parametrize("ended", [Status.INFERENCE_FAILED, Status.COMPLETED])
    def test_a_worker_that_a_retrys_own_write_overtakes_starts_all_the_same(
        self, edges: Edges, real: ImageTable, ended: Status
    ) -> None:
        """The message goes out before the row changes, and found it changed at its second look:
        it was dropped, and the image stood still for ever.
        """
        image = at_status(real, ended)
        message = replace(message_for(image, attempt=2), model="m@1")
        events = edges.clients.table("any").meta.client.meta.events
        written: list[Image] = []

        def overtake(**_: object) -> None:
            # Between the refusal of the worker's write and its look at the row.
            if not written:
                written.append(image)
                real.retry(image, Status.PREPROCESSED, now_ms=20, completed=True, model="m@1")

        events.register("before-call.dynamodb.GetItem", overtake)
        try:
            started = real.start(message, Status.INFERENCING, now_ms=21)
        finally:
            events.unregister("before-call.dynamodb.GetItem", overtake)
        assert written
        assert (started.status, started.attempt) == (Status.INFERENCING, 2)

    def test_a_removal_that_an_upload_overtakes_knows_of_the_upload(
        self, edges: Edges, real: ImageTable
    ) -> None:
        image = new_image()
        real.create(image)
        events = edges.clients.table("any").meta.client.meta.events
        accepted: list[Image] = []

        def overtake(**_: object) -> None:
            # Between the removal's read and its write.
            if not accepted:
                accepted.append(accept(real, image))

        events.register("before-call.dynamodb.PutItem", overtake)
        try:
            source = real.begin_removal(image.image_id, now=100)
        finally:
            events.unregister("before-call.dynamodb.PutItem", overtake)
        assert source == accepted[0].source
        assert real.begin_removal(image.image_id, now=101) == source

    def test_a_removal_that_another_one_overtakes_finds_nothing_left(
        self, edges: Edges, real: ImageTable
    ) -> None:
        image = queued(real)
        events = edges.clients.table("any").meta.client.meta.events
        removed: list[str] = []

        def overtake(**_: object) -> None:
            if not removed:
                removed.append(image.image_id)
                deleted(real, image)

        events.register("before-call.dynamodb.PutItem", overtake)
        try:
            with pytest.raises(ImageNotFound):
                real.begin_removal(image.image_id, now=100)
        finally:
            events.unregister("before-call.dynamodb.PutItem", overtake)

    def test_a_table_that_is_there_passes_its_check(self, real: ImageTable) -> None:
        real.check()


def walked(table: ImageTable, status: Status | ConversionStatus) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    place: str | None = None
    while True:
        page, place = table.oldest(status, after=place)
        found += [image.image_id for image in page]
        if place is None:
            return found


class TestOldest:
    def test_going_through_a_status_meets_every_image_once(self, table: ImageTable) -> None:
        made = [at_status(table, Status.PREPROCESSED).image_id for _ in range(9)]
        at_status(table, Status.QUEUED)
        assert sorted(walked(table, Status.PREPROCESSED)) == sorted(made)
        assert walked(table, Status.INFERENCING) == []

    def test_pending_copies_are_found_until_they_are_made_failed_or_deleted(
        self, table: ImageTable
    ) -> None:
        pending = at_status(table, Status.COMPLETED)
        at_status(table, Status.PREPROCESSING_FAILED)
        gone = at_status(table, Status.COMPLETED)
        deleted(table, gone)
        assert walked(table, ConversionStatus.PENDING) == [pending.image_id]

    def test_copies_that_a_retry_makes_pending_again_are_found_again(
        self, table: ImageTable
    ) -> None:
        failed = at_status(table, Status.PREPROCESSING_FAILED)
        table.retry(failed, Status.QUEUED, now_ms=20)
        assert walked(table, ConversionStatus.PENDING) == [failed.image_id]


class TestCountRequeue:
    @pytest.mark.parametrize("status", RUNNING)
    def test_each_is_counted_once_of_those_that_read_the_same_row(
        self, table: ImageTable, status: Status
    ) -> None:
        seen = at_status(table, status)
        table.count_requeue(seen, now_ms=20)
        with pytest.raises(Superseded):
            table.count_requeue(seen, now_ms=21)
        known = table.get(seen.image_id)
        assert (known.requeues, known.status, known.updated_at_ms) == (1, status, 20)
        table.count_requeue(known, now_ms=30)
        assert table.get(seen.image_id).requeues == 2

    @pytest.mark.parametrize("status", FINAL)
    def test_what_ended_is_not_counted(self, table: ImageTable, status: Status) -> None:
        with pytest.raises(Superseded):
            table.count_requeue(at_status(table, status), now_ms=20)

    def test_a_deleted_row_stays_deleted(self, table: ImageTable) -> None:
        image = queued(table)
        deleted(table, image)
        with pytest.raises(Superseded) as caught:
            table.count_requeue(image, now_ms=20)
        assert caught.value.gone

    def test_a_retry_begins_to_count_anew_and_keeps_the_model_that_it_asks_for(
        self, table: ImageTable
    ) -> None:
        image = queued(table)
        table.count_requeue(image, now_ms=20)
        failed = table.fail(message_for(image), Status.PREPROCESSING_FAILED, FAULT, now_ms=21)
        retried = table.retry(failed, Status.QUEUED, now_ms=22, model="other@2")
        assert (retried.requeues, retried.model) == (0, "other@2")
        message = message_for(image, attempt=2)
        failed = table.fail(message, Status.PREPROCESSING_FAILED, FAULT, now_ms=23)
        assert table.retry(failed, Status.QUEUED, now_ms=24).model is None


class TestExpire:
    def test_an_unused_link_expires_and_an_upload_is_still_accepted(
        self, table: ImageTable
    ) -> None:
        image = new_image()
        table.create(image)
        table.expire(image, now_ms=20)
        assert table.get(image.image_id).status is Status.EXPIRED
        with pytest.raises(Superseded):
            table.expire(image, now_ms=21)
        assert accept(table, image).status is Status.QUEUED

    def test_what_was_uploaded_or_deleted_does_not_expire(self, table: ImageTable) -> None:
        image = queued(table)
        with pytest.raises(Superseded):
            table.expire(image, now_ms=20)
        deleted(table, image)
        with pytest.raises(Superseded):
            table.expire(image, now_ms=20)


def test_an_image_is_given_up_only_if_nobody_was_heard_of_since(table: ImageTable) -> None:
    image = at_status(table, Status.PREPROCESSING)
    message, failed = message_for(image), Status.PREPROCESSING_FAILED
    table.note_fault(message, FAULT, now_ms=30)
    with pytest.raises(Superseded):
        table.fail(message, failed, TRUNCATED, now_ms=31, unchanged_since_ms=image.updated_at_ms)
    ended = table.fail(message, failed, TRUNCATED, now_ms=32, unchanged_since_ms=30)
    assert (ended.status, ended.conversion_status) == (failed, ConversionStatus.FAILED)


def test_ten_thousand_rows_are_read_to_the_end_by_the_index(edges: Edges) -> None:
    """Invariant 39, on DynamoDB as the local AWS has it."""
    table = ImageTable(table=edges.clients.table(edges.images_table()), shards=SHARDS)
    made = set()
    with table.table.batch_writer() as writer:
        for number in range(10_000):
            image = replace(new_image(created_at_ms=1_795_000_000_000 + number), generation="v1")
            image = replace(image, status=Status.QUEUED)
            writer.put_item(Item=item_of(image) | table._index.keys_of(image))
            made.add(image.image_id)
    found = walked(table, Status.QUEUED)
    assert len(found) == 10_000
    assert set(found) == made


class TestSameContent:
    SHA256 = "5" * 64

    def worked_out(self, table: ImageTable, sha256: str, *, created_at_ms: int) -> Image:
        image = new_image(created_at_ms=created_at_ms)
        table.create(image)
        source = Source(key="k", version_id="v1")
        table.accept(image.image_id, generation="v1", source=source, size_bytes=3, now_ms=5)
        message = message_for(image)
        table.start(message, Status.PREPROCESSING, now_ms=6)
        table.describe(message, model_input_key="processed/x", content_sha256=sha256, now_ms=7)
        return table.finish(
            message, Status.COMPLETED, now_ms=8, timings_ms={}, content_sha256=sha256
        )

    def test_the_newest_of_the_same_bytes_are_found(self, table: ImageTable) -> None:
        images = [
            self.worked_out(table, self.SHA256, created_at_ms=1_795_000_000_000 + number)
            for number in range(4)
        ]
        self.worked_out(table, "6" * 64, created_at_ms=1_795_000_000_009)
        found = eventually(
            lambda: table.same_content(self.SHA256, limit=3), seconds=10, what="they are indexed"
        )
        assert found == images[:0:-1]

    def test_one_that_was_only_described_is_found_too(self, table: ImageTable) -> None:
        image = at_status(table, Status.PREPROCESSING)
        table.describe(
            message_for(image), model_input_key="processed/x", content_sha256="7" * 64, now_ms=7
        )
        [found] = eventually(
            lambda: table.same_content("7" * 64, limit=3), seconds=10, what="it is indexed"
        )
        assert found.image_id == image.image_id

    def test_nothing_else_stands_in_the_index(self, table: ImageTable) -> None:
        image = at_status(table, Status.PREPROCESSING)
        table.finish(
            message_for(image),
            Status.COMPLETED,
            now_ms=8,
            timings_ms={},
            original=Original(sha256="8" * 64),
        )
        assert table.same_content("8" * 64, limit=3) == []
        assert table.same_content("9" * 64, limit=3) == []

    def test_a_deleted_image_is_not_found(self, table: ImageTable) -> None:
        image = self.worked_out(table, "a" * 64, created_at_ms=1_795_000_000_000)
        table.begin_removal(image.image_id, now=9)
        assert table.same_content("a" * 64, limit=3) == []
