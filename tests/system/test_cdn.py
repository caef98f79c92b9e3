"""The CDN over the deployed bucket: the template's own resources, asked by their host name."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from infrastructure.template import resources_of
from local.stack import allow_plain_http, with_numbers
from tests.polling import eventually
from tests.system.conftest import RENDITIONS_BUCKET, Service

IMAGE = "37879645-9378-4272-b7e9-6ec9c0df5ee0"
COPIES = {"webp-bb.webp": ("image/webp", b"small"), "jpeg-cc.jpg": ("image/jpeg", b"larger")}


def cdn_alone() -> dict[str, Any]:
    """The part of the template that is the CDN, with the bucket's policy; the bucket itself is in
    the stack that is there.
    """
    template = with_numbers(resources_of("local"), {})
    allow_plain_http(template)
    resources = {n: r for n, r in template["Resources"].items() if n.startswith("Cdn")}
    resources["RenditionsBucketPolicy"] = template["Resources"]["RenditionsBucketPolicy"]
    text = json.dumps(resources).replace(
        json.dumps({"Fn::GetAtt": ["RenditionsBucket", "RegionalDomainName"]}),
        json.dumps(f"{RENDITIONS_BUCKET}.s3.us-east-1.amazonaws.com"),
    )
    text = text.replace(json.dumps({"Ref": "RenditionsBucket"}), json.dumps(RENDITIONS_BUCKET))
    text = text.replace("${RenditionsBucket.Arn}", f"arn:aws:s3:::{RENDITIONS_BUCKET}")
    return {
        "Parameters": template["Parameters"],
        "Conditions": template["Conditions"],
        "Resources": json.loads(text),
        "Outputs": {"Domain": template["Outputs"]["CdnDomainName"]},
    }


@pytest.fixture(scope="module")
def get(deployed: Any) -> Iterator[Any]:
    """Asks the CDN for a path."""
    cloudformation = deployed.aws("cloudformation")
    name = "darkroom-local-cdn"
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=json.dumps(cdn_alone()),
        Parameters=[{"ParameterKey": "Cdn", "ParameterValue": "on"}],
    )

    def made() -> dict[str, Any] | None:
        (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
        assert "ROLLBACK" not in stack["StackStatus"], stack
        return stack if stack["StackStatus"] == "CREATE_COMPLETE" else None

    outputs = eventually(made, seconds=30, what="the CDN is there")["Outputs"]
    (domain,) = (entry["OutputValue"] for entry in outputs)
    s3 = deployed.aws("s3")
    for copy, (content_type, body) in COPIES.items():
        s3.put_object(
            Bucket=RENDITIONS_BUCKET,
            Key=f"formats/{IMAGE}/v1/{copy}",
            Body=body,
            ContentType=content_type,
        )
    with httpx.Client(base_url=deployed.places.aws_url) as client:
        yield lambda path, **headers: client.get(
            path, headers={"Host": domain, "X-Forwarded-Proto": "https", **headers}
        )
    cloudformation.delete_stack(StackName=name)
    for copy in COPIES:
        s3.delete_object(Bucket=RENDITIONS_BUCKET, Key=f"formats/{IMAGE}/v1/{copy}")


@pytest.mark.parametrize(
    ("accept", "content_type"), [("image/webp,*/*", "image/webp"), ("*/*", "image/jpeg")]
)
def test_each_browser_gets_the_copy_that_it_takes(get: Any, accept: str, content_type: str) -> None:
    answer = get(f"/images/{IMAGE}/auto?g=v1&c={','.join(COPIES)}", Accept=accept)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == content_type
    assert answer.headers["vary"] == "Accept"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_copy_is_served_under_its_own_key(get: Any) -> None:
    answer = get(f"/formats/{IMAGE}/v1/webp-bb.webp")
    assert (answer.status_code, answer.content) == (200, b"small")


def test_what_is_not_there_is_refused(get: Any, service: Service) -> None:
    assert get(f"/formats/{IMAGE}/v2/webp-bb.webp").status_code in {403, 404}
