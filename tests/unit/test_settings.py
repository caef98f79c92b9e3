import dataclasses

import pytest

from chalicelib.errors import SettingsError
from chalicelib.settings import Settings, resource_name

REQUIRED = {
    "STAGE": "dev",
    "UPLOADS_BUCKET": "up",
    "RENDITIONS_BUCKET": "out",
    "IMAGES_TABLE": "images",
    "IDEMPOTENCY_TABLE": "idempotency",
    "TRACKING_TABLE": "tracking",
    "FLAGS_PARAMETER": "/darkroom/dev/flags",
    "CONFIG_PARAMETER": "/darkroom/dev/config",
    "NOTIFICATIONS_TABLE": "notifications",
    "SUPPRESSIONS_TABLE": "suppressions",
    "NOTIFICATION_QUEUE": "notify",
    "ANNOUNCEMENTS_TABLE": "announcements",
    "PREPROCESSING_QUEUE": "pre",
    "INFERENCE_QUEUE": "inf",
    "CONVERSION_QUEUE": "con",
    "SIGNING_SECRET_PARAMETER": "/darkroom/dev/secret",
}
NUMBERS = tuple(entry.name.upper() for entry in dataclasses.fields(Settings) if entry.type is int)


def test_only_the_names_of_resources_are_required() -> None:
    settings = Settings.from_environ(REQUIRED)
    assert settings.uploads_bucket == "up"
    assert settings.signing_secret_parameter == "/darkroom/dev/secret"


def test_the_defaults_are_the_documented_limits() -> None:
    settings = Settings.from_environ(REQUIRED)
    assert settings.max_upload_bytes == 52_428_800
    assert settings.max_body_bytes == 5_242_880
    assert settings.max_pixels == 64_000_000
    assert settings.idempotency_hours == 24
    assert settings.aws_endpoint_url == ""


@pytest.mark.parametrize("variable", sorted(REQUIRED))
def test_a_missing_variable_is_named_with_its_meaning(variable: str) -> None:
    environ = {name: value for name, value in REQUIRED.items() if name != variable}
    with pytest.raises(SettingsError, match=rf"{variable} is not set \(.+\)"):
        Settings.from_environ(environ)


def test_a_variable_of_nothing_but_spaces_is_missing() -> None:
    with pytest.raises(SettingsError, match="UPLOADS_BUCKET is not set"):
        Settings.from_environ({**REQUIRED, "UPLOADS_BUCKET": "  "})


def test_spaces_around_a_value_are_not_part_of_it() -> None:
    environ = {**REQUIRED, "UPLOADS_BUCKET": " up\n", "MAX_SIDE": " 12 "}
    settings = Settings.from_environ(environ)
    assert (settings.uploads_bucket, settings.max_side) == ("up", 12)


@pytest.mark.parametrize("variable", NUMBERS)
def test_every_number_can_be_set(variable: str) -> None:
    settings = Settings.from_environ({**REQUIRED, variable: "6"})
    assert getattr(settings, variable.lower()) == 6


@pytest.mark.parametrize("text", ["7", "-1", "x"])
def test_a_number_with_two_ends_is_refused_beyond_either(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({**REQUIRED, "WEBP_METHOD": text})
    assert f"WEBP_METHOD must be a whole number of 0 to 6, not {text!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("webp", ("webp",)),
        (" avif, webp ,avif", ("avif", "webp")),
        ("none", ()),
        ("", ("webp", "jpeg", "png")),
    ],
)
def test_a_list_is_given_with_commas_or_as_none(text: str, expected: tuple[str, ...]) -> None:
    settings = Settings.from_environ({**REQUIRED, "FORMATS_FOR_PHOTOS": text})
    assert settings.formats_for_photos == expected


@pytest.mark.parametrize("text", ["gif", "webp,gif", "webp,,png", "webp none", "none,webp"])
def test_a_list_with_a_word_that_means_nothing_is_refused_with_those_that_do(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({**REQUIRED, "FORMATS_FOR_GRAPHICS": text})
    assert (
        "FORMATS_FOR_GRAPHICS must be none, or a list with commas of webp, jpeg, png, avif, "
        f"not {text!r}" in str(caught.value)
    )


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "1_000", "٣", "1e3", "0x10", "²"])
def test_what_is_no_whole_number_above_zero_is_refused_with_its_value(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({**REQUIRED, "MAX_PIXELS": text})
    assert f"MAX_PIXELS must be a whole number of at least 1, not {text!r}" in str(caught.value)


def test_a_log_level_that_does_not_exist_is_refused_with_the_ones_that_do() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({**REQUIRED, "LOG_LEVEL": "chatty"})
    expected = "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, not 'chatty'"
    assert expected in str(caught.value)


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
def test_every_documented_log_level_is_taken(level: str) -> None:
    assert Settings.from_environ({**REQUIRED, "LOG_LEVEL": level}).log_level == level


def test_every_wrong_variable_is_reported_at_once() -> None:
    environ = {"STAGE": "dev", "MAX_PIXELS": "none", "MAX_SIDE": "0", "LOG_LEVEL": "loud"}
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(environ)
    for variable in ("MAX_PIXELS", "MAX_SIDE", "LOG_LEVEL", *(set(REQUIRED) - {"STAGE"})):
        assert variable in str(caught.value)
    assert "STAGE is not set" not in str(caught.value)


def test_variables_of_others_are_left_alone() -> None:
    assert Settings.from_environ({**REQUIRED, "PATH": "/bin", "MAX_CATS": "x"}).stage == "dev"


@pytest.mark.parametrize(("stage", "is_local"), [("local", True), ("dev", False), ("prod", False)])
def test_only_the_local_stage_is_local(stage: str, *, is_local: bool) -> None:
    assert Settings.from_environ({**REQUIRED, "STAGE": stage}).is_local is is_local


def test_every_setting_has_a_meaning_that_is_a_sentence() -> None:
    for entry in dataclasses.fields(Settings):
        assert entry.metadata["meaning"].endswith("."), entry.name


def test_settings_cannot_be_changed_after_they_were_read() -> None:
    settings = Settings.from_environ(REQUIRED)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.stage = "prod"  # type: ignore[misc] # that it is refused is the point


def test_a_resources_name_has_the_app_the_stage_and_the_kind() -> None:
    assert resource_name("dev", "images") == "darkroom-dev-images"
