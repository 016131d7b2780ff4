"""Who a publication is for."""

from __future__ import annotations

from quart_wshub.auth.identity import UserId

__all__ = ["Audience"]

Audience = tuple[UserId] | str | None
"""A user, in a tuple; the subscribers of a topic; or, `None`, everyone."""
