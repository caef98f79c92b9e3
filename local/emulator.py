"""MiniStack as this project needs it: ``python -m local.emulator``.

Lambda keeps the events of asynchronous calls in a queue, and tries one for hours that there is no
room for. MiniStack 1.5.33 begins with each the moment it comes, in a process of its own, up to as
many as the memory takes, and gives up the third time that there is no room: hundreds of uploads
at once are as many processes, or lost events.
"""

import contextvars
import threading
from collections import defaultdict
from typing import Any

from ministack.services import lambda_svc

# Events of one function that are worked on at once.
AT_ONCE = 4

_asynchronous = contextvars.ContextVar("asynchronous", default=False)


def events_wait(at_once: int = AT_ONCE) -> None:
    """Begin with an event once one of those before it is done."""
    invoke, execute = lambda_svc.invoke_async_with_retry, lambda_svc._execute_function  # noqa: SLF001
    rooms: dict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(at_once))
    looking = threading.Lock()

    def invoke_async_with_retry(func: Any, event: Any) -> None:
        # MiniStack's thread for the event begins in a copy of this context.
        token = _asynchronous.set(True)
        try:
            invoke(func, event)
        finally:
            _asynchronous.reset(token)

    def _execute_function(func: Any, event: Any) -> Any:
        if not _asynchronous.get():
            return execute(func, event)
        with looking:
            room = rooms[(func.get("config") or func).get("FunctionName", "")]
        with room:
            # What a function calls from now on is no event that waits.
            token = _asynchronous.set(False)
            try:
                return execute(func, event)
            finally:
                _asynchronous.reset(token)

    lambda_svc.invoke_async_with_retry = invoke_async_with_retry
    lambda_svc._execute_function = _execute_function  # noqa: SLF001


if __name__ == "__main__":
    events_wait()
    from ministack.app import main

    main()
