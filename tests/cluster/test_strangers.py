"""A running service with an API key, as another user of the machine and a stranger without key or token see it."""

import ipaddress
import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import psutil
import pytest

from tests.cluster.conftest import AUTHORIZED
from tests.support.starting import one_start_at_a_time
from tests.support.strangers import Stranger, as_root

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
SIGNAL = {"timestamp": "2026-01-05T00:00:00Z", "symbol": "SECRETCOIN", "signal": "BUY", "price": 100.0}
PATHS = (
    "/",
    "/metrics",
    "/performance",
    "/history",
    "/api/version",
    "/api/jobs/",
    "/api/serve/applications/",
    "/stats",
)
CALLS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.ActorInfoGcsService/GetAllActorInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.JobInfoGcsService/GetAllJobInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.ReporterService/GetTraceback",
    "/ray.serve.ASGIService/HandleRequest",
)


@pytest.fixture(scope="module")
def serving(host):
    with httpx.Client(base_url=host.url, headers=AUTHORIZED, timeout=30.0) as client:
        assert client.put("/portfolios/strangers", json={}).status_code == 201
        told = client.post("/signal", json=SIGNAL, params={"portfolio": "strangers"})
        assert told.status_code == 200, told.text
    return host


@pytest.fixture(scope="module")
def folder(host):
    """Where the service has its store and its home."""
    return Path(urlsplit(host.store).path).parent


_TWO_RAYLETS = """
import sys
from contextlib import suppress
from raysignal.runtime.local_cluster import private_folder
from ray.cluster_utils import Cluster
from tests.support.starting import one_start_at_a_time
with private_folder() as folder:
    cluster = Cluster()
    for _ in range(2):
        cluster.add_node(num_cpus=1, temp_dir=str(folder / "ray"))
    print("ready", flush=True)
    sys.stdin.read()
    cluster.shutdown()
"""


@pytest.fixture(scope="module")
def raylets(tmp_path_factory):
    """A cluster of two nodes that asks for a token, as `ray-cluster.yaml` makes one."""
    home = tmp_path_factory.mktemp("raylets")
    variables = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "a-token-that-no-stranger-has",
    }
    with one_start_at_a_time():
        process = subprocess.Popen(
            [sys.executable, "-c", _TWO_RAYLETS], env=variables, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout.readline() == "ready\n"
    with process:
        yield process.pid
        process.stdin.close()


@pytest.fixture(params=["service", pytest.param("raylets", marks=pytest.mark.long)])
def pid(request):
    """The parent of what a stranger calls."""
    return (
        request.getfixturevalue("serving").pid
        if request.param == "service"
        else request.getfixturevalue("raylets")
    )


def family(pid):
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def listening(pid):
    """Every TCP address at which a process of the service listens, as (address, port, its process)."""
    found = set()
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):  # one that has ended since
            name = " ".join(process.cmdline())[:80]
            found |= {
                (each.laddr.ip, each.laddr.port, name)
                for each in process.net_connections("tcp")
                if each.status == psutil.CONN_LISTEN
            }
    return found


def test_every_port_listens_on_loopback_alone_but_one_that_asks_for_the_token(serving):
    found = listening(serving.pid)
    assert len(found) > 5
    outside = [(port, name) for ip, port, name in found if not loopback(ip)]
    # Ray Serve gives a replica's calls from others an address that cannot be chosen.
    assert {name.split(":")[2] for _, name in outside} == {"ServeReplica"}
    for port, _ in outside:
        assert refusal(port, "/ray.serve.ASGIService/HandleRequest") is grpc.StatusCode.UNAUTHENTICATED


def loopback(ip):
    address = ipaddress.ip_address(ip)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def test_no_port_tells_a_stranger_anything_of_the_portfolios(serving):
    for _, port, _ in sorted(listening(serving.pid)):
        for path in PATHS:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5)
            except httpx.HTTPError:
                continue  # it does not speak HTTP
            assert "SECRETCOIN" not in answer.text
            if f":{port}" in serving.url:
                open_to_all = (
                    {200} if path == "/" else set()
                )  # what this service is, and nothing of what it has
                assert answer.status_code in {307, 401, 404} | open_to_all, (path, answer.text[:300])
            if not answer.text.startswith("# HELP") and path in {
                "/performance",
                "/history",
                "/api/jobs/",
                "/api/serve/applications/",
            }:
                assert answer.status_code in {401, 403, 404, 405, 503}, (port, path, answer.text[:300])


def test_no_port_runs_a_job_of_a_stranger(pid, tmp_path):
    proof = tmp_path / "proof"
    job = {"entrypoint": f"touch {proof}"}
    for _, port, _ in sorted(listening(pid)):
        for path in ("/api/jobs/", "/api/job_agent/jobs/"):
            try:
                answer = httpx.post(f"http://127.0.0.1:{port}{path}", json=job, timeout=5)
            except httpx.HTTPError:
                continue
            assert answer.status_code in {401, 403, 404, 405, 503}, (port, path, answer.text[:300])
    assert not proof.exists()


def test_no_remote_call_of_a_stranger_is_answered(pid):
    """None of Ray's own calls, at any port: the token is asked for first."""
    refused = 0
    for _, port, _ in sorted(listening(pid)):
        refused += sum(refusal(port, call) is grpc.StatusCode.UNAUTHENTICATED for call in CALLS)
    assert refused >= 5


def refusal(port, call):
    """How a call without the token is refused; an answer fails the test."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as told:
        channel.unary_unary(call)(b"", timeout=3)
    return told.value.code()


@as_root
def test_another_user_enters_no_folder_of_the_service(serving, folder):
    folders = {
        Path(word).parts[2]
        for process in family(serving.pid)
        for word in words(process)
        if word.startswith("/tmp/rs-")
    }
    assert folders
    places = [*(Path("/tmp", name) for name in folders), folder / "store", folder / "home" / ".ray"]
    for place in places:
        assert Stranger(lambda place=place: list(place.iterdir())).said() == "PermissionError", place
        assert stat.S_IMODE(place.stat().st_mode) == 0o700, place


def words(process):
    return " ".join(process.cmdline()).replace("=", " ").split()


@as_root
def test_another_user_reaches_no_socket_file_of_the_service(serving):
    pids = {process.pid for process in family(serving.pid)}
    paths = {
        each.laddr
        for pid in pids
        for each in psutil.Process(pid).net_connections("unix")
        if isinstance(each.laddr, str) and each.laddr.startswith("/")
    }
    assert paths
    for path in sorted(paths):
        # Not even whether it is there.
        assert Stranger(lambda path=path: Path(path).stat()).said() in {
            "PermissionError",
            "FileNotFoundError",
        }, path


def test_what_the_service_writes_is_for_its_user_alone(serving, folder):
    store = folder / "store"
    written = [store, *store.rglob("*")]
    assert any(each.is_file() for each in written)
    open_to_others = [str(each) for each in written if each.stat().st_mode & 0o077]
    assert open_to_others == []
    assert stat.S_IMODE((folder / "home" / ".ray" / "auth_token").stat().st_mode) == 0o600
