"""Builds everything, each part when it is first needed.

The only module that imports inside functions: a Lambda function loads only
what it uses, so that the API never pays for Pillow nor for onnxruntime.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from chalicelib.errors import DarkroomError, ModelError
from chalicelib.images import Kept, Status, new_image_id
from chalicelib.settings import LOCAL_STAGE, Settings, resource_name

if TYPE_CHECKING:
    from chalicelib.api.console import ConsoleApi
    from chalicelib.api.cursors import Cursors
    from chalicelib.api.dead_letters import DeadLettersApi
    from chalicelib.api.health import HealthApi
    from chalicelib.api.idempotency import Idempotency
    from chalicelib.api.image_view import ImageView
    from chalicelib.api.images import ImagesApi
    from chalicelib.api.openapi import Description
    from chalicelib.api.quota import Quota
    from chalicelib.api.reference import ReferenceApi
    from chalicelib.api.tracking import TrackingApi
    from chalicelib.api.unsubscribe import UnsubscribeApi
    from chalicelib.aws.check_log import CheckLog
    from chalicelib.aws.clients import Clients
    from chalicelib.aws.conversion_rows import ConversionRows
    from chalicelib.aws.image_table import ImageTable
    from chalicelib.aws.notification_table import NotificationTable
    from chalicelib.aws.object_store import ObjectStore
    from chalicelib.aws.parameters import JsonParameter
    from chalicelib.aws.queues import Queue
    from chalicelib.aws.suppression_table import SuppressionTable
    from chalicelib.aws.tracking_table import TrackingTable
    from chalicelib.batch import Batch, FaultRecord, Stage
    from chalicelib.dead_letters import DeadLetters
    from chalicelib.flags import Config, Flags
    from chalicelib.imaging.limits import Limits
    from chalicelib.inference.package import ModelPackage
    from chalicelib.messages import ImageMessage, NotificationMessage
    from chalicelib.pipeline.announce import Announce
    from chalicelib.pipeline.backfill import Backfill
    from chalicelib.pipeline.bury import Bury
    from chalicelib.pipeline.bury_notification import BuryNotification
    from chalicelib.pipeline.check import Check
    from chalicelib.pipeline.feedback import Feedback
    from chalicelib.pipeline.infer import Infer
    from chalicelib.pipeline.ingest import Ingest
    from chalicelib.pipeline.mail import Mail
    from chalicelib.pipeline.models import Models
    from chalicelib.pipeline.notify import Notify
    from chalicelib.pipeline.optimise import Optimise
    from chalicelib.pipeline.pending_uploads import PendingUploads
    from chalicelib.pipeline.queue_levels import QueueLevels
    from chalicelib.pipeline.reuse import Reuse
    from chalicelib.pipeline.stuck_images import StuckCopies, StuckImages
    from chalicelib.pipeline.stuck_parcels import StuckParcels
    from chalicelib.retry import Retry
    from chalicelib.unsubscribe_links import UnsubscribeLinks

# Longer than the API's function may run: whoever holds a claim past it is dead.
_IDEMPOTENCY_LEASE_SECONDS = 35
# Longer than `mail` may run, for the same reason.
_NOTIFICATION_LEASE_SECONDS = 70
# Longer than `announce` may run.
_ANNOUNCEMENT_LEASE_SECONDS = 70
# Of the check, after which its silence counts as a fault.
_OVERDUE_INTERVALS = 3
# The model that is part of every deployment.
BUILT_IN = "darkroom_model"


# What each handler of app.py begins with; those that hardly load anything are left out.
_PARTS: Mapping[str, str] = {
    "app": "images_api",
    "ingest": "ingest",
    "preprocess": "preprocess",
    "infer": "infer",
    "optimise": "optimise",
    "bury_preprocessing": "bury",
    "bury_inference": "bury",
    "bury_conversion": "bury",
    "check": "check",
    "announce": "announce",
    "notify": "notify",
    "mail": "mail",
}


@dataclass(frozen=True)
class Container:
    """One process's parts.

    Args:
        environ: Where the settings come from.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def warm_up(self) -> None:
        """Build what the function of this process is going to need, if it is one on Lambda.

        A part that cannot be built is left to the first event, which has somewhere to tell so.
        """
        part = _PARTS.get(self.environ.get("_HANDLER", "").rpartition(".")[2])
        if part is None or "AWS_LAMBDA_FUNCTION_NAME" not in self.environ:
            return
        with suppress(DarkroomError):
            getattr(self, part)

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
        from chalicelib.aws.object_store import ObjectStore

        accelerated = self.settings.transfer_acceleration == "on" and not self.settings.is_local
        return ObjectStore(
            s3=self.clients.s3,
            bucket=self.settings.uploads_bucket,
            uploader=self.clients.accelerated_s3 if accelerated else None,
        )

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
    def preprocessing_batch(self) -> "Batch[ImageMessage]":
        """Feeds `preprocess`."""
        return self._batch("preprocess", self.preprocessing_queue, self.images)

    @cached_property
    def inference_batch(self) -> "Batch[ImageMessage]":
        """Feeds `infer`."""
        return self._batch("infer", self.inference_queue, self.images)

    @cached_property
    def conversion_batch(self) -> "Batch[ImageMessage]":
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
            keep=(Kept.CAMERA,) if self.settings.keep_camera == "yes" else (),
        )

    @cached_property
    def preprocess(self) -> "Stage[ImageMessage]":
        """Makes what the model sees."""
        from chalicelib.imaging import renditions
        from chalicelib.pipeline.preprocess import Preprocess

        preprocess = Preprocess(
            images=self.images,
            uploads=self.uploads,
            renditions=self.renditions,
            inference_queue=self.inference_queue,
            conversion_queue=self.conversion_queue,
            limits=self._limits,
            models=self.models,
            table=renditions.installed(),
            reuse=self._reuse,
        )
        # The settings refuse the marker outside of the local stage; so does this.
        if not (self.settings.is_local and self.settings.poison_marker):
            return preprocess
        from chalicelib.pipeline.poison import Poisonable

        return Poisonable(stage=preprocess, images=self.images, marker=self.settings.poison_marker)

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
    def convert(self) -> "Stage[ImageMessage]":
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
            reuse=self._reuse,
        )

    @cached_property
    def _reuse(self) -> "Reuse":
        """What was made of the same bytes before."""
        from chalicelib.pipeline.reuse import Reuse

        return Reuse(
            images=self.images,
            renditions=self.renditions,
            enabled=self.settings.reuse_results == "yes",
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
    def announce(self) -> "Announce":
        """Publishes how images ended."""
        from chalicelib import telemetry
        from chalicelib.aws.announcement_table import AnnouncementTable
        from chalicelib.aws.event_topic import EventTopic
        from chalicelib.pipeline.announce import Announce

        arn = self.settings.image_events_topic
        if not arn:
            telemetry.logger().warning("IMAGE_EVENTS_TOPIC is not set: no image is announced")
        return Announce(
            topic=EventTopic(sns=self.clients.sns, arn=arn) if arn else None,
            announcements=AnnouncementTable(
                table=self.clients.table(self.settings.announcements_table),
                lease_seconds=_ANNOUNCEMENT_LEASE_SECONDS,
            ),
            archive=self.uploads,
            stage=self.settings.stage,
        )

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
        from chalicelib.api.images import ImagesApi

        return ImagesApi(
            settings=self.settings,
            images=self.images,
            uploads=self.uploads,
            renditions=self.renditions,
            retries=self.retries,
            is_model=self._is_model,
            view=self._image_view,
            cursors=self._cursors,
            idempotency=self._idempotency(new_image_id),
            quota=self._quota,
        )

    @cached_property
    def health_api(self) -> "HealthApi":
        """``GET /health``."""
        from chalicelib.api.health import CheckFacts, HealthApi, QueueFacts

        return HealthApi(
            checks={
                "images_table": self.images.check,
                "tracking_table": self.tracking.check,
                "uploads_bucket": self.uploads.check,
                "renditions_bucket": self.renditions.check,
                **{
                    f"{name.replace('-', '_')}_queue": QueueFacts(
                        queue=queue, dead_letters=self.dead_letters[name]
                    )
                    for name, queue in self.queues.items()
                },
                "check": CheckFacts(
                    log=self._check_log,
                    # A laptop sleeps; what ran before it did is no sign of anything.
                    overdue_after=None if self.settings.is_local else _OVERDUE_INTERVALS,
                ),
            }
        )

    @cached_property
    def dead_letters_api(self) -> "DeadLettersApi":
        """The routes under ``/dead-letters``."""
        from chalicelib.api.dead_letters import DeadLettersApi

        return DeadLettersApi(letters=self.letters, cursors=self._cursors)

    @cached_property
    def console_api(self) -> "ConsoleApi":
        """``GET /``."""
        from chalicelib.api.console import ConsoleApi

        return ConsoleApi(
            stage=self.settings.stage,
            signed=self._signed,
            uploads=self.uploads,
            renditions=self.renditions,
        )

    @cached_property
    def openapi_api(self) -> "Description":
        """``GET /openapi.json``."""
        from chalicelib.api.openapi import Description

        return Description(signed=self._signed)

    @cached_property
    def reference_api(self) -> "ReferenceApi":
        """``GET /docs``."""
        from chalicelib.api.reference import ReferenceApi

        return ReferenceApi(description=self.openapi_api)

    @property
    def _signed(self) -> bool:
        """Whether AWS_IAM is in front of the routes of parcels; `chalice local` has none."""
        return self.settings.stage != LOCAL_STAGE

    # --- Parcels --------------------------------------------------------------------------

    @cached_property
    def tracking(self) -> "TrackingTable":
        """The updates of all parcels."""
        from chalicelib.aws.tracking_table import TrackingTable

        return TrackingTable(
            table=self.clients.table(self.settings.tracking_table),
            shards=self.settings.index_shards,
        )

    @cached_property
    def flags(self) -> "JsonParameter[Flags]":
        """What is switched on."""
        from chalicelib.flags import Flags

        return self._json_parameter(self.settings.flags_parameter, Flags, Flags())

    @cached_property
    def config(self) -> "JsonParameter[Config]":
        """Numbers that can be changed while the service runs."""
        from chalicelib.flags import Config

        return self._json_parameter(self.settings.config_parameter, Config, Config())

    @cached_property
    def tracking_api(self) -> "TrackingApi":
        """``POST /track`` and ``GET /status``."""
        from chalicelib.api.tracking import TrackingApi
        from chalicelib.api.tracking_view import TrackingView
        from chalicelib.clock import now_ms
        from chalicelib.parcels import new_update_id

        return TrackingApi(
            table=self.tracking,
            images=self.images,
            view=TrackingView(photos=self._image_view),
            cursors=self._cursors,
            idempotency=self._idempotency(lambda: new_update_id(now_ms())),
            flags=self.flags.value,
            config=self.config.value,
            quota=self._quota,
        )

    @cached_property
    def check(self) -> "Check":
        """What is looked after every five minutes."""
        from chalicelib.pipeline.check import Check

        return Check(
            parts={
                "queue_levels": self.queue_levels,
                "pending_uploads": self.pending_uploads,
                "stuck_images": self.stuck_images,
                "stuck_copies": self.stuck_copies,
                "stuck_parcels": lambda _: self.stuck_parcels(),
            },
            log=self._check_log,
            seconds=self.settings.check_seconds,
        )

    @cached_property
    def stuck_parcels(self) -> "StuckParcels":
        """Reports parcels that nothing was heard of."""
        from chalicelib.aws.event_bus import EventBus
        from chalicelib.aws.parcel_index import ParcelIndex
        from chalicelib.pipeline.stuck_parcels import StuckParcels

        return StuckParcels(
            index=ParcelIndex(
                table=self.clients.table(self.settings.tracking_table),
                shards=self.settings.index_shards,
            ),
            bus=EventBus(events=self.clients.events, source=f"darkroom.{self.settings.stage}"),
            config=self.config.value,
        )

    def _json_parameter[T](self, name: str, schema: type[T], default: T) -> "JsonParameter[T]":
        from aws_lambda_powertools.utilities.parameters import SSMProvider

        from chalicelib.aws.parameters import JsonParameter

        return JsonParameter(
            provider=SSMProvider(boto3_client=self.clients.quick_ssm),
            name=name,
            schema=schema,
            default=default,
        )

    # --- The check of images and queues --------------------------------------------------------

    @cached_property
    def queue_levels(self) -> "QueueLevels":
        """Measures the queues."""
        from chalicelib.pipeline.queue_levels import QueueLevels

        return QueueLevels(queues=self.queues, dead_letters=self.dead_letters)

    @cached_property
    def pending_uploads(self) -> "PendingUploads":
        """Takes in uploads whose event was lost, marks links that nobody used."""
        from chalicelib.pipeline.pending_uploads import PendingUploads

        return PendingUploads(
            images=self.images,
            uploads=self.uploads,
            ingest=self.ingest,
            lost_seconds=self.settings.lost_event_seconds,
            link_seconds=self.settings.upload_link_seconds,
        )

    @cached_property
    def stuck_images(self) -> "StuckImages":
        """Sends images on their way again."""
        from chalicelib.pipeline.stuck_images import StuckImages

        settings = self.settings
        return StuckImages(
            images=self.images,
            queue_of=self._queue_before,
            limits_seconds={
                Status.QUEUED: settings.stuck_queued_seconds,
                Status.PREPROCESSING: settings.stuck_preprocessing_seconds,
                Status.PREPROCESSED: settings.stuck_preprocessed_seconds,
                Status.INFERENCING: settings.stuck_inferencing_seconds,
            },
            requeues=settings.stuck_requeues,
        )

    @cached_property
    def stuck_copies(self) -> "StuckCopies":
        """Sends copies at full size on their way again."""
        from chalicelib.pipeline.stuck_images import StuckCopies

        return StuckCopies(
            images=self.images,
            conversions=self.conversions,
            queue=self.conversion_queue,
            limit_seconds=self.settings.stuck_conversion_seconds,
            requeues=self.settings.stuck_requeues,
        )

    @cached_property
    def retries(self) -> "Retry":
        """Takes up what failed."""
        from chalicelib.retry import Retry

        return Retry(
            images=self.images,
            queue_of=self._queue_before,
            conversion_queue=self.conversion_queue,
        )

    @cached_property
    def letters(self) -> "DeadLetters":
        """What was given up, and its way back."""
        from chalicelib.clock import now_ms
        from chalicelib.dead_letters import DeadLetters
        from chalicelib.pipeline.ingest import event_of
        from chalicelib.pipeline.notify import queue_change

        def announced_again(record: Any) -> None:
            self.announce.again(record)

        return DeadLetters(
            archive=self.uploads,
            images=self.images,
            retries=self.retries,
            queues={
                "preprocess": self.preprocessing_queue,
                "infer": self.inference_queue,
                "optimise": self.conversion_queue,
                "mail": self.notification_queue,
            },
            handlers={
                "ingest": lambda body: self.ingest(event_of(body)),
                "feedback": lambda body: self.feedback({"Records": [{"body": body}]}),
                "announce": announced_again,
                # Not `notify`: it archives again what it cannot read, under the same key.
                "notify": lambda record: queue_change(self.notification_queue, record, now_ms()),
            },
        )

    @cached_property
    def queues(self) -> "Mapping[str, Queue]":
        """All queues that workers of ours read from, by their names without the stage."""
        return {
            "preprocessing": self.preprocessing_queue,
            "inference": self.inference_queue,
            "conversion": self.conversion_queue,
            "notification": self.notification_queue,
            "mail-feedback": self._queue(resource_name(self.settings.stage, "mail-feedback")),
        }

    @cached_property
    def dead_letters(self) -> "Mapping[str, Queue]":
        """Where the letters of each queue wait to be buried; uploads' events have some too."""
        return {
            name: self._queue(resource_name(self.settings.stage, f"{name}-dead-letters"))
            for name in ("ingest", *self.queues)
        }

    @cached_property
    def _check_log(self) -> "CheckLog":
        from chalicelib.aws.check_log import CheckLog

        return CheckLog(table=self.clients.table(self.settings.images_table))

    # --- Notifications ----------------------------------------------------------------------

    @cached_property
    def notify(self) -> "Notify":
        """Queues an e-mail for each change of a parcel's status."""
        from chalicelib import telemetry
        from chalicelib.pipeline.notify import Notify

        if not self.settings.mail_from:
            telemetry.logger().warning("MAIL_FROM is not set: no e-mail is sent")
        return Notify(
            queue=self.notification_queue,
            archive=self.uploads,
            flags=self.flags.known,
            sends=bool(self.settings.mail_from),
        )

    @cached_property
    def notification_queue(self) -> "Queue":
        """In front of `mail`."""
        return self._queue(self.settings.notification_queue)

    @cached_property
    def notification_batch(self) -> "Batch[NotificationMessage]":
        """Feeds `mail`."""
        from chalicelib import messages
        from chalicelib.batch import Batch

        return Batch(
            name="mail",
            decode=messages.decode_notification,
            queue=self.notification_queue,
            faults=self.notifications,
            retry_base_seconds=self.settings.retry_base_seconds,
        )

    @cached_property
    def mail(self) -> "Mail":
        """Sends e-mails."""
        from chalicelib.aws.mailer import Mailer
        from chalicelib.pipeline.letter import LetterWriter
        from chalicelib.pipeline.mail import Mail

        return Mail(
            notifications=self.notifications,
            suppressions=self.suppressions,
            images=self.images,
            renditions=self.renditions,
            queue=self.notification_queue,
            writer=LetterWriter(
                sender=self.settings.mail_from,
                public_url=self.settings.public_url,
                history_url=self.settings.history_url,
                links=self._unsubscribe_links,
            ),
            mailer=Mailer(
                ses=self.clients.ses, configuration_set=self.settings.mail_configuration_set
            ),
            flags=self.flags.known,
            sends=bool(self.settings.mail_from),
        )

    @cached_property
    def bury_notification(self) -> "BuryNotification":
        """Takes in the dead letters of `mail`."""
        from chalicelib.pipeline.bury_notification import BuryNotification

        return BuryNotification(notifications=self.notifications, archive=self.uploads)

    @cached_property
    def feedback(self) -> "Feedback":
        """Takes in what SES hears of e-mails."""
        from chalicelib.pipeline.feedback import Feedback

        return Feedback(suppressions=self.suppressions)

    @cached_property
    def unsubscribe_api(self) -> "UnsubscribeApi":
        """The route ``/unsubscribe``."""
        from chalicelib.api.unsubscribe import UnsubscribeApi

        return UnsubscribeApi(suppressions=self.suppressions, links=self._unsubscribe_links)

    @cached_property
    def notifications(self) -> "NotificationTable":
        """The rows of all e-mails."""
        from chalicelib.aws.notification_table import NotificationTable

        return NotificationTable(
            table=self.clients.table(self.settings.notifications_table),
            lease_seconds=_NOTIFICATION_LEASE_SECONDS,
        )

    @cached_property
    def suppressions(self) -> "SuppressionTable":
        """Whom nothing is sent to."""
        from chalicelib.aws.suppression_table import SuppressionTable

        return SuppressionTable(table=self.clients.table(self.settings.suppressions_table))

    @cached_property
    def _unsubscribe_links(self) -> "UnsubscribeLinks":
        from chalicelib.aws.parameters import SecretParameter
        from chalicelib.unsubscribe_links import UnsubscribeLinks

        secret = SecretParameter(ssm=self.clients.ssm, name=self.settings.signing_secret_parameter)
        return UnsubscribeLinks(secret=secret.value)

    # --- Shared by the routes ---------------------------------------------------------------

    @cached_property
    def _image_view(self) -> "ImageView":
        from chalicelib.api.image_view import ImageView

        return ImageView(
            cdn_url=self.settings.cdn_url.rstrip("/"),
            renditions=self.renditions,
            link_seconds=self.settings.download_link_seconds,
        )

    @cached_property
    def _cursors(self) -> "Cursors":
        from chalicelib.api.cursors import Cursors
        from chalicelib.aws.parameters import SecretParameter

        secret = SecretParameter(ssm=self.clients.ssm, name=self.settings.signing_secret_parameter)
        return Cursors(secret=secret.value)

    @cached_property
    def _quota(self) -> "Quota | None":
        settings = self.settings
        if settings.quota_requests == 0:
            return None
        from chalicelib.api.quota import Quota
        from chalicelib.aws.parameters import SecretParameter
        from chalicelib.aws.quota_table import QuotaTable

        secret = SecretParameter(ssm=self.clients.quick_ssm, name=settings.signing_secret_parameter)
        return Quota(
            table=QuotaTable(table=self.clients.quick_table(settings.idempotency_table)),
            secret=secret.value,
            requests=settings.quota_requests,
            seconds=settings.quota_seconds,
        )

    def _idempotency(self, new_id: Callable[[], str]) -> "Idempotency":
        from chalicelib.api.idempotency import Idempotency
        from chalicelib.aws.idempotency_table import IdempotencyTable

        return Idempotency(
            table=IdempotencyTable(
                table=self.clients.table(self.settings.idempotency_table),
                kept_seconds=self.settings.idempotency_hours * 3600,
                lease_seconds=_IDEMPOTENCY_LEASE_SECONDS,
            ),
            new_id=new_id,
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

    def _batch(
        self, name: str, queue: "Queue", faults: "FaultRecord[ImageMessage]"
    ) -> "Batch[ImageMessage]":
        from chalicelib import messages
        from chalicelib.batch import Batch

        return Batch(
            name=name,
            decode=messages.decode,
            queue=queue,
            faults=faults,
            retry_base_seconds=self.settings.retry_base_seconds,
        )
