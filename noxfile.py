"""Every development task: ``nox -l`` lists them, ``nox -s NAME`` runs one."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
# With the running interpreter, so that `nox -s tests` always runs something.
PYTHONS = list(dict.fromkeys(["3.11", "3.12", "3.13", RUNNING]))


# Server tests mostly wait, and those of one file share a server. In file order the long ones come first. Tests that
# measure wall time run alone.
PARALLEL = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")


# Not run with the oldest dependencies: tests that these do not affect, or that take too long to run twice.
ONCE_IS_ENOUGH = (
    "-m",
    "not browser and not soak and not wall_time",
    "--ignore=tests/client",
    "--ignore=tests/describe",
)


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PYPROJECT, name))


@nox.session(python=RUNNING)
def quick(session: nox.Session) -> None:
    """Check style, imports and units within a minute: what to run while working. Arguments go to pytest."""
    session.install("-e", ".", *group("lint"), *group("test"))
    check_style(session)
    session.run("pytest", "-q", "-n", "2", *(session.posargs or ("tests/unit", "tests/test_architecture.py")))


DEMO_ADDRESS = "127.0.0.1:8000"
DEMO_OPERATOR_KEY = "demo"


@nox.session
def demo(session: nox.Session) -> None:
    """Serve the chat example.

    `-- --redis redis://…` has two workers share that Redis; `-- --bind 127.0.0.1:9000` and the like go to hypercorn.
    """
    arguments = list(session.posargs)
    session.env["CHAT_OPERATOR_KEY"] = DEMO_OPERATOR_KEY
    # One secret for all workers of this run, so that they accept each other's tokens.
    session.env["CHAT_SECRET"] = secrets.token_urlsafe(32)
    if "--redis" in arguments:
        at = arguments.index("--redis")
        if at + 1 == len(arguments):
            session.error("--redis needs a URL, such as redis://127.0.0.1:6379")
        session.env["CHAT_REDIS_URL"] = arguments[at + 1]
        arguments[at : at + 2] = ["-w", "2"]
    session.install("-e", *([".[redis]", "coredis"] if "CHAT_REDIS_URL" in session.env else ["."]))
    if "--bind" not in arguments:
        arguments += ["--bind", DEMO_ADDRESS]
    address = f"http://{arguments[arguments.index('--bind') + 1]}"
    session.log(f"Open {address}/ in two browser tabs. Ctrl+C stops it.")
    session.log(f"Operator: {address}/operator with the key: {DEMO_OPERATOR_KEY}")
    session.chdir("examples/chat")
    session.run("hypercorn", "-k", "trio", *arguments, "app:app", interrupt_timeout=10)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the suite and hold its coverage to the threshold; with arguments for pytest, run just those."""
    session.install("-e", ".", *group("test"))
    if session.posargs:
        session.run("pytest", *PARALLEL, *session.posargs)
        return
    # Absolute, because servers under test run in directories of their own.
    session.env["COVERAGE_FILE"] = str(Path(session.create_tmp()).resolve() / ".coverage")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *PARALLEL, "-m", "not wall_time")
    session.run("coverage", "run", "-m", "pytest", "-m", "wall_time")
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(python=RUNNING)
def lowest(session: nox.Session) -> None:
    """Run the suite on the oldest dependencies that pyproject.toml allows."""
    constraints = str(Path(session.create_tmp()).resolve() / "lowest.txt")
    session.install("uv")
    session.run(
        *("uv", "pip", "compile", "--quiet", "--resolution=lowest-direct", "--strip-extras", "--extra=redis"),
        *(f"--python={RUNNING}", "--no-header", f"--output-file={constraints}", "pyproject.toml"),
    )
    session.install("-e", ".", *group("test"), "-c", constraints)
    session.run("pytest", *PARALLEL, *(session.posargs or ONCE_IS_ENOUGH))


@nox.session
def types(session: nox.Session) -> None:
    """Check types: ours strictly, and that all public ones are complete."""
    session.install("-e", ".", *group("test"), *group("types"))
    session.run("mypy", *session.posargs)
    session.run("pyright", "--verifytypes", "quart_wshub", "--ignoreexternal")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and who imports whom; `-- --fix` repairs what can be repaired."""
    session.install(*group("lint"))
    check_style(session, fix="--fix" in session.posargs)


def check_style(session: nox.Session, *, fix: bool = False) -> None:
    session.run("ruff", "check", *(["--fix"] if fix else []))
    session.run("ruff", "format", *([] if fix else ["--check"]))
    session.run("lint-imports", "--no-cache")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks; arguments go to them."""
    session.install("-e", ".", "-r", "benchmarks/requirements.txt")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def changelog(session: nox.Session) -> None:
    """Make a section of CHANGELOG.md of the news; `-- --draft` only shows it."""
    session.install("towncrier>=24.8")
    session.run("towncrier", "build", *session.posargs)


@nox.session(reuse_venv=False)
def build(session: nox.Session) -> None:
    """Build sdist and wheel into dist/, check them, then import the wheel away from the checkout."""
    session.install("build", "twine")
    dist = Path("dist").resolve()
    for old in dist.glob("quart_wshub-*"):
        old.unlink()
    session.run("python", "-m", "build", "--outdir", str(dist))
    session.run("twine", "check", "--strict", *map(str, dist.glob("quart_wshub-*")))
    (wheel,) = dist.glob("quart_wshub-*.whl")
    session.install(str(wheel))
    session.chdir(session.create_tmp())
    session.run("python", "-c", CHECK_INSTALLED)
    session.run("quart-wshub", "--version")


CHECK_INSTALLED = """
import importlib.resources, quart_wshub
assert "site-packages" in quart_wshub.__file__, quart_wshub.__file__
for name in ("py.typed", "static/wshub.js", "static/wshub.d.ts"):
    assert importlib.resources.files(quart_wshub).joinpath(name).is_file(), name
print("imported", quart_wshub.__file__)
"""
