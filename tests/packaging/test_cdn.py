"""The CDN: what the template says of it, and its functions, run by node."""

import json
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.template import ROOT

IMAGE = "37879645-9378-4272-b7e9-6ec9c0df5ee0"
COPIES = "avif-aa.avif,webp-bb.webp,jpeg-cc.jpg,png-dd.png"
CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def run(code: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a CloudFront function makes of each event."""
    source = (ROOT / "infrastructure" / code).read_text()
    script = f"{source}\nconsole.log(JSON.stringify({json.dumps(events)}.map(handler)))"
    finished = subprocess.run(
        [str(NODE), "-e", script], capture_output=True, text=True, check=True, timeout=30
    )
    result: list[dict[str, Any]] = json.loads(finished.stdout)
    return result


def request(accept: str | None, *, copies: str = COPIES, uri: str = f"/images/{IMAGE}/auto") -> Any:
    """A request as CloudFront gives it to a function."""
    return {
        "request": {
            "uri": uri,
            "headers": {} if accept is None else {"accept": {"value": accept}},
            "querystring": {"g": {"value": "v.1_x"}, "c": {"value": copies}},
        }
    }


def chosen(accept: str | None, **changes: str) -> str:
    """The key that a request is turned into."""
    (answer,) = run("negotiate.js", [request(accept, **changes)])
    return str(answer["uri"])


@needs_node
@pytest.mark.parametrize(
    ("accept", "name"),
    [
        (CHROME, "avif-aa.avif"),
        ("image/webp,*/*", "webp-bb.webp"),
        ("image/avif;q=0, image/webp", "webp-bb.webp"),
        ("*/*", "jpeg-cc.jpg"),
        ("image/png", "jpeg-cc.jpg"),
        ("image/*;q=0.5", "jpeg-cc.jpg"),
        ("image/jpeg;q=0, image/png", "png-dd.png"),
        (None, "jpeg-cc.jpg"),
        ("IMAGE/WEBP", "webp-bb.webp"),
    ],
)
def test_a_browser_gets_the_smallest_copy_that_it_takes(accept: str | None, name: str) -> None:
    assert chosen(accept) == f"/formats/{IMAGE}/v.1_x/{name}"


@needs_node
def test_the_order_is_that_of_the_link() -> None:
    assert chosen(CHROME, copies="png-dd.png,webp-bb.webp").endswith("/png-dd.png")


@needs_node
@pytest.mark.parametrize(
    "changes",
    [
        {"uri": "/images/other/auto"},
        {"uri": f"/results/{IMAGE}/auto"},
        {"copies": "../../results/x.webp"},
        {"copies": "webp-bb.exe"},
        {"copies": ""},
    ],
)
def test_what_is_no_such_link_goes_on_as_it_is(changes: dict[str, str]) -> None:
    sent = request(CHROME, **changes)
    assert run("negotiate.js", [sent]) == [sent["request"]]


@needs_node
def test_no_request_reaches_anything_but_copies_of_its_image() -> None:
    tried: list[dict[str, Any]] = []

    @given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
    def collect(accept: str, generation: str, copies: str) -> None:
        sent = request(accept, copies=copies)
        sent["request"]["querystring"]["g"]["value"] = generation
        tried.append(sent)

    collect()
    for sent, answer in zip(tried, run("negotiate.js", tried), strict=True):
        kept = answer["uri"] == sent["request"]["uri"]
        assert kept or answer["uri"].startswith(f"/formats/{IMAGE}/")
        assert ".." not in answer["uri"].split("/")


@needs_node
def test_caches_behind_the_cdn_are_told_that_the_answer_depends_on_accept() -> None:
    (answer,) = run("vary.js", [{"response": {"headers": {}}}])
    assert answer["headers"]["vary"] == {"value": "Accept"}


def test_the_functions_code_is_in_the_template(resources: dict[str, Any]) -> None:
    for name, code in (("CdnNegotiate", "negotiate.js"), ("CdnVary", "vary.js")):
        source = (ROOT / "infrastructure" / code).read_text()
        assert resources[name]["Properties"]["FunctionCode"] == source
        assert len(source.encode()) < 10_240, "CloudFront's limit"


def test_without_the_cdn_there_is_nothing_of_it(
    template: dict[str, Any], resources: dict[str, Any]
) -> None:
    assert template["Parameters"]["Cdn"]["Default"] == "off"
    found = [name for name, r in resources.items() if r["Type"].startswith("AWS::CloudFront")]
    assert len(found) == 8
    for name in found:
        assert resources[name]["Condition"] in {"HasCdn", "HasSignedLinks"}


def test_only_the_cdn_of_this_stack_reads_and_only_pictures(resources: dict[str, Any]) -> None:
    _, choice = resources["RenditionsBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    condition, statement, otherwise = choice["Fn::If"]
    assert (condition, otherwise) == ("HasCdn", {"Ref": "AWS::NoValue"})
    assert statement["Action"] == "s3:GetObject"
    assert statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert (
        "${CdnDistribution}" in statement["Condition"]["StringEquals"]["aws:SourceArn"]["Fn::Sub"]
    )
    assert [resource["Fn::Sub"] for resource in statement["Resource"]] == [
        "${RenditionsBucket.Arn}/renditions/*",
        "${RenditionsBucket.Arn}/formats/*",
    ]


def test_readers_come_by_https_and_old_tls_is_refused(resources: dict[str, Any]) -> None:
    found = resources["CdnDistribution"]["Properties"]["DistributionConfig"]
    behaviours = [found["DefaultCacheBehavior"], *found["CacheBehaviors"]]
    assert {b["ViewerProtocolPolicy"] for b in behaviours} == {"redirect-to-https"}
    _, own, _ = found["ViewerCertificate"]["Fn::If"]
    assert own["MinimumProtocolVersion"] == "TLSv1.2_2021"
    (auto,) = found["CacheBehaviors"]
    assert auto["PathPattern"] == "/images/*/auto"
    assert len(auto["FunctionAssociations"]) == 2
    policy = resources["CdnCachePolicy"]["Properties"]["CachePolicyConfig"]
    assert policy["DefaultTTL"] == 30 * 86400


def test_the_api_learns_where_the_cdn_is(resources: dict[str, Any]) -> None:
    variables = resources["APIHandler"]["Properties"]["Environment"]["Variables"]
    assert variables["CDN_URL"]["Fn::If"][0] == "HasCdn"
