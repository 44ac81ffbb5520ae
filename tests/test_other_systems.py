# SPDX-License-Identifier: GPL-3.0-or-later
"""What Windows and macOS do differently, as far as it can be had on one system."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from writers import mib as mib_writer

import rsciio_tem
from rsciio_tem.cli import main, words
from rsciio_tem.storage import backends, files

FRAMES = np.arange(12 * 16 * 256, dtype=np.uint16).reshape(12, 16, 256) % 4096


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    mib_writer.write_mib(tmp_path / "scan.mib", FRAMES, 12)
    return tmp_path / "scan.mib"


# ---------------------------------------------------------------- consoles


@pytest.mark.parametrize("encoding", ["cp437", "cp850", "cp866", "cp932", "cp1252", "ascii"])
def test_consoles_of_other_code_pages(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is an error, and nothing that tells a number is lost."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, write_through=True))
    words.escaping()
    print("Frames 256 × 256 px, 950 µs, 0.5 Å⁻¹, 3 → 4, naïve 走 \udcff")
    actual = sys.stdout.encoding
    text = raw.getvalue().decode(actual)
    if encoding == "ascii":  # not set up: UTF-8
        assert text.startswith("Frames 256 × 256 px, 950 µs, 0.5 Å⁻¹, 3 → 4, naïve 走")
        return
    text = (
        text.replace("×", "x")
        .replace("µ", "u")
        .replace("Å", "A")
        .replace("→", "->")
        .replace("¹", "1")
    )
    assert text.startswith("Frames 256 x 256 px, 950 us, 0.5 A^-1, 3 -> 4, na")
    assert text.endswith("\\udcff" + os.linesep)


def test_commands_are_quoted_for_the_shell_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert words.quoted("my scan.mib") == "'my scan.mib'" or os.name == "nt"
    monkeypatch.setattr(words.os, "name", "nt")
    assert words.quoted("my scan.mib") == '"my scan.mib"'
    assert words.quoted("scan.mib") == "scan.mib"


def test_paths_in_printed_calls_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    r"""A folder called ``new`` after a backslash is no line break."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["demo", "a\\new folder", "--size", "4,3"])
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith(">>> ")]
    call = line.removeprefix(">>> ")
    shown: dict[str, Any] = {}
    loads: list[str] = []
    shown["hs"] = shown["rsciio_tem"] = type(
        "Module", (), {"load": staticmethod(lambda path, **_: loads.append(path) or [{"data": 0}])}
    )
    eval(call, shown)
    assert Path(loads[0]).exists()


# ---------------------------------------------------------------- files that are open


