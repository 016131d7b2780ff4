"""The chat asks all nodes who is there: as seldom as possible, and never too early."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from quart_wshub import BrokerUnavailableError
from tests.harness.server import ROOT

if TYPE_CHECKING:
    from quart_wshub import WebSocketHub


@dataclass
class Answer:
    value: Any
    complete: bool = True


class FakeHub:
    """One whose answers take a second. Its users are those who were there when it was asked."""

    def __init__(self) -> None:
        self.users: set[str] = set()
        self.asked = 0
        self.failing = False
        self.cluster = SimpleNamespace(online_users=self._online_users, topic_count=self._topic_count)

    def online_users(self) -> frozenset[str]:
        return frozenset({"here"})

    def topic_count(self, topic: str) -> int:
        return 1

    async def _online_users(self) -> Answer:
        self.asked += 1
        return Answer(await self._answer(frozenset(self.users)))

    async def _topic_count(self, topic: str) -> Answer:
        return Answer(await self._answer(2 if topic == "room:lobby" else 0))

    async def _answer(self, value: object) -> object:
        await trio.sleep(1)
        if self.failing:
            raise BrokerUnavailableError("no")
        return value


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def presence(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "examples/chat")
    from presence import Presence
    from store import MemoryStore

    as_hub: WebSocketHub = hub  # type: ignore[assignment]
    return Presence(as_hub, MemoryStore(60))


async def test_who_asks_while_an_answer_is_on_its_way_gets_the_next(
    hub: FakeHub, presence: Any, autojump_clock: trio.testing.MockClock
) -> None:
    seen: dict[str, list[str]] = {}

    async def ask(name: str) -> None:
        seen[name] = (await presence.overview()).users

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "first")
        await trio.sleep(0.5)
        hub.users.add("Ada")
        for number in range(100):
            nursery.start_soon(ask, f"later {number}")
    assert seen.pop("first") == []
    assert list(seen.values()) == [["Ada"]] * 100
    assert hub.asked == 2


async def test_an_answer_is_not_used_twice(hub: FakeHub, presence: Any, autojump_clock: trio.testing.MockClock) -> None:
    assert (await presence.overview()).users == []
    hub.users.add("Ada")
    assert (await presence.overview()).users == ["Ada"]


async def test_who_gives_up_leaves_no_harm(hub: FakeHub, presence: Any, autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(0.5):
        await presence.overview()
    hub.users.add("Ada")
    assert (await presence.overview()).users == ["Ada"]


async def test_without_the_others_it_tells_of_its_own(
    hub: FakeHub, presence: Any, autojump_clock: trio.testing.MockClock
) -> None:
    hub.failing = True
    overview = await presence.overview()
    assert (overview.users, overview.complete) == (["here"], False)
    assert {room.name: room.here for room in overview.rooms} == {"lobby": 1, "random": 1, "help": 1}
