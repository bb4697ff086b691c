"""`raysignal doctor`: what works here, and what to do about what does not.

Each check is a function that tries one thing and says what it found; it loads what it checks.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

import typer

from raysignal.cli import options
from raysignal.cli.on_ray import redirect_ray_output
from raysignal.cli.output import Output, escape
from raysignal.engine.core.errors import (
    JournalDamaged,
    RaysignalError,
    SettingsError,
    StoreError,
    UnsafeStore,
)
from raysignal.engine.core.hosts import reachable

if TYPE_CHECKING:
    from raysignal.runtime.settings import Settings

AGENT_MODULES = ("chromadb", "scipy")
"""What agents and experiments rest on, and running signals does not."""
COMPILED_PARTS = ("raysignal.engine", "raysignal.agents")
"""Packages with compiled functions, each with a module `warm`."""

_MARKS = {
    "ok": "[green]ok[/green]     ",
    "warning": "[yellow]warning[/yellow]",
    "failed": "[red]failed[/red] ",
}
_GIB = 1024**3
_LITTLE_BYTES, _TOO_LITTLE_BYTES = 2 * _GIB, _GIB // 5


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One line of the doctor.

    Attributes:
        name: what was looked at.
        status: `ok`; `warning`: it works, but; `failed`: the service does not run like this.
        detail: what was found.
        remedy: what to do about it, where something is to be done.
    """

    name: str
    status: Literal["ok", "warning", "failed"]
    detail: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorConfig:
    """What is looked at, where it is not what is configured."""

    store: options.Store = None
    ray_address: options.RayAddress = None
    json: options.Json = False


def show_findings(config: DoctorConfig) -> None:
    """Check what the service needs: settings, Ray, store, database, keys, port, disk, compiled code, packages.

    Exit status 1 if something failed.
    """
    output = Output(config.json)
    findings = []
    for finding in examine(options.given(store=config.store, ray_address=config.ray_address)):
        findings.append(finding)
        output.say(f"{_MARKS[finding.status]}  [bold]{finding.name:<8}[/bold]  {escape(finding.detail)}")
        if finding.remedy:
            output.say(f"{'':19}  → {escape(finding.remedy)}")
    failed = [finding.name for finding in findings if finding.status == "failed"]
    if config.json:
        output.json({"ok": not failed, "checks": [asdict(finding) for finding in findings]})
    else:
        output.say(
            f"{len(failed)} of {len(findings)} checks failed" if failed else "everything that is needed works"
        )
    if failed:
        raise typer.Exit(1)


def examine(overrides: Mapping[str, Any]) -> Iterator[DoctorFinding]:
    """All checks, one after another; those that need settings are left out where there are none."""
    from raysignal.runtime.agent_settings import check_agent_settings

    yield check_packages(requires("raysignal") or [])
    try:
        settings = options.configured(**overrides)
        check_agent_settings(settings)
    except RaysignalError as error:
        yield DoctorFinding("settings", "failed", str(error), "set the variable as it says, or unset it")
        return
    yield check_names(os.environ, settings)
    yield check_keys(settings)
    yield check_model(settings, os.environ)
    if settings.agent.embeddings:
        yield check_embeddings(settings, os.environ)
    if settings.inference.model is not None:
        yield check_policy(settings.inference.model)
    yield check_agent()
    yield check_port(settings)
    yield check_disk(settings.store)
    yield check_compiled()
    yield check_store(settings.store)
    yield check_database(settings)
    if overrides.get("store"):
        yield check_journal(settings)
    yield check_ray(settings.ray_address)
    yield check_doors()


def check_names(environ: Mapping[str, str], settings: Settings) -> DoctorFinding:
    """Whether settings are called what they are called by now."""
    from raysignal.runtime.settings import renamed_variables

    what = f"every RAYSIGNAL_ variable is known; fingerprint {settings.fingerprint()}"
    if renamed := renamed_variables(environ):
        return DoctorFinding("settings", "warning", f"{what}; {'; '.join(renamed)}", "use the present names")
    return DoctorFinding("settings", "ok", what)


def check_packages(requirements: list[str]) -> DoctorFinding:
    """Whether what the service needs is installed, in versions that it was made for."""
    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in requirements]
    wrong, found = [], {}
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found[requirement.name] = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found[requirement.name], prereleases=True):
            wrong.append(f"{requirement.name} is {found[requirement.name]}, expected {requirement.specifier}")
    python = ".".join(str(part) for part in sys.version_info[:3])
    if wrong:
        return DoctorFinding(
            "packages",
            "failed",
            f"Python {python}; {'; '.join(wrong)}",
            "make setup installs the pinned ones",
        )
    listed = ", ".join(f"{name} {number}" for name, number in sorted(found.items()))
    return DoctorFinding("packages", "ok", f"Python {python}, {listed}")


