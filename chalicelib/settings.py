"""Every setting: its variable, default, unit and meaning, read once from the environment.

The variable of a field is its name in capitals: ``max_pixels`` is ``MAX_PIXELS``.
`docs/configuration.md` lists them all; a test holds the two together.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Self

from chalicelib.errors import SettingsError

LOCAL_STAGE = "local"
APP_NAME = "darkroom"


def _setting(
    meaning: str, *, default: Any = MISSING, minimum: int = 1, choices: tuple[str, ...] = ()
) -> Any:
    metadata = {"meaning": meaning, "minimum": minimum, "choices": choices}
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
    idempotency_table: str = _setting("Table of the answers kept for `Idempotency-Key`.")
    preprocessing_queue: str = _setting("Name of the queue before `preprocess`.")
    inference_queue: str = _setting("Name of the queue before `infer`.")
    signing_secret_parameter: str = _setting(
        "SSM parameter (SecureString) with the secret that signs page cursors; made at first use."
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
    upload_link_seconds: int = _setting("How long an upload link works.", default=900)
    download_link_seconds: int = _setting("How long a link to a result works.", default=3600)
    idempotency_hours: int = _setting(
        "How long the answer to an `Idempotency-Key` is kept.", default=24
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
            choices = entry.metadata["choices"]
            if choices and text not in choices:
                problems.append(f"{variable} must be one of {', '.join(choices)}, not {text!r}")
                continue
            if entry.type is not int:
                values[entry.name] = text
                continue
            minimum = entry.metadata["minimum"]
            if not text.isascii() or not text.isdecimal() or int(text) < minimum:
                problems.append(
                    f"{variable} must be a whole number of at least {minimum}, not {text!r}"
                )
                continue
            values[entry.name] = int(text)
        if problems:
            raise SettingsError("The settings are wrong: " + "; ".join(problems) + ".")
        return cls(**values)


def resource_name(stage: str, kind: str) -> str:
    """The name of a resource in a stage, as the template makes it: ``darkroom-dev-images``."""
    return f"{APP_NAME}-{stage}-{kind}"
