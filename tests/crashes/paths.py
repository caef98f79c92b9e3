"""The ways that an image can take through the service, each to be broken off anywhere.

A path has a setting, which is not broken off, and a run: all that its client, S3 and SQS do,
who ask and deliver again until they are answered.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from chalicelib import messages
from chalicelib.api.http import Request
from chalicelib.batch import Stage
from chalicelib.errors import DarkroomError, ServiceUnavailable
from chalicelib.images import ConversionStatus, Failure, Status, source_key
from chalicelib.imaging import renditions
from chalicelib.messages import ImageMessage
from chalicelib.models import ModelChoice
from tests.crashes.invariants import watch
from tests.fakes import Crash, FakeQueue, Tombstone, Trail
from tests.unit.pipeline.world import MAX_RECEIVES, PHOTO, RENDITIONS, Stored, World, first_message

BUSY = Failure(code="service_unavailable", message="Busy.")
_PATIENCE = 5


@dataclass(kw_only=True)
class Scene:
    """A world in which a path is about to be gone. ``image_id`` is whose, once there is one."""

    world: World
    image_id: str = ""

    @property
    def trail(self) -> Trail:
        """Of the world."""
        return self.world.trail


@dataclass(frozen=True, kw_only=True)
class Path:
    """One way through the service.

    Args:
        name: Of the path.
        setting: Makes what there is before.
        run: Goes the path, whatever breaks.
        status: Where the predictions end; None where the image is deleted.
        conversion: Where the copies at full size end.
        code: Of the error, if it ends with one.
        reusing: Whether the same bytes take over what was made of them before.
        lost: Whether the reason may be that the worker was lost: of a try that dies nobody
            says why, and the path has no better one.
    """

    name: str
    setting: Callable[[World], str]
    run: Callable[[Scene], None]
    status: Status | None = Status.COMPLETED
    conversion: ConversionStatus = ConversionStatus.COMPLETED
    code: str | None = None
    lost: bool = False
    reusing: bool = False

    def scene(self) -> Scene:
        """A fresh world at the beginning of the path, watched from then on."""
        world = World(reusing=self.reusing)
        watch(world)
        return Scene(world=world, image_id=self.setting(world))

    def go(self, scene: Scene) -> None:
        """The whole path, with what the stream tells of it; the stream comes twice."""
        self.run(scene)
        scene.world.stream()
        scene.world.stream()

    def __str__(self) -> str:
        return self.name


def until_answered(world: World, ask: Callable[[], object]) -> None:
    """As a client does who was told nothing, or to come again later."""
    for _ in range(_PATIENCE):
        try:
            ask()
        except (ServiceUnavailable, Crash):
            # Later, when whoever died no longer holds the request.
            for claim in world.claims.claims.values():
                claim.lease_until = 0
        except DarkroomError:
            # What was asked for has been done: the first try came further than it could say.
            return
        else:
            return
    raise AssertionError("the client was never answered")


def deliver_one(queue: FakeQueue, *, of: World) -> bool:
    """Deliver one message of a queue; whether there was one."""
    stages: Mapping[str, Stage[ImageMessage]] = {
        "preprocessing": of.preprocess,
        "inference": of.infer,
        "conversion": of.convert,
    }
    return of.poll(queue, stages[queue.label])


def empty(queue: FakeQueue, *, of: World) -> None:
    """Work on all that waits in one queue."""
    while deliver_one(queue, of=of):
        pass


# --- Uploads ------------------------------------------------------------------------------------


def uploaded(body: bytes = PHOTO) -> Callable[[World], str]:
    """A link was used, and S3 has not told of it yet."""

    def setting(world: World) -> str:
        image_id = world.create()
        world.upload(image_id, body)
        return image_id

    return setting


def uploaded_directly(world: World) -> str:
    """An object was put into the bucket by somebody who asked nobody."""
    world.store("uploads/my photo.jpg")
    return ""


def events(world: World) -> list[Stored]:
    """All uploads that S3 tells of, of every version."""
    return [
        Stored(key=key, version_id=version.version_id, size_bytes=len(version.stored.body))
        for key, versions in world.uploads.versions.items()
        if key.startswith("uploads/")
        for version in versions
        if version.stored is not None
    ]


def taken_in(scene: Scene) -> None:
    """S3 tells of the uploads, and everything is worked on."""
    for stored in events(scene.world):
        scene.world.deliver_event(stored.event())
    scene.world.work()


def posted(scene: Scene) -> None:
    """``POST /images`` with the image in it."""
    request = Request(
        method="POST",
        path="/images",
        headers={"content-type": "image/jpeg", "idempotency-key": "k"},
        body=PHOTO,
    )
    until_answered(scene.world, lambda: scene.world.api.create(request))
    taken_in(scene)


def everything_twice(scene: Scene) -> None:
    """Each event and each message comes again, before and after it was worked on."""
    world = scene.world
    for stored in events(world) * 2:
        world.deliver_event(stored.event())
    for queue in (world.preprocessing_queue, world.inference_queue, world.conversion_queue):
        queue.duplicate()
        empty(queue, of=world)
    for queue in (world.preprocessing_queue, world.inference_queue, world.conversion_queue):
        queue.replay()
    taken_in(scene)


def removed_before_it_was_read(world: World) -> str:
    """The upload's object is gone before anybody looked at it."""
    image_id = uploaded()(world)
    world.deliver_event(events(world)[0].event())
    world.uploads.versions.pop(source_key(image_id))
    return image_id


