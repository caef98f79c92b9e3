"""A stage's parts, on the machine of its operator."""

import json
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws.clients import LOCAL_REGION
from chalicelib.container import Container
from chalicelib.settings import LOCAL_STAGE, resource_name
from local.places import HOST, ROOT


class UnknownStage(Exception):
    """The stage does not exist, or its account cannot be reached; the text says which."""


def container_of(stage: str, *, aws_port: int) -> Container:
    """The parts of a stage, with the settings that its functions have.

    Args:
        stage: One of `.chalice/config.json`.
        aws_port: Where the local AWS answers, for the stage ``local``.

    Raises:
        UnknownStage: There is no such stage, or nobody says which account it is in.
    """
    stages = json.loads((ROOT / ".chalice" / "config.json").read_text())["stages"]
    if stage not in stages:
        raise UnknownStage(f"There is no stage {stage!r}; there are {', '.join(sorted(stages))}.")
    environ: dict[str, str] = dict(stages[stage]["environment_variables"])
    # As the template names them (infrastructure/resources.yaml).
    topic = resource_name(stage, "image-events")
    if stage == LOCAL_STAGE:
        environ["AWS_ENDPOINT_URL"] = f"http://{HOST}:{aws_port}"
        environ["IMAGE_EVENTS_TOPIC"] = f"arn:aws:sns:{LOCAL_REGION}:000000000000:{topic}"
    else:
        partition, region, account = _place()
        environ["UPLOADS_BUCKET"] = f"{resource_name(stage, 'uploads')}-{account}"
        environ["RENDITIONS_BUCKET"] = f"{resource_name(stage, 'renditions')}-{account}"
        environ["IMAGE_EVENTS_TOPIC"] = f"arn:{partition}:sns:{region}:{account}:{topic}"
    return Container(environ)


def _place() -> tuple[str, str, str]:
    """The partition, region and account that the operator's credentials are for."""
    try:
        sts: Any = boto3.client("sts")
        identity = sts.get_caller_identity()
        partition = str(identity["Arn"]).split(":")[1]
        return partition, str(sts.meta.region_name), str(identity["Account"])
    except (BotoCoreError, ClientError) as error:
        raise UnknownStage(f"AWS does not say which account this is: {error}.") from None
