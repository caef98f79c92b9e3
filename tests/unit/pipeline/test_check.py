import pytest

from chalicelib.errors import ServiceUnavailable
from chalicelib.pipeline.check import Check, CheckFailed


def test_every_part_is_done_whatever_becomes_of_the_others() -> None:
    done: list[str] = []

    def broken() -> None:
        done.append("broken")
        raise ServiceUnavailable("made to fail")

    parts = {"broken": broken, "a": lambda: done.append("a"), "b": lambda: done.append("b")}
    with pytest.raises(CheckFailed, match="not done: broken"):
        Check(parts=parts)()
    assert done == ["broken", "a", "b"]


def test_a_check_without_faults_says_nothing() -> None:
    Check(parts={"a": lambda: None})()