class Windows:
    """Renames files as Windows does: not those that are open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refusals: int) -> None:
        self.refusals, self.pauses, self.closed = refusals, [], 0
        close_all = files.close_all
        for name in ("replace", "rename"):
            monkeypatch.setattr(files.os, name, self.refusing(getattr(os, name)))
        monkeypatch.setattr(files, "_PAUSES", (0.0, 0.25, 0.5))
        monkeypatch.setattr(files.time, "sleep", self.pauses.append)

        def close() -> None:
            self.closed += 1
            close_all()

        monkeypatch.setattr(files, "close_all", close)

    def refusing(self, function: Any) -> Any:
        def rename(source: Any, target: Any) -> None:
            if self.refusals:
                self.refusals -= 1
                raise PermissionError(13, "The process cannot access the file", str(target))
            function(source, target)

        return rename


@pytest.mark.parametrize("refusals", [1, 3])
def test_a_target_that_is_open_for_a_moment(
    recording: Path, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    target = recording.with_name("scan.npy")
    rsciio_tem.convert(recording, target, progress=False)
    rsciio_tem.load(target, lazy=True)[0]["data"][0].compute()  # we keep it open
    monkeypatch_windows = Windows(monkeypatch, refusals)
    rsciio_tem.convert(recording, target, overwrite=True, progress=False)
    assert monkeypatch_windows.closed == refusals
    assert monkeypatch_windows.pauses == [0.0, 0.25, 0.5][:refusals]
    np.testing.assert_array_equal(np.load(target).reshape(FRAMES.shape), FRAMES[:, ::-1])


def test_a_target_that_stays_open(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = recording.with_name("scan.npy")
    target.write_bytes(b"precious")
    Windows(monkeypatch, 1000)
    with pytest.raises(PermissionError) as caught:
        rsciio_tem.convert(recording, target, overwrite=True, progress=False)
    assert "may be open in another program" in "".join(caught.value.__notes__)
    assert target.read_bytes() == b"precious"


def test_side_files_that_are_open_for_a_moment(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Windows(monkeypatch, 2)
    with files.replacing(recording.with_name("report.json")) as temporary:
        Path(temporary).write_text("{}")
    assert recording.with_name("report.json").read_text() == "{}"


def test_files_are_closed_before_they_are_replaced(recording: Path) -> None:
    """What is only kept open, for the next frame, is let go of."""
    lazy = rsciio_tem.load(recording, lazy=True)[0]["data"]
    first = lazy[0].compute()
    assert backends._handles
    backends.close_all()
    assert not backends._handles
    np.testing.assert_array_equal(lazy[0].compute(), first)


# ---------------------------------------------------------------- long names


@pytest.mark.parametrize("length", [200, 235, 240])
def test_long_names(recording: Path, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks take 255 bytes; what is made beside a recording is called after it."""
    if sys.platform == "win32":
        pytest.skip("a path has 260 characters there, of which the folder takes some")
    folder = recording.parent
    monkeypatch.chdir(folder)
    name = "n" * (length - 4) + ".mib"
    recording.rename(folder / name)
    runner = CliRunner()
    for command in (
        ["info", name],
        ["check", name],
        ["preview", name],
        ["inspect", name, "--no-open"],
        ["convert", name, name.replace(".mib", ".npy")],
        ["convert", name, name.replace(".mib", ".raw")],
    ):
        result = runner.invoke(main, command)
        assert result.exit_code == 0, (command[0], result.output[-300:])
    result = runner.invoke(main, ["annotate", name, "--scan-step", "0.5nm", "--scan", "stack"])
    if length < 240:
        assert result.exit_code == 0
        assert (folder / f"{name}.rsciio-tem.toml").exists()
    else:  # the one name that is too long by now
        assert result.exit_code == 2
        assert f"{name}.rsciio-tem.toml: File name too long" in result.output.replace("\n", "")
    assert not [entry for entry in os.listdir(folder) if entry.endswith((".part", ".partial"))]


# ---------------------------------------------------------------- addresses


def test_addresses_have_slashes_on_every_system(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`os.path.join` would put the backslash of Windows into them."""
    fsspec = pytest.importorskip("fsspec")
    times, exposures = mib_writer.scan_times((3, 4), jitter_ns=0)
    mib_writer.write_mib(
        recording, FRAMES, 12, times_ns=times, exposures_ns=exposures, hdr={"frames": 12}
    )
    memory = fsspec.filesystem("memory")
    for path in (recording, recording.with_suffix(".hdr")):
        memory.pipe_file(f"/windows/{path.name}", path.read_bytes())
    join = os.path.join

    def joined_as_there(folder: Any, *names: Any) -> Any:
        return (
            join(folder, *names).replace("/", "\\")
            if "://" in str(folder)
            else join(folder, *names)
        )

    monkeypatch.setattr(os.path, "join", joined_as_there)
    try:
        described = rsciio_tem.open("memory://windows/scan.mib")
        assert described.files == ("memory://windows/scan.mib", "memory://windows/scan.hdr")
        signal = rsciio_tem.load("memory://windows/scan.mib")[0]
        np.testing.assert_array_equal(signal["data"].reshape(FRAMES.shape), FRAMES[:, ::-1])
    finally:
        memory.rm("/windows", recursive=True)
