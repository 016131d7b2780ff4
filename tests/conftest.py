"""Settings of the whole suite."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from pathlib import Path

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "logs_errors: the server may log tracebacks in this test")


@pytest.fixture(scope="session")
def npm_modules() -> Path:
    """The folder with what tests use of npm: compiler, minifier, AsyncAPI's schema, a WebSocket for Node 20."""
    from tests.harness.node import install_npm_packages

    return install_npm_packages()
