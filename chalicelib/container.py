"""Builds everything, each part when it is first needed.

The only module that imports inside functions: a Lambda function loads only
what it uses, so that the API never pays for Pillow nor for onnxruntime.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from chalicelib.errors import ModelError
from chalicelib.images import Status, new_image_id
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from chalicelib.api.health import HealthApi
    from chalicelib.api.idempotency import Idempotency
    from chalicelib.api.images import ImagesApi
    from chalicelib.aws.clients import Clients
    from chalicelib.aws.image_table import ImageTable
    from chalicelib.aws.object_store import ObjectStore
    from chalicelib.aws.queues import Queue
    from chalicelib.batch import Batch
    from chalicelib.inference.package import ModelPackage
    from chalicelib.pipeline.bury import Bury
    from chalicelib.pipeline.infer import Infer
    from chalicelib.pipeline.ingest import Ingest
    from chalicelib.pipeline.models import Models
    from chalicelib.pipeline.preprocess import Preprocess

# Longer than the API's function may run: whoever holds a claim past it is dead.
_IDEMPOTENCY_LEASE_SECONDS = 35
# The model that is part of every deployment.
BUILT_IN = "darkroom_model"


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
    def preprocessing_batch(self) -> "Batch":
        """Feeds `preprocess`."""
        return self._batch("preprocess", self.preprocessing_queue)

    @cached_property
    def inference_batch(self) -> "Batch":
        """Feeds `infer`."""
        return self._batch("infer", self.inference_queue)

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
        from chalicelib.imaging.limits import Limits
        from chalicelib.pipeline.preprocess import Preprocess

        return Preprocess(
            images=self.images,
            uploads=self.uploads,
            renditions=self.renditions,
            inference_queue=self.inference_queue,
            limits=Limits(
                max_bytes=self.settings.max_upload_bytes,
                max_pixels=self.settings.max_pixels,
                max_side=self.settings.max_side,
            ),
            models=self.models,
            table=renditions.installed(),
        )

    @cached_property
    def infer(self) -> "Infer":
        """Runs the model."""
        from chalicelib.inference.classifier import Classifiers
        from chalicelib.pipeline.infer import Infer
        from chalicelib.pipeline.shadow import Shadow

        classifiers = Classifiers(threads=self.settings.inference_threads)
        return Infer(
            images=self.images,
            uploads=self.uploads,
            renditions=self.renditions,
            preprocessing_queue=self.preprocessing_queue,
            models=self.models,
            classifier_of=classifiers,
            shadow=Shadow(uploads=self.uploads, models=self.models, classifier_of=classifiers),
        )

    @cached_property
    def bury(self) -> "Bury":
        """Takes in dead letters."""
        from chalicelib.pipeline.bury import Bury

        return Bury(images=self.images, archive=self.uploads)

    @cached_property
    def models(self) -> "Models":
        """The models that can be run, and which of them are."""
        from chalicelib.aws.parameters import WatchedParameter
        from chalicelib.inference.package import ModelPackage
        from chalicelib.models import DEFAULT, ModelChoice
        from chalicelib.pipeline.models import Models

        settings = self.settings

        def deployed() -> "ModelPackage":
            try:
                return ModelPackage.installed(settings.model)
            except ModelError:
                if not settings.model_description:
                    raise
                return ModelPackage.described_by(settings.model_description)

        def checked(text: str) -> ModelChoice:
            choice = ModelChoice.parse(text)
            models.check(choice)
            return choice

        models = Models(
            deployed={DEFAULT: deployed, BUILT_IN: lambda: ModelPackage.installed(BUILT_IN)},
            uploads=self.uploads,
            choice=WatchedParameter(
                ssm=self.clients.ssm if settings.models_parameter else None,
                name=settings.models_parameter,
                parse=checked,
                default=ModelChoice(),
                seconds=settings.model_choice_seconds,
            ),
        )
        return models

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
            is_model=self._is_model,
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

    def _is_model(self, reference: str) -> bool:
        """Whether there is such a model."""
        return self.models.has(reference)

    def _queue_before(self, status: Status) -> "Queue":
        """The queue whose worker takes up an image that stands at this status."""
        return self.inference_queue if status is Status.PREPROCESSED else self.preprocessing_queue

    def _store(self, bucket: str) -> "ObjectStore":
        from chalicelib.aws.object_store import ObjectStore

        return ObjectStore(s3=self.clients.s3, bucket=bucket)

    def _queue(self, name: str) -> "Queue":
        from chalicelib.aws.queues import Queue

        return Queue(sqs=self.clients.sqs, name=name)

    def _batch(self, name: str, queue: "Queue") -> "Batch":
        from chalicelib.batch import Batch

        return Batch(
            name=name,
            queue=queue,
            faults=self.images,
            retry_base_seconds=self.settings.retry_base_seconds,
        )
