"""The API: ``chalice local``, against the local AWS."""

import json
import sys
from pathlib import Path

import msgspec

from chalicelib.settings import resource_name
from infrastructure.model_layer import LAYER_PACKAGE, checked
from local.aws import ACCOUNT, REGION, client, local_environ
from local.places import HOST, Places
from local.processes import Process
from local.stack import STACK, STAGE

# Of the function that answers the API: as the stack.
API_FUNCTION = STACK


def api_process(places: Places, *, model: Path | None = None) -> Process:
    """The API's process. ``model`` is the folder of a model of one's own.

    Raises:
        ModelError: The model cannot be used.
    """
    environ = local_environ(places)
    # As the template tells it to the deployed function.
    topic = resource_name(STAGE, "image-events")
    environ |= {"IMAGE_EVENTS_TOPIC": f"arn:aws:sns:{REGION}:{ACCOUNT}:{topic}"}
    if model is not None:
        # As the template tells it to the deployed functions.
        description = msgspec.json.encode(checked(model).description).decode()
        environ |= {"MODEL": LAYER_PACKAGE, "MODEL_DESCRIPTION": description}
    if places.enforces_iam:
        environ |= as_function(places, API_FUNCTION)
    return Process(
        name="The API",
        command=[
            *(sys.executable, "-m", "local.api_server", "local", "--stage", STAGE),
            *("--host", HOST, "--port", str(places.port), "--no-autoreload"),
        ],
        environ=environ,
        log=places.logs / "api.log",
        record=places.folder / "api.pid",
    )


def as_function(places: Places, function: str) -> dict[str, str]:
    """The environment of a process that has the rights of a deployed function, and no others.

    Args:
        places: Of a run that enforces IAM, with its stack.
        function: The function's name.
    """
    arn = client(places, "lambda").get_function_configuration(FunctionName=function)["Role"]
    iam, role = client(places, "iam"), arn.rpartition("/")[2]
    # A function's role trusts Lambda alone. Here the owner of the local AWS is to take it too.
    trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    owner = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    allowed = {"Effect": "Allow", "Principal": owner, "Action": "sts:AssumeRole"}
    if allowed not in trust["Statement"]:
        trust["Statement"].append(allowed)
        iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust))
    session = client(places, "sts").assume_role(RoleArn=arn, RoleSessionName=function)
    return {
        "AWS_LAMBDA_FUNCTION_NAME": function,
        "AWS_ACCESS_KEY_ID": session["Credentials"]["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": session["Credentials"]["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["Credentials"]["SessionToken"],
    }