def check_keys(settings: Settings) -> DoctorFinding:
    """Which secrets are there, without showing any."""
    present = [
        f"{name} {'is set' if value is not None else 'is not set'}"
        for name, value in (
            ("RAYSIGNAL_HTTP__API_KEY", settings.http.api_key),
            ("RAYSIGNAL_HTTP__WEBHOOK_SECRET", settings.http.webhook_secret),
        )
    ]
    missing_for_s3 = settings.store.startswith("s3:") and not _has_aws_credentials()
    if settings.store.startswith("s3:"):
        present.append(f"AWS credentials {'are missing' if missing_for_s3 else 'are found'}")
    if missing_for_s3:
        return DoctorFinding(
            "keys",
            "failed",
            "; ".join(present),
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give a role",
        )
    if settings.http.api_key is None and settings.http.webhook_secret is None:
        return DoctorFinding(
            "keys", "ok", f"{'; '.join(present)}: fine on loopback, where the service then stays"
        )
    if settings.http.api_key is None:
        return DoctorFinding(
            "keys", "warning", f"{'; '.join(present)}: signals come in, and nothing can be read",
            "set RAYSIGNAL_HTTP__API_KEY as well",
        )  # fmt: skip
    return DoctorFinding("keys", "ok", "; ".join(present))


def _has_aws_credentials() -> bool:
    import boto3

    return boto3.Session().get_credentials() is not None


def check_model(settings: Settings, environment: Mapping[str, str]) -> DoctorFinding:
    """Whether a model can be asked, and what happens if not; the key is not shown."""
    from raysignal.agents.llm.models import why_not_asked
    from raysignal.runtime.agent_settings import model_of

    model = model_of(settings)
    key, provider = model.key_in(environment), model.provider
    if (why := why_not_asked(model, key)) is not None:
        said = f"{why}: {model.name} of {provider.title} is not asked, the gate decides alone"
        return DoctorFinding("model", "ok" if key is None else "warning", said)
    found = next((name for name in provider.key_variables if environment.get(name, "").strip()), None)
    given = "no key is needed" if found is None else f"{found} is set"
    return DoctorFinding(
        "model", "ok", f"{given}: {model.name} of {provider.title} is asked about what the gate leaves grey"
    )


def check_embeddings(settings: Settings, environment: Mapping[str, str]) -> DoctorFinding:
    """Whether the model that is to embed free texts can be asked; the key is not shown."""
    from raysignal.agents.llm.models import why_not_asked
    from raysignal.runtime.agent_settings import embeddings_of

    model = embeddings_of(settings)
    assert model is not None
    if (why := why_not_asked(model, model.key_in(environment))) is not None:
        said = f"{why}: {model.name} embeds no texts, signals are decided without them"
        return DoctorFinding("embeddings", "warning", said, "set it, or unset RAYSIGNAL_AGENT__EMBEDDINGS")
    return DoctorFinding("embeddings", "ok", f"free texts are embedded by {model.name}")


def check_policy(location: str) -> DoctorFinding:
    """Whether the model that is to generate signals passes the checks that a service makes."""
    from raysignal.agents.inference.onnx_policy import load_model

    try:
        policy = load_model(location)
    except RaysignalError as error:
        said = f"{error}: no signal is generated, unless another model spoke before"
        return DoctorFinding(
            "signals", "warning", said, "raysignal model check; docs/models.md says what one is"
        )
    return DoctorFinding("signals", "ok", f"{policy.name} {policy.version} of {location} can be used")


def check_agent(modules: Iterable[str] = AGENT_MODULES) -> DoctorFinding:
    """Whether agents and experiments would find their packages; signals run without."""
    found, missing = [], []
    for name in modules:
        try:
            module = import_module(name)
        except Exception as error:  # noqa: BLE001 - a broken package may raise anything
            missing.append(f"{name} cannot be imported ({_first_line(error)})")
        else:
            found.append(f"{name} {getattr(module, '__version__', '')}".strip())
    if missing:
        return DoctorFinding(
            "agent", "warning", f"{'; '.join(missing)}: raysignal compare does not run",
            "install raysignal[agents,experiments]; make setup does",
        )  # fmt: skip
    return DoctorFinding("agent", "ok", f"{', '.join(found)} can be imported")


