"""An operator's container has the settings that the stage's functions have."""

import pytest

from operations import stage
from operations.stage import UnknownStage, container_of


def test_the_local_stage_is_asked_at_its_port() -> None:
    settings = container_of("local", aws_port=4999).settings
    assert settings.stage == "local"
    assert settings.aws_endpoint_url == "http://127.0.0.1:4999"
    assert settings.uploads_bucket == "darkroom-local-uploads-000000000000"


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_buckets_of_another_stage_carry_its_account(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_place", lambda: ("aws-cn", "cn-north-1", "123456789012"))
    settings = container_of(name, aws_port=4566).settings
    assert settings.renditions_bucket == f"darkroom-{name}-renditions-123456789012"
    assert settings.conversion_queue == f"darkroom-{name}-conversion"
    topic = f"arn:aws-cn:sns:cn-north-1:123456789012:darkroom-{name}-image-events"
    assert settings.image_events_topic == topic


def test_a_stage_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(UnknownStage, match="no stage 'moon'; there are dev, local, prod"):
        container_of("moon", aws_port=4566)


def test_an_account_that_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(UnknownStage, match="AWS does not say which account this is"):
        container_of("dev", aws_port=4566)
