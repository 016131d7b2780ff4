"""Who may subscribe to what: the app's policies, by prefix of the topic."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

import trio

from quart_wshub.connection.websocket_connection import WebSocketConnection
from quart_wshub.protocol.errors import ConfigurationError, MessageError, WSHubError

__all__ = ["PolicyError", "SubscribePolicy", "TopicPolicies", "is_allowed"]

SubscribePolicy = Callable[[WebSocketConnection, str], bool | Awaitable[bool]]
"""`(connection, topic) -> bool`, sync or async. A sync one runs in the event loop and must not block."""


class PolicyError(WSHubError):
    """A policy raised (the `__cause__`), took too long, or did not return a `bool`."""


class TopicPolicies:
    """The policies of one router. The longest matching prefix decides alone; without a match, the fallback."""

    def __init__(self, fallback: SubscribePolicy | None = None) -> None:
        if fallback is not None:
            check_policy(fallback)
        self._fallback = fallback
        self._by_prefix: dict[str, SubscribePolicy] = {}

    def __bool__(self) -> bool:
        return self._fallback is not None or bool(self._by_prefix)

    def add(self, prefix: str, policy: SubscribePolicy) -> None:
        """Let `policy` decide on topics that begin with `prefix`.

        Raises:
            ConfigurationError: the prefix is empty or taken, or the policy cannot be called.
        """
        if not isinstance(prefix, str) or not prefix:
            msg = f'a topic prefix is a non-empty string, not {prefix!r}: @messages.authorize("chat:")'
            raise ConfigurationError(msg)
        check_policy(policy)
        if self._by_prefix.setdefault(prefix, policy) is not policy:
            msg = f"topic prefix {prefix!r} has two policies: {self._by_prefix[prefix]!r} and {policy!r}"
            raise ConfigurationError(msg)

    def include(self, other: TopicPolicies) -> None:
        """Add all policies of another router.

        Raises:
            ConfigurationError: both have a fallback, or a policy for the same prefix.
        """
        if other._fallback is not None:
            if self._fallback not in (None, other._fallback):
                msg = f"authorize_subscribe is given twice: {self._fallback!r} and, included, {other._fallback!r}"
                raise ConfigurationError(msg)
            self._fallback = other._fallback
        for prefix, policy in other._by_prefix.items():
            self.add(prefix, policy)

    def find(self, topic: str) -> SubscribePolicy | None:
        """The policy that decides on a topic."""
        prefix = max((prefix for prefix in self._by_prefix if topic.startswith(prefix)), key=len, default=None)
        return self._fallback if prefix is None else self._by_prefix[prefix]


def check_policy(policy: SubscribePolicy) -> None:
    """Raise `ConfigurationError` for a policy that cannot be called with a connection and a topic."""
    try:
        inspect.signature(policy).bind(None, None)
    except TypeError:
        msg = f"policy {policy!r} must be a function of two arguments: (connection, topic) -> bool"
        raise ConfigurationError(msg) from None


async def is_allowed(policy: SubscribePolicy, connection: WebSocketConnection, topic: str, *, seconds: float) -> bool:
    """Call a policy; cancellation cancels it.

    Raises:
        MessageError: the policy's own answer.
        PolicyError: the policy failed.
    """
    answer: object = None
    with trio.move_on_after(seconds) as scope:
        try:
            answer = policy(connection, topic)
            if inspect.isawaitable(answer):
                answer = await answer
        except MessageError:
            raise
        except Exception as error:
            msg = "topic policy failed"
            raise PolicyError(msg) from error
    if scope.cancelled_caught:
        msg = f"topic policy took longer than {seconds:g} s"
        raise PolicyError(msg)
    if not isinstance(answer, bool):
        msg = f"topic policy returned {type(answer).__name__}; it must return True or False"
        raise PolicyError(msg)
    return answer
