"""What the tests of the client need of npm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.node import install_npm_packages

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def npm_modules() -> Path:
    """The folder with a minifier, the TypeScript compiler and a WebSocket for Node 20."""
    return install_npm_packages()
