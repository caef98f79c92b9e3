"""Buckets, on the fake and on S3; and the links that only S3 can honour."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from chalicelib.aws.object_store import ObjectStore, UploadForm
from chalicelib.errors import ObjectMissing, ServiceUnavailable
from tests.contract.conftest import Edges
from tests.fakes import FakeObjectStore

KEY = "uploads/an-id/source"


@pytest.fixture
def store(side: str, request: pytest.FixtureRequest) -> ObjectStore:
    """A bucket that keeps versions."""
    if side == "fake":
        return FakeObjectStore()
    edges: Edges = request.getfixturevalue("edges")
    return ObjectStore(s3=edges.clients.s3, bucket=edges.bucket(versioned=True))


@pytest.fixture
def plain_store(side: str, request: pytest.FixtureRequest) -> ObjectStore:
    """A bucket that keeps none."""
    if side == "fake":
        return FakeObjectStore(versioned=False)
    edges: Edges = request.getfixturevalue("edges")
    return ObjectStore(s3=edges.clients.s3, bucket=edges.bucket(versioned=False))


@pytest.mark.parametrize(
    "key", [KEY, "uploads/a b+c.JPG", "uploads/ümläut ✓/%2F.png", "uploads/folder/"]
)
def test_an_object_comes_back_as_it_was_put(store: ObjectStore, key: str) -> None:
    store.put(key, b"\x00\xffbytes", content_type="image/png")
    stored = store.get(key)
    assert (stored.body, stored.content_type) == (b"\x00\xffbytes", "image/png")


def test_every_version_is_read_by_its_own_id(store: ObjectStore) -> None:
    first = store.put(KEY, b"one", content_type="image/png")
    second = store.put(KEY, b"second", content_type="image/jpeg")
    assert first is not None
    assert first != second
    assert store.get(KEY).body == b"second"
    assert store.get(KEY, version_id=first).body == b"one"


def test_a_bucket_without_versions_gives_none_and_keeps_the_last(plain_store: ObjectStore) -> None:
    assert plain_store.put(KEY, b"one", content_type="image/png") is None
    assert plain_store.put(KEY, b"second", content_type="image/png") is None
    assert plain_store.get(KEY).body == b"second"
    plain_store.delete(KEY)
    with pytest.raises(ObjectMissing):
        plain_store.get(KEY)


def test_what_is_not_there_is_missing(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissing):
        store.get(KEY)
    version_id = store.put(KEY, b"one", content_type="image/png")
    assert version_id is not None
    store.delete(KEY, version_id=version_id)
    with pytest.raises(ObjectMissing):
        store.get(KEY, version_id=version_id)


def test_deleting_without_a_version_hides_the_object_and_keeps_its_versions(
    store: ObjectStore,
) -> None:
    version_id = store.put(KEY, b"one", content_type="image/png")
    store.delete(KEY)
    with pytest.raises(ObjectMissing):
        store.get(KEY)
    assert store.get(KEY, version_id=version_id).body == b"one"


def test_deleting_one_version_leaves_the_others(store: ObjectStore) -> None:
    first = store.put(KEY, b"one", content_type="image/png")
    second = store.put(KEY, b"second", content_type="image/png")
    store.delete(KEY, version_id=second)
    assert store.get(KEY).body == b"one"
    assert store.get(KEY, version_id=first).body == b"one"


@pytest.mark.parametrize("target", ["renditions/b/v/thumb.jpg", "a b+c/ümläut%2F.jpg"])
def test_a_copy_is_an_object_of_its_own(plain_store: ObjectStore, target: str) -> None:
    key = "renditions/ü b+c/v%2F/thumb.jpg"
    plain_store.put(key, b"bytes", content_type="image/jpeg", cache_control="public")
    plain_store.copy(key, target)
    plain_store.delete(key)
    stored = plain_store.get(target)
    assert (stored.body, stored.content_type) == (b"bytes", "image/jpeg")


def test_a_copy_of_what_is_not_there_is_missing(plain_store: ObjectStore) -> None:
    with pytest.raises(ObjectMissing):
        plain_store.copy("renditions/a/v/thumb.jpg", "renditions/b/v/thumb.jpg")
    with pytest.raises(ObjectMissing):
        plain_store.get("renditions/b/v/thumb.jpg")


def test_a_copy_tells_caches_what_its_original_told(edges: Edges) -> None:
    store = ObjectStore(s3=edges.clients.s3, bucket=edges.bucket(versioned=False))
    store.put("a", b"x", content_type="image/png", cache_control="public, immutable")
    store.copy("a", "b")
    head = store.s3.head_object(Bucket=store.bucket, Key="b")
    assert (head["CacheControl"], head["ContentType"]) == ("public, immutable", "image/png")


def test_deleting_what_is_not_there_is_no_error(store: ObjectStore) -> None:
    store.delete(KEY)
    assert store.delete_prefix("nothing/") == 0


def test_a_prefix_is_deleted_with_every_version_and_marker(store: ObjectStore) -> None:
    versions = [store.put(KEY, body, content_type="image/png") for body in (b"1", b"2")]
    store.delete(KEY)
    store.put("uploads/an-id/more", b"3", content_type="image/png")
    kept = store.put("uploads/an-identical/source", b"4", content_type="image/png")
    assert store.delete_prefix("uploads/an-id/") == 4
    for version_id in (None, *versions):
        with pytest.raises(ObjectMissing):
            store.get(KEY, version_id=version_id)
    assert store.get("uploads/an-identical/source", version_id=kept).body == b"4"
    assert store.delete_prefix("uploads/an-id/") == 0


def test_a_prefix_is_deleted_in_a_bucket_without_versions(plain_store: ObjectStore) -> None:
    plain_store.put("results/a/1.json", b"1", content_type="application/json")
    plain_store.put("results/b/1.json", b"1", content_type="application/json")
    assert plain_store.delete_prefix("results/a/") == 1
    with pytest.raises(ObjectMissing):
        plain_store.get("results/a/1.json")
    assert plain_store.get("results/b/1.json").body == b"1"


def test_a_bucket_that_is_there_passes_its_check(store: ObjectStore) -> None:
    store.check()


class TestLinks:
    """Links, which a fake cannot honour."""

    @pytest.fixture
    def real(self, edges: Edges) -> ObjectStore:
        return ObjectStore(s3=edges.clients.s3, bucket=edges.bucket(versioned=True))

    def test_a_bucket_that_is_not_there_is_unavailable(self, edges: Edges) -> None:
        nowhere = ObjectStore(s3=edges.clients.s3, bucket="no-such-bucket-anywhere")
        for call in (nowhere.check, lambda: nowhere.get(KEY)):
            with pytest.raises(ServiceUnavailable):
                call()

    def test_the_policy_of_a_form_bounds_key_size_type_and_time(self, real: ObjectStore) -> None:
        """Defect 17: a link without a bound on size and type."""
        before = datetime.now(UTC).timestamp()
        form = real.upload_form(KEY, content_type="image/png", max_bytes=5000, expires_in=900)
        policy = policy_of(form)
        expiry = datetime.fromisoformat(policy["expiration"]).timestamp()
        assert before + 895 <= expiry <= datetime.now(UTC).timestamp() + 901
        conditions = policy["conditions"]
        assert ["content-length-range", 1, 5000] in conditions
        assert {"key": KEY} in conditions
        assert {"bucket": real.bucket} in conditions
        assert {"Content-Type": "image/png"} in conditions
        assert {"x-amz-algorithm": "AWS4-HMAC-SHA256"} in conditions
        assert form.fields["key"] == KEY
        assert form.fields["Content-Type"] == "image/png"
        assert not [name for name in form.fields if name.lower() == "acl"]

    def test_a_form_without_a_known_type_takes_any_image_type(self, real: ObjectStore) -> None:
        form = real.upload_form(KEY, content_type=None, max_bytes=5000, expires_in=900)
        assert ["starts-with", "$Content-Type", "image/"] in policy_of(form)["conditions"]
        assert posted(form, b"bytes").is_success
        assert posted(form, b"bytes", **{"Content-Type": "image/webp"}).is_success
        assert posted(form, b"bytes", **{"Content-Type": "text/html"}).status_code == 403

    @pytest.mark.parametrize("content_type", [None, "image/jpeg"])
    def test_a_form_sent_just_as_it_was_given_stores_the_file(
        self, real: ObjectStore, content_type: str | None
    ) -> None:
        form = real.upload_form(KEY, content_type=content_type, max_bytes=5000, expires_in=900)
        answer = posted(form, b"x" * 5000)
        assert answer.is_success, answer.text
        assert real.get(KEY).body == b"x" * 5000

    @pytest.mark.parametrize("size_bytes", [0, 5001])
    def test_a_file_of_a_wrong_size_is_refused(self, real: ObjectStore, size_bytes: int) -> None:
        form = real.upload_form(KEY, content_type="image/png", max_bytes=5000, expires_in=900)
        assert posted(form, b"x" * size_bytes).status_code == 400
        with pytest.raises(ObjectMissing):
            real.get(KEY)

    @pytest.mark.parametrize(
        "changed",
        [
            {"key": "uploads/someone-else/source"},
            {"key": KEY + "2"},
            {"Content-Type": "text/html"},
            {"Content-Type": "image/svg+xml"},
            {"acl": "public-read"},
        ],
        ids=str,
    )
    def test_a_form_that_was_changed_is_refused(
        self, real: ObjectStore, changed: dict[str, str]
    ) -> None:
        form = real.upload_form(KEY, content_type="image/png", max_bytes=5000, expires_in=900)
        assert posted(form, b"x", **changed).status_code == 403
        for key in (KEY, changed.get("key", KEY)):
            with pytest.raises(ObjectMissing):
                real.get(key)

    def test_a_form_that_ran_out_is_refused(self, real: ObjectStore) -> None:
        form = real.upload_form(KEY, content_type="image/png", max_bytes=5, expires_in=-1)
        assert posted(form, b"x").status_code == 403

    def test_a_presigned_put_stores_the_file_under_its_key_alone(self, real: ObjectStore) -> None:
        url = real.upload_url(KEY, expires_in=900)
        answer = httpx.put(url, content=b"photo", headers={"Content-Type": "image/jpeg"})
        assert answer.is_success, answer.text
        assert real.get(KEY).body == b"photo"
        assert httpx.put(url.replace("an-id", "other"), content=b"x").status_code == 403

    def test_a_presigned_get_answers_with_the_given_type(self, real: ObjectStore) -> None:
        real.put("results/ü.json", b"{}", content_type="text/html")
        url = real.download_url("results/ü.json", content_type="application/json", expires_in=60)
        answer = httpx.get(url)
        assert answer.status_code == 200
        assert answer.content == b"{}"
        assert answer.headers["content-type"] == "application/json"


def policy_of(form: UploadForm) -> dict[str, Any]:
    policy: dict[str, Any] = json.loads(base64.b64decode(form.fields["policy"]))
    return policy


def posted(form: UploadForm, body: bytes, **changed: str) -> httpx.Response:
    """Send a form as a browser does: its fields, then the file, and nothing else."""
    return httpx.post(
        form.url, data={**form.fields, **changed}, files={"file": ("photo.png", body)}
    )


def test_the_oldest_version_of_an_object_is_found(store: ObjectStore) -> None:
    assert store.oldest_version(KEY) is None
    first = store.put(KEY, b"one", content_type="image/png")
    store.put(KEY, b"second", content_type="image/png")
    store.put(f"{KEY}-of-another", b"three", content_type="image/png")
    found = store.oldest_version(KEY)
    assert found is not None
    assert (found.key, found.version_id, found.size_bytes) == (KEY, first, 3)
    store.delete(KEY)
    assert store.oldest_version(KEY) == found, "a delete marker hides it and no more"
    store.delete_prefix(KEY)
    assert store.oldest_version(KEY) is None


def test_an_object_without_versions_is_known_by_its_etag(plain_store: ObjectStore) -> None:
    plain_store.put(KEY, b"one", content_type="image/png")
    found = plain_store.oldest_version(KEY)
    assert found is not None
    assert (found.version_id, found.etag) == (None, "f97c5d29941bfb1b2fdab0874906ab82")


def test_the_current_objects_under_a_prefix_are_listed(store: ObjectStore) -> None:
    for name in ("a/1", "a/2", "a/2", "b/1"):
        store.put(name, b"x", content_type="text/plain")
    store.delete("a/1")
    store.put("a/3", b"x", content_type="text/plain")
    assert list(store.keys("a/")) == ["a/2", "a/3"]
    assert list(store.keys("a/", after="a/2")) == ["a/3"]
    assert list(store.keys("a/", after="a/3")) == []
    assert list(store.keys("c/")) == []


def test_more_objects_than_a_page_are_listed(store: ObjectStore) -> None:
    for number in range(1003):
        store.put(f"many/{number:04d}", b"", content_type="text/plain")
    assert len(list(store.keys("many/"))) == 1003
