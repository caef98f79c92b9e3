import itertools
import re
import uuid

import pytest

from chalicelib.images import (
    INPUT_UNUSABLE,
    ConversionStatus,
    Failure,
    Image,
    Output,
    Status,
    derived_prefixes,
    image_id_of_key,
    image_id_of_object,
    is_image_id,
    model_input_key,
    new_image_id,
    results_key,
    shard_of,
    source_key,
)

WAY = (
    Status.PENDING_UPLOAD,
    Status.QUEUED,
    Status.PREPROCESSING,
    Status.PREPROCESSED,
    Status.INFERENCING,
    Status.COMPLETED,
)
FAILED = (Status.PREPROCESSING_FAILED, Status.INFERENCE_FAILED)
FINAL = (Status.COMPLETED, *FAILED, Status.EXPIRED)
IMAGE_ID = "0f0e0d0c-0b0a-4908-8706-050403020100"


def image(status: Status, *, error: Failure | None = None) -> Image:
    return Image(
        image_id=IMAGE_ID,
        status=status,
        conversion_status=ConversionStatus.PENDING,
        created_at_ms=1,
        updated_at_ms=1,
        error=error,
    )


def test_the_statuses_are_those_of_the_contract() -> None:
    assert {str(status) for status in Status} == {
        "pending_upload",
        "queued",
        "preprocessing",
        "preprocessed",
        "inferencing",
        "completed",
        "preprocessing_failed",
        "inference_failed",
        "expired",
    }


def test_the_conversion_statuses_are_those_of_the_contract() -> None:
    assert {str(status) for status in ConversionStatus} == {
        "pending",
        "completed",
        "failed",
        "skipped",
    }


@pytest.mark.parametrize(("earlier", "later"), list(itertools.pairwise(WAY)))
def test_each_step_of_the_way_ranks_above_the_one_before(earlier: Status, later: Status) -> None:
    assert earlier.rank < later.rank
    assert earlier in later.before()


@pytest.mark.parametrize("status", list(Status))
def test_no_status_may_follow_itself(status: Status) -> None:
    assert status not in status.before()


@pytest.mark.parametrize("status", list(Status))
def test_nothing_follows_a_final_status(status: Status) -> None:
    assert not set(FINAL) & set(status.before())


@pytest.mark.parametrize("status", list(Status))
def test_final_are_completed_the_failures_and_expired(status: Status) -> None:
    assert status.final is (status in FINAL)


@pytest.mark.parametrize("status", list(Status))
def test_only_a_failure_counts_as_failed(status: Status) -> None:
    assert status.failed is (status in FAILED)


def test_any_unfinished_image_may_fail_or_complete() -> None:
    for final in FINAL:
        assert set(final.before()) == set(Status) - set(FINAL)


def test_a_retry_after_failed_preprocessing_starts_from_the_queue() -> None:
    assert image(Status.PREPROCESSING_FAILED).retry_from is Status.QUEUED


def test_a_retry_after_failed_inference_keeps_what_preprocessing_made() -> None:
    failed = image(Status.INFERENCE_FAILED, error=Failure(code="x", message="X."))
    assert failed.retry_from is Status.PREPROCESSED


def test_a_retry_after_an_unusable_model_input_makes_it_anew() -> None:
    failed = image(Status.INFERENCE_FAILED, error=INPUT_UNUSABLE)
    assert failed.retry_from is Status.QUEUED


def test_an_image_wants_everything_unless_the_client_chose() -> None:
    assert all(image(Status.QUEUED).wants(output) for output in Output)


def test_an_image_wants_only_what_the_client_chose() -> None:
    chosen = Image(
        image_id=IMAGE_ID,
        status=Status.QUEUED,
        conversion_status=ConversionStatus.SKIPPED,
        created_at_ms=1,
        updated_at_ms=1,
        outputs=(Output.PREDICTIONS,),
    )
    assert [output for output in Output if chosen.wants(output)] == [Output.PREDICTIONS]


