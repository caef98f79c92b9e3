"""The indexes of the images table, which hold keys alone (docs/adr/0004)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from boto3.dynamodb.conditions import ConditionBase, Key

from chalicelib.aws.clients import translated
from chalicelib.images import ConversionStatus, Image, Status, shard_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

BY_STATUS_INDEX = "by_status"
BY_CREATION_INDEX = "by_creation"
BY_CONVERSION_INDEX = "by_conversion"
BY_CONTENT_INDEX = "by_content"


@dataclass(frozen=True, kw_only=True)
class ImageIndex:
    """Finds images without reading them.

    Args:
        table: The boto3 table.
        shards: Hash keys that each list is spread over.
    """

    table: "Table"
    shards: int

    def newest(
        self, *, status: Status | None, limit: int, before: str | None
    ) -> tuple[list[str], str | None]:
        """The ids of the newest images, and where the next ones begin.

        Args:
            status: Only images with this status, or all.
            limit: How many at most.
            before: What an earlier call returned, or None for the newest of all.

        Returns:
            The ids, and the place after the last of them, None at the end.

        Raises:
            ServiceUnavailable: DynamoDB does not answer as it should.
        """
        index = BY_CREATION_INDEX if status is None else BY_STATUS_INDEX
        attribute = "list_shard" if status is None else "status_shard"
        kind = "images" if status is None else status.value
        # Each shard yields the newest of its own; the newest of all are among them.
        keys: list[tuple[str, str]] = []
        for shard in range(self.shards):
            condition: ConditionBase = Key(attribute).eq(f"{kind}#{shard}")
            if before is not None:
                condition &= Key("creation_order").lt(before)
            with translated():
                answer = self.table.query(
                    IndexName=index,
                    KeyConditionExpression=condition,
                    ScanIndexForward=False,
                    Limit=limit + 1,
                )
            keys += [
                (str(item["creation_order"]), str(item["image_id"])) for item in answer["Items"]
            ]
        keys.sort(reverse=True)
        shown = keys[:limit]
        return [image_id for _, image_id in shown], shown[-1][0] if len(keys) > limit else None

    def oldest(
        self, status: Status | ConversionStatus, *, limit: int, after: str | None
    ) -> tuple[list[str], str | None]:
        """The ids of images with this status, shard by shard, in each the oldest first.

        Args:
            status: Of the predictions, or ``pending`` copies at full size.
            limit: How many at most.
            after: What an earlier call returned, or None for the beginning.

        Returns:
            The ids, and the place after the last of them, None at the end.

        Raises:
            ServiceUnavailable: DynamoDB does not answer as it should.
        """
        index, attribute = BY_STATUS_INDEX, "status_shard"
        if isinstance(status, ConversionStatus):
            index, attribute = BY_CONVERSION_INDEX, "conversion_shard"
        number, _, order = (after or "0 ").partition(" ")
        shard = int(number)
        condition: ConditionBase = Key(attribute).eq(f"{status}#{shard}")
        if order:
            condition &= Key("creation_order").gt(order)
        with translated():
            answer = self.table.query(
                IndexName=index, KeyConditionExpression=condition, Limit=limit
            )
        items = answer["Items"]
        found = [str(item["image_id"]) for item in items]
        if "LastEvaluatedKey" in answer:
            return found, f"{shard} {items[-1]['creation_order']!s}"
        return found, f"{shard + 1} " if shard + 1 < self.shards else None

    def with_content(self, sha256: str, *, limit: int) -> list[str]:
        """The ids of the newest images that were worked out of a file with this SHA-256.

        Raises:
            ServiceUnavailable: DynamoDB does not answer as it should.
        """
        with translated():
            answer = self.table.query(
                IndexName=BY_CONTENT_INDEX,
                KeyConditionExpression=Key("content_sha256").eq(sha256),
                ScanIndexForward=False,
                Limit=limit,
            )
        return [str(item["image_id"]) for item in answer["Items"]]

    def keys_of(self, image: Image) -> dict[str, str]:
        """What a new row needs to stand in the indexes."""
        shard = shard_of(image.image_id, self.shards)
        # Only while they are pending: the index holds nothing of what is done.
        pending = image.conversion_status is ConversionStatus.PENDING
        return ({"conversion_shard": self.conversion_shard(image.image_id)} if pending else {}) | {
            "status_shard": self.status_shard(image.image_id, image.status),
            "list_shard": f"images#{shard}",
            # Unique, so that it is a total order and a page can begin right after it.
            "creation_order": f"{image.created_at_ms:013d}#{image.image_id}",
        }

    def status_shard(self, image_id: str, status: Status) -> str:
        """The hash key of an image in the index by status."""
        return f"{status}#{shard_of(image_id, self.shards)}"

    def conversion_shard(self, image_id: str) -> str:
        """The hash key, in the index of copies that are to be made, of an image that has some."""
        return f"{ConversionStatus.PENDING}#{shard_of(image_id, self.shards)}"
