"""SES, on the fake and on the local AWS; and what its failures mean."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from chalicelib.aws.mailer import Mailer
from chalicelib.errors import MailOutcomeUnknown, MailRefused, ServiceUnavailable
from tests.contract.conftest import Edges
from tests.fakes import FakeMailer
from tests.unit.mail_world import ADDRESS, MESSAGE, NOW, WRITER

LETTER = WRITER.write(MESSAGE, photo=None, written_at_ms=NOW)


def from_(sender: str) -> bytes:
    """The same e-mail from somebody else."""
    return replace(WRITER, sender=sender).write(MESSAGE, photo=None, written_at_ms=NOW).raw


def test_an_e_mail_is_taken_and_has_an_id(side: str, request: pytest.FixtureRequest) -> None:
    mailer: Mailer = FakeMailer()
    if side == "real":
        edges: Edges = request.getfixturevalue("edges")
        edges.admin("sesv2").create_email_identity(EmailIdentity="darkroom.example")
        mailer = Mailer(ses=edges.clients.ses, configuration_set="darkroom-local-mail")
    assert mailer.send(LETTER.raw, recipient=LETTER.recipient)


def test_the_local_ses_shows_what_was_sent(edges: Edges) -> None:
    mailer = Mailer(ses=edges.clients.ses, configuration_set="darkroom-local-mail")
    edges.admin("sesv2").create_email_identity(EmailIdentity="shown.example")
    mailer.send(from_("a@shown.example"), recipient="shown@recipient.example")
    answer = httpx.get(f"{edges.aws_url}/_ministack/ses/messages").json()
    to = ["shown@recipient.example"]
    (mail,) = (mail for mail in answer["messages"]["000000000000"] if mail["To"] == to)
    assert mail["Subject"] == "Your parcel PX-1 was delivered"
    assert "Your parcel was delivered" in mail["BodyText"]
    assert "<h1" in mail["BodyHtml"]


def test_a_sender_that_is_not_verified_is_refused_and_no_address_is_in_the_text(
    edges: Edges,
) -> None:
    mailer = Mailer(ses=edges.clients.ses, configuration_set="darkroom-local-mail")
    with pytest.raises(MailRefused) as caught:
        mailer.send(from_("a@unverified.example"), recipient=ADDRESS)
    assert "@" not in str(caught.value)


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[str]]]:
    """A mail service of our own; its address, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}", asked
        finally:
            http.shutdown()
            thread.join()


def mailer_at(edges: Edges, url: str) -> Mailer:
    """The client as it is, retries and all, at another address."""
    return Mailer(ses=edges.clients_at(url).ses, configuration_set="c")


def refusal(status: int, code: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = b'{"message": "no"}'
        handler.send_response(status)
        handler.send_header("x-amzn-ErrorType", code)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "MessageRejected", MailRefused),
        (400, "BadRequestException", MailRefused),
        (400, "SendingPausedException", ServiceUnavailable),
        (400, "AccountSuspendedException", ServiceUnavailable),
        (400, "MailFromDomainNotVerifiedException", ServiceUnavailable),
        (403, "AccessDeniedException", ServiceUnavailable),
        (404, "NotFoundException", ServiceUnavailable),
        (429, "TooManyRequestsException", ServiceUnavailable),
        (500, "InternalFailure", ServiceUnavailable),
        (503, "ServiceUnavailable", ServiceUnavailable),
    ],
)
def test_an_error_that_ses_answers_is_a_refusal_for_now_or_for_ever(
    edges: Edges, status: int, code: str, error: type[Exception]
) -> None:
    with server(refusal(status, code)) as (url, asked), pytest.raises(error):
        mailer_at(edges, url).send(LETTER.raw, recipient=ADDRESS)
    assert len(asked) == 1, "the SDK must not send a second one by itself"


def test_a_connection_that_breaks_off_after_the_request_means_that_nobody_knows(
    edges: Edges,
) -> None:
    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.connection.close()

    with server(hang_up) as (url, asked), pytest.raises(MailOutcomeUnknown):
        mailer_at(edges, url).send(LETTER.raw, recipient=ADDRESS)
    assert len(asked) == 1, "the SDK must not send a second one by itself"


def test_a_service_that_cannot_be_reached_took_nothing(edges: Edges) -> None:
    with server(refusal(500, "x")) as (url, _):
        pass
    with pytest.raises(ServiceUnavailable):
        mailer_at(edges, url).send(LETTER.raw, recipient=ADDRESS)
