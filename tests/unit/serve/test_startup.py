"""What would keep a service from running is said before anything of it starts, and as the first cause."""

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raysignal.cli.doctor import check_journal
from raysignal.cli.doctor import check_store as doctor_of_store
from raysignal.cli.main import app
from raysignal.engine.core.errors import (
    DatabaseTooNew,
    JournalDamaged,
    RaysignalError,
    SettingsError,
    StoreError,
    StoreHeld,
    StoreUnavailable,
)
from raysignal.engine.journal.journal import Journal
from raysignal.engine.journal.layout import store_epoch, write_layout
from raysignal.engine.journal.stores import open_stores
from raysignal.runtime.ports import free_port
from raysignal.runtime.settings import PREFIX, Settings, setting_fields, variable_of
from raysignal.serve.service import refuse_used_port
from raysignal.serve.shutdown import ShutdownSignal
from raysignal.serve.startup import check_database, check_settings, check_store, held_store

URL = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for path, _ in setting_fields():
        monkeypatch.delenv(variable_of(path), raising=False)


def settings_of(folder: Path, **more: object) -> Settings:
    return Settings(store=folder.as_uri(), **more)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"horizon": "6x"}, "RAYSIGNAL_AGENT__HORIZON"),
        ({"model": " "}, "RAYSIGNAL_LLM__MODEL"),
    ],
)
def test_a_setting_that_the_agent_cannot_use_is_refused(tmp_path, change, said):
    with pytest.raises(SettingsError, match=said):
        check_settings(settings_of(tmp_path, **change))


@pytest.mark.parametrize("name", ["missing/requests.log", "."])
def test_a_request_log_that_cannot_be_written_is_refused_with_its_path(tmp_path, name):
    with pytest.raises(SettingsError, match=r"the request log .* cannot be written"):
        check_settings(settings_of(tmp_path), str(tmp_path / name))


def test_a_pipe_that_nobody_reads_is_no_request_log(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match="cannot be written"):
        check_settings(settings_of(tmp_path), str(tmp_path / "pipe"))


def test_a_request_log_that_can_be_written_is_left_as_it_is(tmp_path):
    (tmp_path / "requests.log").write_text("a line of before\n")
    check_settings(settings_of(tmp_path), str(tmp_path / "requests.log"))
    assert (tmp_path / "requests.log").read_text() == "a line of before\n"


# The store


def places_that_are_no_store(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "file").write_text("in the way")
    yield tmp_path / "file"
    yield tmp_path / "file" / "below"
    yield Path("/proc/nowhere/store")  # a file system in which nobody makes folders


def test_a_place_that_is_no_folder_is_no_store_and_is_named(tmp_path):
    for place in places_that_are_no_store(tmp_path):
        settings = settings_of(place)
        with (
            pytest.raises(StoreUnavailable) as raised,
            ShutdownSignal() as stop,
            held_store(settings.store, doing=URL, stop=stop),
        ):
            pass
        assert settings.store in str(raised.value)
        assert "RAYSIGNAL_STORE" in str(raised.value)


def test_a_folder_whose_parents_are_missing_becomes_a_store(tmp_path):
    settings = settings_of(tmp_path / "not" / "yet")
    with ShutdownSignal() as stop, held_store(settings.store, doing=URL, stop=stop):
        check_store(settings)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"shards": "two"}', b'{"shards": 0}', b"\xff\x00", b"[" * 100_000]
)
def test_a_damaged_layout_names_its_file_and_what_stands_there(tmp_path, content):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "layout.json").write_bytes(content)
    with pytest.raises(JournalDamaged) as raised:
        check_store(settings_of(tmp_path))
    assert f"{tmp_path.as_uri()}/state/layout.json is {content[:80]!r}" in str(raised.value)
    assert '{"shards": N}' in str(raised.value)


def test_a_store_of_another_number_of_shards_is_refused_with_both(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "layout.json").write_text('{"shards": 3}')
    check_store(settings_of(tmp_path, shards=3))
    with pytest.raises(SettingsError, match=r"RAYSIGNAL_JOURNAL__SHARDS is 2.* made with 3"):
        check_store(settings_of(tmp_path, shards=2))


