"""What holds for every test."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

# A deadline would time the machine, not the code.
settings.register_profile("raysignal", deadline=None)
settings.load_profile("raysignal")


@pytest.fixture(scope="session", autouse=True)
def no_model_but_on_loopback() -> Iterator[None]:
    """No test reaches Google, nor does a process that a test starts: see `agents.gemini.LOOPBACK_ONLY`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYSIGNAL_MODEL_LOOPBACK_ONLY", "1")
        for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
            patch.delenv(name, raising=False)
        yield


# Tests that start clusters run one after another in one worker: a cluster fills a small machine.
_TOGETHER = ("tests/cluster/", "tests/e2e/")


class _ByFolder(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in _TOGETHER if nodeid.startswith(folder)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFolder | None:
    # xdist writes a test's group into `_nodeid`, which pytest 9.2 does not read any more.
    return _ByFolder(config, log) if config.getoption("dist") == "loadgroup" else None
