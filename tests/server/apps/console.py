"""The library's log on standard error, where tests read it."""

from __future__ import annotations

import logging

__all__ = ["log_to_console"]


def log_to_console(level: int = logging.WARNING) -> None:
    """Print what the library logs. A handler of the root logger would print hypercorn's lines twice."""
    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    logger = logging.getLogger("quart_wshub")
    logger.addHandler(console)
    logger.setLevel(level)
    logger.propagate = False
