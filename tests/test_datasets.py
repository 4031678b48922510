"""Data sets: the digits that ship with the package, and files in MNIST's format."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy as np
import pytest

from backprop import datasets

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def idx_bytes(array: np.ndarray) -> bytes:
    """The IDX file of an array."""
    header = struct.pack(f">2xBB{array.ndim}I", CODES[array.dtype.str[1:]], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A small MNIST: 7 training and 3 test images of 4 x 5 pixels."""
    for part, count in (("train", 7), ("test", 3)):
        images, labels = NAMES[part]
        (tmp_path / images).write_bytes(idx_bytes(rng.integers(0, 256, (count, 4, 5), dtype=np.uint8)))
        (tmp_path / labels).write_bytes(idx_bytes(rng.integers(0, 10, count, dtype=np.uint8)))
    return tmp_path


def test_digits_are_scaled_rows_with_every_class_in_both_parts() -> None:
    (x_train, y_train), (x_test, y_test) = datasets.digits()
    assert (x_train.shape, y_train.shape, x_test.shape, y_test.shape) == ((1437, 64), (1437,), (360, 64), (360,))
    assert (x_train.dtype, y_train.dtype, x_test.dtype, y_test.dtype) == (np.float32, np.int64, np.float32, np.int64)
    for x in (x_train, x_test):
        assert x.min() == 0
        assert x.max() == 1
    share = np.bincount(y_test) / np.bincount(y_train)
    np.testing.assert_allclose(share, 360 / 1437, rtol=0.03)


def test_digits_are_fresh_and_writable() -> None:
    first = datasets.digits()[0][0]
    first[:] = 7
    assert datasets.digits()[0][0].max() == 1


def test_digits_are_scikit_learns() -> None:
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.model_selection import train_test_split

    original = sklearn_datasets.load_digits()
    expected = train_test_split(original.data / 16, original.target, test_size=360, stratify=original.target, random_state=2)
    (x_train, y_train), (x_test, y_test) = datasets.digits()
    for ours, theirs in zip((x_train, x_test, y_train, y_test), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_licence_of_the_digits_is_named() -> None:
    text = (Path(datasets.__file__).parent / "digits" / "README.txt").read_text(encoding="utf-8")
    assert "CC BY 4.0" in text


def test_idx_maps_plain_files(folder: Path) -> None:
    (x_train, y_train), (x_test, _) = datasets.idx(folder)
    assert x_train.shape == (7, 20)
    assert x_test.shape == (3, 20)
    assert x_train.dtype == np.uint8
    for array in (x_train, y_train):
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
    np.testing.assert_array_equal(x_train.ravel(), list((folder / NAMES["train"][0]).read_bytes()[16:]))
    np.testing.assert_array_equal(y_train, list((folder / NAMES["train"][1]).read_bytes()[8:]))


def test_idx_reads_compressed_files_to_the_same_numbers(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    compressed = tmp_path_factory.mktemp("compressed")
    for path in folder.iterdir():
        (compressed / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    for ours, theirs in zip(datasets.idx(str(compressed)), datasets.idx(folder), strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_idx_prefers_the_plain_file_and_knows_other_names(folder: Path) -> None:
    (folder / (NAMES["train"][0] + ".gz")).write_bytes(b"not read")
    (folder / NAMES["train"][1]).rename(folder / "emnist-letters-train-labels.idx1-ubyte")
    (folder / NAMES["test"][0]).rename(folder / "test-images-idx3-ubyte")
    (x_train, y_train), (x_test, _) = datasets.idx(folder)
    assert (x_train.shape, y_train.shape, x_test.shape) == ((7, 20), (7,), (3, 20))


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 3)])
def test_read_idx_knows_every_type(tmp_path: Path, rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> None:
    array = (rng.normal(size=shape) * 50).astype(np.int8).astype(dtype)
    plain, compressed = tmp_path / "a", tmp_path / "a.gz"
    plain.write_bytes(idx_bytes(array))
    compressed.write_bytes(gzip.compress(idx_bytes(array)))
    for path in (plain, compressed):
        read = datasets.read_idx(path)
        np.testing.assert_array_equal(read, array)
        assert read.dtype == array.dtype.newbyteorder(">")


WHOLE = idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3))
DAMAGED = {
    "empty": (b"", "begins with the bytes"),
    "text": (b"hello world", "begins with the bytes 68 65 6c 6c"),
    "unknown type": (b"\0\0\x07\x01\0\0\0\0", "begins with the bytes 00 00 07 01"),
    "no dimensions": (b"\0\0\x08\0", "begins with the bytes 00 00 08 00"),
    "cut header": (WHOLE[:9], "ends within its header"),
    "cut data": (WHOLE[:-1], "announces 6 bytes of data, there are at most 5"),
    "more data": (WHOLE + b"x", "more than the 6 bytes"),
    "hostile lengths": (b"\0\0\x08\x03" + b"\xff" * 12, "announces 79,228,162,458,924,105,385,300,197,375 bytes"),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_damaged_files_are_refused(tmp_path: Path, damage: str, ending: str) -> None:
    data, message = DAMAGED[damage]
    path = tmp_path / f"images{ending}"
    path.write_bytes(gzip.compress(data) if ending else data)
    with pytest.raises(ValueError, match=f"images{ending}' is not a whole IDX file.*{message}"):
        datasets.read_idx(path)


@pytest.mark.parametrize("damage", ["not gzip", "cut", "flipped"])
def test_damaged_compression_is_refused(tmp_path: Path, rng: np.random.Generator, damage: str) -> None:
    data = bytearray(gzip.compress(idx_bytes(rng.integers(0, 256, 1000, dtype=np.uint8))))
    path = tmp_path / "labels.gz"
    if damage == "not gzip":
        data = bytearray(b"<html>")
    elif damage == "cut":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"labels\.gz' is not a whole IDX file"):
        datasets.read_idx(path)


