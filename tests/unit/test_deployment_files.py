"""The files that deploy the project hold what they say."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import ray.autoscaler
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> dict:
    return yaml.safe_load((ROOT / "ray-cluster.yaml").read_text())


def test_cluster_file_fits_rays_own_schema(cluster):
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)


def test_cluster_file_is_refused_by_that_schema_when_a_key_is_misspelt(cluster):
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster | {"max_worker": 1}, schema)


def test_cluster_keeps_its_store_where_every_node_finds_it(cluster):
    options = " ".join(cluster["docker"]["run_options"])
    assert "RAYSIGNAL_STORE=s3://" in options


def test_cluster_has_a_token_and_no_secret_in_its_file(cluster):
    options = cluster["docker"]["run_options"]
    assert "-e RAY_AUTH_MODE=token" in options
    # A variable that is named without a value is not forwarded by the launcher.
    assert all("=" in option for option in options if option.startswith("-e"))
    assert "/home/raysignal/.ray/auth_token" in cluster["file_mounts"]
    assert "/home/raysignal/secrets/raysignal_api_key" in cluster["file_mounts"]


def test_launcher_runs_the_image_as_it_is_and_installs_nothing(cluster):
    assert "--entrypoint" not in " ".join(cluster["docker"]["run_options"])
    for commands in (
        "initialization_commands",
        "setup_commands",
        "head_setup_commands",
        "worker_setup_commands",
    ):
        assert cluster[commands] == []


def test_service_listens_where_the_cluster_says(cluster):
    config = yaml.safe_load((ROOT / "serve" / "config.yaml").read_text())
    assert f"-e RAYSIGNAL_HTTP__HOST={config['http_options']['host']}" in cluster["docker"]["run_options"]


def test_every_package_of_the_project_is_in_the_image():
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().split()
    for package in (
        "raysignal",
        "engine",
        "agents",
        "serve",
        "experiments",
        "cli",
        "data",
        "runtime",
        "loopback",
    ):
        assert f"COPY {package} /source/{package}\n" in dockerfile
        assert f"!{package}" in ignored


def test_image_installs_from_the_lock_and_does_not_run_as_root():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r /requirements/service.lock" in dockerfile
    assert (
        dockerfile.rindex("\nUSER ") == dockerfile.rindex("\nUSER raysignal") < dockerfile.index("ENTRYPOINT")
    )


def test_node_image_has_no_entry_point_and_its_programs_where_a_login_shell_looks():
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    node = next(stage for stage in stages if " AS node\n" in stage)
    assert "ENTRYPOINT" not in node
    for program in ("ray", "serve", "raysignal", "raysignal-haproxy"):
        assert f"/opt/raysignal/bin/{program} " in node


@pytest.mark.parametrize("lock", ["bootstrap", "service", "dev", "bench"])
def test_lock_pins_every_package_with_hashes_and_names_no_index(lock):
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    pins = re.findall(r"^([a-z0-9][a-z0-9._-]*)(\[[a-z,0-9-]+\])?==(\S+)", text, re.MULTILINE)
    assert pins
    assert "://" not in text
    assert "index-url" not in text
    for block in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE):
        if block.strip() and not block.startswith("#"):
            assert "--hash=sha256:" in block, block[:80]
