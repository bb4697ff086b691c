"""A Ray of one's own: who else reaches it, and what is left when its owner is killed."""

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from raysignal.engine.core.errors import SettingsError
from raysignal.runtime.local_cluster import private_folder, start_ray
from tests.support.strangers import Stranger

_HOLDS = """
import sys
from raysignal.runtime.local_cluster import private_folder
with private_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""

_RUNS = """
import json, os, sys
from pathlib import Path
import ray
from raysignal.runtime.local_cluster import local_ray
os.umask(0)
with local_ray(cpus=1):
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    print(json.dumps([ray.get_runtime_context().gcs_address, str(session)]), flush=True)
    sys.stdin.read()
"""

_JOINS = """
import sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
print(len(ray.nodes()))
"""


def holding() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not():
    with holding() as killed, holding() as living:
        left, kept = (Path(process.stdout.readline().strip()) for process in (killed, living))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert left.is_dir()
        with private_folder() as own:
            assert (left.exists(), kept.is_dir(), own.is_dir()) == (False, True, True)
        assert not own.exists()
        living.stdin.close()
        living.wait()
    assert not kept.exists()


def test_a_folder_without_an_owner_is_removed_once_nobody_can_be_making_it():
    old, new = (Path(tempfile.mkdtemp(prefix="rs-", dir="/tmp")) for _ in range(2))
    (old / "ray").mkdir()
    os.utime(old, (time.time() - 3_600, time.time() - 3_600))
    with private_folder():
        assert (old.exists(), new.exists()) == (False, True)
    new.rmdir()


def test_a_home_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match=f"{tmp_path}/nobody/.ray/auth_token.*expected HOME"):
        start_ray(tmp_path, cpus=1)


@pytest.mark.long
@pytest.mark.cluster
def test_nobody_else_reaches_a_cluster_of_ones_own(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment["HOME"] = str(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", _RUNS],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        address, session = json.loads(process.stdout.readline())
        folder = Path(session).parents[1]
        reached = [Path(session), *(Path(session) / "sockets").iterdir()]
        assert len(reached) > 2
        assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, tmp_path / ".ray")] == [0o700, 0o700]
        assert stat.S_IMODE((tmp_path / ".ray" / "auth_token").stat().st_mode) == 0o600
        if os.geteuid() == 0:
            for path in (folder, *reached):
                look = path.iterdir if path == folder else path.stat
                assert Stranger(lambda look=look: list(look())).said() == "PermissionError"

        # A stranger without the token is told so; whoever has it comes in.
        strange = subprocess.run(
            [sys.executable, "-c", _JOINS, address],
            env=environment | {"RAY_AUTH_MODE": "disabled"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (strange.returncode, "token is missing or incorrect" in strange.stderr) == (1, True)
        known = subprocess.run(
            [sys.executable, "-c", _JOINS, address],
            env=environment | {"RAY_AUTH_MODE": "token"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert known.stdout.strip() == "1", known.stderr[-2000:]
        process.stdin.close()
        assert process.wait() == 0
    assert not folder.exists()


def test_a_cluster_that_would_obey_everybody_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(SettingsError, match="RAY_AUTH_MODE is 'disabled'; expected token, or unset"):
        start_ray(tmp_path, cpus=1)
