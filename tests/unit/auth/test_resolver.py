"""The identity seam: what a resolver may return, and whose fault it is when it does not."""

from __future__ import annotations

import functools
import threading
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import trio

from quart_wshub.auth.identity import Identity, ResolverError, is_async_callable, resolve

if TYPE_CHECKING:
    from quart_wshub.auth.identity import BearerResolver, UserId

UUID4 = uuid4()


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


class TestIdentity:
    @pytest.mark.parametrize("user_id", [UUID4, "ann", "", 7, 0])
    def test_user_ids(self, user_id: UserId) -> None:
        assert Identity(user_id).user_id == user_id

    @pytest.mark.parametrize("user_id", [None, True, 1.5, b"ann", ["ann"], object()])
    def test_what_is_no_user_id(self, user_id: Any) -> None:
        with pytest.raises(TypeError, match=f"must be a UUID, str or int, not {type(user_id).__name__}"):
            Identity(user_id)

    def test_naive_expiry_is_refused(self) -> None:
        with pytest.raises(ValueError, match="must be an aware datetime"):
            Identity("ann", expires_at=datetime(2030, 1, 1))

    def test_expires_in(self) -> None:
        assert Identity("ann").expires_in() is None
        for seconds in (60, -60):
            remaining = Identity("ann", expires_at=in_seconds(seconds)).expires_in()
            assert remaining == pytest.approx(seconds, abs=5)

    def test_claims_are_a_read_only_copy_that_repr_hides(self) -> None:
        claims = {"secret": "hidden"}
        identity = Identity("ann", claims=claims)
        claims["secret"] = "changed"

        assert identity.claims == {"secret": "hidden"}
        assert isinstance(identity.claims, MappingProxyType)
        assert "hidden" not in repr(identity)

    def test_equality(self) -> None:
        assert Identity("ann") == Identity("ann") != Identity("bob")


async def async_resolver(token: str) -> str | None:
    await trio.lowlevel.checkpoint()
    return None if token == "bad" else token


def sync_resolver(token: str) -> str | None:
    return None if token == "bad" else token


class AsyncCallable:
    async def __call__(self, token: str) -> str | None:
        return await async_resolver(token)


class SyncCallable:
    def __call__(self, token: str) -> str | None:
        return sync_resolver(token)


class Methods:
    async def asynchronous(self, token: str) -> str | None:
        return await async_resolver(token)


RESOLVERS: dict[str, tuple[BearerResolver, bool]] = {
    "async function": (async_resolver, True),
    "async method": (Methods().asynchronous, True),
    "async callable": (AsyncCallable(), True),
    "partial of async": (functools.partial(async_resolver), True),
    "lambda around async": (lambda token: async_resolver(token), False),
    "sync function": (sync_resolver, False),
    "sync callable": (SyncCallable(), False),
    "partial of sync": (functools.partial(sync_resolver), False),
}


@pytest.mark.parametrize(("resolver", "is_async"), RESOLVERS.values(), ids=RESOLVERS)
class TestKindsOfResolver:
    def test_is_async_callable(self, resolver: BearerResolver, is_async: bool) -> None:
        assert is_async_callable(resolver) is is_async

    async def test_good_token(self, resolver: BearerResolver, is_async: bool) -> None:
        assert await resolve(resolver, "ann", seconds=1) == Identity("ann")

    async def test_bad_token(self, resolver: BearerResolver, is_async: bool) -> None:
        assert await resolve(resolver, "bad", seconds=1) is None


@pytest.mark.parametrize("thing", [None, 5, "text", str, object()])
def test_what_is_no_async_callable(thing: object) -> None:
    assert not is_async_callable(thing)


def returning(result: object) -> BearerResolver:
    async def resolver(token: str) -> Any:
        await trio.lowlevel.checkpoint()
        return result

    return resolver


def raising(error: BaseException) -> BearerResolver:
    async def resolver(token: str) -> str:
        await trio.lowlevel.checkpoint()
        raise error

    return resolver


class TestResults:
    @pytest.mark.parametrize("user_id", [UUID4, "ann", 0, ""], ids=["uuid", "str", "zero", "empty"])
    async def test_bare_user_id_never_expires(self, user_id: UserId) -> None:
        assert await resolve(returning(user_id), "t", seconds=1) == Identity(user_id)

    async def test_identity_passes_through(self) -> None:
        identity = Identity("ann", expires_at=in_seconds(60), claims={"role": "admin"})

        assert await resolve(returning(identity), "t", seconds=1) is identity

    async def test_expired_identity_is_a_bad_token(self) -> None:
        expired = Identity("ann", expires_at=in_seconds(-0.001))

        assert await resolve(returning(expired), "t", seconds=1) is None

    @pytest.mark.parametrize("result", [True, False, 1.5, b"ann", {}, object()])
    async def test_no_identity_is_the_servers_failure(self, result: object) -> None:
        with pytest.raises(ResolverError, match=f"returned {type(result).__name__}; it must return a UUID"):
            await resolve(returning(result), "t", seconds=1)


class TestFailures:
    @pytest.mark.parametrize(
        "error",
        [
            ValueError("x"),
            KeyError("sub"),
            TimeoutError(),
            trio.TooSlowError(),
            ExceptionGroup("", [OSError()]),
        ],
        ids=lambda error: type(error).__name__,
    )
    async def test_an_exception_is_the_cause(self, error: Exception) -> None:
        with pytest.raises(ResolverError, match=r"^bearer resolver failed$") as info:
            await resolve(raising(error), "t", seconds=1)
        assert info.value.__cause__ is error

    async def test_an_exception_of_a_sync_resolver(self) -> None:
        def resolver(token: str) -> str:
            raise LookupError

        with pytest.raises(ResolverError) as info:
            await resolve(resolver, "t", seconds=1)
        assert isinstance(info.value.__cause__, LookupError)

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
    async def test_what_is_no_exception_passes(self, error: BaseException) -> None:
        with pytest.raises(type(error)):
            await resolve(raising(error), "t", seconds=1)

    async def test_taking_too_long(self, autojump_clock: trio.testing.MockClock) -> None:
        async def slow(token: str) -> str:
            await trio.sleep_forever()

        with pytest.raises(ResolverError, match=r"^bearer resolver took longer than 10 s$") as info:
            await resolve(slow, "t", seconds=10)
        assert trio.current_time() == 10
        assert info.value.__cause__ is None

    async def test_just_in_time(self, autojump_clock: trio.testing.MockClock) -> None:
        async def slow(token: str) -> str:
            await trio.sleep(9.99)
            return token

        assert await resolve(slow, "ann", seconds=10) == Identity("ann")

    async def test_an_answer_that_could_not_be_cancelled_counts(self, autojump_clock: trio.testing.MockClock) -> None:
        async def shielded(token: str) -> str:
            with trio.CancelScope(shield=True):
                await trio.sleep(11)
            return token

        assert await resolve(shielded, "ann", seconds=10) == Identity("ann")

    async def test_a_blocking_sync_resolver_is_abandoned(self) -> None:
        release = threading.Event()

        def stuck(token: str) -> str:
            release.wait(10)
            return token

        try:
            with pytest.raises(ResolverError, match="took longer than"):
                await resolve(stuck, "t", seconds=0.01)
        finally:
            release.set()

    async def test_cancellation_abandons_the_resolver(self, autojump_clock: trio.testing.MockClock) -> None:
        async def slow(token: str) -> str:
            await trio.sleep_forever()

        with trio.move_on_after(1) as scope:
            await resolve(slow, "t", seconds=10)
        assert scope.cancelled_caught
        assert trio.current_time() == 1