def test_a_store_whose_layout_was_removed_is_held_against_the_journals_that_are_there(tmp_path):
    stores = open_stores(tmp_path.as_uri())
    stores.probe()
    for number in (0, 2):
        Journal.open(stores.journal_store(f"shard={number:04d}")).close()
    (tmp_path / "journal" / "shard=0007").mkdir()

    for shards in (1, 4):
        for refused in (lambda n=shards: check_store(settings_of(tmp_path, shards=n)),
                        lambda n=shards: write_layout(stores, n)):  # fmt: skip
            with pytest.raises(
                SettingsError, match=rf"SHARDS is {shards}.* journals of 3.*expected 3"
            ) as raised:
                refused()
        assert f'{{"shards": {shards}}} to {tmp_path.as_uri()}/state/layout.json' in str(raised.value)
        finding = check_journal(settings_of(tmp_path, shards=shards))
        assert (finding.status, "expected 3" in finding.detail) == ("failed", True)
    assert "is kept in 3 shards" in doctor_of_store(tmp_path.as_uri()).detail
    assert not (tmp_path / "state").exists()
    write_layout(stores, 3)
    check_store(settings_of(tmp_path, shards=3))
    assert (tmp_path / "state" / "layout.json").read_text() == '{"shards": 3}'


# Two services


