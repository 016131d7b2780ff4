"""What connections and handshakes may take up of a node.

Handshakes that are not decided yet, and refused ones whose closing handshake is waited for, have a limit apart from
that of authenticated connections: else a peer without a token could hold the place of a user.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

import trio

if TYPE_CHECKING:
    from quart_wshub.settings import WebSocketSettings
    from quart_wshub.transport.base import Transport

    Phase = Literal["pending", "admitted"]

__all__ = ["Slot", "Slots"]


class Slots:
    """The slots of one node. `begin` takes one; it says when the last one was given back."""

    def __init__(self) -> None:
        self.taken: Counter[Phase] = Counter()
        self.refused: dict[Slot, Transport] = {}
        self._vacant = trio.Event()
        self._vacant.set()

    def begin(self, settings: WebSocketSettings) -> Slot | None:
        """A slot for a handshake; `None` where there is no room for it, or for the connection it wants to become."""
        if self.taken["pending"] >= settings.WS_MAX_PENDING_HANDSHAKES or not self.has_room(settings):
            return None
        if self._vacant.is_set():
            self._vacant = trio.Event()
        return Slot(self)

    def has_room(self, settings: WebSocketSettings) -> bool:
        """Whether another connection may be admitted."""
        return settings.WS_MAX_CONNECTIONS is None or self.taken["admitted"] < settings.WS_MAX_CONNECTIONS

    def released(self) -> None:
        """A slot was given back."""
        if not self.taken.total() and not self.refused:
            self._vacant.set()

    async def wait_vacant(self) -> None:
        """Wait until no slot is taken."""
        await self._vacant.wait()


class Slot:
    """What one connection takes up, from the start of its handshake until everything of it has ended."""

    __slots__ = ("_phase", "_slots")

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._phase: Phase | None = "pending"
        slots.taken["pending"] += 1

    def admit(self, settings: WebSocketSettings) -> bool:
        """It is a user's from here on; `False` where there is no room."""
        if not self._slots.has_room(settings):
            return False
        self._enter("admitted")
        return True

    def refuse(self, transport: Transport, settings: WebSocketSettings) -> None:
        """Its handshake was refused, and is being closed. Beyond the limit the oldest such one is aborted."""
        self._enter(None)
        refused = self._slots.refused
        refused[self] = transport
        if len(refused) > settings.WS_MAX_PENDING_HANDSHAKES:
            refused.pop(next(iter(refused))).abort()

    def release(self) -> None:
        """Give it back."""
        self._enter(None)
        self._slots.refused.pop(self, None)
        self._slots.released()

    def _enter(self, phase: Phase | None) -> None:
        taken = self._slots.taken
        if self._phase is not None:
            taken[self._phase] -= 1
        if phase is not None:
            taken[phase] += 1
        self._phase = phase
