"""Replacing a file whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_TEMPORARY = re.compile(r"\.backprop-[0-9a-f]{16}\.tmp")
_STALE_AFTER = 3600.0  # seconds without a write

StrPath = str | os.PathLike[str]


def replace_file(path: StrPath, data: bytes) -> None:
    """Write `data` so that `path` holds, at every moment and after any crash, either its old content or all of `data`.

    The bytes go to a new file in the same folder, are forced to disk, and take the place of the old file in one step; if that
    fails, the old file is unchanged. Any number of processes, on any number of hosts, may write to one folder or one path: the last
    one wins. A symbolic link stays, and the file that it points to is replaced; the new file has the permissions of the old one. A
    device or a pipe cannot be replaced: the bytes are written to it.

    Where the system has files without a name (Linux, most file systems), a killed process leaves nothing. Elsewhere it leaves a
    temporary file, ``.backprop-*.tmp``, which a later call in that folder removes when it is an hour old.

    Raises
    ------
    OSError
        When the folder does not exist or cannot be written to, `path` is a folder, or the disk is full. The error names `path`.
    """
    with _errors_that_name(path):
        status = _inspect(path)
        if status is not None and not stat.S_ISREG(status.st_mode):
            with Path(os.fsdecode(path)).open("wb", buffering=0) as file:
                _write(file.fileno(), data)
            return
        target = _resolve(path)
        mode = None if status is None else stat.S_IMODE(status.st_mode)
        try:
            _replace(target, data, mode)
        except FileNotFoundError:  # no name could be given, or the process was stopped for an hour and its file removed as stale
            _replace(target, data, mode, nameless=False)
        _sync_folder(target.parent)


@contextmanager
def replacing(path: StrPath) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` at the end of the block; after an exception `path` is as it was.

    For output that does not fit in memory; `replace_file` says what becomes of links, permissions, devices and pipes.

    Raises
    ------
    OSError
        As `replace_file` raises it.
    """
    with _errors_that_name(path):
        status = _inspect(path)
        replaced = status is None or stat.S_ISREG(status.st_mode)
        target = _resolve(path) if replaced else Path(os.fsdecode(path))
        temporary = _temporary(target.parent) if replaced else target
        file = temporary.open("xb" if replaced else "wb")
    try:
        with file:
            yield file
            with _errors_that_name(path):
                file.flush()
                if replaced and status is not None and hasattr(os, "fchmod"):
                    with suppress(PermissionError):  # a file system without permissions
                        os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
                if replaced:
                    os.fsync(file.fileno())
        if replaced:
            with _errors_that_name(path):
                temporary.replace(target)
                _sync_folder(target.parent)
    except BaseException as error:
        if replaced:
            with suppress(FileNotFoundError):
                temporary.unlink()
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:  # of a write
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        raise


def check_writable(path: StrPath) -> None:
    """Raise the error that `replace_file` would raise for `path`, before the work whose result is to be written there.

    A file is created in the folder and removed again: permissions alone do not tell (root, read-only file systems). `path` itself
    is not touched.

    Raises
    ------
    OSError
        As `replace_file` raises it.
    """
    with _errors_that_name(path):
        status = _inspect(path)
        if status is not None and not stat.S_ISREG(status.st_mode):
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        descriptor, temporary = _create(_resolve(path).parent)
        os.close(descriptor)
        if temporary is not None:
            temporary.unlink()


def check_outputs(outputs: Iterable[StrPath | None], inputs: Iterable[StrPath | None] = ()) -> None:
    """Refuse, before the work, results that could not be written or would replace an input or each other; None is no file.

    Raises
    ------
    OSError
        As `replace_file` raises it.
    ValueError
        When an output is one of the inputs, or two outputs are one file. A device takes any number of results.
    """
    written: set[str] = set()
    given = [path for path in inputs if path is not None]
    for path in outputs:
        if path is None:
            continue
        check_writable(path)
        if any(_is_file(path, other) for other in given):
            raise ValueError(f"{os.fspath(path)!r} is the file that is read: write to another one")
        target = _resolve(path)
        name = os.path.normcase(target)
        if name in written and (target.is_file() or not target.exists()):
            raise ValueError(f"{os.fspath(path)!r} is the file of another result: write to another one")
        written.add(name)


