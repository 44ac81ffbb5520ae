# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces that were compressed with deflate: the same whether libdeflate is installed or not."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rsciio_tem
from rsciio_tem.errors import FormatError
from rsciio_tem.formats.npy import archive
from rsciio_tem.storage import inflate

FAST = inflate._libdeflate() is not None
CONTENT = bytes(range(256)) * 40
needs_libdeflate = pytest.mark.skipif(not FAST, reason="the package deflate is not installed")


@pytest.fixture(params=["zlib", pytest.param("libdeflate", marks=needs_libdeflate)], autouse=True)
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the package, and as if it were not there."""
    if request.param == "zlib":
        monkeypatch.setattr(inflate, "_libdeflate", lambda: None)
    return str(request.param)


def deflated(content: bytes, bare: bool) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15 if bare else 15)
    return stream.compress(content) + stream.flush()


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("content", [b"", b"a", CONTENT])
def test_whole_pieces(content: bytes, bare: bool) -> None:
    packed = deflated(content, bare)
    for limit in (len(content), len(content) + 1, 10 * len(content) + 5):
        for piece in (packed, memoryview(packed), np.frombuffer(packed, np.uint8).data):
            assert bytes(inflate.inflate(piece, limit, bare=bare)) == content
    assert bytes(inflate.inflate(packed + b"behind", len(content), bare=bare)) == content


@pytest.mark.parametrize("bare", [False, True])
def test_too_much_and_too_little(bare: bool) -> None:
    packed = deflated(CONTENT, bare)
    for limit in (0, 1, len(CONTENT) - 1):
        with pytest.raises(zlib.error, match=f"more than the {limit} bytes that are announced"):
            inflate.inflate(packed, limit, bare=bare)
    for short in (packed[:-1], packed[:30], b""):
        with pytest.raises(zlib.error, match=r"it ends early, with [0-9]+ bytes"):
            inflate.inflate(short, len(CONTENT), bare=bare)
    with pytest.raises(zlib.error):
        inflate.inflate(b"\xff" * 40, len(CONTENT), bare=bare)
    if not bare:  # its checksum
        with pytest.raises(zlib.error):
            inflate.inflate(packed[:-1] + bytes([packed[-1] ^ 1]), len(CONTENT))


def test_bombs_stay_small(installed: str) -> None:
    """A megabyte that becomes a gigabyte is no longer than what it may be."""
    import tracemalloc

    packed = deflated(bytes(64 << 20), False)
    tracemalloc.start()
    with pytest.raises(zlib.error, match="more than the 4096 bytes"):
        inflate.inflate(packed, 4096)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_checksums() -> None:
    for content in (b"", b"a", CONTENT):
        assert inflate.crc32(content) == inflate.crc32(memoryview(content)) == zlib.crc32(content)


@needs_libdeflate
@settings(max_examples=300)
@given(data=st.data(), bare=st.booleans())
def test_zlib_decides(data: st.DataObject, bare: bool) -> None:
    """Whatever is damaged in whatever way: both say the same."""
    packed = bytearray(deflated(data.draw(st.binary(max_size=300)) * 3, bare))
    for _ in range(data.draw(st.integers(0, 3))):
        if packed:
            packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    limit = data.draw(st.integers(0, 1000))
    answers = []
    with pytest.MonkeyPatch.context() as patched:
        for is_there in (True, False):
            if not is_there:
                patched.setattr(inflate, "_libdeflate", lambda: None)
            try:
                answers.append(bytes(inflate.inflate(bytes(packed), limit, bare=bare)))
            except zlib.error as error:
                answers.append(str(error))
    assert answers[0] == answers[1]


# -- arrays in .npz ------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", ">u2", "<f8"])
def test_npz(tmp_path: Path, dtype: str, order: str, installed: str) -> None:
    rng = np.random.default_rng(1)
    data = np.asarray(rng.poisson(1, (3, 4, 16, 18)).astype(dtype), order=order)
    np.savez_compressed(tmp_path / "a.npz", data=data)
    (signal,) = rsciio_tem.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(signal["data"], data)
    assert signal["data"].flags.writeable


def _inflated(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note for each array that is loaded whether it was inflated at once."""
    answers: list[bool] = []
    original = archive._inflated_at_once

    def noting(*args: object) -> object:
        content = original(*args)
        answers.append(content is not None)
        return content

    monkeypatch.setattr(archive, "_inflated_at_once", noting)
    return answers


def test_damaged_npz(tmp_path: Path, installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(1).poisson(1, (8, 8, 64, 64)).astype("u2")
    path = tmp_path / "a.npz"
    np.savez_compressed(path, data=data)
    at_once = _inflated(path, monkeypatch)
    assert (rsciio_tem.load(path)[0]["data"] == data).all()
    assert at_once == [installed == "libdeflate"]
    with zipfile.ZipFile(path) as file:
        (info,) = file.infolist()
    raw = bytearray(path.read_bytes())
    late = info.header_offset + 60 + info.compress_size * 9 // 10  # behind the array's header
    raw[late : late + 40] = b"\xaa" * 40
    path.write_bytes(raw)
    with pytest.raises(FormatError, match=r"a\.npz"):
        rsciio_tem.load(path)
    assert at_once[1:] == [False]
