"""What holds for every test."""

from collections.abc import Iterator
from typing import Any

import certifi
import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from raysignal.agents.llm.models import PROVIDERS
from tests.support.effort import QUICK, USUAL, WHOLE

# A deadline would time the machine, not the code.
settings.register_profile("raysignal", deadline=None, max_examples=USUAL)
settings.register_profile("whole", settings.get_profile("raysignal"), max_examples=WHOLE)
settings.register_profile("quick", settings.get_profile("raysignal"), max_examples=QUICK)
settings.load_profile("raysignal")


@pytest.fixture(scope="session", autouse=True)
def no_model_but_on_loopback() -> Iterator[None]:
    """No test reaches a provider, nor does a process that a test starts: see `agents.llm.models.LOOPBACK_ONLY`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYSIGNAL_MODEL_LOOPBACK_ONLY", "1")
        for name in (name for each in PROVIDERS.values() for name in each.key_variables):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test speaks TLS to the world: an HTTP client need not read 150 certificates, for 25 ms each time."""
    first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----\n")
    file = tmp_path_factory.mktemp("certificates") / "one.pem"
    file.write_text(first + end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.fixture(scope="session", autouse=True)
def ray_is_not_nice() -> Iterator[None]:
    """Ray's workers, at a niceness of 15, would get next to nothing beside tests that compute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield


# What is tried one after another by one worker: it shares a cluster, a service, or an import that takes seconds.
# The longest come first, so that no worker is left with one at the end.
_TOGETHER = (
    ("tests/cluster/test_kill_agent", "tests/cluster/test_kill_service", "tests/cluster/test_strangers"),
    ("tests/cluster/",),
    ("tests/e2e/test_cli_service", "tests/e2e/test_service", "tests/e2e/test_interrupts"),
    ("tests/e2e/test_cli_",),
    ("tests/e2e/",),
    ("tests/contract/test_agents_vectors",),
    (
        "tests/contract/test_chat_models",
        "tests/unit/agents/llm/test_adviser",
        "tests/unit/agents/llm/test_hostile",
    ),
)


def _place(nodeid: str) -> int:
    """Which of these a test belongs to; one more than the last if to none."""
    return next(
        (place for place, begins in enumerate(_TOGETHER) if nodeid.startswith(begins)), len(_TOGETHER)
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _place(item.nodeid))


class _Together(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        place = _place(nodeid)
        return _TOGETHER[place][0] if place < len(_TOGETHER) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Together | None:
    # xdist writes a test's group into `_nodeid`, which pytest 9.2 does not read any more.
    if config.getoption("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False
    return _Together(config, log)