def _is_file(path: StrPath, other: StrPath) -> bool:
    """Whether two paths name one file that is there."""
    with suppress(OSError):
        return Path(os.fsdecode(other)).is_file() and Path(os.fsdecode(path)).samefile(os.fsdecode(other))
    return False


@contextmanager
def _errors_that_name(path: StrPath) -> Iterator[None]:
    """Let every OSError name the path that the caller gave, in place of a temporary file or none."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def _resolve(path: StrPath) -> Path:
    """Return the path without symbolic links: the file to replace."""
    return Path(os.path.realpath(os.fsdecode(path)))


def _inspect(path: StrPath) -> os.stat_result | None:
    """Return the status of the file at `path`, None if there is none; refuse a folder, and a path in a folder that is not there."""
    name = os.fsdecode(path)
    try:
        status = Path(name).stat() if name else None
    except FileNotFoundError:
        status = None
    if (status is not None and stat.S_ISDIR(status.st_mode)) or name.endswith(tuple(filter(None, (os.sep, os.altsep)))):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if status is None and not (name and _resolve(name).parent.is_dir()):
        raise FileNotFoundError(errno.ENOENT, "the folder to write to does not exist" if name else os.strerror(errno.ENOENT))
    return status


def _replace(target: Path, data: bytes, mode: int | None, *, nameless: bool = True) -> None:
    """Write a new file beside `target` and rename it."""
    folder = target.parent
    descriptor, temporary = _create(folder, nameless=nameless)
    try:
        try:
            _write(descriptor, data)
            if mode is not None and hasattr(os, "fchmod"):
                with suppress(PermissionError):  # a file system without permissions
                    os.fchmod(descriptor, mode)
            os.fsync(descriptor)
            _remove_stale(folder, os.fstat(descriptor).st_mtime)
            if temporary is None:
                temporary = _link(descriptor, folder)
        finally:
            os.close(descriptor)
        temporary.replace(target)
    except BaseException:
        if temporary is not None:
            with suppress(FileNotFoundError):
                temporary.unlink()
        raise


def _create(folder: Path, *, nameless: bool = True) -> tuple[int, Path | None]:
    """Create a file in `folder` and return its descriptor and its path: None for a file without a name."""
    if nameless and hasattr(os, "O_TMPFILE"):
        with suppress(OSError):  # not on this file system; other reasons show below
            return os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666), None
    temporary = _temporary(folder)
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), temporary


def _temporary(folder: Path) -> Path:
    """Return a path that no other process, on whatever host, chooses: process ids repeat between hosts and containers."""
    return folder / f".backprop-{os.urandom(8).hex()}.tmp"


def _link(descriptor: int, folder: Path) -> Path:
    """Give a file without a name a temporary one, from which it can be renamed over an existing file."""
    temporary = _temporary(folder)
    parent = os.open(folder, os.O_RDONLY)
    try:
        # With a folder's descriptor Python calls linkat, which follows the link in /proc; link would not.
        os.link(f"/proc/self/fd/{descriptor}", temporary.name, dst_dir_fd=parent, follow_symlinks=True)
    except OSError as error:
        raise FileNotFoundError(errno.ENOENT, error.strerror) from error
    finally:
        os.close(parent)
    return temporary


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(folder: Path) -> None:
    """Force the new name to disk, where the system lets one."""
    if os.name == "nt":  # folders cannot be opened there
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL, errno.ENOTSUP):
            raise


def _remove_stale(folder: Path, now: float) -> None:
    """Remove temporary files that killed processes left.

    Age alone decides: a process id says nothing about processes of other hosts and containers. `now` is the time of a file just
    written in the same folder, so that both times come from one clock, the file server's.
    """
    with suppress(OSError), os.scandir(folder) as entries:  # a folder that may be written to but not listed
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                with suppress(OSError):  # another process was faster, or the file is another user's
                    if now - entry.stat(follow_symlinks=False).st_mtime > _STALE_AFTER:
                        Path(entry.path).unlink()
