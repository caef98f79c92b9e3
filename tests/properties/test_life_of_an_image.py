from hypothesis import given
from hypothesis import strategies as st

from chalicelib.images import (
    Status,
    derived_prefixes,
    image_id_of_key,
    image_id_of_object,
    is_image_id,
    model_input_key,
    results_key,
    shard_of,
    source_key,
)
from chalicelib.messages import ImageMessage, decode, encode

statuses = st.sampled_from(Status)
ids = st.uuids(version=4).map(str)
# Every character that UTF-8 can carry.
texts = st.text(st.characters(exclude_categories=["Cs"]))
messages = st.builds(
    ImageMessage,
    image_id=texts,
    generation=texts,
    attempt=st.integers(-(2**63), 2**63 - 1),
    queued_at_ms=st.integers(-(2**63), 2**63 - 1),
)


@given(messages)
def test_any_message_reads_as_it_was_written(message: ImageMessage) -> None:
    assert decode(encode(message)) == message


@given(st.lists(statuses))
def test_whatever_is_written_in_whatever_order_a_status_never_goes_back(
    writes: list[Status],
) -> None:
    """A write is let through as the table does it: if the row's status may precede the new one."""
    row = Status.PENDING_UPLOAD
    history = [row]
    for status in writes:
        if row in status.before():
            row = status
            history.append(row)
    ranks = [status.rank for status in history]
    assert ranks == sorted(set(ranks))
    assert not any(status.final for status in history[:-1])


@given(statuses, statuses, statuses)
def test_what_may_follow_is_an_order(first: Status, second: Status, third: Status) -> None:
    assert not (first in second.before() and second in first.before())
    if first in second.before() and second in third.before():
        assert first in third.before()


@given(statuses)
def test_every_status_but_the_first_can_be_reached_from_the_first(status: Status) -> None:
    assert status is Status.PENDING_UPLOAD or Status.PENDING_UPLOAD in status.before()


@given(ids)
def test_any_id_comes_back_from_its_key(image_id: str) -> None:
    assert is_image_id(image_id)
    assert image_id_of_key(source_key(image_id)) == image_id


@given(texts)
def test_a_key_that_has_an_id_is_the_key_of_that_id(key: str) -> None:
    image_id = image_id_of_key(key)
    assert image_id is None or source_key(image_id) == key


@given(ids, st.text(max_size=3), st.integers(0, 60))
def test_a_key_that_was_changed_anywhere_has_another_id_or_none(
    image_id: str, inserted: str, position: int
) -> None:
    key = source_key(image_id)
    changed = key[:position] + inserted + key[position:]
    if changed != key:
        assert image_id_of_key(changed) != image_id


@given(texts, texts, texts)
def test_any_object_has_an_id_that_stays_the_same(bucket: str, key: str, version: str) -> None:
    image_id = image_id_of_object(bucket, key, version)
    assert is_image_id(image_id)
    assert image_id == image_id_of_object(bucket, key, version)


@given(ids, ids, texts, texts)
def test_what_is_made_of_one_image_is_never_deleted_with_another(
    one: str, other: str, generation: str, model: str
) -> None:
    for key in (model_input_key(one, generation, model), results_key(one, generation, model)):
        assert key.startswith(derived_prefixes(one))
        assert one == other or not key.startswith(derived_prefixes(other))


@given(texts, st.integers(1, 1000))
def test_a_shard_is_one_of_the_shards(image_id: str, shards: int) -> None:
    assert 0 <= shard_of(image_id, shards) < shards
