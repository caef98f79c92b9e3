"""A bucket: objects in and out, and links for clients."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chalicelib.aws.clients import error_code, translated
from chalicelib.errors import ObjectMissing, ServiceUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# What S3 calls the version of an object in a bucket that keeps none.
_NO_VERSION = "null"
_MISSING = {"NoSuchKey", "NoSuchVersion", "404", "NotFound"}


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object as it was read. ``content_type`` is only what its sender claimed."""

    body: bytes
    content_type: str


@dataclass(frozen=True, kw_only=True)
class ObjectVersion:
    """One version of an object. ``version_id`` is None where the bucket keeps no versions."""

    key: str
    version_id: str | None
    etag: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class UploadForm:
    """A presigned POST: where to send a form, and the fields that must stand in it."""

    url: str
    fields: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """One bucket.

    All methods raise `ServiceUnavailable` where S3 does not answer as it should.

    Args:
        s3: The client.
        bucket: The bucket's name.
        uploader: Signs upload links, where they go through another endpoint.
    """

    s3: "S3Client"
    bucket: str
    uploader: "S3Client | None" = None

    def get(self, key: str, *, version_id: str | None = None) -> StoredObject:
        """Read an object whole.

        Raises:
            ObjectMissing: There is no such object, or no such version of it.
        """
        with translated():
            try:
                answer = self.s3.get_object(
                    Bucket=self.bucket, Key=key, **_version_argument(version_id)
                )
            except ClientError as error:
                if error_code(error) in _MISSING:
                    raise ObjectMissing(key) from None
                raise
            return StoredObject(
                body=answer["Body"].read(), content_type=answer.get("ContentType", "")
            )

    def put(
        self, key: str, body: bytes, *, content_type: str, cache_control: str = "private"
    ) -> str | None:
        """Write an object, and return its version where the bucket keeps versions."""
        with translated():
            answer = self.s3.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body,
                ContentType=content_type,
                CacheControl=cache_control,
            )
        return answer.get("VersionId")

    def copy(self, key: str, target: str) -> None:
        """Copy an object within the bucket, with its type and what caches are told.

        Raises:
            ObjectMissing: There is no such object.
        """
        with translated():
            try:
                self.s3.copy_object(
                    Bucket=self.bucket,
                    Key=target,
                    CopySource={"Bucket": self.bucket, "Key": key},
                )
            except ClientError as error:
                if error_code(error) in _MISSING:
                    raise ObjectMissing(key) from None
                raise

    def delete(self, key: str, *, version_id: str | None = None) -> None:
        """Remove an object, or one version of it. One that is not there is no error."""
        with translated():
            self.s3.delete_object(Bucket=self.bucket, Key=key, **_version_argument(version_id))

    def delete_prefix(self, prefix: str) -> int:
        """Remove every version of every object under the prefix; how many there were."""
        removed = 0
        with translated():
            for page in self._version_pages(prefix):
                entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
                if not entries:
                    continue
                answer = self.s3.delete_objects(
                    Bucket=self.bucket,
                    Delete={
                        "Objects": [
                            {"Key": entry["Key"], "VersionId": entry["VersionId"]}
                            for entry in entries
                        ],
                        "Quiet": True,
                    },
                )
                # What could not be removed stands in an answer that is no error.
                if refused := answer.get("Errors"):
                    raise ServiceUnavailable(f"DeleteObjects: {refused[0]}")
                removed += len(entries)
        return removed

    def oldest_version(self, key: str) -> ObjectVersion | None:
        """The first version of an object that is still there, None where there is none."""
        found: list[Any] = []
        with translated():
            for page in self._version_pages(key):
                found += [entry for entry in page.get("Versions", []) if entry["Key"] == key]
        if not found:
            return None
        # S3 lists the versions of a key from the newest on, also where two are of one second.
        first = found[-1]
        version_id = str(first["VersionId"])
        return ObjectVersion(
            key=key,
            version_id=None if version_id == _NO_VERSION else version_id,
            etag=str(first["ETag"]).strip('"'),
            size_bytes=int(first["Size"]),
        )

    def keys(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """The keys of all current objects under the prefix, in order, read page by page.

        Args:
            prefix: What they begin with.
            after: Only those behind this key.
        """
        token: dict[str, Any] = {} if after is None else {"StartAfter": after}
        while True:
            with translated():
                page = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix, **token)
            yield from (entry["Key"] for entry in page.get("Contents", []))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def check(self) -> None:
        """Raise `ServiceUnavailable` unless the bucket is there and may be used."""
        with translated():
            self.s3.head_bucket(Bucket=self.bucket)

    def upload_form(
        self, key: str, *, content_type: str | None, max_bytes: int, expires_in: int
    ) -> UploadForm:
        """A presigned POST for exactly this key.

        Its policy bounds the size, and the content type to the given one or
        else to any ``image/`` type.
        """
        type_condition: list[str] | dict[str, str] = ["starts-with", "$Content-Type", "image/"]
        if content_type is not None:
            type_condition = {"Content-Type": content_type}
        # A form sent just as it was handed out must pass its own policy.
        form_fields = {"Content-Type": content_type or "image/*"}
        with translated():
            form = (self.uploader or self.s3).generate_presigned_post(
                self.bucket,
                key,
                Fields=form_fields,
                Conditions=[["content-length-range", 1, max_bytes], type_condition],
                ExpiresIn=expires_in,
            )
        return UploadForm(url=form["url"], fields=form["fields"])

    def upload_url(self, key: str, *, expires_in: int) -> str:
        """A presigned PUT for the key. S3 cannot bound its size; the pipeline does."""
        with translated():
            return (self.uploader or self.s3).generate_presigned_url(
                "put_object", Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=expires_in
            )

    def download_url(self, key: str, *, content_type: str, expires_in: int) -> str:
        """A presigned GET that a browser can open, answered with the given type."""
        with translated():
            return self.s3.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.bucket, "Key": key, "ResponseContentType": content_type},
                ExpiresIn=expires_in,
            )

    def _version_pages(self, prefix: str) -> Iterator[Any]:
        paginator = self.s3.get_paginator("list_object_versions")
        yield from paginator.paginate(Bucket=self.bucket, Prefix=prefix)


def _version_argument(version_id: str | None) -> Any:
    return {} if version_id is None else {"VersionId": version_id}
