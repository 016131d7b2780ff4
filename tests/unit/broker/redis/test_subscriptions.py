"""When a gap is reported."""

from __future__ import annotations

from quart_wshub.broker.redis.subscriptions import Subscriptions


def subscriptions(*channels: str) -> tuple[Subscriptions, list[frozenset[str]]]:
    """Some that are confirmed, and the gaps that will be reported."""
    gaps: list[frozenset[str]] = []
    these = Subscriptions(gaps.append)
    for channel in channels:
        these.add(channel, may_miss=False)
        these.confirm(channel)
    return these, gaps


def test_a_gap_is_reported_once_and_when_everything_is_back() -> None:
    these, gaps = subscriptions("a", "b", "c")
    these.lose(["a", "b", "never subscribed to"])
    these.add("new", may_miss=True)
    these.confirm("a")
    assert not these.complete
    these.confirm("b")
    assert gaps == []
    these.confirm("new")

    assert gaps == [{"a", "b", "new"}]
    assert these.complete
    these.confirm("a")
    assert len(gaps) == 1


def test_a_gap_does_not_wait_for_what_was_unsubscribed() -> None:
    these, gaps = subscriptions("a", "b")
    these.lose(["a", "b"])
    these.confirm("a")
    these.remove("b")

    assert gaps == [{"a"}]


def test_what_is_missed_while_everything_is_confirmed_is_reported_at_once() -> None:
    these, gaps = subscriptions("a", "b")
    these.miss(["a", "c"])

    assert gaps == [{"a"}]


async def test_whoever_waits_too_long_for_a_confirmation_gets_a_gap(autojump_clock: object) -> None:
    these, gaps = subscriptions()
    these.add("a", may_miss=False)

    assert not await these.confirmed("a", 5)
    assert not await these.confirmed("b", 5)
    these.confirm("a")
    assert gaps == [{"a"}]
    assert await these.confirmed("a", 5)
