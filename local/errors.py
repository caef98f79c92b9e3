"""The one error of the local run."""


class StartFailed(Exception):
    """A step of the start failed; the text is one sentence that says what to do."""
