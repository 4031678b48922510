"""Files are replaced whole or not at all, whatever happens in between."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backprop._files import check_outputs, check_writable, replace_file

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


@pytest.fixture(params=["nameless", "named"])
def temporary(request, monkeypatch):
    """Both kinds of temporary files: without a name, and with one, as where the system has no other."""
    if request.param == "nameless" and not hasattr(os, "O_TMPFILE"):
        pytest.skip("every file has a name on this system")
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    return request.param


def refused_paths(folder):
    """Paths that cannot be written to, with the error."""
    (folder / "folder").mkdir()
    (folder / "file").touch()
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to(folder / "missing" / "model")
    return {
        folder / "folder": IsADirectoryError,
        str(folder / "new") + os.sep: IsADirectoryError,
        folder / "missing" / "model": FileNotFoundError,
        folder / "dangling": FileNotFoundError,
        folder / "file" / "model": NotADirectoryError,
        folder / ("long" * 100): OSError,
        folder / "loop": OSError,
        "": FileNotFoundError,
        os.fsencode(folder / "missing" / "bytes"): FileNotFoundError,
    }


@posix_only
def test_errors_name_the_path_that_was_given_and_come_before_the_work(tmp_path):
    refused = refused_paths(tmp_path)
    before = names(tmp_path)
    for path, error in refused.items():
        for function in (check_writable, lambda path: replace_file(path, b"data")):
            with pytest.raises(error) as caught:
                function(path)
            assert caught.value.filename == os.fspath(path)
            assert str(caught.value).endswith(f": {os.fspath(path)!r}")
            assert ".tmp" not in str(caught.value)
    assert names(tmp_path) == before


def test_results_replace_neither_inputs_nor_each_other(tmp_path):
    (tmp_path / "data").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "new")
    for inputs, outputs, message in (
        (["data"], ["new", "data"], "data' is the file that is read"),
        (["data", "link"], ["new", "./new"], "new' is the file of another result"),
        ([], ["new", "link"], "link' is the file of another result"),
    ):
        with pytest.raises(ValueError, match=message):
            check_outputs([f"{tmp_path}/{name}" for name in outputs], [f"{tmp_path}/{name}" for name in inputs])
    check_outputs([tmp_path / "new", None], [tmp_path / "data", None, "-"])
    check_outputs([os.devnull, os.devnull], [os.devnull])
    assert names(tmp_path) == ["data", "link"]


def test_a_missing_folder_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="the folder to write to does not exist"):
        check_writable(tmp_path / "missing" / "model")


@posix_only
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    (tmp_path / "folder").mkdir(mode=0o500)
    for function in (check_writable, lambda path: replace_file(path, b"data")):
        with pytest.raises(PermissionError) as caught:
            function(tmp_path / "folder" / "model")
        assert caught.value.filename == str(tmp_path / "folder" / "model")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("failing", ["open", "write", "fsync", "link", "replace"])
def test_every_error_of_the_system_names_the_path_that_was_given(tmp_path, monkeypatch, temporary, failing, code):
    def fail(*args, **options):
        raise OSError(code, os.strerror(code), "of another file")

    if failing == "link" and temporary == "named":
        pytest.skip("nothing is linked")
    path = tmp_path / "model"
    with monkeypatch.context() as patch:
        patch.setattr(Path if failing == "replace" else os, failing, fail)
        if failing == "link":  # then a file with a name serves
            replace_file(path, b"data")
        else:
            with pytest.raises(OSError, match=re.escape(f"[Errno {code}] {os.strerror(code)}: '{path}'")):
                replace_file(path, b"data")
        if failing == "open":
            with pytest.raises(OSError, match=re.escape(f"[Errno {code}] {os.strerror(code)}: '{path}'")):
                check_writable(path)
    assert names(tmp_path) == (["model"] if failing == "link" else [])


def test_the_check_leaves_everything_as_it_was(tmp_path, temporary):
    path = tmp_path / "model"
    check_writable(path)
    assert names(tmp_path) == []
    path.write_bytes(b"old")
    before = path.stat()
    check_writable(path)
    assert path.read_bytes() == b"old"
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert names(tmp_path) == ["model"]


@posix_only
def test_a_pipe_is_written_to_and_stays(tmp_path):
    check_writable(os.devnull)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_writable(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    replace_file(pipe, b"data")
    assert os.read(reader, 100) == b"data"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch, temporary, failing, error):
    path = tmp_path / "model"
    replace_file(path, b"old")

    def fail(*args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Path if failing == "replace" else os, failing, fail)
        with pytest.raises(type(error)):
            replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model"]
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


SAVE = """
    import os, sys
    from pathlib import Path
    from backprop._files import replace_file
    kind, folder, times, letter = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4].encode()
    if kind == "named" and hasattr(os, "O_TMPFILE"):
        del os.O_TMPFILE
    print("ready", flush=True)
    while times:
        replace_file(folder / "shared", letter * 300_000)
        replace_file(folder / ("own-" + letter.decode()), letter * 1_000)
        times -= 1
