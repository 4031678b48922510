"""The file format: what is written can be read, by the safetensors library too, and nothing else can."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import textwrap
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backprop import _model_file
from backprop._model_file import ModelFormatError, read_file, write_file

CONTENT = {"kind": "model", "architecture": {"layers": [1, 2.5, None]}, "metadata": {"é": ["π", True]}}


def raw(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def header_of(data):
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


@pytest.fixture
def good(tmp_path):
    """The bytes of a small file."""
    write_file(tmp_path / "good", {"a": np.arange(6.0).reshape(2, 3), "b": np.arange(4, dtype=np.float32)}, CONTENT)
    return (tmp_path / "good").read_bytes()


ARRAYS = {
    "float64": np.arange(6.0).reshape(2, 3),
    "float32": np.arange(4, dtype=np.float32),
    "labels": np.array([[2**62], [-5]]),
    "flags": np.array([True, False, True]),
    "bytes": np.arange(5, dtype=np.uint8),
    "empty": np.empty((0, 7)),
    "scalar": np.array(3.5),
    "not finite": np.array([np.nan, np.inf, -0.0]),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "strided": np.arange(10.0)[::-2],
    "big-endian": np.arange(3, dtype=">f8"),
}


def test_what_is_written_is_read(tmp_path):
    write_file(tmp_path / "f", ARRAYS, CONTENT)
    tensors, content = read_file(tmp_path / "f")
    assert content == CONTENT
    assert tensors.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert tensors[name].shape == array.shape
        assert tensors[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(tensors[name], array)


def test_the_safetensors_library_reads_it(tmp_path):
    from safetensors.numpy import load_file

    write_file(tmp_path / "f", ARRAYS, CONTENT)
    tensors = load_file(tmp_path / "f")
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(tensors[name], array)


def test_the_same_content_makes_the_same_file(tmp_path):
    for name in ("f", "g"):
        write_file(tmp_path / name, dict(reversed(ARRAYS.items())) if name == "g" else ARRAYS, CONTENT)
    tensors = [read_file(tmp_path / name)[0] for name in ("f", "g")]
    assert all((tensors[0][name].tobytes() == tensors[1][name].tobytes()) for name in ARRAYS)


def test_numpys_numbers_become_jsons(tmp_path):
    content = {**CONTENT, "metadata": {"n": np.int64(3), "x": np.float32(0.5), "v": np.arange(3), "t": (1, 2), 5: np.bool_(True)}}
    write_file(tmp_path / "f", {}, content)
    assert read_file(tmp_path / "f")[1]["metadata"] == {"n": 3, "x": 0.5, "v": [0, 1, 2], "t": [1, 2], "5": True}


def test_what_cannot_be_written(tmp_path):
    write_file(tmp_path / "f", {}, CONTENT)
    old = (tmp_path / "f").read_bytes()
    for array in (np.ones(2, complex), np.array(["text"]), np.array([object()])):
        with pytest.raises(TypeError, match=r"a has dtype .*, which a model file cannot hold"):
            write_file(tmp_path / "f", {"a": array}, CONTENT)
    with pytest.raises(TypeError, match=r"metadata holds <object .* JSON cannot"):
        write_file(tmp_path / "f", {}, {**CONTENT, "metadata": [object()]})
    with pytest.raises(TypeError, match=r"metadata has keys that are one and the same as text, in \[1, '1'\]"):
        write_file(tmp_path / "f", {}, {**CONTENT, "metadata": {1: "a", "1": "b"}})
    endless: dict[str, object] = {}
    endless["again"] = endless
    with pytest.raises(ValueError, match="metadata is nested too deeply for a file, or holds itself"):
        write_file(tmp_path / "f", {}, {**CONTENT, "metadata": endless})
    with pytest.raises(ValueError, match=r"metadata cannot be written: \d+ characters of text \(.*header too large"):
        write_file(tmp_path / "f", {}, {**CONTENT, "metadata": "long" * 25_000_000})
    assert (tmp_path / "f").read_bytes() == old


def test_a_missing_file_is_just_that(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "missing")


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
META = {"format": "backprop", "format_version": "1"}
EIGHT = b"\0" * 8

HOSTILE = {
    "nothing": b"",
    "text": b"this is not a model at all, but a letter to a friend",
    "zeros": b"\0" * 100,
    "a length and no header": struct.pack("<Q", 1000),
    "a huge header": struct.pack("<Q", 2**63) + b"{}",
    "a header past the end": struct.pack("<Q", 99_999_999) + b"{}",
    "no JSON": raw(b"{'a': 1}"),
    "no UTF-8": raw(b'{"\xff": 1}'),
    "a list": raw([]),
    "a number": raw(b"1"),
    "a number of many digits": raw(b'{"a":' + b"9" * 10_000 + b"}"),
    "deep": raw(b'{"__metadata__":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "deep objects": raw(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "no metadata": raw({"a": ENTRY}, EIGHT),
    "another's file": raw({"__metadata__": {"format": "pt"}, "a": ENTRY}, EIGHT),
    "metadata that is text": raw({"__metadata__": "backprop", "a": ENTRY}, EIGHT),
    "metadata that is numbers": raw({"__metadata__": {**META, "kind": 1}, "a": ENTRY}, EIGHT),
    "metadata that is null": raw({"__metadata__": None, "a": ENTRY}, EIGHT),
    "a later format": raw({"__metadata__": {**META, "format_version": "2"}}),
    "no format version": raw({"__metadata__": {"format": "backprop"}}),
    "no checksum": raw({"__metadata__": META, "a": ENTRY}, EIGHT),
    "a key twice": raw(f'{{"__metadata__":{json.dumps(META)},"a":{json.dumps(ENTRY)},"a":{json.dumps(ENTRY)}}}'.encode(), EIGHT),
    "an attribute twice": raw(b'{"__metadata__":{"format":"backprop","format":"backprop","format_version":"1"}}'),
}
BAD_ENTRIES = {
    "overlap": {"a": ENTRY, "b": ENTRY},
    "past the end": {"a": {**ENTRY, "shape": [4], "data_offsets": [0, 16]}},
    "backwards": {"a": {**ENTRY, "data_offsets": [8, 0]}},
    "negative": {"a": {**ENTRY, "data_offsets": [-8, 0]}},
    "a hole": {"a": {**ENTRY, "shape": [1], "data_offsets": [0, 4]}},
    "a shape that is too large": {"a": {**ENTRY, "shape": [2**62, 2**62]}},
    "a shape that is not the size": {"a": {**ENTRY, "shape": [3]}},
    "a negative shape": {"a": {**ENTRY, "shape": [-2]}},
    "a float shape": {"a": {**ENTRY, "shape": [2.0]}},
    "a NaN shape": {"a": {**ENTRY, "shape": [float("nan")]}},
    "text for a shape": {"a": {**ENTRY, "shape": "2"}},
    "a hundred axes": {"a": {**ENTRY, "shape": [1] * 100 + [2]}},
    "an unknown dtype": {"a": {**ENTRY, "dtype": "F33"}},
    "a dtype that NumPy has not": {"a": {**ENTRY, "dtype": "BF16", "shape": [4]}},
    "complex": {"a": {**ENTRY, "dtype": "C64", "shape": [1]}},
    "no dtype": {"a": {"shape": [2], "data_offsets": [0, 8]}},
    "null": {"a": None},
    "a list": {"a": []},
}
HOSTILE |= {f"entry: {name}": raw({"__metadata__": META, **entries}, EIGHT) for name, entries in BAD_ENTRIES.items()}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name, tmp_path):
    path = tmp_path / "hostile"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(ModelFormatError) as error:
        read_file(path)
    assert str(error.value).startswith(str(path))
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("change", ["text", "dtype", "shape", "name", "content"])
def test_a_changed_header_does_not_match_the_checksum(change, good, tmp_path):
    header, data = header_of(good)
    if change == "text":
        header["__metadata__"]["architecture"] = header["__metadata__"]["architecture"].replace("1", "3")
    elif change == "dtype":
        header["b"]["dtype"] = "I32"
    elif change == "shape":
        header["a"]["shape"] = [3, 2]
    elif change == "name":
        header["c"] = header.pop("b")
    else:
        header["__metadata__"]["added"] = "1"
    (tmp_path / "f").write_bytes(raw(header, data))
    with pytest.raises(ModelFormatError, match="checksum is wrong"):
        read_file(tmp_path / "f")


def test_every_cut_is_noticed(good, tmp_path):
    for length in range(len(good)):
        (tmp_path / "f").write_bytes(good[:length])
        with pytest.raises(ModelFormatError):
            read_file(tmp_path / "f")
    (tmp_path / "f").write_bytes(good + b"\0")
    with pytest.raises(ModelFormatError):
        read_file(tmp_path / "f")


def test_every_changed_byte_is_noticed(good, tmp_path):
    # A blank in the header may be another blank, and escapes can be spelled in two ways: there what is read must be the same.
    path = tmp_path / "f"
    path.write_bytes(good)
    tensors, content = read_file(path)
    read = 0
    for place in range(len(good)):
        for flip in (1, 0x20, 0x80):
            changed = bytearray(good)
            changed[place] ^= flip
            path.write_bytes(changed)
            try:
                others, other_content = read_file(path)
            except ModelFormatError:
                continue
            read += 1
            assert other_content == content
            assert all(others[name].tobytes() == tensor.tobytes() for name, tensor in tensors.items())
    assert read < 20


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_files_are_refused_or_read(good, tmp_path, data):
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(changed)))
        stop = data.draw(st.integers(start, min(len(changed), start + 12)))
        changed[start:stop] = data.draw(st.binary(max_size=12) | st.text('[]{}",:0123456789-.eNa', max_size=12).map(str.encode))
    (tmp_path / "f").write_bytes(changed)
    with suppress(ModelFormatError):
        read_file(tmp_path / "f")


def signed(texts, tmp_path, tensors=None):
    """A malicious file whose checksum is right."""
    arrays = tensors or {}
    texts = {**META, **texts}
    texts["checksum"] = _model_file._checksum(arrays, texts)
    from safetensors.numpy import save

    path = tmp_path / "signed"
    path.write_bytes(save(arrays, texts))
    return path


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"kind": "model", "architecture": "{}"},
        {"kind": '"model"'},
        {"kind": '"model"', "architecture": "[]"},
        {"kind": '"model"', "architecture": "[" * 100_000},
        {"kind": '"model"', "architecture": "{" + '"a":{' * 10_000},
        {"kind": '"other"', "architecture": "{}"},
        {"kind": "[]", "architecture": "{}"},
        {"kind": '"model"', "architecture": '{"a": 1, "a": 2}'},
        {"kind": '"model"', "architecture": "9" * 10_000},
    ],
)
def test_hostile_files_with_a_right_checksum(texts, tmp_path):
    path = signed(texts, tmp_path)
    with pytest.raises(ModelFormatError, match=str(path)):
        read_file(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ModelFormatError, match="it is not a file"):
            read_file(path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
def test_a_large_foreign_file_is_refused_by_its_header(tmp_path):
    path = tmp_path / "large"
    header = raw({"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2**34], "data_offsets": [0, 2**36]}})
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 2**36)  # on disk a few kilobytes
    script = """
        import resource, sys
        from backprop._model_file import ModelFormatError, read_file
        resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
        try:
            read_file(sys.argv[1])
        except ModelFormatError:
            print("refused")
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "refused", result.stderr


def test_equal_content_gives_equal_files(tmp_path):
    arrays = {name: np.full(3, index, np.float32) for index, name in enumerate("cabd")}
    for name in ("one", "two", "three"):
        write_file(tmp_path / name, arrays, CONTENT)
    assert len({(tmp_path / name).read_bytes() for name in ("one", "two", "three")}) == 1
