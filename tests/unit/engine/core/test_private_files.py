"""New files are their user's alone; copies of remote stores lie in a folder that nobody else can have made."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from raysignal.engine.core.errors import SettingsError
from raysignal.engine.core.private_files import cache_folder
from tests.support.strangers import NOBODY, as_root


def test_files_of_a_process_that_restricts_them_are_for_its_user_alone(tmp_path):
    program = (
        "from pathlib import Path; from raysignal.engine.core.private_files import restrict_new_files;"
        "restrict_new_files();"
        "Path('folder').mkdir(); Path('folder/file').write_text('x')"
    )
    root = str(Path.cwd())
    subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, check=True, env=os.environ | {"PYTHONPATH": root}
    )
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("folder", "folder/file")]
    assert modes == [0o700, 0o600]


def test_a_cache_lies_in_the_users_own_folder_and_is_another_for_another_store(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, other = cache_folder("index", "s3://one/a"), cache_folder("index", "s3://one/b")
    assert one.parent == other.parent == tmp_path / "raysignal"
    assert one != other == cache_folder("index", "s3://one/b")
    assert stat.S_IMODE(one.stat().st_mode) == stat.S_IMODE(one.parent.stat().st_mode) & 0o700 == 0o700


def test_a_cache_that_cannot_be_made_names_the_variable(tmp_path, monkeypatch):
    (tmp_path / "raysignal").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(SettingsError, match=r"cannot be made .*; expected XDG_CACHE_HOME"):
        cache_folder("index", "s3://one/a")


@as_root
def test_a_cache_that_another_user_made_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = cache_folder("index", "s3://one/a")
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(SettingsError, match=f"belongs to user {NOBODY}"):
        cache_folder("index", "s3://one/a")
