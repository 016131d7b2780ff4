"""Whether the native transport can serve here, and having it do so.

This module imports nothing private of hypercorn, so that the package can be imported, and serves over plain ASGI,
whatever hypercorn is installed.
"""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version

__all__ = ["install"]

log: logging.Logger = logging.getLogger("quart_wshub")

TESTED = ("0.18.",)
"""Versions of hypercorn whose internals this was written for, by prefix."""


def install() -> bool:
    """Make hypercorn use `HubTCPServer`. Idempotent. Says whether it is in use."""
    found = version("hypercorn")
    if why_not := _why_not(found):
        log.warning(
            "WebSockets run over plain ASGI, which cannot drop a stuck peer, because %s; "
            "set WS_TRANSPORT=asgi to choose that and silence this",
            why_not,
        )
        return False
    import hypercorn.trio.run

    from quart_wshub.transport.hypercorn.server import HubTCPServer

    if vars(hypercorn.trio.run)["TCPServer"] is not HubTCPServer:
        hypercorn.trio.run.TCPServer = HubTCPServer  # type: ignore[attr-defined]
        log.info("the native transport serves the connections of hypercorn %s", found)
    return True


def _why_not(found: str) -> str | None:
    if sys.platform == "win32":
        return "the native transport reads and writes sockets as files, which Windows cannot"
    if not found.startswith(TESTED):
        tested = "x, ".join(TESTED)
        return f"hypercorn {found} is not among the versions the native transport is tested with ({tested}x)"
    return None
