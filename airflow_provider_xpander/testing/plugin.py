"""
The pytest plugin ``xpander``: options, and the fixture of the same name.

pytest imports this module at each start, in every project of an environment that has this package. So it
imports neither Airflow nor the emulator before a test uses the fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow_provider_xpander.emulator import EmulatorServer
    from airflow_provider_xpander.testing.guard import NetworkGuard
    from airflow_provider_xpander.testing.kit import XpanderKit

_KIT: pytest.StashKey[XpanderKit] = pytest.StashKey()
_GUARD: pytest.StashKey[NetworkGuard] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """
    Add the options.

    :param parser: of the command line.
    """
    group = parser.getgroup("xpander", "xpander.ai agents in tests of Airflow DAGs")
    group.addoption(
        "--xpander-no-network",
        action="store_true",
        help="fail each test that would call a real xpander.ai, also tests without the fixture 'xpander'",
    )
    group.addoption(
        "--xpander-record",
        action="store_true",
        help="let xpander.recording(...) ask the real agents, by the connection xpander_default",
    )


def pytest_configure(config: pytest.Config) -> None:
    """
    Guard all tests, if that is asked for.

    :param config: of pytest.
    """
    if config.getoption("xpander_no_network"):
        from airflow_provider_xpander.testing.guard import NetworkGuard

        guard = NetworkGuard()
        config.stash[_GUARD] = guard
        guard.__enter__()
        config.add_cleanup(guard.close)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """
    Fail a test in which something forbidden has happened, though it may have caught the error.

    :param item: the test.
    """
    try:
        outcome = yield
    except BaseException as error:
        for said in _objections(item):
            error.add_note(said)
        raise
    for said in _objections(item):
        pytest.fail(said, pytrace=False)
    return outcome


def _objections(item: pytest.Item) -> list[str]:
    judges = [item.stash.get(_KIT, None), item.config.stash.get(_GUARD, None)]
    return [said for judge in judges if judge is not None and (said := judge.objection())]


@pytest.fixture(scope="session")
def xpander_server() -> Iterator[EmulatorServer]:
    """One emulator for each process: a free port, so that several processes do not meet."""
    from airflow_provider_xpander.emulator import EmulatorServer

    with EmulatorServer() as server:
        yield server


@pytest.fixture
def xpander_servers() -> Iterator[Callable[..., EmulatorServer]]:
    """Start further emulators, as ``EmulatorServer(...)`` does; they end with the test."""
    with ExitStack() as stack:

        def start(**options: Any) -> EmulatorServer:
            from airflow_provider_xpander.emulator import EmulatorServer

            return stack.enter_context(EmulatorServer(**options))

        yield start


@pytest.fixture(name="xpander")
def _xpander(request: pytest.FixtureRequest, xpander_server: EmulatorServer) -> Iterator[XpanderKit]:
    """A local xpander.ai for this test, behind the connection ``xpander_default``."""
    from airflow_provider_xpander.testing.kit import XpanderKit

    record = request.config.getoption("xpander_record")
    with XpanderKit(xpander_server, folder=request.path.parent, record=record) as kit:
        request.node.stash[_KIT] = kit
        yield kit
