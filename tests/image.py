"""`make image-check`: the image is built from the Dockerfile and does what the documents say of it.

First the targets `raysignal` and `raysignal-node` are built by buildah. Then, in a network and a process namespace of
their own, the service's container starts as an ordinary user with 1,024 file descriptors, takes a signal and shows
its performance; and the commands that Ray's cluster launcher makes of `ray-cluster.yaml` start a head and a worker
from the nodes' image, with a store in S3, on which `serve deploy` brings the service up. Linux and root are needed.

Where there is no registry of images, `--debootstrap` makes the base image from Debian's packages. What the build needs
of this machine (mounts of certificates, a package index) stands in IMAGE_BUILD_OPTIONS.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import yaml

from raysignal.engine.journal.bucket import s3_client
from tests.support.servers import CREDENTIALS, moto_server

ROOT = Path(__file__).parents[1]
BASE = "docker.io/library/python:3.11-slim"
SERVICE, NODE = "raysignal", "raysignal-node"
PORT = 8000
KEY = "a-key-for-the-check"
PATIENCE_S = 300.0
SIGNAL = {"timestamp": "2026-01-05T00:00:00Z", "symbol": "BTC", "action": "BUY", "price": 100.0}


def buildah(*arguments: str) -> str:
    """Run buildah; its output without white space around it."""
    shown = subprocess.run(["buildah", *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return shown.stdout.strip()


def make_base() -> None:
    """Make the base image from Debian's packages, unless there is one of its name."""
    if (
        subprocess.run(
            ["buildah", "inspect", "--type", "image", BASE], capture_output=True, check=False
        ).returncode
        == 0
    ):
        return
    packages = "python3,python3-venv,ca-certificates,passwd,netbase,tzdata"
    with tempfile.TemporaryDirectory() as folder:
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        Path(folder, "usr/bin/python").symlink_to("python3")
        container = buildah("from", "scratch")
        buildah("add", "--quiet", container, folder, "/")
        variables = ("SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", "UV_SYSTEM_CERTS=1")
        buildah("config", *(part for each in variables for part in ("--env", each)), container)
        buildah("commit", "--quiet", container, BASE)
        buildah("rm", container)


def build() -> None:
    """Build both images."""
    options = shlex.split(os.environ.get("IMAGE_BUILD_OPTIONS", ""))
    for target, name in (("node", NODE), ("service", SERVICE)):
        command = ["buildah", "bud", "--isolation", "chroot", "--layers", "--pull-never", "--network", "host"]
        subprocess.run([*command, *options, "--target", target, "--tag", name, str(ROOT)], check=True)


