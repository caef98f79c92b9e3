import inspect
import re

import pytest

from chalicelib import errors
from chalicelib.errors import (
    AddressRejected,
    AnnouncementInProgress,
    BodyTooLarge,
    DarkroomError,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    ImageExists,
    ImageNotFound,
    ImageRejected,
    InvalidCursor,
    InvalidRequest,
    MailOutcomeUnknown,
    MailRefused,
    MessageRejected,
    MethodNotAllowed,
    ModelError,
    ModelInputMismatch,
    NotificationInProgress,
    NotRetryable,
    ObjectMissing,
    QuotaExceeded,
    RouteNotFound,
    ServiceUnavailable,
    SettingsError,
    Superseded,
    UnsupportedMediaType,
)

CLASSES = {
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, DarkroomError)
}
# One of each, its status and its code.
EXAMPLES: list[tuple[DarkroomError, int, str]] = [
    (InvalidRequest("The field x is missing."), 400, "invalid_request"),
    (InvalidCursor(), 400, "invalid_cursor"),
    (ImageNotFound("an-id"), 404, "image_not_found"),
    (RouteNotFound(), 404, "not_found"),
    (MethodNotAllowed("GET"), 405, "method_not_allowed"),
    (NotRetryable("completed"), 409, "not_retryable"),
    (IdempotencyKeyReused(), 409, "idempotency_key_reused"),
    (IdempotencyInProgress(3), 409, "idempotency_in_progress"),
    (BodyTooLarge(6_000_000, 5_242_880), 413, "image_too_large"),
    (UnsupportedMediaType("The body is no image."), 415, "unsupported_media_type"),
    (QuotaExceeded(3, requests=100, seconds=3600), 429, "quota_exceeded"),
    (ImageRejected("image_truncated", "The end is missing."), 422, "image_truncated"),
    (MessageRejected("The message could not be read."), 500, "message_unreadable"),
    (Superseded("attempt 1 of 2"), 500, "superseded"),
    (AddressRejected(), 500, "recipient_invalid"),
    (MailRefused("MessageRejected"), 500, "mail_refused"),
    (MailOutcomeUnknown("read timeout"), 500, "outcome_unknown"),
    (NotificationInProgress("PX-1#2"), 500, "notification_in_progress"),
    (AnnouncementInProgress("0123"), 500, "announcement_in_progress"),
    (ImageExists("an-id"), 500, "image_exists"),
    (ObjectMissing("uploads/x"), 500, "object_missing"),
    (ModelInputMismatch("The prepared image is no PPM."), 500, "model_input_unusable"),
    (ModelError("The field name is missing."), 500, "model_unusable"),
    (SettingsError("STAGE is not set."), 500, "misconfigured"),
    (ServiceUnavailable("throttled"), 503, "service_unavailable"),
]
examples = pytest.mark.parametrize(
    ("error", "status", "code"), EXAMPLES, ids=[type(error).__name__ for error, *_ in EXAMPLES]
)


@examples
def test_every_error_has_its_status_and_code(error: DarkroomError, status: int, code: str) -> None:
    assert (error.status, error.code) == (status, code)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)


@examples
def test_every_error_has_a_sentence_for_people(
    error: DarkroomError, status: int, code: str
) -> None:
    assert error.public_message[0].isupper()
    assert error.public_message.endswith(".")


def test_there_is_an_example_of_every_error_that_is_raised() -> None:
    bases = {DarkroomError, errors.RequestError}
    assert {type(error) for error, *_ in EXAMPLES} == CLASSES - bases


def test_no_two_errors_share_a_code() -> None:
    codes = [code for _, _, code in EXAMPLES]
    assert len(codes) == len(set(codes))


def test_the_tree_at_the_top_lists_every_error_under_its_base() -> None:
    drawn: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"(\W*)([A-Z]\w+)", line)
        if match is None or not (match[2] == "DarkroomError" or "── " in match[1]):
            continue
        depth, name = len(match[1]), match[2]
        while above and above[-1][0] >= depth:
            above.pop()
        drawn[name] = above[-1][1] if above else None
        above.append((depth, name))
    expected = {
        cls.__name__: None if cls is DarkroomError else cls.__bases__[0].__name__ for cls in CLASSES
    }
    assert drawn == expected


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [example for example in EXAMPLES if isinstance(example[0], errors.RequestError)],
)
def test_the_tree_shows_what_clients_get(error: DarkroomError, status: int, code: str) -> None:
    line = rf"── {type(error).__name__} +{status} {code}\n"
    assert re.search(line, errors.__doc__ or "")


def test_only_an_outage_and_what_another_process_holds_may_pass_with_time() -> None:
    passing = {type(error) for error, *_ in EXAMPLES if error.transient}
    assert passing == {ServiceUnavailable, NotificationInProgress, AnnouncementInProgress}


def test_what_goes_to_the_log_stays_out_of_the_public_sentence() -> None:
    for error in (ServiceUnavailable("secret-table"), ObjectMissing("secret-key")):
        assert "secret" in str(error)
        assert "secret" not in error.public_message


def test_an_id_that_was_not_found_is_escaped_in_the_log_and_not_repeated_to_the_client() -> None:
    error = ImageNotFound("x\r\nforged line")
    assert "\n" not in str(error)
    assert "forged" not in error.public_message


def test_a_refused_method_names_the_ones_that_are_taken() -> None:
    error = MethodNotAllowed("GET, POST")
    assert error.headers == {"Allow": "GET, POST"}
    assert "GET, POST" in error.public_message


def test_who_has_to_wait_is_told_how_long() -> None:
    assert IdempotencyInProgress(3).headers == {"Retry-After": "3"}
    assert ServiceUnavailable("x").headers == {"Retry-After": "5"}


def test_a_body_that_is_too_large_is_told_the_sizes_and_the_other_way() -> None:
    message = BodyTooLarge(6_000_000, 5_242_880).public_message
    assert "6000000" in message
    assert "5242880" in message
    assert "upload link" in message


def test_superseded_tells_whether_the_image_is_gone() -> None:
    assert Superseded("deleted", gone=True).gone
    assert not Superseded("overtaken").gone