"""


def saving(*arguments, before=()):
    """A process that saves again and again: to one path of all processes and to one of its own."""
    command = [*before, sys.executable, "-c", textwrap.dedent(SAVE), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def age(path, seconds):
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


@posix_only
def test_kill_in_the_middle(tmp_path, temporary):
    for attempt in range(8):
        with saving(temporary, tmp_path, -1, "abcdefgh"[attempt]) as process:
            process.stdout.readline()
            threading.Event().wait(0.02 + 0.013 * attempt)
            process.send_signal(signal.SIGKILL)
        if (tmp_path / "shared").exists():
            data = (tmp_path / "shared").read_bytes()
            assert len(data) == 300_000
            assert len(set(data)) == 1
    left = list(tmp_path.glob(".backprop-*"))
    assert len(left) <= 8
    for path in left:
        age(path, 4000)
    replace_file(tmp_path / "shared", b"after")
    assert not list(tmp_path.glob(".backprop-*"))


def test_only_old_temporary_files_are_removed(tmp_path, temporary):
    old, new, late = (f".backprop-{digit * 16}.tmp" for digit in "012")
    others = ["backprop-0000000000000000.tmp", ".backprop-x.tmp", "unrelated"]
    for name in (old, new, late, *others):
        (tmp_path / name).touch()
        age(tmp_path / name, {new: 3000, late: -5000}.get(name, 4000))
    replace_file(tmp_path / "model", b"data")
    assert names(tmp_path) == sorted([new, late, *others, "model"])


def test_a_file_removed_as_stale_while_its_process_was_stopped_is_written_again(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    fsync, removed = os.fsync, []

    def stop(descriptor):
        fsync(descriptor)
        if not removed:
            removed.extend(tmp_path.glob(".backprop-*"))
            removed[0].unlink()

    monkeypatch.setattr(os, "fsync", stop)
    replace_file(tmp_path / "model", b"data")
    assert removed
    assert (tmp_path / "model").read_bytes() == b"data"


def may_unshare():
    """Whether this process may make namespaces of process ids, in which every first process has the same id."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return shutil.which("unshare") is not None and not subprocess.run(command, capture_output=True, check=False).returncode


@posix_only
@pytest.mark.parametrize("namespaces", [False, True])
def test_processes_that_share_a_folder_do_not_disturb_each_other(tmp_path, temporary, namespaces):
    if namespaces and not may_unshare():
        pytest.skip("namespaces need privileges")
    before = ["unshare", "--pid", "--fork", "--mount-proc"] if namespaces else []
    processes = [saving(temporary, tmp_path, 25, letter, before=before) for letter in "abcd"]
    errors = [process.communicate(timeout=60)[1].decode() for process in processes]
    assert errors == [""] * 4
    assert names(tmp_path) == ["own-a", "own-b", "own-c", "own-d", "shared"]
    assert len((tmp_path / "shared").read_bytes()) == 300_000
    assert len(set((tmp_path / "shared").read_bytes())) == 1


def test_threads_that_share_a_folder_do_not_disturb_each_other(tmp_path, temporary):
    with ThreadPoolExecutor(3) as pool:
        saved = [pool.submit(replace_file, tmp_path / "model", letter * 100_000) for letter in [b"a", b"b", b"c"] * 30]
    for future in saved:
        future.result()
    assert names(tmp_path) == ["model"]
    assert len(set((tmp_path / "model").read_bytes())) == 1


@posix_only
def test_permissions(tmp_path, temporary):
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


def test_file_and_folder_are_forced_to_disk_in_that_order(tmp_path, monkeypatch, temporary):
    happened = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (happened.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (happened.append("replace"), replace(self, target)))
    replace_file(tmp_path / "model", b"data")
    assert happened == (["fsync", "replace"] if os.name == "nt" else ["fsync", "replace", "fsync"])
