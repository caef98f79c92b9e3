"""What can go wrong, in one tree.

    DarkroomError
    ├── RequestError                 answered to a client, who has to change the request
    │   ├── InvalidRequest           400 invalid_request
    │   ├── InvalidCursor            400 invalid_cursor
    │   ├── ImageNotFound            404 image_not_found
    │   ├── RouteNotFound            404 not_found
    │   ├── MethodNotAllowed         405 method_not_allowed
    │   ├── NotRetryable             409 not_retryable
    │   ├── IdempotencyKeyReused     409 idempotency_key_reused
    │   ├── IdempotencyInProgress    409 idempotency_in_progress
    │   ├── BodyTooLarge             413 image_too_large
    │   ├── UnsupportedMediaType     415 unsupported_media_type
    │   └── QuotaExceeded            429 quota_exceeded
    ├── ImageRejected                the image itself is at fault; its code is shown in the record
    ├── MessageRejected              a queue message that no retry can heal
    ├── Superseded                   the work was done, overtaken or deleted meanwhile: drop it
    ├── AddressRejected              no e-mail is sent to this address, whatever is tried
    ├── MailRefused                  SES does not take this e-mail, whenever it is offered
    ├── MailOutcomeUnknown           SES may or may not have taken an e-mail
    ├── NotificationInProgress       another process is sending it at this moment
    ├── AnnouncementInProgress       another process is publishing it at this moment
    ├── ImageExists                  the record that was to be created is there already
    ├── ObjectMissing                the object that was to be read is gone
    ├── ModelInputMismatch           the prepared image is not of the size that the model wants
    ├── ModelError                   the model package is unusable; names the field
    ├── SettingsError                the environment is unusable; names every wrong variable
    └── ServiceUnavailable           503 service_unavailable: AWS did not answer; may pass with time

``str(error)`` is for the log. ``public_message`` is for people outside and
never carries a foreign library's words.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar


class DarkroomError(Exception):
    """Base of all errors that this service raises on purpose.

    Attributes:
        status: The HTTP status when the error reaches a client.
        code: A stable snake_case name that programs may branch on.
        transient: Whether the same work may succeed later.
        public_message: One sentence that a person can act on.
        headers: Extra HTTP headers of the answer.
    """

    status: ClassVar[int] = 500
    code: str = "internal_error"
    transient: ClassVar[bool] = False

    def __init__(self, public_message: str, *, detail: str = "") -> None:
        super().__init__(detail or public_message)
        self.public_message = public_message
        self.headers: Mapping[str, str] = {}


class RequestError(DarkroomError):
    """The client has to change the request."""

    status = 400


class InvalidRequest(RequestError):
    """A field, a parameter or the body as a whole is wrong.

    Args:
        problems: Each wrong field by its path with dots, and what is wrong with it.
    """

    code = "invalid_request"

    def __init__(self, public_message: str, *, problems: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(public_message)
        self.problems = tuple(problems)


class InvalidCursor(RequestError):
    """A page cursor was altered, or belongs to another query."""

    code = "invalid_cursor"

    def __init__(self) -> None:
        super().__init__(
            "The cursor is not one that this list gave out; start again without a cursor."
        )


class ImageNotFound(RequestError):
    """No image with this id, or it was deleted."""

    status = 404
    code = "image_not_found"

    def __init__(self, image_id: str) -> None:
        super().__init__("There is no image with this id.", detail=f"no image {image_id!r}")


class RouteNotFound(RequestError):
    """No route has this path."""

    status = 404
    code = "not_found"

    def __init__(self) -> None:
        super().__init__("There is nothing at this path; see the API's documentation.")


class MethodNotAllowed(RequestError):
    """The path exists, but not with this method."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"This path does not take that method; it takes: {allowed}.")
        self.headers = {"Allow": allowed}


class NotRetryable(RequestError):
    """A retry was asked for where nothing failed, or before the image has ended."""

    status = 409
    code = "not_retryable"

    def __init__(self, status: str) -> None:
        super().__init__(
            f"Only an image that ended with a failure can be retried; this one is {status}."
        )


class IdempotencyKeyReused(RequestError):
    """The Idempotency-Key was used before with another request."""

    status = 409
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used with another request in the last 24 hours; "
            "use a new key for a new request."
        )


class IdempotencyInProgress(RequestError):
    """The first request with this Idempotency-Key has not been answered yet."""

    status = 409
    code = "idempotency_in_progress"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(
            "The first request with this Idempotency-Key is still being worked on; "
            f"ask again in {retry_after_seconds} seconds."
        )
        self.headers = {"Retry-After": str(retry_after_seconds)}


