"""Both sides of each contract: the fakes, and the real classes on the local AWS."""

import uuid
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.aws.clients import Clients
from chalicelib.settings import LOCAL_STAGE, Settings
from local.aws import client
from local.places import Places

SHARDS = 4


class Edges:
    """Bare tables, buckets and queues on the local AWS, each with a name of its own."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._settings = Settings(
            stage=LOCAL_STAGE,
            uploads_bucket="unused",
            renditions_bucket="unused",
            images_table="unused",
            idempotency_table="unused",
            tracking_table="unused",
            flags_parameter="unused",
            config_parameter="unused",
            notifications_table="unused",
            suppressions_table="unused",
            notification_queue="unused",
            announcements_table="unused",
            preprocessing_queue="unused",
            inference_queue="unused",
            conversion_queue="unused",
            signing_secret_parameter="unused",
            aws_endpoint_url=places.aws_url,
        )
        self.clients = Clients(self._settings)

    def admin(self, service: str) -> Any:
        """A client that is not the one under test."""
        return client(self._places, service)

    def table_elsewhere(self, name: str) -> Any:
        """A table as another process sees it: behind a client of its own."""
        return Clients(self._settings).table(name)

    def clients_at(self, url: str) -> Clients:
        """The clients, for another service than the local AWS."""
        return Clients(replace(self._settings, aws_endpoint_url=url))

    @property
    def aws_url(self) -> str:
        """Where the local AWS answers."""
        return self._places.aws_url

    def notifications_table(self) -> str:
        """As ``NotificationsTable`` in infrastructure/resources.yaml."""
        name = unique("notifications")
        self.admin("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "notification_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "notification_id", "AttributeType": "S"}],
        )
        return name

    def announcements_table(self) -> str:
        """As ``AnnouncementsTable`` in infrastructure/resources.yaml."""
        name = unique("announcements")
        self.admin("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "event_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "event_id", "AttributeType": "S"}],
        )
        return name

    def suppressions_table(self) -> str:
        """As ``SuppressionsTable`` in infrastructure/resources.yaml."""
        name = unique("suppressions")
        self.admin("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[
                {"AttributeName": "address_hash", "KeyType": "HASH"},
                {"AttributeName": "scope", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "address_hash", "AttributeType": "S"},
                {"AttributeName": "scope", "AttributeType": "S"},
            ],
        )
        return name

    def images_table(self) -> str:
        """As ``ImagesTable`` in infrastructure/resources.yaml."""
        name = unique("images")
        self.admin("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "image_id", "KeyType": "HASH"}],
            AttributeDefinitions=[
                {"AttributeName": attribute, "AttributeType": "S"}
                for attribute in (
                    "image_id",
                    "status_shard",
                    "list_shard",
                    "conversion_shard",
                    "content_sha256",
                    "creation_order",
                )
            ],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": index,
                    "KeySchema": [
                        {"AttributeName": shard, "KeyType": "HASH"},
                        {"AttributeName": "creation_order", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
                for index, shard in (
                    ("by_creation", "list_shard"),
                    ("by_status", "status_shard"),
                    ("by_conversion", "conversion_shard"),
                    ("by_content", "content_sha256"),
                )
            ],
        )
        return name

    def idempotency_table(self) -> str:
        """As ``IdempotencyTable`` in infrastructure/resources.yaml."""
        name = unique("idempotency")
        self.admin("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "idempotency_key", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "idempotency_key", "AttributeType": "S"}],
        )
        return name

    def tracking_table(self) -> str:
        """As ``TrackingTable`` in infrastructure/resources.yaml."""
        name = unique("tracking")
        self.admin("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[
                {"AttributeName": "tracking_id", "KeyType": "HASH"},
                {"AttributeName": "timestamp", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "tracking_id", "AttributeType": "S"},
                {"AttributeName": "timestamp", "AttributeType": "N"},
                {"AttributeName": "status_shard", "AttributeType": "S"},
                {"AttributeName": "last_update_at", "AttributeType": "N"},
            ],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by_status",
                    "KeySchema": [
                        {"AttributeName": "status_shard", "KeyType": "HASH"},
                        {"AttributeName": "last_update_at", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        return name

    def bucket(self, *, versioned: bool) -> str:
        """An empty bucket."""
        name = unique("bucket")
        s3 = self.admin("s3")
        s3.create_bucket(Bucket=name)
        if versioned:
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def queue(self) -> str:
        """An empty queue."""
        name = unique("queue")
        self.admin("sqs").create_queue(QueueName=name, Attributes={"VisibilityTimeout": "600"})
        return name


def unique(kind: str) -> str:
    """A name that nothing has yet."""
    return f"contract-{kind}-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def edges(local_aws: Places) -> Edges:
    return Edges(local_aws)


@pytest.fixture(params=["fake", "real"])
def side(request: pytest.FixtureRequest) -> str:
    """Which of the two sides the test runs against."""
    return str(request.param)