def check_port(settings: Settings) -> DoctorFinding:
    """Whether the service could listen, or who does."""
    from raysignal.runtime.ports import listening_error

    host, port = settings.http.host, settings.http.port
    if (error := listening_error(host, port)) is not None:
        return _used_port(host, port, error)
    return DoctorFinding("port", "ok", f"{port} of {host} is free")


def _used_port(host: str, port: int, error: OSError) -> DoctorFinding:
    from raysignal.runtime.processes import listener_on

    owner = listener_on(port)
    by = f", which {owner} listens on" if owner else ""
    url = f"http://{reachable(host)}:{port}"
    if _is_service(url):
        return DoctorFinding("port", "ok", f"a raysignal service answers at {url}")
    return DoctorFinding(
        "port", "failed", f"{port} of {host} cannot be listened on ({error.strerror}){by}",
        "set RAYSIGNAL_HTTP__PORT to another one, or end what listens there",
    )  # fmt: skip


def _is_service(url: str) -> bool:
    import httpx

    try:
        answer = httpx.get(f"{url}/healthz", timeout=2.0, trust_env=False)
        return answer.status_code == httpx.codes.OK and answer.json().get("status") == "ok"
    except (httpx.HTTPError, ValueError, AttributeError):
        return False


def check_disk(store: str) -> DoctorFinding:
    """Whether there is room where the store and Ray's files lie."""
    places = {"temporary files": Path(tempfile.gettempdir())}
    if store.startswith("file:"):
        places["store"] = Path(unquote(urlsplit(store).path))
    free = {name: shutil.disk_usage(_existing(path)).free for name, path in places.items()}
    said = ", ".join(f"{count / _GIB:,.1f} GiB free for {name}" for name, count in free.items())
    least = min(free.values())
    if least < _LITTLE_BYTES:
        return DoctorFinding(
            "disk", "failed" if least < _TOO_LITTLE_BYTES else "warning", said,
            "make room, or point RAYSIGNAL_STORE and TMPDIR at a larger disk",
        )  # fmt: skip
    return DoctorFinding("disk", "ok", said)


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def check_compiled(parts: Iterable[str] = COMPILED_PARTS) -> DoctorFinding:
    """Whether the compiled functions come from numba's cache; those that do not are compiled now."""
    said, missed = [], 0
    for part in parts:
        try:
            import_module(f"{part}.warm").warm()
        except ImportError as error:
            said.append(f"those of {part} cannot be tried ({_first_line(error)})")
            continue
        functions = _compiled_in(part)
        said.append(f"{len(functions)} of {part.removeprefix('raysignal.')}")
        missed += sum(sum(stats.cache_misses.values()) for stats in functions.values())
    if missed:
        return DoctorFinding(
            "compiled", "warning", f"{missed} functions were not in numba's cache and were compiled now",
            "if it says so again, the cache cannot be written: set NUMBA_CACHE_DIR to a folder that can",
        )  # fmt: skip
    return DoctorFinding("compiled", "ok", f"functions from numba's cache: {', '.join(said)}")


def _compiled_in(part: str) -> dict[int, Any]:
    """The compiled functions of a package as far as it is imported: each one's statistics."""
    loaded = [module for name, module in list(sys.modules.items()) if name.startswith(f"{part}.")]
    return {
        id(value): value.stats
        for module in loaded
        for value in vars(module).values()
        if hasattr(value, "stats") and hasattr(value, "py_func") and value.py_func.__module__.startswith(part)
    }


def check_store(store: str) -> DoctorFinding:
    """Whether the store can be written, and enforces conditional writes; one that is missing is not made."""
    from raysignal.engine.journal.layout import stored_shards
    from raysignal.engine.journal.stores import open_stores
    from raysignal.serve.startup import store_folder

    try:
        folder = store_folder(store)
        stores = open_stores(store)
        if folder is None:
            stores.probe()
        else:
            _try_folder(_existing(folder))
        shards = stored_shards(stores)
    except UnsafeStore as error:
        return DoctorFinding(
            "store", "failed", str(error), "use a store that enforces If-None-Match, such as AWS S3 or MinIO"
        )
    except JournalDamaged as error:
        return DoctorFinding("store", "failed", str(error), "repair the file as it says")
    except (StoreError, OSError) as error:
        return DoctorFinding(
            "store", "failed", f"{store}: {error}", "make it reachable and writable, or set RAYSIGNAL_STORE"
        )
    except RaysignalError as error:
        return DoctorFinding("store", "failed", str(error), "set RAYSIGNAL_STORE")
    state = "holds no signals yet" if shards is None else f"is kept in {shards} shard{'s' * (shards > 1)}"
    return DoctorFinding(
        "store", "ok", f"{store} {state}; it is reachable and writable, and enforces conditional writes"
    )


