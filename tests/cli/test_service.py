"""What the command line makes of a service that misbehaves."""

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from darkroom_cli.problems import Exit, Problem, Refused, Unreachable
from darkroom_cli.signing import Signed
from tests.cli.conftest import FakeService, breaking, saying


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again_after_as_long_as_it_says(
    fake: FakeService, status: int
) -> None:
    fake.replies = [saying(status, {"error": "Busy."}, Retry_After="7"), saying(200, {"a": 1})]
    assert fake.service.get("/images") == {"a": 1}
    assert [7 <= seconds <= 7.25 for seconds in fake.slept] == [True]


def test_a_quota_that_is_used_up_for_long_is_told_at_once_and_one_for_moments_waited_for(
    fake: FakeService,
) -> None:
    used_up = {"error": "Yours are used up.", "code": "quota_exceeded"}
    fake.replies = [saying(429, used_up, Retry_After="3000")]
    with pytest.raises(Refused, match="Yours are used up") as caught:
        fake.service.get("/images")
    assert (caught.value.code, len(fake.asked), fake.slept) == ("quota_exceeded", 1, [])
    fake.replies = [saying(429, used_up, Retry_After="9"), saying(200, {"a": 1})]
    assert fake.service.get("/images") == {"a": 1}


def test_a_service_that_stays_busy_is_given_up(fake: FakeService) -> None:
    fake.replies = [saying(503, {"error": "Busy."}, Retry_After="86400")]
    with pytest.raises(Unreachable) as caught:
        fake.service.get("/images")
    assert caught.value.exit_code == Exit.UNREACHABLE
    assert len(fake.asked) == 5
    assert max(fake.slept) <= 30.25


def test_a_refusal_is_told_in_the_services_words(fake: FakeService) -> None:
    fake.replies = [saying(404, {"error": "There is no such image.", "code": "image_not_found"})]
    with pytest.raises(Refused, match=r"^There is no such image\.$") as caught:
        fake.service.get("/images/x")
    assert caught.value.code == "image_not_found"
    assert len(fake.asked) == 1


def test_a_request_that_may_have_arrived_is_repeated_only_with_a_key(fake: FakeService) -> None:
    fake.replies = [breaking(httpx.ReadTimeout), saying(200, {})]
    with pytest.raises(Problem):
        fake.service.post("/images/x/retry")
    fake.replies = [breaking(httpx.ReadTimeout), saying(200, {})]
    assert fake.service.post("/track", {}, idempotency_key="k") == {}


def test_a_service_that_is_something_else_is_told_apart(fake: FakeService) -> None:
    fake.replies = [lambda _: httpx.Response(200, text="<html>")]
    with pytest.raises(Unreachable, match="does not answer as Darkroom does"):
        fake.service.get("/images")


def test_a_signature_is_the_one_that_botocore_makes_of_what_is_sent() -> None:
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "token")
    sent: list[httpx.Request] = []

    def reply(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    with httpx.Client(
        base_url="https://abc.execute-api.eu-west-1.amazonaws.com/api",
        transport=httpx.MockTransport(reply),
        auth=Signed(credentials, region="eu-west-1"),
    ) as client:
        client.post(
            "/track",
            params={"a": "b c", "z": "ä/="},
            json={"x": 1},
            headers={"Idempotency-Key": "k"},
        )
    (request,) = sent
    given = request.headers["Authorization"]
    assert "eu-west-1/execute-api/aws4_request" in given
    assert request.headers["X-Amz-Security-Token"] == "token"
    names = given.split("SignedHeaders=")[1].split(",")[0].split(";")
    assert {"host", "idempotency-key", "x-amz-date", "x-amz-security-token"} <= set(names)
    again = AWSRequest(
        method="POST",
        url=str(request.url),
        data=request.content,
        headers={name: request.headers[name] for name in names},
    )
    again.context["timestamp"] = request.headers["X-Amz-Date"]
    signer = SigV4Auth(credentials, "execute-api", "eu-west-1")
    text = signer.string_to_sign(again, signer.canonical_request(again))
    assert given.endswith(f"Signature={signer.signature(text, again)}")


def test_a_signed_query_is_written_as_the_algorithm_writes_it() -> None:
    """`httpx` writes a space as +, which AWS reads as a plus when it checks the signature."""
    auth = Signed(Credentials("AKIDEXAMPLE", "secret"), region="eu-west-1")
    request = httpx.Request("GET", "https://api.test/status", params={"tracking_id": "PX 1/ä+~"})
    signed = next(auth.auth_flow(request))
    assert signed.url.query == b"tracking_id=PX%201%2F%C3%A4%2B~"
    assert "Signature=" in signed.headers["Authorization"]