def test_what_others_leave_in_a_folder_does_not_matter(folder: Path) -> None:
    expected = datasets.idx(folder)
    for path in list(folder.iterdir()):
        (folder / f"._{path.name}").write_bytes(b"\0\5\x16\7")  # what macOS puts beside files
        path.rename(folder / f"{path.name}.gz")  # what browsers make of downloads: decompressed, with the name as it was
    for part, again in zip(expected, datasets.idx(folder), strict=True):
        for before, after in zip(part, again, strict=True):
            np.testing.assert_array_equal(before, after)


def test_missing_and_ambiguous_files_are_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="existing folder"):
        datasets.idx(folder / "nowhere")
    (folder / "letters-train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(ValueError, match="several candidates: letters-train-images-idx3-ubyte, train-images-idx3-ubyte"):
        datasets.idx(folder)
    (folder / "letters-train-images-idx3-ubyte").unlink()
    (folder / NAMES["test"][1]).unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte or its \.gz is missing"):
        datasets.idx(folder)


def test_images_and_labels_must_fit_together(folder: Path) -> None:
    labels = folder / NAMES["train"][1]
    labels.write_bytes(idx_bytes(np.zeros(6, np.uint8)))
    with pytest.raises(ValueError, match=r"holds 7 images, .* 6 labels"):
        datasets.idx(folder)
    labels.write_bytes(idx_bytes(np.zeros((7, 1), np.uint8)))
    with pytest.raises(ValueError, match=r"must have 1 dimension\(s\), has 2"):
        datasets.idx(folder)


def test_mapping_reads_no_data(tmp_path: Path) -> None:
    shape = (1 << 20, 64, 64)
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(struct.pack(">2xBB3I", 0x08, 3, *shape))
        file.truncate(16 + math.prod(shape))  # 4 GiB without a block on the disk
    images = datasets.read_idx(path)
    assert images.shape == shape
    assert images[-1, -1, -1] == 0
