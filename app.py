"""Darkroom: every trigger of the service, one handler each, one call each.

All decorators stand here: event handlers on a Blueprint bypass the app's
middleware (aws/chalice#1566). The logic is in `chalicelib`.
"""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from chalice.app import (
    Chalice,
    CloudWatchEvent,
    CORSConfig,
    DynamoDBEvent,
    EventSourceHandler,
    IAMAuthorizer,
    Rate,
    Response,
    S3Event,
    SQSEvent,
)
from chalice.app import Request as ChaliceRequest

from chalicelib import telemetry
from chalicelib.api.callers import caller_of
from chalicelib.api.http import Answer, Request, error_answer, framework_refusal
from chalicelib.container import Container
from chalicelib.errors import DarkroomError, InvalidRequest, RouteNotFound
from chalicelib.images import UPLOAD_PREFIX, ConversionStatus, Status
from chalicelib.imaging.signature import ACCEPTED_TYPES
from chalicelib.settings import APP_NAME, LOCAL_STAGE, resource_name

STAGE = os.environ.get("STAGE", LOCAL_STAGE)

if (
    os.environ.get("AWS_CHALICE_CLI_MODE") == "true"
    and STAGE != LOCAL_STAGE
    and not {"UPLOADS_BUCKET", "DARKROOM_PACKAGING"} & set(os.environ)
):
    # Chalice would make half of it before it finds no bucket.
    sys.exit(
        f"A stage is deployed from a folder of its own: make resources STAGE={STAGE}, then "
        f".venv/bin/chalice --project-dir build/{STAGE}-chalice deploy --stage {STAGE}"
    )

container = Container()
# Lambda gives a new process a whole processor while it imports this, and a fraction of one later.
container.warm_up()

# Under `chalice deploy` this is the name of the API, by which alarms and dashboard find it.
app = Chalice(app_name=f"{APP_NAME}-{STAGE}", configure_logs=False)
# What Chalice would say of an exception is said by `respond`, as a JSON line.
app.log = logging.getLogger("chalice.silenced")
app.log.disabled = True
CORS = CORSConfig(
    allow_origin=os.environ.get("ALLOWED_ORIGIN", "*"),
    allow_headers=["Idempotency-Key"],
    expose_headers=["Idempotent-Replayed", "Location", "Retry-After"],
    max_age=600,
)
app.api.cors = CORS
app.api.binary_types.extend(t for t in ACCEPTED_TYPES if t not in app.api.binary_types)


# --- Images ---------------------------------------------------------------------------------


@app.route("/images", methods=["POST"], content_types=["*/*"])
def create_image() -> Response:
    """A new image: with its bytes, or with a link to send them to."""
    return respond(lambda request: container.images_api.create(request))


@app.route("/images", methods=["GET"])
def list_images() -> Response:
    """A page of images, newest first."""
    return respond(lambda request: container.images_api.list_images(request))


@app.route("/images/{image_id}", methods=["GET"])
def get_image(image_id: str) -> Response:
    """One image."""
    return respond(lambda _: container.images_api.get(image_id))


@app.route("/images/{image_id}", methods=["DELETE"])
def delete_image(image_id: str) -> Response:
    """Remove an image and everything made from it."""
    return respond(lambda _: container.images_api.delete(image_id))


@app.route("/images/{image_id}/retry", methods=["POST"], content_types=["*/*"])
def retry_image(image_id: str) -> Response:
    """Take up a failed image again, or any that has ended with another model."""
    return respond(
        lambda request: container.images_api.retry(
            image_id, model=request.query.get("model"), caller=request.caller
        )
    )


# --- Parcels ----------------------------------------------------------------------------------


@app.route("/track", methods=["POST"], content_types=["*/*"], authorizer=IAMAuthorizer())
def track() -> Response:
    """An update of a parcel, or many."""
    return respond(lambda request: container.tracking_api.track(request))


@app.route("/status", methods=["GET"], authorizer=IAMAuthorizer())
def parcel_status() -> Response:
    """How a parcel stands, and a page of its history."""
    return respond(lambda request: container.tracking_api.status(request))


@app.schedule(Rate(5, unit=Rate.MINUTES), name="check")
def check(_: CloudWatchEvent) -> None:
    """What nobody waits for."""
    container.check()


# --- Notifications --------------------------------------------------------------------------


@app.route("/unsubscribe", methods=["GET"])
def unsubscribe_page() -> Response:
    """Ask before anything is changed: scanners follow links."""
    return respond(lambda request: container.unsubscribe_api.show(request))


@app.route("/unsubscribe", methods=["POST"], content_types=["*/*"])
def unsubscribe() -> Response:
    """No more e-mails."""
    return respond(lambda request: container.unsubscribe_api.unsubscribe(request))


