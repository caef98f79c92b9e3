"""The choice of models as it stands in SSM: read now and then, never taken where it is wrong."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from chalicelib.aws.clients import Clients
from chalicelib.aws.parameters import WatchedParameter
from chalicelib.errors import ModelError, ServiceUnavailable
from tests.conftest import free_port
from tests.contract.conftest import Edges, unique

SECONDS = 300


def number(text: str) -> int:
    """A value that is good where it is a number."""
    if not text.isdecimal():
        raise ModelError(f"{text!r} is no number.")
    return int(text)


@dataclass
class Watched:
    """A parameter, what watches it, and a clock."""

    edges: Edges
    name: str = field(default_factory=lambda: f"/contract/{unique('choice')}")
    seconds: float = 1000.0

    def watcher(self, ssm: Any = None) -> WatchedParameter[int]:
        """What a process has that starts now."""
        return WatchedParameter(
            ssm=self.edges.clients.ssm if ssm is None else ssm,
            name=self.name,
            parse=number,
            default=7,
            seconds=SECONDS,
            now=lambda: self.seconds,
        )

    def put(self, value: str) -> None:
        self.edges.admin("ssm").put_parameter(
            Name=self.name, Value=value, Type="String", Overwrite=True
        )


@pytest.fixture
def watched(edges: Edges) -> Watched:
    return Watched(edges)


def test_where_there_is_no_parameter_the_default_counts(watched: Watched) -> None:
    assert watched.watcher().value() == 7


def test_a_change_is_seen_when_the_time_is_up_and_not_before(watched: Watched) -> None:
    watched.put("1")
    watcher = watched.watcher()
    assert watcher.value() == 1
    watched.put("2")
    watched.seconds += SECONDS - 1
    assert watcher.value() == 1
    watched.seconds += 1
    assert watcher.value() == 2


def test_a_parameter_that_is_removed_is_the_default_again(watched: Watched) -> None:
    watched.put("1")
    watcher = watched.watcher()
    assert watcher.value() == 1
    watched.edges.admin("ssm").delete_parameter(Name=watched.name)
    watched.seconds += SECONDS
    assert watcher.value() == 7


def test_a_value_that_is_wrong_never_takes_effect_and_is_counted(
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    watched.put("1")
    watcher = watched.watcher()
    watcher.value()
    capsys.readouterr()
    watched.put("one")
    watched.seconds += SECONDS
    assert watcher.value() == 1
    assert '"ModelChoiceRejected":[1.0]' in capsys.readouterr().out.replace(" ", "")


def test_a_process_that_starts_takes_the_latest_value_that_is_good(watched: Watched) -> None:
    for value in ("1", "2", "two", "three"):
        watched.put(value)
    assert watched.watcher().value() == 2


def test_where_no_value_was_ever_good_the_default_counts(watched: Watched) -> None:
    watched.put("one")
    assert watched.watcher().value() == 7


def test_where_ssm_is_down_the_last_value_stays_and_a_new_process_has_none(
    watched: Watched,
) -> None:
    watched.put("1")
    watcher = watched.watcher()
    assert watcher.value() == 1
    nowhere = f"http://127.0.0.1:{free_port()}"
    down = Clients(replace(watched.edges.clients._settings, aws_endpoint_url=nowhere))
    watcher.ssm = down.ssm
    watched.seconds += SECONDS
    assert watcher.value() == 1
    with pytest.raises(ServiceUnavailable):
        watched.watcher(down.ssm).value()


def test_without_a_parameter_nothing_is_asked() -> None:
    watcher = WatchedParameter(ssm=None, name="", parse=number, default=3, seconds=1)
    assert watcher.value() == 3
