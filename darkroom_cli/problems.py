"""What can go wrong for someone at a terminal, and the exit code of each."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes (docs/cli.md)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


class Problem(Exception):
    """What a user reads, in one sentence.

    Args:
        message: The sentence.
        exit_code: With which the command ends.
        code: Of the API's error, where it is one.
    """

    def __init__(
        self, message: str, *, exit_code: Exit = Exit.FAILED, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code


class Refused(Problem):
    """The service answered, and said no; ``code`` says why."""


class Unreachable(Problem):
    """The service does not answer, or not in time."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=Exit.UNREACHABLE)


class Misused(Problem):
    """The command was given something that it cannot work with."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=Exit.USAGE)
