"""A run of the service for each of its calls to AWS, broken off there."""

from collections.abc import Callable, Iterator
from typing import Protocol

from tests.fakes import Trail
from tests.unit.pipeline.world import World

# More calls than any run makes: one that comes this far goes round in circles.
_MOST_CALLS = 150


class Trailed(Protocol):
    """A world of fakes that share one trail."""

    @property
    def trail(self) -> Trail:
        """The calls that are made in it."""


def boundaries_of[W: Trailed](
    make: Callable[[], W],
    prepare: Callable[[W, int], None],
    run: Callable[[W], None],
    *,
    least: int = 10,
) -> Iterator[W]:
    """A world for each call of the run, with the call's number to prepare it by.

    Ends with the first number that the run has no call for. ``least`` is a number of calls that
    the run has in any case, so that an enumeration of nothing is no success.
    """
    for number in range(_MOST_CALLS):
        world = make()
        prepare(world, number)
        run(world)
        if not world.trail.fired:
            assert number >= least, f"a run has more calls than {number}"
            return
        yield world
    raise AssertionError("the run never ends")


def boundaries(
    prepare: Callable[[World, int], None], run: Callable[[World], None]
) -> Iterator[World]:
    """The same of the images' pipeline, from its first call on."""
    return boundaries_of(World, prepare, run)
