"""Requests to the other nodes: published once, answered by every subscribed node, within a timeout.

The broker's receipt says how many responses to expect. If this node is subscribed to the channel it is counted too, and
receives its own request: that stands for its response.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import trio

from quart_wshub.cluster.wire import Response, encode_control
from quart_wshub.protocol.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from quart_wshub.broker.base import Broker, Receipt
    from quart_wshub.cluster.wire import Request

__all__ = ["RESPONSE_SECONDS", "BackgroundRequest", "NodeRequests", "Responses"]

RESPONSE_SECONDS = 2.0
"""How long the other nodes have to respond."""


@dataclass(frozen=True, slots=True)
class Responses:
    """The responses that came in time.

    Attributes:
        by_node: the parts of each complete response; this node's own has none.
        missing: nodes that got the request and did not respond; `None` if the broker cannot tell how many got it.
    """

    by_node: Mapping[str, Sequence[Response]] = field(default_factory=dict)
    missing: int | None = 0

    @property
    def total(self) -> int:
        """The sum of the responses' values."""
        return sum(part.value for parts in self.by_node.values() for part in parts)


class BackgroundRequest:
    """A request that goes on when its caller is cancelled, perhaps because of the request itself."""

    def __init__(self) -> None:
        self._done = trio.Event()
        self._result: Responses | BrokerUnavailableError = BrokerUnavailableError("the broker has stopped")

    async def run(self, send: Callable[[], Awaitable[Responses]]) -> None:
        """Send the request and keep its result."""
        try:
            self._result = await send()
        except BrokerUnavailableError as error:
            self._result = error
        finally:
            self._done.set()

    async def responses(self) -> Responses:
        """Wait for the responses. If this is cancelled, the request goes on.

        Raises:
            BrokerUnavailableError: the request could not be sent.
        """
        await self._done.wait()
        if isinstance(self._result, BrokerUnavailableError):
            raise self._result
        return self._result


class NodeRequests:
    """This node's requests that wait for responses. None outlives the call that made it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._refs = count(1)
        self._pending: dict[int, trio.MemorySendChannel[tuple[str, Response | None]]] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def new_ref(self) -> int:
        """The `ref` for a new request."""
        return next(self._refs)

    async def send(self, channel: str, request: Request, timeout: float) -> Responses:
        """Send a request to every node subscribed to a channel; wait for all responses, at most `timeout` seconds.

        Raises:
            BrokerUnavailableError: the request could not be sent.
        """
        self._pending[request.ref], incoming = trio.open_memory_channel[tuple[str, Response | None]](math.inf)
        parts: defaultdict[str, dict[int, Response]] = defaultdict(dict)
        complete: dict[str, Sequence[Response]] = {}
        receipt: Receipt | None = None
        try:
            with trio.move_on_after(timeout):
                receipt = await self._broker.publish(channel, encode_control(self._broker.node_id, request))
                while receipt.nodes is None or len(complete) < receipt.nodes:
                    node, part = await incoming.receive()
                    if part is not None:
                        parts[node][part.part] = part
                    if part is None or len(parts[node]) == part.parts:
                        complete[node] = tuple(parts[node].values())
        finally:
            del self._pending[request.ref]
        if receipt is None:
            raise BrokerUnavailableError(f"the broker did not take a request to other nodes within {timeout} s")
        return Responses(complete, None if receipt.nodes is None else receipt.nodes - len(complete))

    def receive(self, node: str, response: Response) -> None:
        """Take a part of another node's response; a late one is dropped."""
        if response.ref in self._pending:
            self._pending[response.ref].send_nowait((node, response))

    def receive_own(self, ref: int) -> None:
        """This node has received its own request."""
        if ref in self._pending:
            self._pending[ref].send_nowait((self._broker.node_id, None))
