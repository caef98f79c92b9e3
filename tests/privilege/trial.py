"""A stage in memory, and one function of it at a time under a policy.

Each call of the function is judged on its way out, and one that is denied never gets there.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import httpx
from botocore.exceptions import ClientError
from chalice.test import Client

import app as app_module
from chalicelib.aws.clients import Clients
from chalicelib.clock import now_ms
from chalicelib.container import Container
from chalicelib.images import ConversionStatus, Image, Source, Status, new_image_id, source_key
from chalicelib.settings import APP_NAME, LOCAL_STAGE, Settings
from infrastructure.template import config, resources_of
from local.aws import ACCOUNT, REGION
from tests.handlers.events import sqs_event
from tests.privilege.in_memory import InMemoryAws
from tests.privilege.permissions import asked, asked_by_link, asked_if_missing, copied_from
from tests.privilege.policy import STAGE, Policy, Request
from tests.unit.pipeline.world import PHOTO

MAIL_DOMAIN = "darkroom.example"
# What the template tells the functions, beside what `.chalice/config.json` does.
SAID_BY_THE_TEMPLATE = {
    "UPLOADS_BUCKET": f"{APP_NAME}-{STAGE}-uploads-{ACCOUNT}",
    "RENDITIONS_BUCKET": f"{APP_NAME}-{STAGE}-renditions-{ACCOUNT}",
    "MAIL_FROM": f"Darkroom <parcels@{MAIL_DOMAIN}>",
    "MAIL_CONFIGURATION_SET": f"{APP_NAME}-{STAGE}-mail",
    "PUBLIC_URL": "https://api.example/api",
    "IMAGE_EVENTS_TOPIC": f"arn:aws:sns:{REGION}:{ACCOUNT}:{APP_NAME}-{STAGE}-image-events",
}
_MISSING = {"NoSuchKey", "NoSuchVersion", "404"}


@dataclass(kw_only=True)
class Guard:
    """Judges each call of a function's clients.

    Attributes:
        policy: What it judges by; None lets everything through.
        asked: All that was asked for, in order.
        denied: What was denied of it.
        failing: The one operation that AWS does not answer, though it is allowed.
        meanwhile: What others do right before the next call of an operation that names something.
    """

    policy: Policy | None = None
    asked: list[Request] = field(default_factory=list)
    denied: list[Request] = field(default_factory=list)
    failing: str | None = None
    meanwhile: dict[tuple[str, str], Callable[[], None]] = field(default_factory=dict)

    def watch(self, clients: Clients) -> Clients:
        """Stand in front of all clients that are made from now on."""
        events = clients._session.events
        events.register("before-parameter-build", self._remember)
        events.register("before-call", self._before)
        for operation in ("GetObject", "CopyObject"):
            events.register(f"after-call.s3.{operation}", self._after_get)
        return clients

    def judge(self, request: Request, operation: str) -> None:
        """Raise what AWS answers where the policy does not allow it."""
        if self.policy is None:
            return
        self.asked.append(request)
        if not self.policy.allows(request):
            self.denied.append(request)
            raise _refusal("AccessDenied", operation)

    def _remember(self, *, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        # Links are signed without a call: they are judged when they are used.
        context["parameters"] = params

    def _before(self, *, model: Any, context: dict[str, Any], **_: Any) -> None:
        service = str(model.service_model.service_name)
        for request in asked(service, model.name, context["parameters"]):
            self.judge(request, model.name)
        if model.name == self.failing:
            raise _refusal("ServiceUnavailable", model.name)
        for operation, name in list(self.meanwhile):
            if operation == model.name and name in str(context["parameters"]):
                self.meanwhile.pop((operation, name))()

    def _after_get(self, *, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if parsed.get("Error", {}).get("Code") in _MISSING:
            parameters = context["parameters"]
            copied = "CopySource" in parameters
            bucket = copied_from(parameters).partition("/")[0] if copied else parameters["Bucket"]
            self.judge(asked_if_missing(bucket), "GetObject")


def _refusal(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "Made by a test."}}, operation)


class Stage:
    """Tables, buckets, queues and parameters as the template names them."""

    def __init__(self) -> None:
        self.aws = InMemoryAws()
        self.environ = {
            **config()["stages"][STAGE]["environment_variables"],
            **SAID_BY_THE_TEMPLATE,
            # More of them are more calls, and no others.
            "INDEX_SHARDS": "1",
        }
        self.settings = Settings.from_environ(self.environ)
        for resource in resources_of(STAGE)["Resources"].values():
            self._make(str(resource.get("Type")), resource.get("Properties", {}))
        self.admin("sesv2").create_email_identity(EmailIdentity=MAIL_DOMAIN)
        # Not the defaults, so that whoever could not read them shows it.
        self.admin("ssm").put_parameter(
            Name=self.settings.config_parameter,
            Value=json.dumps({"max_batch_updates": 2, "stuck_parcel_days": 2}),
            Overwrite=True,
        )
        self.guard = Guard()
        self.guarded = self.guard.watch(self._clients())
        self.owners = self._clients()

    def admin(self, service: str) -> Any:
        """A client that may do everything."""
        if service not in self._admins:
            self._admins[service] = self.aws.client(service)
        return self._admins[service]

    @cached_property
    def http(self) -> Client:
        """Asks the app as API Gateway does."""
        return Client(app_module.app, stage_name=LOCAL_STAGE)

    def container(self, clients: Clients, **environ: str) -> Container:
        """A process's parts, over clients that were made before: those take longest."""
        container = Container({**self.environ, **environ})
        vars(container)["clients"] = clients
        return container

    @cached_property
    def _admins(self) -> dict[str, Any]:
        return {}

    def _clients(self) -> Clients:
        clients = Clients(replace(self.settings, stage=LOCAL_STAGE))
        self.aws.serve(clients._session)
        return clients

    def _make(self, kind: str, properties: Mapping[str, Any]) -> None:
        def name(key: str) -> str:
            text: str = properties[key]["Fn::Sub"]
            return text.replace("${Stage}", STAGE).replace("${AWS::AccountId}", ACCOUNT)

        match kind:
            case "AWS::DynamoDB::Table":
                self.admin("dynamodb").create_table(
                    TableName=name("TableName"),
                    **{
                        key: properties[key]
                        for key in (
                            *("KeySchema", "AttributeDefinitions", "BillingMode"),
                            "GlobalSecondaryIndexes",
                        )
                        if key in properties
                    },
                )
            case "AWS::S3::Bucket":
                self.admin("s3").create_bucket(Bucket=name("BucketName"))
                if versioning := properties.get("VersioningConfiguration"):
                    self.admin("s3").put_bucket_versioning(
                        Bucket=name("BucketName"), VersioningConfiguration=versioning
                    )
            case "AWS::SQS::Queue":
                # Nothing that was received comes back by itself.
                attributes = {"VisibilityTimeout": "36000"}
                self.admin("sqs").create_queue(QueueName=name("QueueName"), Attributes=attributes)
            case "AWS::SSM::Parameter":
                self.admin("ssm").put_parameter(
                    Name=name("Name"), Value=properties["Value"], Type=properties["Type"]
                )
            case "AWS::SNS::Topic":
                self.admin("sns").create_topic(Name=name("TopicName"))
            case "AWS::SES::ConfigurationSet":
                self.admin("sesv2").create_configuration_set(ConfigurationSetName=name("Name"))


