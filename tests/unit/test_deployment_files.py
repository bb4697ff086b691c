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


def test_every_package_of_the_project_is_in_the_image():
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().split()
    for package in ("engine", "agents", "serve", "experiments", "cli", "data"):
        assert re.search(rf"^COPY .* {package} {package}$", dockerfile, re.MULTILINE)
        assert f"!{package}" in ignored


def test_image_installs_from_the_lock_and_does_not_run_as_root():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r /requirements/service.lock" in dockerfile
    assert dockerfile.rindex("USER raysignal") < dockerfile.index("ENTRYPOINT")


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
