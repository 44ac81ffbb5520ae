# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged files: a result or an error that names the file, soon and without much memory."""

from __future__ import annotations

import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabio.openimage  # noqa: F401  slow to import, so before the clock runs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import SPECS, Sample, Spec

import rsciio_tem
from rsciio_tem.errors import FormatError

#: Samples whose files tell what they are; several kinds of header for each format.
KINDS = [
    "mib: U16",
    "mib: RAW 24",
    "mib: RAW 1 quad",
    "mib: colour layers",
    "mib: legacy 12B",
    "mib: socket dump",
    "mib: two counters",
    "mib: ten frames",
    "npy: C order",
    "npy: Fortran order",
    "npy: version 2",
    "npy: npz",
    "npy: npz, deflated",
    "raw: described by TOML",
    "raw: described by YAML",
    "raw_csr: scan",
    "framecache: npz",
    "framecache: npz, stored",
    "framecache: yml",
    "dm: DM4, frame after frame",
    "dm: pixel after pixel",
    "dm: DM3, frame after frame",
    "imagefiles: limits",
    "rawimage: skip and gap",
    "seq: 16 bit",
    "frms6: not binned",
    "frms6: frames not counted",
    "frms6: windows that differ",
    "frms6: opened through the .hdr",
    "seq: halves, four frames per buffer",
    "ser: map of images",
    "ser: map of spectra",
    "ser: old version",
    "mrc: mode 6",
    "mrc: big-endian, mode 3",
    "mrc: volumes",
]
SECONDS, MEMORY = 5, 64 << 20
#: Bytes that mean something to parsers.
TOKENS = [
    *(b"0", b"9", b"99999", b"-1", b"00000", b"1e999", b"nan", b",", b"\0", b" ", b"\xb2", b"\xff"),
    *(b"MQ1", b"MPX,", b"HDR", b"R64", b"U08", b"U01", b"U64", b"2x2", b"Nx1", b"MQ1A", b"04,"),
    *(b"12B", b"24B", b"True", b"(", b"{", b"'<f8'", b"'|O'", b"'<u1'", b"PK\1\2", b"[", b"]"),
    *(b"!!int", b"params", b"\n", b"1979-99-99", b"nav_shape", b"dtype", b"0x", b"1" + b"0" * 20),
]  # fmt: skip

#: What is done to a file: cut it, overwrite, insert or remove bytes. Places lie mostly in headers.
place = st.integers(0, 450) | st.integers(0, 2**20)
change = st.one_of(
    st.tuples(st.just("cut"), place, st.just(b"")),
    st.tuples(st.just("write"), place, st.binary(min_size=1, max_size=8) | st.sampled_from(TOKENS)),
    st.tuples(st.just("write"), place, st.sampled_from(TOKENS)),
    st.tuples(st.just("insert"), place, st.sampled_from(TOKENS)),
    st.tuples(st.just("remove"), place, st.binary(max_size=30)),
    st.tuples(st.just("field"), st.integers(0, 60), st.sampled_from(TOKENS)),
)