@contextmanager
def holder_of(store: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a store, and ends when it is told so."""
    program = (
        "import sys\nfrom raysignal.serve.startup import held_store\n"
        "from raysignal.serve.shutdown import ShutdownSignal\n"
        "with ShutdownSignal() as stop, held_store(sys.argv[1], doing=sys.argv[2], stop=stop):\n"
        "    print('holds', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, store, URL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_second_service_on_a_store_is_refused_and_told_who_holds_it(tmp_path):
    settings = settings_of(tmp_path / "store")
    with holder_of(settings.store) as first:
        with (
            pytest.raises(StoreHeld) as raised,
            ShutdownSignal() as stop,
            held_store(settings.store, doing="serving", stop=stop),
        ):
            pass
        assert f"process {first.pid} of " in str(raised.value)
        assert URL in str(raised.value)
        assert "--take-over" in str(raised.value)
        first.kill()
        first.wait()
    with ShutdownSignal() as stop, held_store(settings.store, doing=URL, stop=stop):
        pass  # the lock has gone with its process, however that ended


@pytest.mark.slow
def test_a_second_service_that_takes_over_waits_for_the_end_of_the_first(tmp_path):
    settings = settings_of(tmp_path / "store")
    with holder_of(settings.store) as first:
        told: list[str] = []

        def end_the_first(holder: str) -> None:
            told.append(holder)
            assert first.stdin is not None
            first.stdin.close()

        with (
            ShutdownSignal() as stop,
            held_store(settings.store, doing=URL, stop=stop, take_over=end_the_first),
        ):
            assert first.wait(10) == 0
    assert len(told) == 1
    assert f"process {first.pid} of " in told[0]


def test_a_file_system_without_locks_holds_nobody_up(tmp_path, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("raysignal.serve.startup.fcntl.flock", no_locks)
    with held_store(tmp_path.as_uri(), doing=URL), held_store(tmp_path.as_uri(), doing=URL):
        pass


# The database


def feeding(tmp_path: Path, address: str) -> Settings:
    return settings_of(tmp_path / "store", feeds=("binance:BTCUSDT",), database_url=address)


def test_without_feeds_no_database_is_looked_at(tmp_path):
    check_database(settings_of(tmp_path, database_url="sqlite:////nowhere/market.db"))


def test_a_database_in_a_folder_that_is_missing_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="there is no folder /nowhere"):
        check_database(feeding(tmp_path, "sqlite:////nowhere/market.db"))


def test_a_folder_and_a_file_of_another_kind_are_no_database(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.db").write_text("no database, and longer than the hundred bytes of a header\n" * 20)
    for name in ("folder", "notes.db"):
        with pytest.raises(StoreError, match=r"RAYSIGNAL_DATABASE_URL: .*" + name):
            check_database(feeding(tmp_path, f"sqlite:///{tmp_path / name}"))


def test_a_database_that_is_not_there_yet_is_fine_and_is_not_made(tmp_path):
    check_database(feeding(tmp_path, f"sqlite:///{tmp_path / 'market.db'}"))
    assert not (tmp_path / "market.db").exists()


def test_a_database_of_a_later_version_is_refused(tmp_path):
    connection = sqlite3.connect(tmp_path / "market.db")
    with connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    connection.close()
    with pytest.raises(DatabaseTooNew, match="9999"):
        check_database(feeding(tmp_path, f"sqlite:///{tmp_path / 'market.db'}"))


def test_a_database_of_this_version_is_fine(tmp_path):
    from raysignal.engine.database.database import open_database

    address = f"sqlite:///{tmp_path / 'market.db'}"
    open_database(address).close()
    check_database(feeding(tmp_path, address))


def test_a_server_where_none_is_is_said_without_its_password(tmp_path):
    with pytest.raises(StoreUnavailable) as raised:
        check_database(feeding(tmp_path, f"postgresql://me:hunter2@127.0.0.1:{free_port()}/market"))
    assert "RAYSIGNAL_DATABASE_URL" in str(raised.value)
    assert "hunter2" not in str(raised.value)


# What its user reads


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (
            [],
            {"FEEDS": '["kraken:XBT"]'},
            "feed.instruments has 'kraken:XBT'|'kraken' is no venue; expected one of binance, binance-coinm",
        ),
        ([], {"STORE": "/tmp/plain/path"}, "for this path, file:///tmp/plain/path"),
        (["--store", "file:///proc/nowhere"], {}, "the store file:///proc/nowhere cannot be written"),
        (["--log", "/proc/nowhere/log"], {}, "the request log '/proc/nowhere/log' cannot be written"),
        ([], {"HORIZON": "6x"}, "RAYSIGNAL_HORIZON: horizon is"),
        ([], {"AGENT__HORIZON": "6x"}, "RAYSIGNAL_AGENT__HORIZON: horizon is"),
        (
            [],
            {"FEEDS": '["binance:BTCUSDT"]', "DATABASE_URL": "sqlite:////nowhere/x.db"},
            "there is no folder /nowhere",
        ),
    ],
)
def test_a_service_that_cannot_start_says_the_first_cause_before_it_loads_ray(
    tmp_path, monkeypatch, arguments, variables, said
):
    for name, value in variables.items():
        monkeypatch.setenv(PREFIX + name, value)
    if "STORE" not in variables and "--store" not in arguments:
        arguments = [*arguments, "--store", (tmp_path / "store").as_uri()]
    monkeypatch.setitem(sys.modules, "ray", None)  # to import it is an error from here on
    shown = CliRunner().invoke(app, ["serve", "--port", str(free_port()), *arguments])
    assert (shown.exit_code, shown.stdout) == (1, "")
    for part in said.split("|"):
        assert part in shown.stderr
    assert shown.stderr.count("error:") == 1


def test_errors_of_two_stores_survive_the_way_between_processes():
    import pickle

    error = pickle.loads(pickle.dumps(StoreHeld("file:///x", "process 1 of here")))
    assert isinstance(error, RaysignalError)
    assert error.fields == {"store": "file:///x", "holder": "process 1 of here"}


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_of_this_machine_is_named_and_not_the_port(host: str) -> None:
    with pytest.raises(SettingsError, match=f"host is '{host}'.*RAYSIGNAL_HTTP__HOST"):
        refuse_used_port(host, free_port())


def test_a_store_has_an_id_that_stays_and_another_store_has_another(tmp_path: Path) -> None:
    first, second = (open_stores((tmp_path / name).as_uri()) for name in ("first", "second"))
    with pytest.raises(StoreUnavailable, match="it is written when the store is opened"):
        store_epoch(first.blobs)
    write_layout(first, 1)
    epoch = store_epoch(first.blobs)
    write_layout(first, 1)
    write_layout(second, 1)
    assert store_epoch(first.blobs) == epoch != store_epoch(second.blobs)
    (tmp_path / "second" / "state" / "epoch.json").write_text("[]")
    with pytest.raises(JournalDamaged, match=r"state/epoch.json is b'\[\]'"):
        store_epoch(second.blobs)
