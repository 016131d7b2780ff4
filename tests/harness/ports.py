"""Ports for servers that must know theirs before they start."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port", "reusable_port"]

BELOW_EPHEMERAL = range(20_000, 32_000)
"""Ports that the system gives neither to a server on port 0 nor to a client."""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def reusable_port() -> int:
    """A port that stays free while a server restarts; the system may give an ephemeral one to any client meanwhile."""
    for port in random.sample(BELOW_EPHEMERAL, k=100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    msg = "no free port"
    raise OSError(msg)