def worked_on(scene: Scene) -> None:
    """Everything that waits is worked on."""
    scene.world.work()


# --- Retries ------------------------------------------------------------------------------------


def failed_in_preprocessing(world: World) -> str:
    """It failed, and its cause is gone."""
    image_id = uploaded()(world)
    key = source_key(image_id)
    event = events(world)[0].event()
    kept = world.uploads.versions.pop(key)
    world.run_event(event)
    world.uploads.versions[key] = kept
    return image_id


def ended(status: Status, conversion: ConversionStatus) -> Callable[[World], str]:
    """Both branches ended so, for a cause that is gone, or the copies are on their way."""

    def setting(world: World) -> str:
        image_id = uploaded()(world)
        world.deliver_event(events(world)[0].event())
        empty(world.preprocessing_queue, of=world)
        message = first_message(world.row(image_id))
        if conversion is ConversionStatus.COMPLETED:
            empty(world.conversion_queue, of=world)
        elif conversion is ConversionStatus.FAILED:
            world.conversion_queue.held.clear()
            world.conversions.fail(message, BUSY, now_ms=5)
        if status is Status.COMPLETED:
            empty(world.inference_queue, of=world)
        else:
            world.inference_queue.held.clear()
            world.images.fail(message, status, BUSY, now_ms=6)
        return image_id

    return setting


def retried(scene: Scene, *, model: str | None = None) -> None:
    """``POST /images/{image_id}/retry``."""
    world = scene.world
    attempts = world.row(scene.image_id).attempt
    until_answered(world, lambda: world.api.retry(scene.image_id, model=model))
    world.work()
    assert world.row(scene.image_id).attempt == attempts + 1


def retried_while_workers_run(scene: Scene) -> None:
    """The client gives up after its first try; workers find what it left; then it asks again."""
    world = scene.world
    with suppress(DarkroomError, Crash):
        world.api.retry(scene.image_id)
    for _ in range(MAX_RECEIVES + 1):
        for queue in (world.preprocessing_queue, world.inference_queue, world.conversion_queue):
            deliver_one(queue, of=world)
    until_answered(world, lambda: world.api.retry(scene.image_id))
    world.work()


def with_another_model(setting: Callable[[World], str]) -> Callable[[World], str]:
    """And there is a model that wants to see something else."""

    def both(world: World) -> str:
        world.publish("other@2", side=12)
        return setting(world)

    return both


def prepared_for_another_model(world: World) -> str:
    """The active model was changed between the two steps."""
    world.publish("other@2", side=12)
    image_id = uploaded()(world)
    world.deliver_event(events(world)[0].event())
    empty(world.preprocessing_queue, of=world)
    world.choice.known = ModelChoice(active="other@2")
    return image_id


def completed(world: World) -> str:
    """It went all the way."""
    return world.completed()


# --- Deletion -----------------------------------------------------------------------------------


def queued(world: World) -> str:
    """S3 has told of it."""
    image_id = uploaded()(world)
    world.deliver_event(events(world)[0].event())
    return image_id


def prepared(world: World) -> str:
    """The messages of both branches wait."""
    image_id = queued(world)
    empty(world.preprocessing_queue, of=world)
    return image_id


def without_copies(world: World) -> str:
    """Nothing but the message about its copies waits: no other step clears up after that."""
    image_id = prepared(world)
    empty(world.inference_queue, of=world)
    return image_id


def deleted(scene: Scene) -> None:
    """``DELETE /images/{image_id}``, then all that still waits."""
    world = scene.world
    until_answered(world, lambda: world.api.delete(scene.image_id))
    world.work()
    assert world.images.rows[scene.image_id] == Tombstone(source=None, removing=False)


def deleted_while_a_worker_runs(scene: Scene) -> None:
    """The worker has its message in hand; it may have got anywhere."""
    world = scene.world

    def delete() -> None:
        until_answered(world, lambda: world.api.delete(scene.image_id))

    world.trail.at_next("uploads.get", "after", delete)
    deliver_one(world.conversion_queue, of=world)
    deleted(scene)


def deleted_and_told_of_again(scene: Scene) -> None:
    """S3's event comes once more, after the deletion."""
    stored = events(scene.world)
    deleted(scene)
    for one in stored:
        scene.world.deliver_event(one.event())
    scene.world.work()


# --- What nobody can make --------------------------------------------------------------------------


def with_a_broken_model(world: World) -> str:
    """Each prediction fails."""
    world.classifier.fault = RuntimeError("the graph does not like it")
    return uploaded()(world)


