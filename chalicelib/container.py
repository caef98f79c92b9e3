"""Builds everything, each part when it is first needed.

The only module that imports inside functions: a Lambda function loads only
what it uses, so that the API never pays for Pillow nor for onnxruntime.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from chalicelib.images import Status, new_image_id
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from chalicelib.api.health import HealthApi
    from chalicelib.api.idempotency import Idempotency
    from chalicelib.api.images import ImagesApi
    from chalicelib.aws.clients import Clients
    from chalicelib.aws.conversion_rows import ConversionRows
    from chalicelib.aws.image_table import ImageTable
    from chalicelib.aws.object_store import ObjectStore
    from chalicelib.aws.queues import Queue
    from chalicelib.batch import Batch, FaultRecord, Stage
    from chalicelib.imaging.limits import Limits
    from chalicelib.inference.package import ModelPackage
    from chalicelib.pipeline.backfill import Backfill
    from chalicelib.pipeline.bury import Bury
    from chalicelib.pipeline.infer import Infer
    from chalicelib.pipeline.ingest import Ingest
    from chalicelib.pipeline.optimise import Optimise
    from chalicelib.pipeline.preprocess import Preprocess

# Longer than the API's function may run: whoever holds a claim past it is dead.
_IDEMPOTENCY_LEASE_SECONDS = 35


@dataclass(frozen=True)
class Container:
    """One process's parts.

    Args:
        environ: Where the settings come from.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @cached_property
    def settings(self) -> Settings:
        """The settings; raises `SettingsError` if they are wrong."""
        return Settings.from_environ(self.environ)

    @cached_property
    def clients(self) -> "Clients":
        """The AWS clients."""
        from chalicelib import telemetry
        from chalicelib.aws.clients import Clients

        telemetry.quiet_libraries()
        return Clients(self.settings)

    @cached_property
    def images(self) -> "ImageTable":
        """The rows of all images."""
        from chalicelib.aws.image_table import ImageTable

        return ImageTable(
            table=self.clients.table(self.settings.images_table), shards=self.settings.index_shards
        )

    @cached_property
    def conversions(self) -> "ConversionRows":
        """What the rows tell of copies at full size."""
        from chalicelib.aws.conversion_rows import ConversionRows

        return ConversionRows(images=self.images)

    @cached_property
    def uploads(self) -> "ObjectStore":
        """Originals, model inputs, dead letters."""
        return self._store(self.settings.uploads_bucket)

    @cached_property
    def renditions(self) -> "ObjectStore":
        """Everything that is served."""
        return self._store(self.settings.renditions_bucket)

    @cached_property
    def preprocessing_queue(self) -> "Queue":
        """In front of `preprocess`."""
        return self._queue(self.settings.preprocessing_queue)

    @cached_property
    def inference_queue(self) -> "Queue":
        """In front of `infer`."""
        return self._queue(self.settings.inference_queue)

    @cached_property
    def conversion_queue(self) -> "Queue":
        """In front of `optimise`."""
        return self._queue(self.settings.conversion_queue)

    @cached_property
    def preprocessing_batch(self) -> "Batch":
        """Feeds `preprocess`."""
        return self._batch("preprocess", self.preprocessing_queue, self.images)

    @cached_property
    def inference_batch(self) -> "Batch":
        """Feeds `infer`."""
        return self._batch("infer", self.inference_queue, self.images)

    @cached_property
    def conversion_batch(self) -> "Batch":
        """Feeds `optimise`."""
        return self._batch("optimise", self.conversion_queue, self.conversions)

    @cached_property
    def ingest(self) -> "Ingest":
        """Takes in uploads."""
        from chalicelib.pipeline.ingest import Ingest

        return Ingest(
            images=self.images,
            uploads=self.uploads,
            preprocessing_queue=self.preprocessing_queue,
        )

    @cached_property
    def preprocess(self) -> "Preprocess":
        """Makes what the model sees."""
        from chalicelib.imaging import renditions
        from chalicelib.imaging.render import ModelInputShape
        from chalicelib.pipeline.preprocess import Preprocess

        description = self.model_package.description
        return Preprocess(
            images=self.images,
            uploads=self.uploads,
            renditions=self.renditions,
            inference_queue=self.inference_queue,
            conversion_queue=self.conversion_queue,
            limits=self._limits,
            shape=ModelInputShape(
                width=description.input.width,
                height=description.input.height,
                shortest_edge=description.resize.shortest_edge,
                filter=description.resize.filter,
            ),
            table=renditions.installed(),
        )

    @cached_property
    def infer(self) -> "Infer":
        """Runs the model."""
        from chalicelib.inference.classifier import Classifier
        from chalicelib.pipeline.infer import Infer

        return Infer(
            images=self.images,
            uploads=self.uploads,
            renditions=self.renditions,
            classifier=Classifier(
                package=self.model_package, threads=self.settings.inference_threads
            ),
        )

    @cached_property
    def convert(self) -> "Stage":
        """Makes copies of originals: those at full size, or renditions of old images."""
        return lambda message: (self.backfill if message.renditions else self.optimise)(message)

    @cached_property
    def optimise(self) -> "Optimise":
        """Makes the copies at full size."""
        from chalicelib.imaging.formats import CopyFormat, Recipe
        from chalicelib.pipeline.optimise import Optimise

        settings = self.settings
        return Optimise(
            conversions=self.conversions,
            uploads=self.uploads,
            renditions=self.renditions,
            limits=self._limits,
            recipe=Recipe(
                of_photos=tuple(map(CopyFormat, settings.formats_for_photos)),
                of_graphics=tuple(map(CopyFormat, settings.formats_for_graphics)),
                webp_method=settings.webp_method,
                keep_rights=settings.keep_rights == "yes",
            ),
        )

    @cached_property
    def backfill(self) -> "Backfill":
        """Makes renditions of images that are older than those."""
        from chalicelib.imaging import renditions
        from chalicelib.pipeline.backfill import Backfill

        return Backfill(
            images=self.images,
            conversions=self.conversions,
            uploads=self.uploads,
            renditions=self.renditions,
            limits=self._limits,
            table=renditions.installed(),
        )

    @cached_property
    def bury(self) -> "Bury":
        """Takes in dead letters."""
        from chalicelib.pipeline.bury import Bury

        return Bury(images=self.images, conversions=self.conversions, archive=self.uploads)

    @cached_property
    def model_package(self) -> "ModelPackage":
        """The model's description and labels."""
        from chalicelib.inference.package import ModelPackage

        return ModelPackage.installed(self.settings.model)

    @cached_property
    def images_api(self) -> "ImagesApi":
        """The routes under ``/images``."""
        from chalicelib.api.cursors import Cursors
        from chalicelib.api.image_view import ImageView
        from chalicelib.api.images import ImagesApi
        from chalicelib.aws.parameters import SecretParameter

        secret = SecretParameter(ssm=self.clients.ssm, name=self.settings.signing_secret_parameter)
        return ImagesApi(
            settings=self.settings,
            images=self.images,
            uploads=self.uploads,
            renditions=self.renditions,
            queue_of=self._queue_before,
            conversion_queue=self.conversion_queue,
            view=ImageView(
                renditions=self.renditions, link_seconds=self.settings.download_link_seconds
            ),
            cursors=Cursors(secret=secret.value),
            idempotency=self._idempotency,
        )

    @cached_property
    def health_api(self) -> "HealthApi":
        """``GET /health``."""
        from chalicelib.api.health import HealthApi

        return HealthApi(
            checks={
                "images_table": self.images.check,
                "uploads_bucket": self.uploads.check,
                "renditions_bucket": self.renditions.check,
                "preprocessing_queue": lambda: {"waiting": self.preprocessing_queue.waiting()},
                "inference_queue": lambda: {"waiting": self.inference_queue.waiting()},
                "conversion_queue": lambda: {"waiting": self.conversion_queue.waiting()},
            }
        )

    @cached_property
    def _idempotency(self) -> "Idempotency":
        from chalicelib.api.idempotency import Idempotency
        from chalicelib.aws.idempotency_table import IdempotencyTable

        return Idempotency(
            table=IdempotencyTable(
                table=self.clients.table(self.settings.idempotency_table),
                kept_seconds=self.settings.idempotency_hours * 3600,
                lease_seconds=_IDEMPOTENCY_LEASE_SECONDS,
            ),
            new_id=new_image_id,
        )

    def _queue_before(self, status: Status) -> "Queue":
        """The queue whose worker takes up an image that stands at this status."""
        return self.inference_queue if status is Status.PREPROCESSED else self.preprocessing_queue

    def _store(self, bucket: str) -> "ObjectStore":
        from chalicelib.aws.object_store import ObjectStore

        return ObjectStore(s3=self.clients.s3, bucket=bucket)

    def _queue(self, name: str) -> "Queue":
        from chalicelib.aws.queues import Queue

        return Queue(sqs=self.clients.sqs, name=name)

    @cached_property
    def _limits(self) -> "Limits":
        from chalicelib.imaging.limits import Limits

        settings = self.settings
        return Limits(
            max_bytes=settings.max_upload_bytes,
            max_pixels=settings.max_pixels,
            max_side=settings.max_side,
            max_scans=settings.max_scans,
            max_frames=settings.max_frames,
            max_animation_pixels=settings.max_animation_pixels,
            decode_seconds=settings.decode_seconds,
            decode_memory_bytes=settings.decode_memory_bytes,
        )

    def _batch(self, name: str, queue: "Queue", faults: "FaultRecord") -> "Batch":
        from chalicelib.batch import Batch

        return Batch(
            name=name,
            queue=queue,
            faults=faults,
            retry_base_seconds=self.settings.retry_base_seconds,
        )
