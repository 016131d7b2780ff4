"""Revoking a user: open sockets, handshakes under way, and that nothing is remembered for longer than those take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from quart_wshub import WebSocketDisconnect, WebSocketHub
from quart_wshub.auth.revocations import Admission, Revocations
from quart_wshub.connection.ending import Ending, EndingKind
from quart_wshub.hub.websocket_hub import runtime_of
from quart_wshub.testing import HandshakeRejected, WebSocketClient, connect
from quart_wshub.transport.asgi import AsgiTransport
from tests.unit.fakes import join
from tests.unit.memory import assert_open, forever, make_app

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from trio.testing import MockClock

USERS = st.sampled_from(["ann", "bob", 3])


class RevocationsMachine(RuleBasedStateMachine):
    """The model gives every handshake a set of its own."""

    handshakes = Bundle("handshakes")

    def __init__(self) -> None:
        super().__init__()
        self.revocations = Revocations()
        self.model: dict[Admission, set[object]] = {}
        self.blocks: dict[Admission, AbstractContextManager[Admission]] = {}

    @rule(target=handshakes)
    def begin(self) -> Admission:
        block = self.revocations.admission()
        admission = block.__enter__()
        self.blocks[admission] = block
        self.model[admission] = set()
        return admission

    @rule(admission=consumes(handshakes))
    def end(self, admission: Admission) -> None:
        self.blocks.pop(admission).__exit__(None, None, None)
        del self.model[admission]

    @rule(user_id=USERS)
    def revoke(self, user_id: object) -> None:
        self.revocations.revoke(user_id)
        for revoked in self.model.values():
            revoked.add(user_id)

    @invariant()
    def every_handshake_knows_who_was_revoked_since_it_began(self) -> None:
        for admission, revoked in self.model.items():
            assert {user for user in ("ann", "bob", 3) if admission.is_revoked(user)} == revoked

    @invariant()
    def no_more_is_remembered_than_that(self) -> None:
        assert len(self.revocations) == len(set().union(*self.model.values()))


RevocationsMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestRevocationsAgainstTheModel = RevocationsMachine.TestCase


async def test_revoking_closes_all_of_a_users_sockets_with_4401_and_nobody_elses() -> None:
    hub = WebSocketHub()
    first, second, other = join(hub, "ann"), join(hub, "ann"), join(hub, "bob")

    assert await hub.revoke("ann") == 2
    expected = Ending(4401, "token revoked", EndingKind.SERVER_CLOSED)
    assert (first.ending, second.ending, other.ending) == (expected, expected, None)
    assert await hub.revoke("ann") == 0


async def test_the_reason_is_the_apps_if_it_fits() -> None:
    hub = WebSocketHub()
    connection = join(hub, "ann")

    with pytest.raises(ValueError, match="close reason"):
        await hub.revoke("ann", reason="x" * 124)
    assert connection.ending is None
    await hub.revoke("ann", reason="password changed")
    assert connection.ending is not None
    assert connection.ending.reason == "password changed"


async def test_a_cancelled_revocation_has_done_nothing() -> None:
    hub = WebSocketHub()
    connection = join(hub, "ann")

    with runtime_of(hub).revocations.admission() as admission, trio.CancelScope() as scope:
        scope.cancel()
        await hub.revoke("ann")
    assert scope.cancelled_caught
    assert connection.ending is None
    assert not admission.is_revoked("ann")


async def test_a_user_who_was_revoked_may_come_back_with_a_new_token(hub: WebSocketHub) -> None:
    app = make_app(forever, hub, WS_CLOSE_TIMEOUT_SECONDS=0.01)
    async with connect(app, token="ann") as client:
        await client.expect("hello")
        assert await hub.revoke("ann") == 1
        assert (await client.closed()).code == 4401
    async with connect(app, token="ann") as client:
        await assert_open(client)


# Handshakes under way


class Paused:
    """A step of the handshake that waits until it may go on."""

    def __init__(self) -> None:
        self.reached, self.may_go_on = trio.Event(), trio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.may_go_on.wait()


class PausedResolver(Paused):
    async def resolve(self, token: str) -> str:
        await self()
        return token


async def revoked_during(
    step: Paused, app: Any, hub: WebSocketHub, users: tuple[str, ...], use: Callable[[WebSocketClient], Awaitable[None]]
) -> None:
    """Connect as ann, and revoke these users while the handshake waits at that step."""
    async with trio.open_nursery() as nursery:

        async def come() -> None:
            async with connect(app, token="ann") as client:
                await use(client)

        nursery.start_soon(come)
        await step.reached.wait()
        for user in users:
            assert await hub.revoke(user) == 0
        step.may_go_on.set()


async def is_refused(client: WebSocketClient) -> None:
    with pytest.raises(WebSocketDisconnect) as caught:
        await client.receive()
    assert (caught.value.code, caught.value.reason) == (4401, "token revoked")


async def test_a_token_that_was_being_resolved_lets_nobody_in(hub: WebSocketHub) -> None:
    resolver = PausedResolver()
    app = make_app(forever, hub, resolver=resolver.resolve)

    await revoked_during(resolver, app, hub, ("ann", "bob"), is_refused)
    assert hub.statistics().accepted == 0
    assert len(runtime_of(hub).revocations) == 0


async def test_a_token_that_had_been_resolved_lets_nobody_in(
    hub: WebSocketHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver has answered, and the connection is not registered yet."""
    paused, accept = Paused(), AsgiTransport.accept

    async def slow_accept(transport: AsgiTransport, subprotocol: str | None) -> None:
        await paused()
        await accept(transport, subprotocol)

    monkeypatch.setattr(AsgiTransport, "accept", slow_accept)
    await revoked_during(paused, make_app(forever, hub), hub, ("ann",), is_refused)
    assert hub.statistics().accepted == 0
    assert len(runtime_of(hub).revocations) == 0


async def test_it_is_refused_with_http_401_where_that_is_asked_for(hub: WebSocketHub) -> None:
    resolver = PausedResolver()
    app = make_app(forever, hub, resolver=resolver.resolve, WS_REJECT_WITH_HTTP=True)

    with pytest.RaisesGroup(pytest.RaisesExc(HandshakeRejected, match="401: token revoked")):
        await revoked_during(resolver, app, hub, ("ann",), is_refused)


async def test_another_users_handshake_goes_on(hub: WebSocketHub) -> None:
    resolver = PausedResolver()
    app = make_app(forever, hub, resolver=resolver.resolve, WS_CLOSE_TIMEOUT_SECONDS=0.01)

    await revoked_during(resolver, app, hub, ("bob",), assert_open)
    assert hub.statistics().accepted == 1
    assert len(runtime_of(hub).revocations) == 0


async def test_nothing_is_remembered_of_a_handshake_that_ended_otherwise(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async def resolver(token: str) -> str:
        await trio.sleep_forever()
        return token

    async with connect(make_app(forever, hub, resolver=resolver), token="ann") as client:
        assert (await client.closed()).code == 1011
        assert await hub.revoke("ann") == 0
    assert len(runtime_of(hub).revocations) == 0
