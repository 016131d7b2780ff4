"""Questions to the other nodes: published once, answered by everyone who listens, within a time.

How many answers there will be is known from the broker's receipt. A node that listens to the channel itself is counted
in it, and hears its own question: that stands for its answer.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import trio

from quart_wshub.cluster.wire import Answer, encode_control
from quart_wshub.protocol.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from quart_wshub.broker.base import Broker
    from quart_wshub.cluster.wire import Question

__all__ = ["ANSWER_SECONDS", "Answers", "Asked", "Inquiries"]

ANSWER_SECONDS = 2.0
"""How long the other nodes may take to answer."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back in time.

    Attributes:
        by_node: each node's whole answer, without this node's own.
        missing: nodes that got the question and did not answer; `None` where the broker cannot tell how many got it.
    """

    by_node: Mapping[str, Sequence[Answer]]
    missing: int | None

    @property
    def total(self) -> int:
        """The sum of the numbers in the answers."""
        return sum(part.value for parts in self.by_node.values() for part in parts)


class _Inquiry:
    """One question that waits for answers."""

    def __init__(self) -> None:
        self.expected: int | None = None
        self.whole: dict[str, list[Answer]] = {}
        self.finished: set[str] = set()
        self.done = trio.Event()
        self._parts: defaultdict[str, dict[int, Answer]] = defaultdict(dict)

    def expect(self, nodes: int | None) -> None:
        self.expected = nodes
        self._check()

    def take(self, node: str, answer: Answer) -> None:
        parts = self._parts[node]
        parts[answer.part] = answer
        if len(parts) == answer.parts:
            self.whole[node] = list(parts.values())
            self.finish(node)

    def finish(self, node: str) -> None:
        self.finished.add(node)
        self._check()

    def _check(self) -> None:
        if self.expected is not None and len(self.finished) >= self.expected:
            self.done.set()

    def answers(self) -> Answers:
        missing = None if self.expected is None else max(0, self.expected - len(self.finished))
        return Answers(self.whole, missing)


class Asked:
    """A question that goes on being asked when the one who asked it is cancelled: perhaps by what it leads to."""

    def __init__(self) -> None:
        self._done = trio.Event()
        self._outcome: Answers | Exception = BrokerUnavailableError("the broker has stopped")

    async def run(self, ask: Callable[[], Awaitable[Answers]]) -> None:
        """Ask, and keep what comes of it."""
        try:
            self._outcome = await ask()
        except BrokerUnavailableError as error:
            self._outcome = error
        finally:
            self._done.set()

    def give(self, answers: Answers) -> None:
        """There is nobody to ask: this is what comes of it."""
        self._outcome = answers
        self._done.set()

    async def answers(self) -> Answers:
        """Wait for it.

        Raises:
            BrokerUnavailableError: the question could not be put.
        """
        await self._done.wait()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class Inquiries:
    """The questions of one node that wait for answers. None outlives the call that asked it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._refs = count(1)
        self._waiting: dict[int, _Inquiry] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def ask(self, channel: str, question: Callable[[int], Question], timeout: float) -> Answers:
        """Ask every node that listens to a channel; returns when all have answered, or after `timeout` seconds.

        Raises:
            BrokerUnavailableError: the question could not be put.
        """
        ref, inquiry = next(self._refs), _Inquiry()
        self._waiting[ref] = inquiry
        message = encode_control(self._broker.node_id, question(ref))
        put = False
        try:
            with trio.move_on_after(timeout):
                receipt = await self._broker.publish(channel, message)
                put = True
                inquiry.expect(receipt.nodes)
                await inquiry.done.wait()
        finally:
            del self._waiting[ref]
        if not put:
            msg = f"the broker did not take a question within {timeout} s"
            raise BrokerUnavailableError(msg)
        return inquiry.answers()

    def take(self, node: str, answer: Answer) -> None:
        """Another node's answer. One that comes too late is passed over."""
        if (inquiry := self._waiting.get(answer.ref)) is not None:
            inquiry.take(node, answer)

    def heard(self, ref: int) -> None:
        """This node's own question came back."""
        if (inquiry := self._waiting.get(ref)) is not None:
            inquiry.finish(self._broker.node_id)
