"""Models of a stage: ``python -m operations.models check|publish|use|show``.

``check`` loads a model package, tries it out, and prints its ``model.json`` with all that the
graph tells. ``publish`` puts it into the stage's bucket, where it can be chosen as NAME@VERSION.
``use`` chooses; ``show`` tells what is chosen.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from rich.console import Console

from chalicelib.aws.clients import translated
from chalicelib.container import Container
from chalicelib.errors import DarkroomError, ModelError, ObjectMissing
from chalicelib.inference.package import DESCRIPTION_FILE, GRAPH_FILE, LABELS_FILE
from chalicelib.models import ModelChoice, model_key
from infrastructure.model_layer import ModelFiles, checked
from local.errors import StartFailed
from local.places import read_port
from operations.stage import UnknownStage, container_of

_MEDIA_TYPES: Mapping[str, str] = {
    GRAPH_FILE: "application/octet-stream",
    LABELS_FILE: "text/plain; charset=utf-8",
    DESCRIPTION_FILE: "application/json",
}


def publish(container: Container, model: ModelFiles) -> bool:
    """Put a model into the bucket; whether it was not there before.

    A version never changes: processes keep what they read of it.

    Raises:
        ModelError: The bucket has another model of this name and version.
        ServiceUnavailable: S3 does not answer as it should.
    """
    reference = model.description.reference
    try:
        known = container.uploads.get(model_key(reference, DESCRIPTION_FILE)).body
    except ObjectMissing:
        known = None
    if known is not None:
        if known != model.files[DESCRIPTION_FILE]:
            raise ModelError(
                f"There is another {reference} in the bucket already; "
                "give the field version of model.json a new value."
            )
        return False
    # The description comes last: with it the model is there.
    for name, media_type in _MEDIA_TYPES.items():
        container.uploads.put(
            model_key(reference, name), model.files[name], content_type=media_type
        )
    return True


def use(container: Container, choice: ModelChoice) -> None:
    """Choose the active model and the shadow; functions follow within minutes.

    Raises:
        ModelError: There is no such model.
        ServiceUnavailable: AWS does not answer as it should.
    """
    container.models.check(choice)
    with translated():
        container.clients.ssm.put_parameter(
            Name=container.settings.models_parameter,
            Value=msgspec.json.encode(choice).decode(),
            Type="String",
            Description="Which models Darkroom runs (docs/models.md)",
            Overwrite=True,
        )


def main() -> int:
    """The command line."""
    arguments = _arguments()
    console = Console(highlight=False, soft_wrap=True)
    try:
        if arguments.command == "check":
            sys.stdout.write(checked(arguments.folder).files[DESCRIPTION_FILE].decode() + "\n")
            return 0
        port = read_port(arguments.aws_port, "AWS_PORT", 4566)
        container = container_of(arguments.stage, aws_port=port)
        match arguments.command:
            case "publish":
                model = checked(arguments.folder)
                new = publish(container, model)
                there = "is in the bucket now" if new else "was in the bucket already"
                console.print(f"{model.description.reference} {there}.")
            case "use":
                choice = ModelChoice.parse(
                    msgspec.json.encode(
                        {
                            "active": arguments.active,
                            "shadow": arguments.shadow or None,
                            "share": arguments.share,
                        }
                    ).decode()
                )
                use(container, choice)
                console.print(_shown(choice))
            case "show":
                console.print(_shown(container.models.choice.value()))
    except (UnknownStage, StartFailed, DarkroomError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"Error: {error}", markup=False)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check").add_argument("folder", type=Path)
    publishing = commands.add_parser("publish")
    publishing.add_argument("folder", type=Path)
    using = commands.add_parser("use")
    using.add_argument("active", help="NAME@VERSION, or default")
    using.add_argument("--shadow", default="", help="NAME@VERSION of a model to compare with")
    using.add_argument("--share", type=float, default=1.0, help="of the images, 0 to 1")
    for command in (publishing, using, commands.add_parser("show")):
        command.add_argument("--stage", default="local")
        command.add_argument("--aws-port", default="")
    return parser.parse_args()


def _shown(choice: ModelChoice) -> str:
    shadow = f", shadow {choice.shadow} on {choice.share:.0%}" if choice.shadow else ", no shadow"
    return f"active {choice.active}{shadow}"


if __name__ == "__main__":
    sys.exit(main())
