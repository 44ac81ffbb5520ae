# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings on servers: what memory://, HTTP and S3 give is what a disk gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import rsciio_tem
from rsciio_tem.errors import FormatError
from samples import Sample

#: Formats, and variants of others, that are read from a disk only; part of what is said then.
_DISK_ONLY = {
    "imagefiles": "on a disk only",
    "rawimage": "",
    "zarr": "",
}


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty file system in memory."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def uploaded(sample: Sample, memory: Any, folder: str = "recordings/of today") -> Sample:
    """Copy all files of a recording into the memory; return it with its address."""
    assert sample.path is not None
    for file in sample.path.parent.rglob("*"):
        if file.is_file():
            name = file.relative_to(sample.path.parent).as_posix()
            memory.pipe_file(f"/{folder}/{name}", file.read_bytes())
    address: Any = f"memory://{folder}/{sample.path.name}"
    return dataclasses.replace(sample, path=address)


def test_equal_to_a_disk(sample: Sample, memory: Any) -> None:
    """Eagerly, lazily and reduced."""
    if sample.path is None:
        pytest.skip("an array in memory")
    there = uploaded(sample, memory)
    try:
        signal = there.read_quietly()
    except FormatError as error:
        assert "memory://" in str(error)
        raise
    np.testing.assert_array_equal(signal["data"], sample.expected)
    lazy = there.read_quietly(lazy=True)
    np.testing.assert_array_equal(lazy["data"].compute(scheduler="synchronous"), sample.expected)