class BodyTooLarge(RequestError):
    """The image in the body is over the limit for uploads through the API."""

    status = 413
    code = "image_too_large"

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"The image has {size_bytes} bytes, and {limit_bytes} may be sent through the API; "
            "use the upload link of POST /images for larger ones."
        )


class UnsupportedMediaType(RequestError):
    """The content is not of a type that is taken here."""

    status = 415
    code = "unsupported_media_type"


class QuotaExceeded(RequestError):
    """The caller has used up what it may ask for in this window of time.

    Args:
        retry_after_seconds: Until the next window begins.
        requests: The quota.
        seconds: Length of a window.
    """

    status = 429
    code = "quota_exceeded"

    def __init__(self, retry_after_seconds: int, *, requests: int, seconds: int) -> None:
        super().__init__(
            f"Each caller may make {requests} of these requests in {seconds} seconds, and yours "
            f"are used up; ask again in {retry_after_seconds} seconds."
        )
        self.headers = {"Retry-After": str(retry_after_seconds)}


class ImageRejected(DarkroomError):
    """The image itself is at fault, so that no retry can help.

    Args:
        code: One of the codes listed in ``docs/api.md``, for instance ``image_truncated``.
    """

    status = 422

    def __init__(self, code: str, public_message: str, *, detail: str = "") -> None:
        super().__init__(public_message, detail=detail)
        self.code = code


class MessageRejected(DarkroomError):
    """A queue message that cannot be read; it goes to the dead letters at its last receive."""

    code = "message_unreadable"


class Superseded(DarkroomError):
    """A message whose work was done, overtaken by a retry, or deleted meanwhile.

    Args:
        gone: Whether the image was deleted, so that what was just made must be removed again.
    """

    code = "superseded"

    def __init__(self, detail: str, *, gone: bool = False) -> None:
        super().__init__("The message no longer applies.", detail=detail)
        self.gone = gone


class AddressRejected(DarkroomError):
    """No address, or one that is not supported. The address itself is in no text."""

    code = "recipient_invalid"

    def __init__(self) -> None:
        super().__init__("This is no e-mail address that mail can be sent to.")


class MailRefused(DarkroomError):
    """SES refused this e-mail for what it is: another try would be refused too."""

    code = "mail_refused"

    def __init__(self, detail: str) -> None:
        super().__init__("The mail service refused the e-mail.", detail=detail)


class MailOutcomeUnknown(DarkroomError):
    """The call to SES broke off after it may have arrived. It must not be made again."""

    code = "outcome_unknown"

    def __init__(self, detail: str) -> None:
        super().__init__("Nobody knows whether the e-mail went out.", detail=detail)


class NotificationInProgress(DarkroomError):
    """Another process has marked the notification and may be calling SES at this moment."""

    code = "notification_in_progress"
    transient = True

    def __init__(self, notification_id: str) -> None:
        super().__init__("The e-mail is being sent.", detail=f"{notification_id!r} is being sent")


class AnnouncementInProgress(DarkroomError):
    """Another process has claimed the event and may be publishing it at this moment."""

    code = "announcement_in_progress"
    transient = True

    def __init__(self, event_id: str) -> None:
        super().__init__("The event is being published.", detail=f"{event_id!r} is being published")


class ImageExists(DarkroomError):
    """The record that was to be created is there already."""

    code = "image_exists"

    def __init__(self, image_id: str) -> None:
        super().__init__("This image is known already.", detail=f"image {image_id!r} exists")


class ObjectMissing(DarkroomError):
    """The object that was to be read is not, or no longer, in the bucket."""

    code = "object_missing"

    def __init__(self, key: str) -> None:
        super().__init__(
            "The uploaded file is no longer there; upload it again.", detail=f"no object {key!r}"
        )


class ModelInputMismatch(DarkroomError):
    """The prepared image is not what the model takes, for instance after a change of model."""

    code = "model_input_unusable"


class ModelError(DarkroomError):
    """The model package cannot be used; the text names the file and the field."""

    code = "model_unusable"


class SettingsError(DarkroomError):
    """The environment is not usable; the text names every wrong variable."""

    code = "misconfigured"


class ServiceUnavailable(DarkroomError):
    """AWS refused or did not answer; the same call may work later."""

    status = 503
    code = "service_unavailable"
    transient = True

    def __init__(self, detail: str) -> None:
        super().__init__("The service is busy or partly down; try again shortly.", detail=detail)
        self.headers = {"Retry-After": "5"}
