"""The ledger of notices, which processes of one machine share."""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from airflow_provider_xpander.notice_ledger import claim, ledger_path


def test_processes_that_come_at_once_share_one_allowance(tmp_path: Path) -> None:
    ask = partial(claim, tmp_path / "ledger", most=5)
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as processes:
        held = list(processes.map(ask, map(str, range(40))))
    assert held.count(None) == 5
    assert set(held) == {None, 5}


def test_a_notice_is_noted_once(tmp_path: Path) -> None:
    assert claim(tmp_path / "ledger", "a", 5) is None
    assert claim(tmp_path / "ledger", "a", 5) == 0


@pytest.mark.parametrize("content", ["", "nonsense", "x y\n", f"{time.time() - 7200:.0f} a\n", "\0\0"])
def test_what_is_old_or_broken_does_not_count(content: str, tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text(content)
    assert claim(tmp_path / "ledger", "a", 1) is None
    assert len((tmp_path / "ledger").read_text().splitlines()) == 1


def test_the_folder_is_this_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = ledger_path("conn", "agent").parent
    assert folder.stat().st_mode & 0o077 == 0
    assert ledger_path("conn", "agent") != ledger_path("conn", "other")
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="own folder"):
        ledger_path("conn", "agent")
    assert os.listdir(tmp_path / "elsewhere") == []