class Container:
    """A container of an image; commands run in it one beside another, as with `docker exec`."""

    def __init__(self, image: str, environment: Mapping[str, str], entry: tuple[str, ...] = ()) -> None:
        self.name = buildah("from", "--pull-never", image)
        self._run = ["buildah", "run", "--isolation", "chroot", "--network", "host"]
        self._run += [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
        self._entry = entry

    def start(self, *command: str, descriptors: int = 65_536) -> subprocess.Popen[str]:
        """Start a command."""
        limited = ["prlimit", f"--nofile={min(descriptors, 20_000)}", *self._run, self.name, "--"]
        return subprocess.Popen([*limited, *self._entry, *command], text=True, stdout=subprocess.PIPE)

    def output(self, *command: str) -> str:
        """What a command prints; its status must be 0."""
        process = self.start(*command)
        shown = process.communicate()[0]
        check(process.returncode == 0, f"{shlex.join(command)[:120]} in {self.name}", shown[-2000:])
        return shown

    def put(self, path: str, content: str) -> None:
        """Write a file of the image's user, which nobody else reads."""
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(content)
            file.flush()
            buildah("copy", "--chown", "1000:1000", "--chmod", "600", self.name, file.name, path)

    def remove(self) -> None:
        """Remove it with what it holds."""
        buildah("rm", self.name)


def check(holds: bool, what: str, shown: Any = "") -> None:
    """Say that something holds, or end with what was shown in its place."""
    print(f"  {'ok' if holds else 'FAILED'}: {what}", flush=True)
    if not holds:
        raise SystemExit(f"{what}: {shown}")


def call(path: str, body: Any = None) -> Any:
    """Ask the service; an answer of JSON."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def wait_until_ready(process: subprocess.Popen[str] | None = None) -> None:
    """Wait until the service says that it can commit."""
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise SystemExit(f"the service ended with {process.returncode}: {process.communicate()[0]}")
        try:
            call("/readyz")
        except (OSError, urllib.error.HTTPError):
            pause.wait(0.5)
        else:
            return
    raise SystemExit(f"the service was not ready within {PATIENCE_S:g} s")


def wait_for_port(port: int) -> None:
    """Wait until somebody listens there."""
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        pause.wait(0.2)
    raise SystemExit(f"nobody listened on port {port} within {PATIENCE_S:g} s")


def check_signal() -> None:
    """A signal is taken in, and its portfolio shows it."""
    receipt = call("/signal", SIGNAL)
    check(receipt["replayed"] is False, "POST /signal takes a signal in", receipt)
    shown = call("/performance")
    check((shown["portfolio"], shown["signals"]) == ("baseline", 1), "GET /performance shows it", shown)


def check_service() -> None:
    """The service's container, by itself."""
    print("the service's container")
    with ExitStack() as stack:
        secured = {"RAYSIGNAL_HTTP__HOST": "0.0.0.0", "RAYSIGNAL_HTTP__API_KEY": KEY}
        container = Container(SERVICE, secured, ("raysignal",))
        stack.callback(container.remove)
        version = container.output("--version")
        check(version.startswith("raysignal "), f"--version says {version.strip()}")
        other = Container(SERVICE, {})
        stack.callback(other.remove)
        check(other.output("id", "-u").strip() == "1000", "it runs as an ordinary user")
        container.output("doctor")
        process = container.start("serve", descriptors=1024)
        wait_until_ready(process)
        check_signal()
        # A replica answers before all of them do, which is when the service has started.
        assert process.stdout is not None
        check(any("Ctrl-C" in line for line in process.stdout), "it says that it has started")
        command = "/opt/raysignal/bin/python /opt/raysignal/bin/raysignal serve"
        (serving,) = [pid for pid in processes() if title(pid) == command]
        os.kill(serving, signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
        check(process.returncode == 0, "SIGTERM ends it with 0", process.returncode)


def check_cluster() -> None:
    """Head and worker, by the commands of Ray's own launcher."""
    print("the cluster of ray-cluster.yaml")
    from ray.autoscaler._private.command_runner import _with_interactive
    from ray.autoscaler._private.docker import docker_start_cmds

    cluster = yaml.safe_load((ROOT / "ray-cluster.yaml").read_text())
    options = cluster["docker"]["run_options"]
    started = shlex.split(
        docker_start_cmds(
            "ubuntu",
            NODE,
            cluster["file_mounts"],
            "raysignal",
            options,
            "raysignal",
            "/home/raysignal",
            "docker",
        )
    )
    check(
        started[started.index(NODE) :] == [NODE, "bash"],
        "the launcher starts `bash` in the image, with no entry point",
    )
    variables = dict(each.removeprefix("-e ").split("=", 1) for each in options if each.startswith("-e "))
    with ExitStack() as stack:
        server = stack.enter_context(moto_server())
        variables |= CREDENTIALS | {"AWS_ENDPOINT_URL_S3": server.url}
        os.environ.update(CREDENTIALS)
        bucket = variables["RAYSIGNAL_STORE"].removeprefix("s3://").split("/")[0]
        s3_client(server.url, read_timeout=60.0).create_bucket(Bucket=bucket)
        nodes = [Container(NODE, variables) for _ in range(2)]
        for node in nodes:
            stack.callback(node.remove)
            check(node.output("bash", "-c", "exec true") == "", "bash runs in the nodes' image")
            for path, local in cluster["file_mounts"].items():
                node.put(path, "0123456789abcdef" * 4 if "token" in local else KEY)
        head, worker = nodes
        for node, commands in ((head, "head_start_ray_commands"), (worker, "worker_start_ray_commands")):
            lines = []
            for command in cluster[commands]:
                if node is worker and command.strip() == "ray stop":
                    continue  # it would end the head, whose processes it sees here
                # There is no cloud here for the autoscaler to ask, and limits cannot be raised.
                here = command.replace("--autoscaling-config=~/ray_bootstrap_config.yaml", "").replace(
                    "ulimit -n 65536;", ""
                )
                lines.append(" ".join(_with_interactive("export RAY_HEAD_IP=127.0.0.1;" + here)))
            # What a command left running ends with it here, and goes on in a container of the launcher's.
            process = node.start("/bin/bash", "-c", " && ".join([*lines, "sleep infinity"]))
            stack.callback(process.kill)
            wait_for_port(6379)
        deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
        while head.output("bash", "--login", "-c", "ray status || true").count("node_") < 2:
            if time.monotonic() > deadline:
                raise SystemExit(f"the nodes did not find each other within {PATIENCE_S:g} s")
            pause.wait(1.0)
        alive = head.output("bash", "--login", "-c", "ray status")
        check(alive.count("node_") == 2, "two nodes are there", alive)
        strange = worker.start("env", "RAY_AUTH_MODE=disabled", "ray", "status")
        check("node_" not in strange.communicate()[0], "a stranger without the token is told nothing")
        head.output("bash", "--login", "-c", "serve deploy /app/serve/config.yaml")
        wait_until_ready()
        check_signal()


def processes() -> list[int]:
    """Every process of this namespace."""
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]


def title(pid: int) -> str:
    """A process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def main() -> None:
    """Build, then check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--debootstrap", action="store_true", help="make the base image from Debian's packages"
    )
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--no-build", action="store_true", help="check the images that are there")
    wanted = parser.parse_args()
    if wanted.inside:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        check_service()
        check_cluster()
        return
    if missing := [name for name in ("buildah", "unshare", "prlimit", "ip") if shutil.which(name) is None]:
        raise SystemExit(
            f"{', '.join(missing)} is not installed; expected Debian's buildah, util-linux and iproute2"
        )
    if wanted.debootstrap:
        make_base()
    if not wanted.no_build:
        build()
    apart = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    raise SystemExit(
        subprocess.run(
            [*apart, sys.executable, "-m", "tests.image", "--inside"], check=False, cwd=ROOT
        ).returncode
    )


if __name__ == "__main__":
    main()