def _try_folder(place: Path) -> None:
    """Write as a journal does, in a folder that is gone afterwards."""
    from raysignal.engine.journal.local import LocalStore

    if not place.is_dir():
        raise StoreError(f"{place} is a file; expected a folder, or a path where one can be made")
    with tempfile.TemporaryDirectory(prefix=".raysignal-doctor-", dir=place) as folder:
        LocalStore(Path(folder)).probe()


def check_database(settings: Settings) -> DoctorFinding:
    """Whether the database of the feeds can be used; one that is missing is not made."""
    needed = bool(settings.feed.instruments)
    remedy = "set RAYSIGNAL_DATABASE_URL to one that is there"
    try:
        from raysignal.engine.database.checks import check_address

        found = check_address(settings.database_url.get_secret_value())
    except ImportError as error:
        said, remedy = f"{error.name} is not installed", "pip install 'raysignal[feeds]'"
    except RaysignalError as error:
        said = str(error)
    else:
        return DoctorFinding("database", "ok", found if needed else f"{found} (no feeds are configured)")
    if needed:
        return DoctorFinding("database", "failed", said, remedy)
    return DoctorFinding("database", "warning", f"{said}: raysignal feed does not run", remedy)


def check_journal(settings: Settings) -> DoctorFinding:
    """Whether every record of the journals and every file of the history can be read."""
    from raysignal.engine.journal.layout import check_layout
    from raysignal.engine.journal.stores import open_stores
    from raysignal.engine.portfolio.rebuild import look_over

    try:
        stores = open_stores(settings.store)
        check_layout(stores, settings.journal.shards)
        found, wrong = look_over(stores, settings.journal.shards)
    except SettingsError as error:
        return DoctorFinding(
            "journal", "failed", str(error), "set RAYSIGNAL_JOURNAL__SHARDS or RAYSIGNAL_STORE"
        )
    except RaysignalError as error:
        return DoctorFinding("journal", "failed", str(error), f"make {settings.store} readable")
    if wrong:
        return DoctorFinding(
            "journal", "failed", "; ".join(wrong),
            "raysignal store rebuild writes history anew; put damaged files of the journal back from a backup",
        )  # fmt: skip
    return DoctorFinding("journal", "ok", "; ".join(found))


def check_ray(address: str | None) -> DoctorFinding:
    """Whether a Ray cluster can be started here, or joined."""
    from raysignal.experiments.cluster import live_nodes, ray_session

    ray = version("ray")
    what = "cannot start a cluster here" if address is None else f"cannot join {address}"
    try:
        with redirect_ray_output(), ray_session(address, cpus=1):
            nodes = live_nodes()
    except Exception as error:  # noqa: BLE001 - whatever Ray raises is the finding
        remedy = (
            "look at free memory and disk, or set RAYSIGNAL_RAY_ADDRESS"
            if address is None
            else "check the address; a cluster with tokens wants RAY_AUTH_MODE=token and its token"
        )
        return DoctorFinding("ray", "failed", f"Ray {ray} {what}: {_first_line(error)}", remedy)
    did = "starts a cluster here" if address is None else f"joins {address}, {nodes} nodes alive"
    return DoctorFinding("ray", "ok", f"Ray {ray} {did}")


def check_doors() -> DoctorFinding:
    """What of raysignal and of Ray listens on this machine now, and whom it answers."""
    from raysignal.runtime.processes import own_listeners

    listeners = own_listeners()
    outside = [each for each in listeners if not each.on_loopback]
    if not listeners:
        return DoctorFinding("doors", "ok", "no process of raysignal or Ray listens here now")
    inside = f"{len(listeners) - len(outside)} ports answer this machine alone"
    if not outside:
        return DoctorFinding("doors", "ok", inside)
    named = ", ".join(f"{each.process} at {each.host} port {each.port}" for each in outside)
    return DoctorFinding(
        "doors",
        "ok",
        f"{inside}; others reach {named}, where the service asks for its key and Ray for its token",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