# Chalice wants to know the stream when this is imported. The template puts the real one in its
# place; `chalice deploy` has no template, and takes it from its environment.
@app.on_dynamodb_record(
    stream_arn=os.environ.get(
        "TRACKING_STREAM_ARN",
        f"arn:aws:dynamodb:us-east-1:000000000000:table/{resource_name(STAGE, 'tracking')}"
        "/stream/set-by-the-template",
    ),
    batch_size=100,
    starting_position="TRIM_HORIZON",
    name="notify",
)
def notify(event: DynamoDBEvent) -> None:
    """Parcels were written."""
    container.notify(event.to_dict())


@app.on_sqs_message(queue=resource_name(STAGE, "notification"), batch_size=1, name="mail")
def mail(event: SQSEvent) -> None:
    """One e-mail each."""
    container.notification_batch.run(event.to_dict(), lambda: container.mail)


@app.on_sqs_message(
    queue=resource_name(STAGE, "notification-dead-letters"), batch_size=1, name="bury_notification"
)
def bury_notification(event: SQSEvent) -> None:
    """E-mails that could not be sent."""
    container.bury_notification(event.to_dict())


@app.on_sqs_message(queue=resource_name(STAGE, "mail-feedback"), batch_size=1, name="feedback")
def feedback(event: SQSEvent) -> None:
    """What SES hears of e-mails: bounces and complaints."""
    container.feedback(event.to_dict())


@app.on_sqs_message(
    queue=resource_name(STAGE, "mail-feedback-dead-letters"), batch_size=1, name="bury_feedback"
)
def bury_feedback(event: SQSEvent) -> None:
    """What SES said and nobody understood."""
    container.bury(event.to_dict(), step="feedback", failed_status=None)


# --- Service --------------------------------------------------------------------------------


@app.route("/dead-letters", methods=["GET"], authorizer=IAMAuthorizer())
def list_dead_letters() -> Response:
    """A page of what was given up."""
    return respond(lambda request: container.dead_letters_api.list_letters(request))


@app.route(
    "/dead-letters/redrive",
    methods=["POST"],
    content_types=["*/*"],
    authorizer=IAMAuthorizer(),
)
def redrive_dead_letters() -> Response:
    """Send back what was given up."""
    return respond(lambda request: container.dead_letters_api.redrive(request))


@app.route("/health", methods=["GET"])
def health() -> Response:
    """Whether everything that the service depends on answers."""
    return respond(lambda _: container.health_api.get())


@app.route("/", methods=["GET"])
def console() -> Response:
    """The page for people."""
    return respond(lambda _: container.console_api.get())


@app.route("/docs", methods=["GET"])
def reference() -> Response:
    """The API as a page that can be read."""
    return respond(lambda _: container.reference_api.get())


@app.route("/openapi.json", methods=["GET"])
def openapi() -> Response:
    """The API as a program reads it."""
    return respond(lambda _: container.openapi_api.get())


# --- Pipeline -------------------------------------------------------------------------------


class UploadEvent(S3Event):
    """An S3 event as it comes.

    Chalice's own reads the first record alone, and fails without one, as in S3's test event.
    """

    def _extract_attributes(self, event_dict: dict[str, Any]) -> None:
        pass


def on_upload(handler: Callable[[S3Event], None]) -> EventSourceHandler:
    """`@app.on_s3_event`, but for package time.

    `chalice package` cannot describe an S3 event in CloudFormation, so there the template in
    infrastructure/ does.
    """
    if os.environ.get("DARKROOM_PACKAGING") == "cloudformation":
        registered = app.lambda_function(name="ingest")(handler)
    else:
        registered = app.on_s3_event(
            bucket=os.environ.get("UPLOADS_BUCKET", resource_name(STAGE, "uploads")),
            events=["s3:ObjectCreated:*"],
            prefix=UPLOAD_PREFIX,
            name="ingest",
        )(handler)
    registered.event_class = UploadEvent
    result: EventSourceHandler = registered
    return result


@on_upload
def ingest(event: S3Event) -> None:
    """Objects were put into the uploads bucket."""
    container.ingest(event.to_dict())


@app.on_sqs_message(queue=resource_name(STAGE, "preprocessing"), batch_size=1, name="preprocess")
def preprocess(event: SQSEvent) -> None:
    """One image each: one that kills its process must take nobody with it."""
    container.preprocessing_batch.run(event.to_dict(), lambda: container.preprocess)


@app.on_sqs_message(
    queue=resource_name(STAGE, "inference"),
    batch_size=16,
    maximum_batching_window_in_seconds=1,
    name="infer",
)
def infer(event: SQSEvent) -> None:
    """Prepared images: known to be good, and cheaper together."""
    container.inference_batch.run_together(event.to_dict(), lambda: container.infer.together)


