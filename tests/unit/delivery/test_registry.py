"""The registry, against a model that has no indexes at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from quart_wshub.delivery.registry import Registry

if TYPE_CHECKING:
    from quart_wshub.protocol.frame import Frame

USERS = st.sampled_from(["ann", "bob", 3])
TOPICS = st.sampled_from(["news", "chat:1", "chat:2"])


@dataclass(frozen=True, eq=False)
class FakeMember:
    """The smallest `Member`."""

    user_id: str | int
    connection_id: UUID = field(default_factory=uuid4)

    def offer(self, frame: Frame) -> bool:
        raise AssertionError


class RegistryMachine(RuleBasedStateMachine):
    """The model is one dict in insertion order: from each member to its topics."""

    members = Bundle("members")

    def __init__(self) -> None:
        super().__init__()
        self.registry: Registry[FakeMember] = Registry()
        self.model: dict[FakeMember, set[str]] = {}

    @rule(target=members, user_id=USERS)
    def add(self, user_id: str | int) -> FakeMember:
        member = FakeMember(user_id)
        self.registry.add(member)
        self.model[member] = set()
        return member

    @rule(target=members, member=members)
    def add_again(self, member: FakeMember) -> FakeMember:
        """A registered member is refused; one that left may come back, as the newest and without topics."""
        if member in self.model:
            with pytest.raises(ValueError, match=str(member.connection_id)):
                self.registry.add(member)
        else:
            self.registry.add(member)
            self.model[member] = set()
        return member

    @rule(member=members)
    def remove(self, member: FakeMember) -> None:
        self.model.pop(member, None)
        self.registry.remove(member)

    @rule(member=consumes(members))
    def remove_for_good(self, member: FakeMember) -> None:
        self.remove(member)

    @rule(member=members, topic=TOPICS)
    def subscribe(self, member: FakeMember, topic: str) -> None:
        self.registry.subscribe(member, topic)
        if member in self.model:
            self.model[member].add(topic)

    @rule(member=members, topic=TOPICS)
    def unsubscribe(self, member: FakeMember, topic: str) -> None:
        self.registry.unsubscribe(member, topic)
        if member in self.model:
            self.model[member].discard(topic)

    @rule(member=members)
    def look_up(self, member: FakeMember) -> None:
        assert self.registry.get(member.connection_id) is (member if member in self.model else None)
        assert self.registry.topics_of(member) == self.model.get(member, set())

    @invariant()
    def all_members_are_listed_in_insertion_order(self) -> None:
        assert list(self.registry.everyone()) == list(self.model)
        assert len(self.registry) == len(self.model)
        assert all(self.registry.get(member.connection_id) is member for member in self.model)

    @invariant()
    def users_agree_with_the_members(self) -> None:
        assert self.registry.users() == {member.user_id for member in self.model}
        for user_id in ("ann", "bob", 3):
            expected = [member for member in self.model if member.user_id == user_id]
            assert list(self.registry.of_user(user_id)) == expected

    @invariant()
    def topics_agree_with_the_members(self) -> None:
        assert self.registry.topic_count == len(set().union(*self.model.values()))
        assert self.registry.user_count == len(self.registry.users())
        for topic in ("news", "chat:1", "chat:2"):
            assert set(self.registry.of_topic(topic)) == {m for m, topics in self.model.items() if topic in topics}
        assert all(self.registry.topics_of(member) == topics for member, topics in self.model.items())


RegistryMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRegistryAgainstTheModel = RegistryMachine.TestCase


def test_an_empty_registry_has_no_members_users_or_topics() -> None:
    registry: Registry[FakeMember] = Registry()
    stranger = FakeMember("ann")

    assert len(registry) == 0
    assert registry.get(uuid4()) is None
    assert list(registry.everyone()) == list(registry.of_user("ann")) == list(registry.of_topic("news")) == []
    assert registry.topics_of(stranger) == registry.users() == frozenset()
    assert registry.topic_count == registry.user_count == 0


def test_a_duplicate_connection_id_is_refused_and_changes_nothing() -> None:
    registry: Registry[FakeMember] = Registry()
    member = FakeMember("ann")
    registry.add(member)
    registry.subscribe(member, "news")

    with pytest.raises(ValueError, match="already registered"):
        registry.add(FakeMember("bob", member.connection_id))

    assert list(registry.everyone()) == [member]
    assert registry.users() == {"ann"}
    assert registry.topics_of(member) == {"news"}


def test_topics_of_returns_a_snapshot() -> None:
    registry: Registry[FakeMember] = Registry()
    member = FakeMember("ann")
    registry.add(member)
    registry.subscribe(member, "news")
    before = registry.topics_of(member)

    registry.subscribe(member, "chat:1")

    assert before == {"news"}


def test_members_of_a_topic_are_listed_in_subscription_order() -> None:
    registry: Registry[FakeMember] = Registry()
    first, second = FakeMember("ann"), FakeMember("bob")
    for member in (first, second):
        registry.add(member)

    registry.subscribe(second, "news")
    registry.subscribe(first, "news")
    registry.subscribe(second, "news")

    assert list(registry.of_topic("news")) == [second, first]