def test_new_ids_are_ids_and_never_the_same() -> None:
    ids = {new_image_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(is_image_id(image_id) for image_id in ids)


def test_an_id_is_random_in_all_of_its_122_bits() -> None:
    """Nobody gets from an id, a time or a machine to the next one."""
    ids = [uuid.UUID(new_image_id()) for _ in range(2_000)]
    assert {image_id.version for image_id in ids} == {4}
    counts = [sum(image_id.int >> bit & 1 for image_id in ids) for bit in range(128)]
    # 6 bits say which kind of id it is. The others are 1 in half of them, give or take 6 sigma.
    assert sum(count in {0, len(ids)} for count in counts) == 6
    assert sum(abs(count - 1_000) < 135 for count in counts) == 122


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cat",
        IMAGE_ID.upper(),
        IMAGE_ID + "\n",
        " " + IMAGE_ID,
        IMAGE_ID.replace("-", ""),
        IMAGE_ID.replace("-4", "-1"),
        IMAGE_ID.replace("-8", "-7"),
        "../" + IMAGE_ID,
        IMAGE_ID[:-1] + "g",
        IMAGE_ID[:-1] + "٣",
    ],
)
def test_what_is_not_exactly_an_id_is_none(text: str) -> None:
    assert not is_image_id(text)


def test_the_same_object_version_always_has_the_same_id() -> None:
    first = image_id_of_object("bucket", "uploads/cat.jpg", "v1")
    assert first == image_id_of_object("bucket", "uploads/cat.jpg", "v1")
    assert is_image_id(first)


def test_another_bucket_key_or_version_has_another_id() -> None:
    ids = {
        image_id_of_object(bucket, key, generation)
        for bucket in ("a", "b")
        for key in ("uploads/x/cat.jpg", "uploads/y/cat.png", "uploads/x/cat.JPG")
        for generation in ("v1", "v2")
    }
    assert len(ids) == 12


def test_an_upload_link_leads_to_a_key_that_gives_the_id_back() -> None:
    assert source_key(IMAGE_ID) == f"uploads/{IMAGE_ID}/source"
    assert image_id_of_key(source_key(IMAGE_ID)) == IMAGE_ID


@pytest.mark.parametrize(
    "key",
    [
        "",
        "uploads/",
        "uploads/cat.jpg",
        f"uploads/{IMAGE_ID}",
        f"uploads/{IMAGE_ID}/",
        f"uploads/{IMAGE_ID}/source/",
        f"uploads/{IMAGE_ID}/source.jpg",
        f"uploads/{IMAGE_ID}/../source",
        f"uploads//{IMAGE_ID}/source",
        f"/uploads/{IMAGE_ID}/source",
        f"processed/{IMAGE_ID}/source",
        "uploads/not-an-id/source",
        f"uploads/{IMAGE_ID.upper()}/source",
    ],
)
def test_a_key_that_no_link_leads_to_has_no_id(key: str) -> None:
    assert image_id_of_key(key) is None


def test_everything_made_of_an_image_lies_under_its_derived_prefixes() -> None:
    made = [model_input_key(IMAGE_ID, "v1", "r"), results_key(IMAGE_ID, "v1", "m@1")]
    assert all(key.startswith(derived_prefixes(IMAGE_ID)) for key in made)


def test_no_derived_prefix_touches_another_image_or_the_original() -> None:
    for prefix in derived_prefixes(IMAGE_ID):
        assert prefix.endswith(f"/{IMAGE_ID}/")
        assert not source_key(IMAGE_ID).startswith(prefix)


def test_two_generations_never_share_a_key() -> None:
    assert model_input_key(IMAGE_ID, "v1", "r") != model_input_key(IMAGE_ID, "v2", "r")
    assert results_key(IMAGE_ID, "v1", "m@1") != results_key(IMAGE_ID, "v2", "m@1")


def test_two_models_never_share_a_key_of_what_is_made_for_them() -> None:
    assert model_input_key(IMAGE_ID, "v1", "r") != model_input_key(IMAGE_ID, "v1", "s")
    assert results_key(IMAGE_ID, "v1", "m@1") != results_key(IMAGE_ID, "v1", "m@2")


def test_an_images_shard_stays_the_same() -> None:
    # The check value of CRC-32. Rows were written under it: another hash would lose them.
    crc32_of_digits = 0xCBF43926
    for shards in (1, 2, 4, 7, 1000):
        assert shard_of("123456789", shards) == crc32_of_digits % shards


def test_images_spread_evenly_over_the_shards() -> None:
    counts = [0] * 4
    for number in range(4000):
        counts[shard_of(image_id_of_object("b", str(number), "v"), 4)] += 1
    assert min(counts) > 800


def test_the_reason_for_an_unusable_input_says_what_to_do() -> None:
    assert re.fullmatch(r"[A-Z].*retry.*\.", INPUT_UNUSABLE.message)
