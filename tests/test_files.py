"""Files are replaced whole or not at all, whatever happens in between."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from backprop import _files
from backprop._files import replace_file

posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has neither these permissions nor this signal")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_write_and_replace(tmp_path):
    path = tmp_path / "model"
    for data in (b"first", b"", b"x" * 3_000_000):
        replace_file(path, data)
        assert path.read_bytes() == data
    assert names(tmp_path) == ["model"]


def test_the_path_may_be_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    replace_file("model", b"data")
    assert Path("model").read_bytes() == b"data"


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="the folder to write to does not exist"):
        replace_file(tmp_path / "missing" / "model", b"data")


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(OSError, match="model"):
        replace_file(tmp_path / "model", b"data")
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch, failing, error):
    path = tmp_path / "model"
    replace_file(path, b"old")

    def fail(*args):
        raise error

    monkeypatch.setattr(Path if failing == "replace" else os, failing, fail)
    with pytest.raises(type(error)):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model"]
    monkeypatch.undo()
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"


def test_short_writes_go_on(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    replace_file(tmp_path / "model", bytes(range(100)))
    assert (tmp_path / "model").read_bytes() == bytes(range(100))


@posix_only
def test_a_disk_that_is_full(tmp_path):
    # The limit on a file's size stands in for the end of the disk: the kernel refuses the rest of the bytes.
    script = """
        import resource, signal, sys
        from backprop._files import replace_file
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            replace_file(sys.argv[1], b"n" * 200_000)
        except OSError as error:
            print("refused", error.errno)
    """
    path = tmp_path / "model"
    replace_file(path, b"old")
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["refused", str(errno.EFBIG)]
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model"]


@posix_only
def test_kill_in_the_middle(tmp_path):
    script = """
        import sys
        from backprop._files import replace_file
        print("ready", flush=True)
        while True:
            for letter in b"abcdef":
                replace_file(sys.argv[1], bytes([letter]) * 500_000)
    """
    path = tmp_path / "model"
    for attempt in range(8):
        with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), str(path)], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            threading.Event().wait(0.02 + 0.013 * attempt)
            process.send_signal(signal.SIGKILL)
        if path.exists():
            data = path.read_bytes()
            assert len(data) == 500_000
            assert len(set(data)) == 1
    assert path.exists()
    replace_file(path, b"after")
    assert names(tmp_path) == ["model"]


@posix_only
def test_temporary_files_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    token = "0123456789abcdef"
    dead, reborn = f".backprop-{process.pid}-{token}.tmp", f".backprop-{os.getpid()}-{token}.tmp"
    living, others = f".backprop-1-{token}.tmp", [f"backprop-{process.pid}-{token}.tmp", ".backprop-x.tmp", "unrelated"]
    for name in (dead, reborn, living, *others):
        (tmp_path / name).touch()
    replace_file(tmp_path / "model", b"data")
    assert names(tmp_path) == sorted([living, *others, "model"])


def test_threads_leave_each_others_files_alone(tmp_path):
    errors = []

    def save(letter):
        try:
            for _ in range(30):
                replace_file(tmp_path / "model", letter * 100_000)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert names(tmp_path) == ["model"]
    assert len(set((tmp_path / "model").read_bytes())) == 1
    assert not _files._in_progress


@posix_only
def test_permissions(tmp_path):
    path = tmp_path / "model"
    before = os.umask(0o027)
    try:
        replace_file(path, b"new")
        assert path.stat().st_mode & 0o777 == 0o640  # as open() makes a file
        path.chmod(0o604)
        replace_file(path, b"again")
        assert path.stat().st_mode & 0o777 == 0o604  # as the old one had it
    finally:
        os.umask(before)


@posix_only
def test_symbolic_links_stay(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "model")
    replace_file(tmp_path / "link", b"data")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "model").read_bytes() == b"data"


def test_file_and_folder_are_forced_to_disk_in_that_order(tmp_path, monkeypatch):
    happened = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (happened.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (happened.append("replace"), replace(self, target)))
    replace_file(tmp_path / "model", b"data")
    assert happened == (["fsync", "replace"] if os.name == "nt" else ["fsync", "replace", "fsync"])
