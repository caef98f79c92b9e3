"""What must be true of the images at every moment, and what once nothing is under way any more.

One function an invariant, with its number in docs/reliability.md. Each raises
`AssertionError` with what it found.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from chalicelib.images import ConversionStatus, Image, Status, derived_prefixes
from tests.fakes import Tombstone
from tests.unit.pipeline.world import World

type Invariant = Callable[[World], None]


def watch(world: World) -> None:
    """Look at the world as a client does that reads every row the moment it is written."""
    world.images.readers.append(lambda row: whoever_reads_a_key_can_read_its_object(world, row))


# --- At every moment --------------------------------------------------------------------------


def what_has_ended_stays_as_it_ended(world: World) -> None:
    """Invariant 2: nothing follows an end but the next attempt."""
    for _, rows in _attempts(world):
        for before, after in pairwise(rows):
            if before.status.final:
                assert after.status is before.status, f"{before.status}, then {after.status}"
            if before.conversion_status is not ConversionStatus.PENDING:
                assert after.conversion_status is before.conversion_status, (
                    f"{before.conversion_status}, then {after.conversion_status}"
                )


def no_status_goes_back(world: World) -> None:
    """Invariant 3: within an attempt. And attempts are counted one by one."""
    for _, rows in _attempts(world):
        ranks = [row.status.rank for row in rows]
        assert ranks == sorted(ranks), [row.status for row in rows]
    for rows in _lives(world).values():
        attempts = list(dict.fromkeys(row.attempt for row in rows))
        assert attempts == list(range(1, len(attempts) + 1)), attempts


def no_row_appears_from_nowhere(world: World) -> None:
    """Invariant 5: each began as one that waits for its upload."""
    lives = _lives(world)
    for image_id in world.images.rows:
        first = lives[image_id][0]
        assert (first.status, first.attempt) == (Status.PENDING_UPLOAD, 1), first
        assert first.generation is None, first


def an_image_is_of_one_upload(world: World) -> None:
    """Invariant 15: once a version was accepted, nothing is ever told of another one."""
    for rows in _lives(world).values():
        generations = {row.generation for row in rows if row.generation is not None}
        assert len(generations) <= 1, generations
        for row in rows:
            for key in _keys_told(row):
                assert f"/{row.generation}/" in key, (row.generation, key)


def whoever_reads_a_key_can_read_its_object(world: World, row: Image) -> None:
    """Invariant 27: "completed" is not said before what it promises is there."""
    if row.status is Status.COMPLETED and row.results_key is not None:
        assert row.results_key in world.renditions.objects, row.results_key
    for copy in (*row.renditions.values(), *row.formats.values()):
        assert len(world.renditions.objects[copy.key]) == copy.bytes, copy.key


ALWAYS: Sequence[Invariant] = (
    what_has_ended_stays_as_it_ended,
    no_status_goes_back,
    no_row_appears_from_nowhere,
    an_image_is_of_one_upload,
)


# --- Once nothing is under way ------------------------------------------------------------------


def every_accepted_upload_has_ended(world: World) -> None:
    """Invariant 1, and 32: with its copies, and where it failed with a reason."""
    for row in _rows(world):
        if row.generation is None:
            continue
        assert row.status.final, row
        assert row.conversion_status is not ConversionStatus.PENDING, row
        assert (row.error is not None) == row.status.failed, row
        assert row.last_error is None, row
        assert row.conversion_last_error is None, row
        for failure in (row.error, row.conversion_error):
            assert failure is None or (failure.code and failure.message.endswith(".")), failure


def an_image_has_one_result_of_each_model(world: World) -> None:
    """Invariants 7 and 8: however often it came, what was made of it lies at one place."""
    results = Counter(key.rpartition("/")[0] for key in world.results)
    for row in _rows(world):
        asked = {key for key in _told_ever(world, row.image_id) if key.startswith("results/")}
        made = results[f"results/{row.image_id}/{row.generation}"]
        assert made == len(asked), (made, asked)


def nothing_lies_about_that_no_row_tells_of(world: World) -> None:
    """Invariant 28: what a broken-off try left behind was written over, or removed."""
    told = {
        key
        for image_id, row in world.images.rows.items()
        if isinstance(row, Image)
        for key in _told_ever(world, image_id)
    }
    made = {
        key
        for key in (*world.renditions.objects, *world.uploads.objects)
        if key.startswith(("processed/", "renditions/", "formats/", "results/"))
    }
    unfinished = {
        prefix
        for row in _rows(world)
        if row.status.failed or row.conversion_status is ConversionStatus.FAILED
        for prefix in derived_prefixes(row.image_id)
    }
    left = [key for key in made - told if not key.startswith(tuple(unfinished))]
    assert left == []


def a_deleted_image_is_gone(world: World) -> None:
    """With all versions of all that was made of it, and of its original."""
    for image_id, row in world.images.rows.items():
        if isinstance(row, Tombstone):
            assert row == Tombstone(source=None, removing=False), row
            for store in (world.uploads, world.renditions):
                assert [
                    key for key in store.versions if key.startswith(derived_prefixes(image_id))
                ] == []


def no_message_is_left_over(world: World) -> None:
    """Invariant 36: what was sent was done with, or buried."""
    for queue in (world.preprocessing_queue, world.inference_queue, world.conversion_queue):
        assert queue.held == {}, queue.label


def what_was_buried_is_in_the_archive(world: World) -> None:
    """Invariant 33: no dead letter was removed from its queue before it was kept."""
    assert set(world.buried) <= set(world.uploads.objects)


def every_end_is_announced(world: World) -> None:
    """Invariant 18: each end of each attempt, nothing else, and always under one name."""
    named: dict[tuple[str, int, str], set[str]] = defaultdict(set)
    for event in world.events:
        data = event["data"]
        ended = "copies" if event["type"].endswith("conversion_ended") else "image"
        outcome = data["conversion_status" if ended == "copies" else "status"]
        named[event["subject"], data["attempt"], f"{ended} {outcome}"].add(event["id"])
    assert set(named) == set(_ends(world)), (sorted(named), sorted(_ends(world)))
    names = [name for known in named.values() for name in known]
    assert len(names) == len(set(names)) == len(named), named
    assert [key for key in world.uploads.objects if key.startswith("dead-letters/announce/")] == []


def announced_twice(world: World) -> int:
    """How many events were published more than once, counted as often as they were too many."""
    return len(world.events) - len({event["id"] for event in world.events})


AT_REST: Sequence[Invariant] = (
    *ALWAYS,
    every_accepted_upload_has_ended,
    an_image_has_one_result_of_each_model,
    nothing_lies_about_that_no_row_tells_of,
    a_deleted_image_is_gone,
    no_message_is_left_over,
    what_was_buried_is_in_the_archive,
    every_end_is_announced,
)


def check(world: World, invariants: Sequence[Invariant]) -> None:
    """Hold a world to these."""
    for invariant in invariants:
        invariant(world)


def _rows(world: World) -> Iterator[Image]:
    return (row for row in world.images.rows.values() if isinstance(row, Image))


def _lives(world: World) -> Mapping[str, Sequence[Image]]:
    """Every row that each image ever had, in order."""
    lives: dict[str, list[Image]] = defaultdict(list)
    for row in world.images.history:
        lives[row.image_id].append(row)
    return lives


def _attempts(world: World) -> Iterator[tuple[tuple[str, int], Sequence[Image]]]:
    """Every row of each attempt of each image, in order."""
    attempts: dict[tuple[str, int], list[Image]] = defaultdict(list)
    for row in world.images.history:
        attempts[row.image_id, row.attempt].append(row)
    return iter(attempts.items())


def _ends(world: World) -> Iterator[tuple[str, int, str]]:
    """What each attempt came to, of those that had not come to it when they began."""
    for (image_id, attempt), rows in _attempts(world):
        ended = [row for row in rows if row.status.final]
        expired = ended and ended[-1].status is Status.EXPIRED
        if ended and not expired and not rows[0].status.final:
            yield image_id, attempt, f"image {ended[-1].status}"
        converted = [row for row in rows if row.conversion_status is not ConversionStatus.PENDING]
        if converted and rows[0].conversion_status is ConversionStatus.PENDING:
            # What failed together is told together.
            together = converted[0].status.failed and converted[0] == ended[0]
            if not together:
                yield image_id, attempt, f"copies {converted[-1].conversion_status}"


def _keys_told(row: Image) -> Iterator[str]:
    """Where a row says that something lies."""
    yield from (key for key in (row.results_key, row.model_input_key) if key is not None)
    for copy in (*row.renditions.values(), *row.formats.values()):
        yield copy.key


def _told_ever(world: World, image_id: str) -> set[str]:
    """Where any row of an image ever said that something lies: each model has its own results."""
    return {
        key for row in world.images.history if row.image_id == image_id for key in _keys_told(row)
    }