@app.on_sqs_message(queue=resource_name(STAGE, "conversion"), batch_size=1, name="optimise")
def optimise(event: SQSEvent) -> None:
    """Copies at full size, one image each: they take a hundred times as long as a prediction."""
    container.conversion_batch.run(event.to_dict(), lambda: container.convert)


# As of `notify`, the template puts the real stream in the place of this one.
@app.on_dynamodb_record(
    stream_arn=os.environ.get(
        "IMAGES_STREAM_ARN",
        f"arn:aws:dynamodb:us-east-1:000000000000:table/{resource_name(STAGE, 'images')}"
        "/stream/set-by-the-template",
    ),
    batch_size=100,
    starting_position="TRIM_HORIZON",
    name="announce",
)
def announce(event: DynamoDBEvent) -> None:
    """Rows of images were written."""
    container.announce(event.to_dict())


@app.on_sqs_message(
    queue=resource_name(STAGE, "ingest-dead-letters"), batch_size=1, name="bury_ingest"
)
def bury_ingest(event: SQSEvent) -> None:
    """S3 events that could not be taken in."""
    container.bury(event.to_dict(), step="ingest", failed_status=None)


@app.on_sqs_message(
    queue=resource_name(STAGE, "preprocessing-dead-letters"),
    batch_size=1,
    name="bury_preprocessing",
)
def bury_preprocessing(event: SQSEvent) -> None:
    """Images that could not be prepared."""
    container.bury(event.to_dict(), step="preprocess", failed_status=Status.PREPROCESSING_FAILED)


@app.on_sqs_message(
    queue=resource_name(STAGE, "inference-dead-letters"), batch_size=1, name="bury_inference"
)
def bury_inference(event: SQSEvent) -> None:
    """Images that no prediction could be made for."""
    container.bury(event.to_dict(), step="infer", failed_status=Status.INFERENCE_FAILED)


@app.on_sqs_message(
    queue=resource_name(STAGE, "conversion-dead-letters"), batch_size=1, name="bury_conversion"
)
def bury_conversion(event: SQSEvent) -> None:
    """Images whose copies at full size could not be made."""
    container.bury(event.to_dict(), step="optimise", failed_status=ConversionStatus.FAILED)


# --- HTTP in and out ------------------------------------------------------------------------


def respond(work: Callable[[Request], Answer]) -> Response:
    """Answer the current request, with errors in the one shape of the contract."""
    request = _request(app.current_request)
    try:
        answer = work(request)
    except DarkroomError as error:
        if error.status >= 500:
            telemetry.logger().exception("%s %s failed", request.method, request.path)
        answer = error_answer(error, request.request_id)
    except Exception:
        telemetry.logger().exception("%s %s failed", request.method, request.path)
        raise
    return _response(answer)


@app.middleware("http")
def one_error_shape(event: ChaliceRequest, get_response: Callable[[Any], Response]) -> Response:
    """Chalice's own refusals, and its answer to an exception, in our shape; CORS on all."""
    response = get_response(event)
    if isinstance(response.body, dict) and "Code" in response.body:
        response = _response(error_answer(_refusal(response), _request_id()))
    response.headers = {**CORS.get_access_control_headers(), **response.headers}
    return response


def _refusal(response: Response) -> DarkroomError:
    allowed = str(response.headers.get("Allow", ""))
    return framework_refusal(response.status_code, allowed=allowed)


def _request(request: ChaliceRequest | None) -> Request:
    if request is None:
        raise InvalidRequest("There is no request to answer.")
    raw_body = request.raw_body
    return Request(
        method=request.method,
        path=request.path,
        headers={name.lower(): value for name, value in request.headers.items()},
        query=dict(request.query_params or {}),
        body=raw_body.encode() if isinstance(raw_body, str) else raw_body,
        request_id=_request_id(),
        caller=caller_of(request.context),
    )


def _request_id() -> str:
    return str(getattr(app.lambda_context, "aws_request_id", "") or "")


def _response(answer: Answer) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if answer.body is not None:
        headers["Content-Type"] = "application/json; charset=utf-8"
    return Response(
        body=answer.text(), status_code=answer.status, headers={**headers, **answer.headers}
    )


# --- Paths that lead nowhere ------------------------------------------------------------------

# Deployed, API Gateway answers them, in our shape (GatewayResponses in infrastructure/). The
# gateway that `chalice local` imitates cannot be told to, so there they are routes.
if STAGE == LOCAL_STAGE and "DARKROOM_PACKAGING" not in os.environ:

    def no_such_route(**_: str) -> Response:
        """There is nothing here."""

        def refuse(_: Request) -> Answer:
            raise RouteNotFound

        return respond(refuse)

    for depth in range(1, 6):
        path = "/" + "/".join(f"{{part{number}}}" for number in range(depth))
        app.route(path, methods=["GET", "POST", "PUT", "PATCH", "DELETE"], content_types=["*/*"])(
            no_such_route
        )
