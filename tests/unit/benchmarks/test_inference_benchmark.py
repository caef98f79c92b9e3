"""The parts of `make bench-inference` that could be wrong without anyone seeing it."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from benchmarks.inference import loop
from benchmarks.inference.edges import Refusal
from benchmarks.inference.figures import (
    Disagreement,
    Spread,
    check_agreement,
    percentile,
    ratios,
    row_of,
    table_of,
)
from benchmarks.inference.load import Address, Slice, ask, form_of, send
from benchmarks.inference.photos import megapixels, photos_in, sample_sets
from benchmarks.inference.plain import MODEL, PlainModel
from benchmarks.inference.stages import Stages
from chalicelib import messages


def answer(*, name: str = "m", best: str = "cat", probability: float = 0.7) -> dict[str, Any]:
    return {
        "model": {"name": name, "version": "1"},
        "classes": [best, "dog"],
        "probabilities": [probability, 0.1],
    }


# --- Figures ----------------------------------------------------------------------------------


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=60).map(sorted),
    st.sampled_from((1, 50, 90, 99, 100)),
)
def test_a_percentile_is_the_one_that_numpy_finds(values: list[float], percent: int) -> None:
    assert percentile(values, percent) == np.percentile(values, percent, method="inverted_cdf")


def test_a_percentile_of_nothing_or_of_a_mess_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)
    with pytest.raises(ValueError, match="order"):
        percentile([2.0, 1.0], 50)


def test_a_row_is_made_of_medians_of_rounds_and_of_all_latencies() -> None:
    slices = [
        Slice(wall_seconds=1, cpu_seconds=0.2, latencies_ms=[10.0, 30.0]),
        Slice(wall_seconds=2, cpu_seconds=0.8, latencies_ms=[20.0, 40.0]),
        Slice(wall_seconds=4, cpu_seconds=0.4, latencies_ms=[50.0, 60.0]),
    ]
    row = row_of("ours", 8, slices, 123.4)
    assert row.cpu_ms == Spread(median=200, low=100, high=400)
    assert row.images_a_second == Spread(median=1, low=0.5, high=2)
    assert (row.p50_ms, row.p99_ms) == (30, 60)


def test_a_ratio_compares_rounds_that_ran_together() -> None:
    """A round that a busy machine made dear for both leaves the ratio as it is."""
    calm, busy = (
        Slice(wall_seconds=1, cpu_seconds=seconds, latencies_ms=[1.0]) for seconds in (1.0, 5.0)
    )
    dearer = [
        Slice(wall_seconds=1, cpu_seconds=seconds, latencies_ms=[1.0]) for seconds in (1.1, 5.5)
    ]
    assert ratios(dearer, [calm, busy]).median == pytest.approx(1.1)


def test_the_table_has_a_line_for_each_row() -> None:
    slices = [Slice(wall_seconds=1, cpu_seconds=0.01, latencies_ms=[10.0] * 4)]
    heading, rule, *lines = table_of(
        [row_of("ours", 1, slices, 60), row_of("theirs", 8, slices, 70)], load="at a time"
    ).splitlines()
    assert heading.count("|") == rule.count("|") == lines[0].count("|")
    assert lines[0] == "| ours | 1 | 2.50 (2.50 to 2.50) | 4 (4 to 4) | 10.0 | 10.0 | 60 |"
    assert lines[1].startswith("| theirs | 8 |")


# --- Whether all say the same -----------------------------------------------------------------


def test_contenders_that_agree_are_compared() -> None:
    check_agreement(
        {"ours": {"a": answer()}, "theirs": {"a": answer(probability=0.65)}}, tolerance=0.1
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"a": answer(best="dog")},
        {"a": answer(probability=0.5)},
        {"a": answer(name="another")},
        {"b": answer()},
        {},
    ],
)
def test_contenders_that_do_not_agree_are_not_compared(wrong: dict[str, Any]) -> None:
    with pytest.raises(Disagreement, match="theirs"):
        check_agreement({"ours": {"a": answer()}, "theirs": wrong}, tolerance=0.1)


@pytest.mark.parametrize("reduced", [False, True])
def test_our_stages_say_what_the_straight_way_says(*, reduced: bool) -> None:
    """Both from the same files; so a faster stage is not one that does less."""
    photos = sample_sets()["samples"]
    stages, plain = Stages(), PlainModel(MODEL, reduced=reduced)
    ours: dict[str, Any] = {}
    for name, body in photos.items():
        message = stages.upload(body)
        sent = stages.prepare([messages.encode(message)])
        stages.infer({"Records": [{"messageId": "1", "receiptHandle": "1", "body": sent[0]}]})
        ours[name] = stages.answer(message)
    theirs = plain.classify([plain.tensor_of_file(body) for body in photos.values()])
    check_agreement({"ours": ours, "theirs": dict(zip(photos, theirs, strict=True))}, tolerance=0.1)


def test_a_photo_that_a_stage_refuses_stops_the_benchmark() -> None:
    with pytest.raises(Refusal):
        Stages().classify([b"no photo"])


def test_nothing_of_a_photo_stays_when_it_was_classified() -> None:
    stages = Stages()
    photos = list(sample_sets()["samples"].values())
    assert len(stages.classify(photos)) == len(photos)
    container = stages._container
    assert not container.uploads.objects
    assert not container.renditions.objects
    assert not container.images.rows


# --- Work and load ----------------------------------------------------------------------------


def test_an_event_counts_for_all_of_its_photos() -> None:
    sizes: list[int] = []
    found = Slice(**loop.run(sizes.append, size=8, seconds=0.001))
    assert set(sizes) == {8}
    assert len(found.latencies_ms) == 8 * len(sizes)
    assert found.images_a_second == pytest.approx(8 * len(sizes) / found.wall_seconds)


def test_photos_come_in_turn() -> None:
    some = loop.rounds_of(["a", "b", "c"])
    assert [some(2), some(2), some(3)] == [["a", "b"], ["c", "a"], ["b", "c", "a"]]


def test_a_form_carries_the_photo_as_it_is() -> None:
    body = bytes(range(256)) * 4
    head = b"Content-Type: multipart/form-data; boundary=darkroom-benchmark\r\n\r\n"
    whole, part = message_from_bytes(head + form_of(body)).walk()
    assert whole.is_multipart()
    assert part.get_param("name", header="content-disposition") == "image"
    assert part.get_payload(decode=True) == body


@contextmanager
def server(status: int) -> Iterator[tuple[Address, list[bytes]]]:
    """A server that answers everything alike, and what it got."""
    got: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", "11")
            self.end_headers()
            self.wfile.write(b'{"n": "ok"}')

        def log_message(self, *_: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield Address(port=listening.server_address[1], path="/predict", form=False), got
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def test_every_request_of_every_client_is_counted() -> None:
    with server(200) as (address, got):
        found = send(address, {"a": b"A", "b": b"B"}, concurrency=4, seconds=0.2)
    assert len(found.latencies_ms) == len(got) > 0
    assert set(got) == {b"A", b"B"}


def test_each_photo_gets_its_own_answer() -> None:
    with server(200) as (address, got):
        assert ask(address, {"a": b"A", "b": b"B"}) == {"a": {"n": "ok"}, "b": {"n": "ok"}}
    assert got == [b"A", b"B"]


def test_a_server_that_refuses_is_not_taken_for_a_fast_one() -> None:
    with server(503) as (address, _), pytest.raises(ValueError, match="503"):
        send(address, {"a": b"A"}, concurrency=2, seconds=0.2)


# --- Photos -----------------------------------------------------------------------------------


def test_the_sample_photos_come_small_and_as_large_as_a_camera_makes_them() -> None:
    sets = sample_sets()
    assert list(sets) == ["samples", "12 MP"]
    assert megapixels(sets["12 MP"]) == "12.0 MP"
    assert set(sets["samples"]) == set(sets["12 MP"])


def test_a_folder_without_photos_is_told_of(tmp_path: Any) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(FileNotFoundError, match="no JPEG"):
        photos_in(tmp_path)
    Pillow.new("RGB", (4, 3)).save(tmp_path / "one.JPG", "JPEG")
    (body,) = photos_in(tmp_path).values()
    assert Pillow.open(io.BytesIO(body)).size == (4, 3)