def changed(content: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for what, at, text in changes:
        at = at % (len(content) + 1)
        if what == "cut":
            content = content[:at]
        elif what == "write":
            content = content[:at] + text + content[at + len(text) :]
        elif what == "insert":
            content = content[:at] + text + content[at:]
        elif what == "remove":
            content = content[:at] + content[at + len(text) :]
        else:  # replace the text between two separators of the header
            parts = content[:1000].split(b",")
            parts[at % len(parts)] = text
            content = b",".join(parts) + content[1000:]
    return content


def parameters() -> list[Any]:
    known = {str(spec): spec for spec in SPECS}
    return [pytest.param(known[kind], id=kind) for kind in KINDS]


class Victim:
    """A recording, and the file of it that is damaged."""

    def __init__(self, path: Path) -> None:
        self.folder, self.path, self.content = path.parent, path, path.read_bytes()


@pytest.fixture(scope="module", params=parameters())
def victim(
    request: pytest.FixtureRequest,
    sample_of: Callable[[Spec], Sample],
    tmp_path_factory: pytest.TempPathFactory,
) -> Victim:
    moved = sample_of(request.param).moved(tmp_path_factory.mktemp("fuzz") / "scan")
    assert moved.path is not None
    path = moved.path
    if "described by" in request.param.variant:  # the side file is the header
        (path,) = (p for p in path.parent.iterdir() if p.suffix in (".toml", ".yaml"))
    return Victim(path)


def survives(folder: Path, what: Callable[[], Any]) -> None:
    """Run something; only the errors that were announced may come, and soon."""
    message = str(folder)
    started = time.perf_counter()
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            what()
    except FormatError as error:
        message = str(error)
    except MemoryError:
        pytest.fail("asked for more memory than there is")
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert str(folder) in message, "the error names no file"
    assert time.perf_counter() - started < SECONDS
    assert peak < MEMORY


@settings(
    max_examples=70, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(change, min_size=1, max_size=3))
def test_damaged(victim: Victim, changes: list[tuple[str, int, bytes]]) -> None:
    folder, path, content = victim.folder, victim.path, victim.content
    path.write_bytes(changed(content, changes))

    def read(lazy: bool) -> Any:
        format = next(
            (c.format for c in rsciio_tem.detect(path) if c.confidence >= 0.5),
            {".mib": "mib", ".npy": "npy", ".npz": "npy"}.get(path.suffix, "raw"),
        )
        signal, *_ = rsciio_tem.load(path, format, lazy=lazy)
        if "rsciio_tem" not in signal["original_metadata"]:
            return  # text or records in a .npy: given to RosettaSciIO
        assert signal["data"].shape == tuple(axis["size"] for axis in signal["axes"])
        if lazy:
            signal["data"][(0,) * (signal["data"].ndim - 1)].compute(scheduler="sync")
        elif signal["data"].nbytes > 4 * len(content) + MEMORY // 2:
            pytest.fail("more pixels than the file holds")

    survives(folder, lambda: rsciio_tem.detect(path))
    survives(folder, lambda: read(lazy=True))
    survives(folder, lambda: read(lazy=False))


STARTS = [
    *(b"", b"MQ1,000001,00384,01,", b"12B,000001,0,", b"MPX,0000002049,HDR,", b"PK\3\4"),
    *(b"\x93NUMPY\1\0", b"\x93NUMPY\2\0"),
    *(b"image-files: {files: ", b"filename: a\nshape: 2 2\nscalar: {type: "),
    *(b"params:\n  filetype: raw\n  ", b"[params]\nfiletype='raw'\n"),
]


@settings(max_examples=200, deadline=None)
@given(
    head=st.binary(max_size=200),
    start=st.sampled_from(STARTS),
    suffix=st.sampled_from(["mib", "npy", "npz", "raw", "toml", "yaml", "hdr", "bin", ""]),
)
def test_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, head: bytes, start: bytes, suffix: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    path = folder / f"file.{suffix}"
    try:
        path.write_bytes(start + head)
        found = rsciio_tem.detect(path)  # never raises
        assert all(0 < candidate.confidence <= 1 for candidate in found)
        for name in rsciio_tem.registry.FORMATS:
            survives(folder, lambda n=name: rsciio_tem.open(path, n))
            survives(folder, lambda n=name: rsciio_tem.load(path, n))
    finally:
        path.unlink()


def test_undamaged(victim: Victim) -> None:
    """The files are good before they are damaged."""
    path = victim.path
    path.write_bytes(victim.content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (signal,) = rsciio_tem.load(path)
    assert np.asarray(signal["data"]).any()


def test_every_sniffable_format_is_damaged() -> None:
    assert {kind.split(":")[0] for kind in KINDS} >= {"mib", "npy", "raw"}
