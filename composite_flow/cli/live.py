"""`--page`: a page that is served while a command runs, in which one watches what it does."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from composite_flow.cli.reporting import say
from composite_flow.errors import InputError
from composite_flow.page.live.server import PageServer

_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class PageOptions:
    """A page to watch it by."""

    page: bool = False
    """Serve a page in which one watches, to this machine alone; its address is told, and holds a token."""
    host: str | None = None
    """With --page: an address or name of this machine by which others reach the page as well, unencrypted."""
    port: int | None = None
    """With --page: the port; a free one where not given."""

    @contextmanager
    def served(self) -> Iterator[PageServer | None]:
        """A server that listens, and whose address has been told; None where no page is asked for.

        Raises:
            InputError: options of a page without one, or a host or port at which nothing can be served.
        """
        if not self.page:
            if self.host is not None or self.port is not None:
                raise InputError("--host and --port are of a page; add --page, or leave them.")
            yield None
            return
        with PageServer(self.host, self.port or 0) as server:
            if not server.is_local:
                say("Whoever knows the page's address reaches it from other machines, and nothing of it is encrypted.")
            say(f"Watch it at {server.address}")
            yield server


def stay(end: Callable[[], None]) -> None:
    """Tell a page that nothing more comes, and leave it there until Ctrl-C.

    It looks again and again, since a signal that reaches another thread wakes no wait without an end.
    """
    with suppress(KeyboardInterrupt):
        say("The page stays until Ctrl-C.")
        end()
        while not threading.Event().wait(_LOOK_SECONDS):
            pass
