"""Every setting: its variable, default, unit and meaning, read once from the environment.

The variable of a field is its name in capitals: ``max_pixels`` is ``MAX_PIXELS``.
`docs/configuration.md` lists them all; a test holds the two together.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Self

from chalicelib.errors import SettingsError

LOCAL_STAGE = "local"
# What copies at full size can be made in, and the word for an empty list.
FORMATS = ("webp", "jpeg", "png", "avif")
NONE = "none"
APP_NAME = "darkroom"


def _setting(
    meaning: str,
    *,
    default: Any = MISSING,
    minimum: int = 1,
    maximum: int | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    metadata = {"meaning": meaning, "minimum": minimum, "maximum": maximum, "choices": choices}
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The configuration of one process. See each field's ``meaning``."""

    stage: str = _setting("Name of the stage; part of every resource's name.")
    uploads_bucket: str = _setting(
        "Bucket of originals (`uploads/`), model inputs (`processed/`) and `dead-letters/`."
    )
    renditions_bucket: str = _setting("Bucket of everything that is served: results, renditions.")
    images_table: str = _setting("Table with one row per image.")
    idempotency_table: str = _setting(
        "Table of the answers kept for `Idempotency-Key`, and of what callers used of their quota."
    )
    tracking_table: str = _setting("Table with the updates of every parcel.")
    preprocessing_queue: str = _setting("Name of the queue before `preprocess`.")
    inference_queue: str = _setting("Name of the queue before `infer`.")
    conversion_queue: str = _setting("Name of the queue before `optimise`.")
    notifications_table: str = _setting("Table with one row for each e-mail about a change.")
    suppressions_table: str = _setting("Table of the addresses that no e-mail is sent to.")
    notification_queue: str = _setting("Name of the queue before `mail`.")
    announcements_table: str = _setting("Table with one row for each event about an image.")
    flags_parameter: str = _setting("SSM parameter with the switches that `Flags` lists.")
    config_parameter: str = _setting("SSM parameter with the numbers that `Config` lists.")
    signing_secret_parameter: str = _setting(
        "SSM parameter (SecureString) with the secret that signs page cursors; made at first use."
    )

    mail_from: str = _setting(
        "Sender of e-mails, verified in SES: `parcels@example.com`, with a name before it or "
        "without. Without it no e-mail is sent.",
        default="",
    )
    mail_configuration_set: str = _setting(
        "Configuration set of SES that reports bounces and complaints.", default=""
    )
    public_url: str = _setting(
        "Where the API is seen from outside, for the links to unsubscribe in e-mails.", default=""
    )
    history_url: str = _setting(
        "Address of a page about a parcel, for a link in e-mails; the tracking id is appended.",
        default="",
    )
    image_events_topic: str = _setting(
        "ARN of the topic that the ends of images are announced on; without it none is.",
        default="",
    )
    cdn_url: str = _setting(
        "Where a CDN serves the renditions bucket: `https://img.example.com`; without it links are "
        "signed ones to the bucket.",
        default="",
    )
    transfer_acceleration: str = _setting(
        "Whether upload links go through S3's accelerated endpoint: on or off.",
        default="off",
        choices=("on", "off"),
    )
    allowed_origin: str = _setting("Origin that browsers may call the API from.", default="*")
    max_upload_bytes: int = _setting(
        "Largest original, in bytes; bounds the upload link too.", default=50 * 1024 * 1024
    )
    max_body_bytes: int = _setting(
        "Largest image in the body of `POST /images`, in bytes.", default=5 * 1024 * 1024
    )
    max_pixels: int = _setting(
        "Largest original, in pixels, judged from its header.", default=64_000_000
    )
    max_side: int = _setting("Longest side of an original, in pixels.", default=30_000)
    max_scans: int = _setting(
        "Passes over the picture that a JPEG may make; cameras make 1, web pages' about 10.",
        default=100,
    )
    max_frames: int = _setting(
        "Frames of an animation; of a longer one only the first picture is kept.", default=300
    )
    max_animation_pixels: int = _setting(
        "Width times height times frames of an animation, likewise.", default=64_000_000
    )
    decode_seconds: int = _setting(
        "Processor time, in seconds, that reading one file may take.", default=20
    )
    decode_memory_bytes: int = _setting(
        "What reading one file may allocate, in bytes; leave 250 MB of the function's memory.",
        default=1_500_000_000,
    )
    formats_for_photos: tuple[str, ...] = _setting(
        "Copies at full size of photographs: any of webp, jpeg, png, avif, or none.",
        default=("webp", "jpeg", "png"),
        choices=FORMATS,
    )
    formats_for_graphics: tuple[str, ...] = _setting(
        "Copies at full size of drawings, screenshots and logos, likewise.",
        default=("webp", "jpeg", "png"),
        choices=FORMATS,
    )
    webp_method: int = _setting(
        "How hard the WebP encoder tries, 0 to 6: quick to small.",
        default=2,
        minimum=0,
        maximum=6,
    )
    keep_rights: str = _setting(
        "Whether copies keep artist and copyright of the original's EXIF: yes or no.",
        default="no",
        choices=("yes", "no"),
    )
    reuse_results: str = _setting(
        "Whether an image takes over what was made of the same bytes before: yes or no. A request "
        "may say no for its image.",
        default="yes",
        choices=("yes", "no"),
    )
    keep_camera: str = _setting(
        "Whether records of objects that are put straight into the bucket keep make, model and "
        "exposure of the camera: yes or no. `POST /images` says so itself.",
        default="no",
        choices=("yes", "no"),
    )
    upload_link_seconds: int = _setting("How long an upload link works.", default=900)
    download_link_seconds: int = _setting("How long a link to a result works.", default=3600)
    idempotency_hours: int = _setting(
        "How long the answer to an `Idempotency-Key` is kept.", default=24
    )
    quota_requests: int = _setting(
        "How often one caller may ask for what costs in each window, a batch by its updates; "
        "0: as often as it likes.",
        default=0,
        minimum=0,
    )
    quota_seconds: int = _setting(
        "Length of such a window, in seconds.", default=3600, maximum=2_592_000
    )
    retry_base_seconds: int = _setting(
        "Wait before the second try of a message; doubles with each further one.", default=10
    )
    index_shards: int = _setting(
        "Hash keys that each list is spread over; may be raised, never lowered.", default=4
    )
    model: str = _setting(
        "Importable package of the deployed model: the built-in one, or `darkroom_model_layer`.",
        default="darkroom_model",
    )
    model_description: str = _setting(
        "`model.json` of the model in the layer, for functions that the layer is not attached to.",
        default="",
    )
    models_parameter: str = _setting(
        "SSM parameter that chooses the active and the shadow model; none: the deployed one.",
        default="",
    )
    model_choice_seconds: int = _setting(
        "After how long the choice of models is read again.", default=300
    )
    inference_threads: int = _setting("Threads of one inference.", default=1)
    stuck_queued_seconds: int = _setting(
        "After how long in `queued` the check sends an image on its way again; doubles each time.",
        default=3600,
    )
    stuck_preprocessing_seconds: int = _setting("Likewise, in `preprocessing`.", default=3600)
    stuck_preprocessed_seconds: int = _setting("Likewise, in `preprocessed`.", default=3600)
    stuck_inferencing_seconds: int = _setting("Likewise, in `inferencing`.", default=3600)
    stuck_conversion_seconds: int = _setting(
        "Likewise, an image that has ended but for its copies at full size.", default=3600
    )
    stuck_requeues: int = _setting(
        "How often the check does so within an attempt before it gives the image up.",
        default=3,
        minimum=0,
        maximum=10,
    )
    lost_event_seconds: int = _setting(
        "After how long the check looks whether an upload came and its event did not.", default=600
    )
    check_seconds: int = _setting(
        "How long one run of the check may take; the next one goes on where it stopped.",
        default=40,
    )
    poison_marker: str = _setting(
        "Value of the metadata field `poison` whose images kill the process; stage local alone.",
        default="",
    )
    log_level: str = _setting(
        "DEBUG, INFO, WARNING or ERROR.",
        default="INFO",
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
    )
    aws_endpoint_url: str = _setting(
        "Where AWS answers instead of its public endpoints; only the local stage sets it.",
        default="",
    )

    @property
    def is_local(self) -> bool:
        """Whether this runs against the local AWS, where real credentials must never be used."""
        return self.stage == LOCAL_STAGE

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read all settings.

        Raises:
            SettingsError: Names every variable that is missing or wrong, all at once.
        """
        values: dict[str, Any] = {}
        problems: list[str] = []
        for entry in fields(cls):
            variable = entry.name.upper()
            text = environ.get(variable, "").strip()
            if not text:
                if entry.default is MISSING:
                    problems.append(f"{variable} is not set ({entry.metadata['meaning']})")
                continue
            try:
                values[entry.name] = _read(entry, text)
            except ValueError as error:
                problems.append(f"{variable} {error}, not {text!r}")
        stage = environ.get("STAGE", "").strip()
        if values.get("poison_marker") and stage != LOCAL_STAGE:
            problems.append("POISON_MARKER is for tests of the stage local alone")
        if problems:
            raise SettingsError("The settings are wrong: " + "; ".join(problems) + ".")
        return cls(**values)


def _read(entry: Field[Any], text: str) -> Any:
    """The value of a setting.

    Raises:
        ValueError: Says what it must be.
    """
    rules = entry.metadata
    choices = rules["choices"]
    if entry.type == tuple[str, ...]:
        words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
        if words == (NONE,):
            return ()
        if not set(words) <= set(choices):
            raise ValueError(f"must be {NONE}, or a list with commas of {', '.join(choices)}")
        return words
    if choices and text not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}")
    if entry.type is not int:
        return text
    minimum, maximum = rules["minimum"], rules["maximum"]
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if number < minimum or (maximum is not None and number > maximum):
        limit = f"at least {minimum}" if maximum is None else f"{minimum} to {maximum}"
        raise ValueError(f"must be a whole number of {limit}")
    return number


def resource_name(stage: str, kind: str) -> str:
    """The name of a resource in a stage, as the template makes it: ``darkroom-dev-images``."""
    return f"{APP_NAME}-{stage}-{kind}"