@cache
def the_stage() -> Stage:
    """The one that there can be in a process: what is in it is kept in the emulator's modules."""
    return Stage()


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One walk of a function along a path.

    Attributes:
        stage: Where.
        function: Which.
        policy: What it may do in it.
    """

    stage: Stage
    function: str
    policy: Policy

    # --- The function -----------------------------------------------------------------------

    def run(self, event: Mapping[str, Any], **environ: str) -> None:
        """Let a new process of the function work on an event; raises what it raises."""
        handler = getattr(app_module, self.function)
        with self._under_its_policy(**environ):
            handler(dict(event), None)

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Any = b"",
        key: str | None = None,
        content_type: str = "application/json",
        expect: int | None = None,
        **environ: str,
    ) -> Any:
        """Let a new process of the API answer; the body. Fails for another status than expected."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": content_type} if raw else {}
        if key is not None:
            headers["Idempotency-Key"] = key
        with self._under_its_policy(**environ):
            answer = self.stage.http.http.request(method, path, headers=headers, body=raw)
        wanted = expect or {"POST": 201, "DELETE": 204}.get(method, 200)
        assert answer.status_code == wanted, answer.body
        return json.loads(answer.body) if answer.body.startswith(b"{") else answer.body

    def open(self, url: str, method: str = "GET", **content: Any) -> bytes:
        """Use a link that the function signed."""
        with self._under_its_policy():
            self.stage.guard.judge(asked_by_link(method, url), method)
        return self._sent(httpx.Request(method, url, **content))

    def send_form(self, form: Mapping[str, Any], body: bytes) -> None:
        """Send a form that the function signed."""
        with self._under_its_policy():
            link = f"{form['url'].rstrip('/')}/{form['fields']['key']}"
            self.stage.guard.judge(asked_by_link("POST", link), "PostObject")
        files = {"file": body}
        self._sent(httpx.Request("POST", form["url"], data=form["fields"], files=files))

    def _sent(self, request: httpx.Request) -> bytes:
        """What a client is answered who knows nothing but a link."""
        status, _, body = self.stage.aws.request(
            request.method, str(request.url), dict(request.headers), request.read()
        )
        assert 200 <= status < 300, body
        return body

    @contextmanager
    def failing(self, operation: str) -> Iterator[None]:
        """AWS does not answer one operation, until the block ends."""
        self.stage.guard.failing = operation
        try:
            yield
        finally:
            self.stage.guard.failing = None

    def meanwhile(self, operation: str, name: str, others: Callable[[], None]) -> None:
        """Let others do something right before the function's next call of an operation for it."""
        self.stage.guard.meanwhile[operation, name] = others

    def went_through(self, action: str) -> bool:
        """Whether the function asked for it and got it, for what nobody sees the effect of."""
        of_it = [request for request in self.stage.guard.asked if request.action == action]
        return bool(of_it) and not set(map(str, of_it)) & set(map(str, self.stage.guard.denied))

    @contextmanager
    def _under_its_policy(self, **environ: str) -> Iterator[None]:
        before = app_module.container
        app_module.container = self.stage.container(self.stage.guarded, **environ)
        self.stage.guard.policy = self.policy
        try:
            yield
        finally:
            self.stage.guard.meanwhile.clear()
            self.stage.guard.policy = None
            app_module.container = before

    # --- Everything around it ---------------------------------------------------------------

    @cached_property
    def owner(self) -> Container:
        """The same stage, with all rights."""
        return self.stage.container(self.stage.owners)

    def upload(self, image_id: str | None = None, *, body: bytes = PHOTO) -> tuple[str, str]:
        """An original; the image's id, and its version."""
        image_id = image_id or new_image_id()
        version = self.owner.uploads.put(source_key(image_id), body, content_type="image/jpeg")
        assert version is not None
        return image_id, version

    def image(
        self,
        status: Status = Status.QUEUED,
        conversion: ConversionStatus = ConversionStatus.PENDING,
        *,
        age_seconds: int = 0,
        body: bytes = PHOTO,
        **facts: Any,
    ) -> Image:
        """An image that was uploaded and stands at this status, for so long."""
        image_id, version = self.upload(body=body)
        at_ms = now_ms() - age_seconds * 1000
        image = Image(
            **{
                "image_id": image_id,
                "status": status,
                "conversion_status": conversion,
                "created_at_ms": at_ms,
                "updated_at_ms": at_ms,
                "generation": version,
                "source": Source(key=source_key(image_id), version_id=version),
                **facts,
            }
        )
        self.owner.images.create(image)
        return image

    def row(self, image: Image) -> Image:
        """An image as it stands now."""
        return self.owner.images.get(image.image_id)

    def received(self, queue: str, *bodies: str) -> dict[str, Any]:
        """The event of messages that were received from a queue, and wait for what becomes of them."""
        sqs = self.stage.admin("sqs")
        url = sqs.get_queue_url(QueueName=f"{APP_NAME}-{STAGE}-{queue}")["QueueUrl"]
        sqs.purge_queue(QueueUrl=url)
        for body in bodies:
            sqs.send_message(QueueUrl=url, MessageBody=body)
        event = sqs_event(bodies)
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
        handles = {message["Body"]: message["ReceiptHandle"] for message in messages}
        for record in event["Records"]:
            record["receiptHandle"] = handles[record["body"]]
        return event

    def sent(self, queue: str) -> list[str]:
        """The bodies of all messages that a queue holds, which are gone then."""
        sqs = self.stage.admin("sqs")
        url = sqs.get_queue_url(QueueName=f"{APP_NAME}-{STAGE}-{queue}")["QueueUrl"]
        bodies: list[str] = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            bodies += [message["Body"] for message in messages]
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return bodies

    def delayed(self, queue: str) -> int:
        """How many messages of a queue are not to be seen yet."""
        sqs = self.stage.admin("sqs")
        url = sqs.get_queue_url(QueueName=f"{APP_NAME}-{STAGE}-{queue}")["QueueUrl"]
        name = "ApproximateNumberOfMessagesDelayed"
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
        return int(answer["Attributes"][name])

    def keys(self, bucket: str, part: str) -> list[str]:
        """The keys of a bucket, in any version, that have this in them."""
        pages = self.stage.admin("s3").get_paginator("list_object_versions")
        return [
            entry["Key"]
            for page in pages.paginate(Bucket=bucket)
            for entry in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
            if part in entry["Key"]
        ]
