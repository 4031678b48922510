"""Replacing a file whole or not at all."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from stat import S_IMODE

_TEMPORARY = re.compile(r"\.backprop-(\d+)-[0-9a-f]{16}\.tmp")
_in_progress: set[str] = set()  # temporary files that this process is writing


def replace_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` so that `path` holds, at every moment and after any crash, either what it held before or all of it.

    The bytes go to a temporary file in the same folder, are forced to disk, and take the place of the old file in one step. When
    that fails, the old file is as it was and the temporary file is removed. One that a killed process left (its name carries the
    process id) is removed by the next call in that folder. A symbolic link stays, and the file that it points to is replaced; the
    new file has the permissions of the old one.

    Raises
    ------
    OSError
        When the folder does not exist or cannot be written to, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    folder = target.parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder to write to does not exist", str(folder))
    _remove_stale(folder)
    temporary = folder / f".backprop-{os.getpid()}-{os.urandom(8).hex()}.tmp"
    _in_progress.add(temporary.name)
    try:
        _write(temporary, data, like=target)
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # such as a full disk, found out while writing
            error.filename = str(target)
        raise
    finally:
        _in_progress.discard(temporary.name)
    _sync_folder(folder)


def _write(path: Path, data: bytes, like: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if hasattr(os, "fchmod") and like.exists():
            os.fchmod(descriptor, S_IMODE(like.stat().st_mode))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def _remove_stale(folder: Path) -> None:
    """Remove what killed processes left, those included that had this process's id before it."""
    try:
        files = list(folder.iterdir())
    except PermissionError:  # a folder one may write to but not list
        return
    for file in files:
        match = _TEMPORARY.fullmatch(file.name)
        if match and file.name not in _in_progress and not _belongs_to_other(int(match[1])):
            file.unlink(missing_ok=True)


def _belongs_to_other(pid: int) -> bool:
    """Whether another process with this id lives; on Windows, where asking would end it, always."""
    if pid == os.getpid():
        return False
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