def with_a_broken_encoder(world: World) -> str:
    """Each copy fails."""

    def convert(message: ImageMessage) -> None:
        world.conversions.start(message, now_ms=1)
        raise RuntimeError("the encoder does not like it")

    world.convert = convert  # type: ignore[method-assign]
    return uploaded()(world)


def backfilled(world: World) -> str:
    """A line came into the table of renditions, and an old image is to have it."""
    (wide,) = renditions.parse("wide 16 4 cover #ffffff png")
    image_id = world.completed()
    world.backfill = replace(world.backfill, table=(*RENDITIONS, wide))
    message = replace(first_message(world.row(image_id)), renditions=("wide",))
    world.conversion_queue.send(messages.encode(message))
    return image_id


def the_same_bytes_again(world: World) -> str:
    """Another image of them went all the way."""
    world.completed()
    return uploaded()(world)


def the_first_is_deleted(scene: Scene) -> None:
    """Once the second one has taken over what was made of it."""
    taken_in(scene)
    world = scene.world
    (first,) = (image_id for image_id in world.images.rows if image_id != scene.image_id)
    until_answered(world, lambda: world.api.delete(first))
    world.work()


FAILED = ConversionStatus.FAILED
PREPROCESSING_FAILED = Status.PREPROCESSING_FAILED
PATHS: tuple[Path, ...] = (
    Path(name="an upload through a link", setting=uploaded(), run=taken_in),
    Path(name="an upload into the bucket", setting=uploaded_directly, run=taken_in),
    Path(name="an upload in a request", setting=lambda _: "", run=posted),
    Path(name="everything twice", setting=uploaded(), run=everything_twice),
    Path(
        name="a file that is cut off",
        setting=uploaded(PHOTO[: len(PHOTO) // 2]),
        run=taken_in,
        status=PREPROCESSING_FAILED,
        conversion=FAILED,
        code="image_truncated",
    ),
    Path(
        name="a file that is no image",
        setting=uploaded(b"hello"),
        run=taken_in,
        status=PREPROCESSING_FAILED,
        conversion=FAILED,
        code="unsupported_media_type",
    ),
    Path(
        name="an original that was removed",
        setting=removed_before_it_was_read,
        run=worked_on,
        status=PREPROCESSING_FAILED,
        conversion=FAILED,
        code="object_missing",
    ),
    Path(name="a retry of the first step", setting=failed_in_preprocessing, run=retried),
    *(
        Path(
            name=f"a retry, {status} with its copies {conversion}{between}",
            setting=ended(status, conversion),
            run=run,
        )
        for status, conversion in (
            (Status.INFERENCE_FAILED, ConversionStatus.PENDING),
            (Status.INFERENCE_FAILED, ConversionStatus.FAILED),
            (Status.INFERENCE_FAILED, ConversionStatus.COMPLETED),
            (Status.COMPLETED, ConversionStatus.FAILED),
        )
        for between, run in (
            ("", retried),
            (", workers between", retried_while_workers_run),
        )
    ),
    Path(
        name="another model for a completed image",
        setting=with_another_model(completed),
        run=lambda scene: retried(scene, model="other@2"),
    ),
    Path(
        name="another model for a failed image",
        setting=with_another_model(ended(Status.INFERENCE_FAILED, ConversionStatus.COMPLETED)),
        run=lambda scene: retried(scene, model="other@2"),
    ),
    Path(
        name="another model for an image whose copies failed",
        setting=with_another_model(ended(Status.COMPLETED, FAILED)),
        run=lambda scene: retried(scene, model="other@2"),
    ),
    Path(name="a model that was changed", setting=prepared_for_another_model, run=worked_on),
    Path(name="a deletion before the first step", setting=queued, run=deleted, status=None),
    Path(name="a deletion between the steps", setting=prepared, run=deleted, status=None),
    Path(
        name="a deletion during a step",
        setting=without_copies,
        run=deleted_while_a_worker_runs,
        status=None,
    ),
    Path(name="a deletion of a completed image", setting=completed, run=deleted, status=None),
    Path(
        name="an event after the deletion",
        setting=queued,
        run=deleted_and_told_of_again,
        status=None,
    ),
    Path(
        name="a model that is broken",
        setting=with_a_broken_model,
        run=taken_in,
        status=Status.INFERENCE_FAILED,
        code="internal_error",
        lost=True,
    ),
    Path(
        name="an encoder that is broken",
        setting=with_a_broken_encoder,
        run=taken_in,
        conversion=FAILED,
        code="internal_error",
        lost=True,
    ),
    Path(name="a back-fill", setting=backfilled, run=worked_on),
    *(
        Path(
            name=f"the same bytes again{then}", setting=the_same_bytes_again, run=run, reusing=True
        )
        for then, run in (
            ("", taken_in),
            (", everything twice", everything_twice),
            (", and the first is deleted", the_first_is_deleted),
        )
    ),
    Path(
        name="a deletion of what was taken over",
        setting=the_same_bytes_again,
        run=deleted,
        status=None,
        reusing=True,
    ),
)
