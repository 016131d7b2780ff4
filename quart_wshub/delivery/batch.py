"""Publications that go out together to the same sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable

    from quart_wshub.delivery.recipient import Recipient

__all__ = ["Batch"]


class Batch:
    """Publications for the same sockets.

    Attributes:
        key: identifies the sockets.
        members: the sockets, as they were when the batch was made.
        sealed: some socket was served already, so nothing can be added.
        size: payload bytes.
        live: members that have not left.
    """

    __slots__ = (
        "_frames",
        "_live_members",
        "_position",
        "_positions",
        "_served_ahead",
        "key",
        "live",
        "members",
        "sealed",
        "size",
    )

    def __init__(self, key: Hashable, members: Callable[[], Collection[Recipient]], excluded: Recipient | None) -> None:
        self.key: Hashable = key
        self.members: tuple[Recipient, ...] = tuple(members())
        if excluded is not None:
            self.members = tuple(member for member in self.members if member is not excluded)
        self.live: int = len(self.members)
        self.sealed: bool = False
        self.size: int = 0
        self._live_members = members
        self._frames: list[Frame] = []
        self._position = 0
        self._positions: dict[Recipient, int] | None = None
        self._served_ahead: set[Recipient] = set()

    def add(self, frame: Frame, post: Callable[[], None] | None) -> None:
        """Give a publication its place in the order, here and, by `post`, on the other nodes. Not once sealed."""
        self._frames.append(frame)
        self.size += frame.size
        if post is not None:
            post()

    def seal(self) -> Frame:
        """Allow no more publications; returns all of them as one frame."""
        if not self.sealed:
            self.sealed = True
            self._frames = [Frame.join(self._frames)]
        return self._frames[0]

    def serve(self, start: int, stop: int) -> int:
        """Serve a slice of the members, except those that have left meanwhile; returns how many accepted."""
        frame = self.seal()
        remaining = self._live_members()
        ahead = self._served_ahead
        accepted = 0
        for member in self.members[start:stop]:
            if member in remaining and not (ahead and member in ahead):
                accepted += member.offer(frame)
        self._position = stop
        return accepted

    def serve_first(self, member: Recipient) -> None:
        """Serve one socket ahead of the others, if it is a member that was not served yet."""
        position = self._position_of(member)
        if position is not None and position >= self._position and member not in self._served_ahead:
            self._served_ahead.add(member)
            member.offer(self.seal())

    def leave(self, member: Recipient) -> None:
        """Do not count this member any more. Call it once for each."""
        if self._position_of(member) is not None:
            self.live -= 1

    def _position_of(self, member: Recipient) -> int | None:
        if self._positions is None:
            self._positions = {member: position for position, member in enumerate(self.members)}
        return self._positions.get(member)
