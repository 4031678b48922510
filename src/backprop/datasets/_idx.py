"""The IDX format, in which MNIST and its many successors come.

A file is a header and the numbers in C order, everything big-endian. The header: two zero bytes, a byte for the type of the
numbers, a byte for how many dimensions there are, then the length of each as a 32-bit integer.
Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .._types import AnyArray

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_COMPRESSION = 1032  # what deflate can reach: 258 bytes in two bits


def idx(folder: str | os.PathLike[str]) -> tuple[tuple[AnyArray, AnyArray], tuple[AnyArray, AnyArray]]:
    """Read a data set in MNIST's format: a folder with four files of images and labels.

    The files are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
    ``t10k-labels-idx1-ubyte``; a prefix (``emnist-letters-train-...``), ``.idx`` for ``-idx`` and ``test`` for ``t10k`` are
    understood too. Each may end in ``.gz``; hidden files, such as those that macOS puts beside others, are passed over. Plain files
    are memory-mapped, so data sets larger than memory work; compressed ones are read into memory.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        Images as rows, (n, height * width), and labels (n,), with the numbers that the files hold (for MNIST uint8, pixels from
        0 to 255). They are read-only: copy what you want to change.

    Raises
    ------
    FileNotFoundError
        When there is no such folder, or one of the files is not in it.
    ValueError
        When a file is damaged or truncated, there are several candidates for a file, or images and labels differ in number.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"folder must be an existing folder, got {str(path)!r}")
    return _part(path, "train"), _part(path, "t10k", "test")


def read_idx(path: str | os.PathLike[str]) -> AnyArray:
    """Read one IDX file of any type and shape: memory-mapped when plain, into memory when gzip has compressed it.

    Raises
    ------
    ValueError
        When the file is damaged or truncated.
    """
    path = Path(path)
    try:
        with path.open("rb") as plain:
            if plain.read(2) != b"\x1f\x8b":  # also a file that a browser has decompressed and left its name
                plain.seek(0)
                return _mapped(plain)
        with gzip.open(path) as file:
            return _decompressed(file, path.stat().st_size)
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{str(path)!r} is not a whole IDX file: {error}") from error


def _decompressed(file: gzip.GzipFile, compressed_length: int) -> AnyArray:
    dtype, shape = _header(file)
    length = dtype.itemsize * math.prod(shape)
    _check_length(min(length, _MAX_COMPRESSION * compressed_length), length)  # before memory is reserved for a lie
    data = file.read(length + 1)
    _check_length(len(data), length)
    return np.frombuffer(data, dtype).reshape(shape)


def _mapped(file: BinaryIO) -> AnyArray:
    dtype, shape = _header(file)
    offset = file.tell()
    _check_length(os.fstat(file.fileno()).st_size - offset, dtype.itemsize * math.prod(shape))
    if 0 in shape:  # an empty range cannot be mapped
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, mode="r", offset=offset, shape=shape)


def _header(file: BinaryIO | gzip.GzipFile) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or magic[3] == 0:
        raise ValueError(f"it begins with the bytes {magic.hex(' ') or '(none)'}")
    dimensions = magic[3]
    lengths = file.read(4 * dimensions)
    if len(lengths) < 4 * dimensions:
        raise ValueError("it ends within its header")
    return np.dtype(_DTYPES[magic[2]]), struct.unpack(f">{dimensions}I", lengths)


def _check_length(found: int, expected: int) -> None:
    if found < expected:
        raise ValueError(f"its header announces {expected:,} bytes of data, there are at most {found:,}")
    if found > expected:
        raise ValueError(f"it has more than the {expected:,} bytes of data that its header announces")


def _part(folder: Path, *names: str) -> tuple[AnyArray, AnyArray]:
    """Images as rows, and labels, of the training or the test part."""
    images_path, labels_path = _find(folder, names, "images", 3), _find(folder, names, "labels", 1)
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, dimensions in ((images_path, images, 3), (labels_path, labels, 1)):
        if array.ndim != dimensions:
            raise ValueError(f"{str(path)!r} must have {dimensions} dimension(s), has {array.ndim}")
    if len(images) != len(labels):
        raise ValueError(f"{str(images_path)!r} holds {len(images)} images, {str(labels_path)!r} {len(labels)} labels")
    return images.reshape(len(images), math.prod(images.shape[1:])), labels


def _find(folder: Path, names: tuple[str, ...], content: str, dimensions: int) -> Path:
    """The one file of this content; a plain file wins over its compressed copy."""
    patterns = [f"*{name}-{content}[-.]idx{dimensions}-ubyte" for name in names]
    for ending in ("", ".gz"):
        found = [path for pattern in patterns for path in sorted(folder.glob(pattern + ending)) if path.name[0] != "."]
        if len(found) > 1:
            raise ValueError(f"folder {str(folder)!r} holds several candidates: {', '.join(path.name for path in found)}")
        if found:
            return found[0]
    raise FileNotFoundError(f"{names[0]}-{content}-idx{dimensions}-ubyte or its .gz is missing in folder {str(folder)!r}")
