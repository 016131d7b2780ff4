"""A memory exchange that can be away for a while."""

from __future__ import annotations

from quart_wshub.broker.memory import MemoryExchange
from quart_wshub.protocol.errors import BrokerUnavailableError

__all__ = ["OutageExchange"]


class OutageExchange(MemoryExchange):
    """`cut` it, and nothing goes through; `restore` it, and every node hears that it may have missed something."""

    def __init__(self) -> None:
        super().__init__()
        self._away = False

    def cut(self) -> None:
        self._away = True

    def restore(self) -> None:
        self._away = False
        for broker in self.brokers:
            broker.miss()

    def send(self, channel: str, message: bytes) -> int:
        if self._away:
            raise BrokerUnavailableError("cut")
        return super().send(channel, message)
