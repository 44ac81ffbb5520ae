# SPDX-License-Identifier: GPL-3.0-or-later
"""Files whose chunks we write are those that the HDF5 library writes alone."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from rsciio_tem.storage.files import write_whole
from rsciio_tem.writing.hdf5_stream import ChunkedFile, _Layout, write_at

SHAPE, CHUNK = (9, 70, 32, 40), (1, 1, 32, 40)
VERSIONS = [None, ("v108", "latest"), ("v110", "v110")]
MASKS = {3: 1, 500: 1}  # chunks that are not compressed


def chunks(rng: np.random.Generator) -> Iterator[tuple[tuple[int, ...], bytes, int]]:
    """Yield corner, bytes and mask of each chunk; the bytes decode to the chunk's pixels."""
    with h5py.File("a.h5", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("data", CHUNK, "<u2", chunks=CHUNK, **hdf5plugin.Bitshuffle())
        for i in range(SHAPE[0] * SHAPE[1]):
            pixels = np.zeros(CHUNK, np.uint16)
            few = rng.integers(0, 1280)
            pixels.reshape(-1)[:few] = rng.integers(0, 60000, few)
            corner = (*divmod(i, SHAPE[1]), 0, 0)
            if i in MASKS:
                yield corner, pixels.tobytes(), MASKS[i]
            else:
                data[...] = pixels
                yield corner, data.id.read_direct_chunk((0, 0, 0, 0))[1], 0


def structure(file: Any) -> Any:
    group = file.create_group("group")
    group.attrs["name"] = "x" * 300
    data = group.create_dataset(
        "data", SHAPE, "<u2", chunks=CHUNK, track_times=False, **hdf5plugin.Bitshuffle()
    )
    data.attrs["units"] = "counts"
    return data


def fill(made: ChunkedFile) -> None:
    data = structure(made.file)
    for corner, content, mask in chunks(np.random.default_rng(2)):
        made.reserve(data, corner, len(content), mask)


def by_library(path: Path, libver: Any) -> None:
    with open(path, "wb+") as raw, h5py.File(raw, "w", libver=libver) as file:
        data = structure(file)
        for corner, content, mask in chunks(np.random.default_rng(2)):
            data.id.write_direct_chunk(corner, content, mask)


@pytest.mark.parametrize("libver", VERSIONS)
def test_same_bytes(tmp_path: Path, libver: Any) -> None:
    by_library(tmp_path / "a.h5", libver)
    path = tmp_path / "b.h5"
    parts = []
    with ChunkedFile(str(path), libver) as made:
        data = structure(made.file)
        for corner, content, mask in chunks(np.random.default_rng(2)):
            parts.append((made.reserve(data, corner, len(content), mask), content))
        write_at(str(path), parts[::-1])
    assert path.read_bytes() == (tmp_path / "a.h5").read_bytes()
    with h5py.File(path) as file:
        assert file["group/data"].id.get_num_chunks() == SHAPE[0] * SHAPE[1]
        assert file["group/data"][()].sum() > 0


@pytest.mark.parametrize("libver", VERSIONS)
@pytest.mark.parametrize("known", [0, 1, 65, 300, 630])
def test_taken_up(tmp_path: Path, libver: Any, known: int) -> None:
    """A file that was left at some chunk, and in which later ones had been written, too."""
    by_library(tmp_path / "a.h5", libver)
    path = tmp_path / "b.h5"
    every = list(chunks(np.random.default_rng(2)))
    first = ChunkedFile(str(path), libver)
    data = structure(first.file)
    places = [first.reserve(data, corner, len(c), mask) for corner, c, mask in every[: known + 200]]
    written = [(at, c) for at, (_, c, _) in zip(places, every, strict=False)]
    write_at(str(path), written[:known])
    write_at(str(path), [(at, b"\xee" * len(c)) for at, c in written[known:]])
    first.abandon()
    with ChunkedFile(str(path), libver) as again:
        data = structure(again.file)
        for (corner, content, mask), (at, _) in zip(every[:known], written, strict=False):
            assert again.reserve(data, corner, len(content), mask) == at
        for corner, content, mask in every[known:]:
            at = again.reserve(data, corner, len(content), mask)
            write_at(str(path), [(at, content)])
    assert path.read_bytes() == (tmp_path / "a.h5").read_bytes()


def test_left_by_an_error(tmp_path: Path) -> None:
    """The file can be taken up, and nothing is left open."""
    path = tmp_path / "a.h5"
    with pytest.raises(TypeError), ChunkedFile(str(path)) as made:
        structure(made.file).attrs["units"] = object()
    assert not made.file
    path.unlink()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space"), KeyboardInterrupt()])
@pytest.mark.parametrize("fails_at", [0, 1, 7, 19])
def test_errors_get_through_the_library(
    tmp_path: Path, error: BaseException, fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stops a write is raised as it is, and the library goes on for other files."""
    calls = 0

    def failing(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at + 1:
            raise error
        whole(*arguments)

    whole = write_whole
    monkeypatch.setattr("rsciio_tem.writing.hdf5_stream.write_whole", failing)
    with pytest.raises(type(error)) as caught, ChunkedFile(str(tmp_path / "a.h5")) as made:
        fill(made)
    assert caught.value is error
    assert calls > fails_at
    monkeypatch.undo()
    by_library(tmp_path / "b.h5", None)


def test_a_library_that_writes_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks whose place is not known are not written anywhere."""
    monkeypatch.setattr(_Layout, "_is_stand_in", lambda self, view: False)
    with (
        pytest.raises(RuntimeError, match="did not write a chunk at once"),
        ChunkedFile(str(tmp_path / "a.h5")) as made,
    ):
        made.reserve(structure(made.file), (0, 0, 0, 0), 100)
