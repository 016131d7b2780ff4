"""The error of a measure."""

from __future__ import annotations


class PeerError(Exception):
    """The server did not behave as this benchmark requires."""
