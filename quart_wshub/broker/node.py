"""The base class of this package's brokers: the node's id, one run, and a listener whose errors cost one message."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from quart_wshub.protocol.errors import UsageError

if TYPE_CHECKING:
    from quart_wshub.broker.base import BrokerListener

__all__ = ["BrokerNode"]

log: logging.Logger = logging.getLogger("quart_wshub")


class BrokerNode:
    """What every broker needs of its own node."""

    def __init__(self) -> None:
        self._node_id = secrets.token_hex(6)
        self._listener: BrokerListener | None = None
        self._running = False
        self._received = 0
        self._gaps = 0

    @property
    def node_id(self) -> str:
        """This node's id: 12 hexadecimal digits, new with every process."""
        return self._node_id

    def _start(self, listener: BrokerListener) -> None:
        if self._listener is not None:
            raise UsageError(f"this {type(self).__name__} was run before; make a new one")
        self._listener = listener
        self._running = True

    async def _deliver(self, channel: str, message: bytes) -> None:
        assert self._listener is not None
        self._received += 1
        try:
            await self._listener.deliver(channel, message)
        except Exception:
            log.exception("broker: the hub failed to take a message, which is lost")

    def _report_gap(self, channels: frozenset[str]) -> None:
        if not channels:
            return
        assert self._listener is not None
        self._gaps += 1
        log.warning("broker: messages in %d channels may have been missed", len(channels))
        try:
            self._listener.gap(channels)
        except Exception:
            log.exception("broker: the hub failed to take a gap")
