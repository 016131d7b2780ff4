"""What can go wrong in a measure."""

from __future__ import annotations


class PeerError(Exception):
    """The server did what no peer of this benchmark may do."""
