"""The file format: a safetensors file whose metadata says what it is and proves that it is whole.

The metadata, a safetensors file's place for text, holds ``format`` ("backprop"), ``format_version``, ``checksum``, and every entry
of the content as JSON. A reader trusts none of it: a file is refused by its header before the rest is read, takes memory in
proportion to its size, and whatever is wrong with it is a `ModelFormatError`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ._files import replace_file

FORMAT_VERSION = 1
KINDS = ("model", "checkpoint", "table", "ensemble")

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "I64": "<i8",
    "I32": "<i4",
    "U64": "<u8",
    "U32": "<u4",
    "U8": "|u1",
    "BOOL": "|b1",
}
_LONGEST_HEADER = 100_000_000  # bytes; the safetensors library's own limit
_OWN_KEYS = ("format", "format_version", "checksum")

StrPath = str | os.PathLike[str]
Tensors = dict[str, npt.NDArray[Any]]


class ModelFormatError(ValueError):
    """A file that is no model of ours, or a damaged one; the message begins with its path."""


class UnknownLayerError(TypeError):
    """A layer of the user's own whose class has not been given."""


def write_file(path: StrPath, tensors: Mapping[str, npt.NDArray[Any]], content: Mapping[str, Any]) -> None:
    """Write arrays, and what JSON can hold, to one file, whole or not at all.

    Parameters
    ----------
    path
        The file to write or replace.
    tensors
        Arrays by name, of any layout, of float, integer or bool dtype.
    content
        What else the file holds. Its ``kind`` is one of `KINDS`, its ``architecture`` a dict.

    Raises
    ------
    TypeError
        For a dtype that files do not hold, and for content that is not JSON's.
    ValueError
        For content that is nested too deeply, holds itself, or is longer than the header of a file.
    OSError
        When writing fails; an older file is then as it was.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save as to_bytes

    # The safetensors library writes the memory of a transposed array as if it were not, hence the layout.
    arrays = {name: np.asarray(array, array.dtype.newbyteorder("="), order="C") for name, array in tensors.items()}
    for name, array in arrays.items():
        if array.dtype not in map(np.dtype, _DTYPES.values()):
            raise TypeError(f"{name} has dtype {array.dtype}, which a model file cannot hold")
    texts = {}
    for key, value in content.items():
        try:
            texts[key] = json.dumps(plain(value, key))
        except RecursionError:
            raise ValueError(f"{key} is nested too deeply for a file, or holds itself") from None
    texts |= {"format": "backprop", "format_version": str(FORMAT_VERSION)}
    texts["checksum"] = _checksum(arrays, texts)
    try:
        data = to_bytes(arrays, texts)
    except SafetensorError as error:
        size = sum(map(len, texts.values()))
        raise ValueError(f"{', '.join(content)} cannot be written: {size} characters of text ({error})") from None
    replace_file(path, _in_order(data))


def _in_order(data: bytes) -> bytes:
    """The same safetensors file with its header sorted, so that equal models give equal files: the library's order is random."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def read_file(path: StrPath) -> tuple[Tensors, dict[str, Any]]:
    """Return the arrays and the content that `write_file` wrote.

    Raises
    ------
    ModelFormatError
        When the file is damaged, or is not one of ours.
    OSError
        When it cannot be read.
    """
    from safetensors import SafetensorError, deserialize

    with complaints_about(path):
        place = Path(os.fsdecode(path))
        if place.exists() and not place.is_file():
            raise ValueError("it is not a file")
        with place.open("rb") as file:
            texts = _read_metadata(file)
            file.seek(0)
            data = file.read()
        try:
            entries = deserialize(data)  # type: ignore[no-untyped-call]
        except SafetensorError as error:
            raise ValueError(f"it is not a whole safetensors file ({error})") from error
        tensors: Tensors = {}
        for name, entry in entries:
            if entry["dtype"] not in _DTYPES:
                raise ValueError(f"{name!r} has the unknown dtype {entry['dtype']}")
            tensors[name] = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
        if _checksum(tensors, texts) != texts.get("checksum"):
            raise ValueError("its checksum is wrong, so the file is damaged")
        content = {key: _strict_json(text) for key, text in texts.items() if key not in _OWN_KEYS}
        if content.get("kind") not in KINDS:
            raise ValueError(f"its kind is {content.get('kind')!r:.50}, which is none of {KINDS}")
        expect(dict, content.get("architecture"), "its architecture")
        return tensors, content


@contextmanager
def complaints_about(path: StrPath) -> Iterator[None]:
    """Turn whatever senseless content leads to into a `ModelFormatError` that names the path."""
    try:
        yield
    except UnknownLayerError as error:
        raise TypeError(f"{os.fspath(path)}: {error}") from None
    except ModelFormatError:
        raise
    except RecursionError:
        raise ModelFormatError(f"{os.fspath(path)}: it is nested too deeply") from None
    except KeyError as error:
        raise ModelFormatError(f"{os.fspath(path)}: {error!s:.100} is missing") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelFormatError(f"{os.fspath(path)}: {error!s:.500}") from error  # an error may quote what the file says


def expect(kind: type, value: Any, what: str) -> Any:
    """Return `value`, read from JSON, if it is of that type, and of no type derived from it."""
    if type(value) is not kind:
        raise ValueError(f"{what} should be a JSON {kind.__name__}, not {value!r:.50}")
    return value


def plain(value: Any, owner: str) -> Any:
    """Return `value` in JSON's types, NumPy's numbers and arrays as Python's; `owner` is what a TypeError calls where it stands."""
    if isinstance(value, Mapping):
        items = {str(key): plain(item, owner) for key, item in value.items()}
        if len(items) < len(value):
            raise TypeError(f"{owner} has keys that are one and the same as text, in {list(value)!r:.100}")
        return items
    if isinstance(value, (list, tuple)):
        return [plain(item, owner) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist(), owner)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{owner} holds {value!r}, which JSON cannot")


def _read_metadata(file: BinaryIO) -> dict[str, str]:
    """The metadata of a file that says it is ours, from its header alone."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _LONGEST_HEADER):
        raise ValueError("it is not a safetensors file, or has lost its end")
    header = expect(dict, _strict_json(file.read(length)), "its header")
    texts = expect(dict, header.get("__metadata__", {}), "its metadata")
    for text in texts.values():
        expect(str, text, "an entry of its metadata")
    if texts.get("format") != "backprop":
        raise ValueError("it is not a backprop model: its metadata does not say so")
    version = texts.get("format_version", "")
    if version != str(FORMAT_VERSION):
        raise ValueError(f"its format version is {version:.20}, and this version of backprop reads {FORMAT_VERSION}")
    checked: dict[str, str] = texts
    return checked


def _strict_json(text: str | bytes) -> Any:
    """What JSON text says; a key that stands there twice is an error."""

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands twice in one JSON object")
        return found

    return json.loads(text, object_pairs_hook=distinct)


def _checksum(tensors: Mapping[str, npt.NDArray[Any]], texts: Mapping[str, str]) -> str:
    """SHA-256 over the metadata, the names, dtypes and shapes of the tensors, and their bytes in the order of the names."""
    described = {name: (tensor.dtype.name, tensor.shape) for name, tensor in sorted(tensors.items())}
    signed = {key: text for key, text in sorted(texts.items()) if key != "checksum"}
    digest = sha256(json.dumps([signed, described]).encode())
    for name in described:
        tensor = tensors[name]
        digest.update(np.asarray(tensor, tensor.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data)
    return f"sha256:{digest.hexdigest()}"
