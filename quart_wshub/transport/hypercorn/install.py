"""Which transport serves here, and having hypercorn use the native one.

This module imports nothing private of hypercorn before its version is known to be tested, so that the package can be
imported, and serves over plain ASGI, whatever hypercorn is installed.
"""

from __future__ import annotations

import logging
import sys
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quart_wshub.transport.upgrade import HubPaths

__all__ = ["install"]

log: logging.Logger = logging.getLogger("quart_wshub")

TESTED = ("0.18.",)
"""Versions of hypercorn whose internals this was written for, by prefix."""


def install(wanted: str, paths: HubPaths) -> bool:
    """Have hypercorn serve an app's hubs natively, if `WS_TRANSPORT` wants that and it can be done. Idempotent.

    Which transport serves, and why, is logged once.
    """
    installed = version("hypercorn")
    if not _serves_natively(wanted, installed, sys.platform):
        return False
    import hypercorn.trio.run

    from quart_wshub.transport.hypercorn.direct import serve_directly
    from quart_wshub.transport.hypercorn.server import HubTCPServer

    hypercorn.trio.run.TCPServer = HubTCPServer  # type: ignore[attr-defined]
    serve_directly(paths)
    return True


@cache  # so that each outcome is logged once
def _serves_natively(wanted: str, installed: str, platform: str) -> bool:
    if wanted == "asgi":
        log.info("WebSocket transport: plain ASGI, because WS_TRANSPORT=asgi. %s", MISSING)
    elif platform == "win32":
        _warn("the native transport reads and writes sockets as files, which Windows cannot")
    elif not installed.startswith(TESTED):
        tested = "x, ".join(TESTED)
        _warn(f"the native transport was not tested with hypercorn {installed}, but with {tested}x")
    else:
        log.info("WebSocket transport: native, on hypercorn %s", installed)
        return True
    return False


MISSING = "A peer that stops reading keeps its task and its socket until TCP gives up on it"


def _warn(why: str) -> None:
    log.warning(
        "WebSocket transport: plain ASGI, because %s. %s. Set WS_TRANSPORT=asgi to choose that and silence this",
        why,
        MISSING,
    )
