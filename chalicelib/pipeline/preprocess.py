"""Fetch an original once, check it, decode it once; make renditions and what the model sees."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chalicelib import messages, telemetry
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.object_store import ObjectStore
from chalicelib.aws.queues import Queue
from chalicelib.clock import elapsed_ms, now_ms
from chalicelib.errors import (
    DarkroomError,
    ImageNotFound,
    ImageRejected,
    ObjectMissing,
    Superseded,
)
from chalicelib.images import (
    ConversionStatus,
    Failure,
    Image,
    ImageInfo,
    Kept,
    Original,
    Output,
    Prediction,
    Status,
    StoredCopy,
    derived_prefixes,
    model_input_key,
)
from chalicelib.imaging.appearance import info_of
from chalicelib.imaging.decode import Decoder, Header
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.render import model_input, to_ppm
from chalicelib.imaging.renditions import Rendition
from chalicelib.inference.package import ModelPackage
from chalicelib.messages import ImageMessage
from chalicelib.models import ModelInputShape
from chalicelib.pipeline.models import Models
from chalicelib.pipeline.rendering import decode_size, fetch_original, store_renditions
from chalicelib.pipeline.results import store_results
from chalicelib.pipeline.reuse import Reuse

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage


@dataclass(frozen=True, kw_only=True)
class Made:
    """What the step found out about an image and made of it.

    Attributes:
        model_inputs: The keys of what models are to see, that of the active one first; empty
            where none is to be asked.
        prediction: What the active model said of the same bytes before.
        results_key: Where the document of that lies.
        worked_out: Whether it was made here, and not taken over from an earlier image.
    """

    facts: Original
    info: ImageInfo
    renditions: Mapping[str, StoredCopy]
    model_inputs: Sequence[str] = ()
    prediction: Prediction | None = None
    results_key: str | None = None
    worked_out: bool = True


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """The step from ``queued`` to ``preprocessed``."""

    images: ImageTable
    uploads: ObjectStore
    renditions: ObjectStore
    inference_queue: Queue
    conversion_queue: Queue
    limits: Limits
    models: Models
    table: tuple[Rendition, ...]
    reuse: Reuse
    name: str = "preprocess"

    def __call__(self, message: ImageMessage) -> None:
        """Do the step for one image.

        An image that is at fault itself ends here, in ``preprocessing_failed``.

        Raises:
            Superseded: There is nothing to do any more.
            ServiceUnavailable: AWS did not answer; the message has to come again.
        """
        try:
            if message.remade:
                self._remake(message)
            else:
                self._prepare(message)
        except Superseded as superseded:
            if superseded.gone:
                # Deleted meanwhile, perhaps during an earlier try that died before it noticed.
                for prefix in derived_prefixes(message.image_id):
                    self.uploads.delete_prefix(prefix)
                    self.renditions.delete_prefix(prefix)
            raise

    def _prepare(self, message: ImageMessage) -> None:
        started_ms = now_ms()
        image = self.images.start(message, Status.PREPROCESSING, now_ms=started_ms)
        facts = image.original
        try:
            body = fetch_original(self.uploads, self.limits, image)
            facts = Original(bytes=len(body), sha256=hashlib.sha256(body).hexdigest())
            decoder = Decoder(self.limits)
            header = decoder.header(body, with_camera=Kept.CAMERA in image.keep)
            facts = replace(
                facts,
                content_type=header.media_type,
                width=header.width,
                height=header.height,
                orientation=header.orientation,
                mode=header.mode,
                color_profile=header.profile,
                frames=header.frames if header.frames > 1 else None,
                camera=header.camera,
            )
            wanted = self.table if image.wants(Output.RENDITIONS) else ()
            shapes = self._shapes(message) if image.wants(Output.PREDICTIONS) else ()
            made = self._taken_over(message, image, facts, wanted)
            if made is not None:
                self._hand_on(message, image, made, started_ms=started_ms)
                return
            # The same picture whatever is made of it: what is made of a file depends on the file.
            reduced = decoder.reduced(body, size=decode_size(header, self.table))
            picture = reduced.picture
            seen = _seen(decoder, body, header, picture, shapes)
        except (ImageRejected, ObjectMissing) as error:
            self._reject(message, error, facts)
            return
        copies = store_renditions(
            self.renditions, message, picture, header, wanted, focal=image.focal_point
        )
        keys = self._store_model_inputs(message, seen)
        info = info_of(picture, reduced.alpha)
        made = Made(facts=facts, info=info, renditions=copies, model_inputs=keys)
        self._hand_on(message, image, made, started_ms=started_ms)

    def _taken_over(
        self, message: ImageMessage, image: Image, facts: Original, wanted: Sequence[Rendition]
    ) -> Made | None:
        """What was made of the same bytes before; None where it has to be worked out."""
        package = self.models.active() if image.wants(Output.PREDICTIONS) else None
        if package is not None and self._shadowed(message):
            # What a shadow says is counted, so that it has to be asked.
            return None

        def usable(other: Image) -> bool:
            same_cut = other.focal_point == image.focal_point
            return (
                other.info is not None
                and (same_cut or not wanted)
                and all(_has(other, line) for line in wanted)
                and (package is None or _answered_by(other, package))
            )

        other = self.reuse.earlier(message, image, facts.sha256 or "", usable)
        if other is None or other.info is None:
            return None
        keys = {line.name: line.key(message.image_id, message.generation) for line in wanted}
        copies = self.reuse.copied(
            {name: other.renditions[name] for name in keys}, lambda name, _: keys[name]
        )
        if copies is None:
            return None
        made = Made(facts=facts, info=other.info, renditions=copies, worked_out=False)
        if package is None or other.prediction is None:
            return made
        reference = package.description.reference
        key = store_results(self.renditions, message, other.prediction, reference)
        return replace(made, prediction=other.prediction, results_key=key)

    def _shadowed(self, message: ImageMessage) -> bool:
        try:
            return self.models.shadow(message.image_id) is not None
        except DarkroomError:
            return True

    def _remake(self, message: ImageMessage) -> None:
        """Make what another model wants to see, of an image that is past this step."""
        try:
            image = self.images.get(message.image_id)
        except ImageNotFound:
            raise Superseded(f"image {message.image_id} was deleted", gone=True) from None
        same = (image.attempt, image.generation) == (message.attempt, message.generation)
        if not same or image.status.final:
            raise Superseded(f"image {message.image_id} is at {image.status} by now")
        try:
            body = fetch_original(self.uploads, self.limits, image)
            decoder = Decoder(self.limits)
            shapes = self._shapes(message)
            header = decoder.header(body)
            picture = decoder.picture(body, size=decode_size(header, self.table))
            seen = _seen(decoder, body, header, picture, shapes)
        except (ImageRejected, ObjectMissing) as error:
            failure = Failure(code=error.code, message=error.public_message)
            self.images.fail(message, Status.INFERENCE_FAILED, failure, now_ms=now_ms())
            telemetry.count(self.name, ImagesRejected=1)
            return
        (key,) = self._store_model_inputs(message, seen)
        # The status stays; the write finds out whether the image was deleted meanwhile.
        self.images.describe(message, now_ms=now_ms(), model_input_key=key)
        self.inference_queue.send(messages.encode(replace(message, queued_at_ms=now_ms())))

    def _shapes(self, message: ImageMessage) -> tuple[ModelInputShape, ...]:
        """What the models want to see that will be asked: first the one whose answer counts."""
        if message.model is not None:
            return (self.models.find(message.model).description.input_shape(),)
        shapes = [self.models.active().description.input_shape()]
        try:
            shadow = self.models.shadow(message.image_id)
            if shadow is not None:
                shapes.append(shadow.description.input_shape())
        except DarkroomError as error:
            telemetry.logger().warning("preprocess: nothing for the shadow: %s", error)
        return tuple(dict.fromkeys(shapes))

    def _store_model_inputs(
        self, message: ImageMessage, seen: Mapping[ModelInputShape, bytes]
    ) -> list[str]:
        keys: list[str] = []
        for shape, pixels in seen.items():
            key = model_input_key(message.image_id, message.generation, shape.fingerprint)
            self.uploads.put(key, pixels, content_type="image/x-portable-pixmap")
            keys.append(key)
        return keys

    def _reject(
        self, message: ImageMessage, error: ImageRejected | ObjectMissing, facts: Original
    ) -> None:
        telemetry.logger().info("preprocess: rejected: %s: %s", error.code, error)
        self.images.fail(
            message,
            Status.PREPROCESSING_FAILED,
            Failure(code=error.code, message=error.public_message),
            now_ms=now_ms(),
            original=facts,
        )
        telemetry.count(self.name, ImagesRejected=1)

    def _hand_on(
        self,
        message: ImageMessage,
        image: Image,
        made: Made,
        *,
        started_ms: int,
    ) -> None:
        """Objects first, then the next messages, then the row: any of them may come twice."""
        if image.conversion_status is ConversionStatus.PENDING:
            # First, because `infer` may end the image before this step is tried again.
            self.conversion_queue.send(messages.encode(replace(message, queued_at_ms=now_ms())))
        status, key = Status.COMPLETED, None
        content = made.facts.sha256 if made.worked_out else None
        if made.model_inputs:
            status, key = Status.PREPROCESSED, made.model_inputs[0]
            # From the message on, the image may be completed without this try's last write.
            self.images.describe(
                message,
                now_ms=now_ms(),
                model_input_key=key,
                original=made.facts,
                info=made.info,
                renditions=made.renditions,
                content_sha256=content,
            )
            self.inference_queue.send(messages.encode(replace(message, queued_at_ms=now_ms())))
        took_ms = elapsed_ms(started_ms)
        self.images.finish(
            message,
            status,
            now_ms=now_ms(),
            timings_ms={
                "queued": max(started_ms - message.queued_at_ms, 0),
                "preprocessing": took_ms,
            },
            original=made.facts,
            info=made.info,
            renditions=made.renditions,
            model_input_key=key,
            prediction=made.prediction,
            results_key=made.results_key,
            content_sha256=content,
        )
        if not made.worked_out:
            telemetry.count(self.name, ResultsReused=1)
        telemetry.count(
            self.name,
            ProcessedImages=1,
            ProcessingTime=took_ms,
            TotalBytesProcessed=made.facts.bytes or 0,
        )


def _has(image: Image, line: Rendition) -> bool:
    """Whether an image has a rendition, and by the recipe that is asked for."""
    copy = image.renditions.get(line.name)
    return copy is not None and copy.key == line.key(image.image_id, image.generation or "")


def _answered_by(image: Image, package: ModelPackage) -> bool:
    """Whether what is told of an image was said by this model, of what it wants to see.

    Never of a model whose description does not name its file: it may be another one by now.
    """
    said, asked = image.prediction, package.description
    if image.status is not Status.COMPLETED or said is None:
        return False
    saw = model_input_key(image.image_id, image.generation or "", asked.input_shape().fingerprint)
    return (
        asked.reference == f"{said.model_name}@{said.model_version}"
        and asked.sha256 == said.model_sha256
        and image.model_input_key == saw
    )


def _seen(
    decoder: Decoder,
    body: bytes,
    header: Header,
    picture: "PilImage",
    shapes: Iterable[ModelInputShape],
) -> dict[ModelInputShape, bytes]:
    """What each model sees: of the renditions' picture, or where that is too small for it, of one
    of its own.
    """
    seen: dict[ModelInputShape, bytes] = {}
    for shape in shapes:
        needed = decode_size(header, [shape])
        enough = needed[0] <= picture.width and needed[1] <= picture.height
        source = picture if enough else decoder.picture(body, size=needed)
        seen[shape] = to_ppm(model_input(source, shape))
    return seen
