"""Models side by side on the deployed stack: bring one, switch, roll back, ask again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chalicelib.container import Container
from chalicelib.errors import ModelError
from chalicelib.models import ModelChoice
from infrastructure.model_layer import checked
from operations.models import publish, use
from operations.reclassify import take_up
from operations.stage import container_of
from tests.polling import eventually
from tests.system.conftest import Service, photo
from tests.unit.inference import graphs

DEFAULT = "darkroom-32@1.0.0"
OWN = "means@1"
PARAMETER = "/darkroom/local/models"


@pytest.fixture(scope="module")
def own_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that is nothing like the default one."""
    folder = tmp_path_factory.mktemp("means")
    graphs.package(folder, graphs.graph(layout="NHWC", dtype="uint8"), changes={"normalise": ...})
    return folder


@pytest.fixture
def operator(service: Service, own_model: Path) -> Iterator[Container]:
    """What an operator has at hand, with a model published; afterwards nothing is chosen."""
    container = container_of("local", aws_port=service.deployed.places.aws_port)
    publish(container, checked(own_model))
    yield container
    ssm = service.deployed.aws("ssm")
    if ssm.get_parameters(Names=[PARAMETER])["Parameters"]:
        ssm.delete_parameter(Name=PARAMETER)
    until_answered_by(service, DEFAULT)


def send(service: Service) -> dict[str, Any]:
    """An image once it is completed."""
    created = service.api.post(
        "/images", content=photo(), headers={"Content-Type": "image/jpeg"}
    ).json()
    image = service.finished(created["image_id"])
    assert image["status"] == "completed", image
    return image


def model_of(image: dict[str, Any]) -> str:
    return f"{image['model']['name']}@{image['model']['version']}"


def until_answered_by(service: Service, reference: str) -> dict[str, Any]:
    """An image of the first moment at which this model answers."""

    def answered() -> dict[str, Any] | None:
        image = send(service)
        return image if model_of(image) == reference else None

    return eventually(answered, seconds=60, what=f"{reference} answers")


def test_a_model_is_brought_switched_to_and_rolled_back_without_a_deployment(
    service: Service, operator: Container
) -> None:
    assert model_of(send(service)) == DEFAULT
    use(operator, ModelChoice(active=OWN))
    image = until_answered_by(service, OWN)
    assert set(image["results"]["classes"]) == set(graphs.LABELS)
    assert len(image["model"]["sha256"]) == 64
    # What cannot be used never takes effect, not even for a process that has just started.
    service.deployed.aws("ssm").put_parameter(
        Name=PARAMETER, Value='{"active": "no-such-model@7"}', Type="String", Overwrite=True
    )
    with service.environment("Infer", MODEL_CHOICE_SECONDS="1"):
        assert model_of(send(service)) == OWN
    use(operator, ModelChoice(active="default"))
    until_answered_by(service, DEFAULT)


def test_a_completed_image_is_asked_again_of_another_model_and_keeps_both_documents(
    service: Service, operator: Container
) -> None:
    image = send(service)
    path = f"/images/{image['image_id']}/retry"
    assert service.api.post(path).json()["code"] == "not_retryable"
    refused = service.api.post(path, params={"model": "no-such-model@7"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
    retried = service.api.post(path, params={"model": OWN})
    assert (retried.status_code, retried.json()["attempts"]) == (202, 2), retried.text

    def asked() -> dict[str, Any] | None:
        shown = service.image(image["image_id"])
        return shown if shown["status"] == "completed" and model_of(shown) == OWN else None

    again = eventually(asked, seconds=60, what="the other model has answered")
    assert again["attempts"] == 2
    document = httpx.get(again["results_url"]).json()
    assert document["model"] == again["model"]
    assert httpx.get(image["results_url"]).json()["model"] == image["model"]


def test_old_images_are_taken_up_for_another_model_once(
    service: Service, operator: Container
) -> None:
    image = send(service)
    taken = set(take_up(operator, OWN))
    assert image["image_id"] in taken
    service.until_quiet()
    assert model_of(service.finished(image["image_id"])) == OWN
    assert set(take_up(operator, OWN)) == set()
    # And back, for the tests that come after.
    assert set(take_up(operator, DEFAULT)) >= taken
    service.until_quiet()


def test_a_version_that_is_published_never_changes(
    operator: Container, tmp_path: Path, own_model: Path
) -> None:
    assert publish(operator, checked(own_model)) is False
    graphs.package(tmp_path, graphs.graph(layout="NCHW"))
    with pytest.raises(ModelError, match="another means@1"):
        publish(operator, checked(tmp_path))
