# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives: many recordings by one call, each once, none passed over; and comparing two."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from writers import blo as blo_writer
from writers import mib as mib_writer
from writers import npy as npy_writer
from writers import raw as raw_writer

import rsciio_tem
from rsciio_tem import cli
from rsciio_tem.errors import FormatError, collected, warn
from rsciio_tem.storage.machine import Threads
from rsciio_tem.tools import archive
from rsciio_tem.tools.compare import compare
from rsciio_tem.tools.recordings import recordings_below

RNG = np.random.default_rng(11)


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.main, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def convert(*arguments: object, code: int = 0) -> Result:
    return run("convert", *arguments, "--quiet", code=code)


def scan(path: Path, shape: tuple[int, int] = (3, 4), stored: int | None = None) -> Path:
    """Write a scan of a Merlin camera whose .hdr says its shape; perhaps it was interrupted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = shape[0] * shape[1]
    frames = RNG.integers(1, 999, (count if stored is None else stored, 8, 16)).astype("u2")
    mib_writer.write_mib(path, frames, 12)
    header = mib_writer.hdr_text(count, scan_x=shape[1], scan_y=shape[0], software="1.5.0")
    path.with_suffix(".hdr").write_bytes(header)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings, one of them below, and a picture."""
    scan(tmp_path / "data" / "a.mib")
    scan(tmp_path / "data" / "b.mib")
    scan(tmp_path / "data" / "day 2" / "a.mib")
    (tmp_path / "data" / "sheet.png").write_bytes(b"\x89PNG")
    return tmp_path / "data"


def verdicts(path: Path) -> dict[str, str]:
    """What a report says, by the names of the sources."""
    rows = json.loads(path.read_bytes())["recordings"]
    names = (os.path.join(*Path(row["path"]).parts[-2:]) for row in rows)
    return {n.removeprefix("data" + os.sep): r["verdict"] for n, r in zip(names, rows, strict=True)}


# ---------------------------------------------------------------- conversions


def test_a_folder_is_converted_and_the_second_time_passed_over(folder: Path) -> None:
    out, report = folder.parent / "out", folder.parent / "report.json"
    asked = (folder, "--to", "h5", "--into", out, "--report", report, "--skip-existing")
    text = convert(*asked, "-j", "2").stdout
    assert "3 recordings: 3 converted" in text
    names = ("a", "b", "day 2/a")
    for name in names:
        assert (
            rsciio_tem.compare(folder / f"{name}.mib", out / f"{name}.h5", parts=["pixels"]) == []
        )
    assert sorted(p.name for p in out.iterdir()) == ["a.h5", "b.h5", "conversions.jsonl", "day 2"]
    row = json.loads(report.read_bytes())["recordings"][0]
    assert row["path"] == str(folder / "a.mib")
    assert row["target"] == str(out / "a.h5")
    assert row["frames"] == {"stored": 12, "shape": [8, 16], "dtype": "uint16"}
    assert row["scan"]["navigation_shape"] == [4, 3]
    assert row["scan"]["rule"] == "header"
    assert row["bytes"] == (out / "a.h5").stat().st_size
    before = {name: (out / f"{name}.h5").stat().st_mtime_ns for name in names}
    text = convert(*asked).stdout
    assert "3 recordings: 3 skipped" in text
    assert {name: (out / f"{name}.h5").stat().st_mtime_ns for name in names} == before
    row = json.loads(report.read_bytes())["recordings"][0]
    assert (row["verdict"], row["scan"]["navigation_shape"]) == ("skipped", [4, 3])


def test_a_target_that_is_something_else_is_never_passed_over(folder: Path) -> None:
    out, report = folder.parent / "out", folder.parent / "r.json"
    asked = (folder, "--to", "npy", "--into", out, "--report", report, "--skip-existing")
    convert(*asked)
    scan(folder / "a.mib")  # other frames, as many bytes
    with open(out / "b.npy", "r+b") as file:  # a bad disk
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    result = convert(*asked, code=2)
    assert list(verdicts(report).values()) == ["failed", "failed", "skipped"]
    assert "the recording has changed since" in result.stderr
    assert "b.npy: exists already, and is not what b.mib would be converted to: it has changed" in (
        result.stderr
    )
    result = convert(*asked, "--navigation-shape", "3,4", code=2)
    assert result.stderr.count("it was made with other options") == 2
    convert(*asked, "--overwrite")
    assert compare(folder / "a.mib", out / "a.npy", parts=["pixels"]) == []
    assert compare(folder / "b.mib", out / "b.npy", parts=["pixels"]) == []
    convert(folder, "--to", "npy", "--into", out, code=2)  # without --skip-existing


def test_without_a_record_targets_are_compared(folder: Path) -> None:
    out, report = folder.parent / "out", folder.parent / "r.json"
    asked = (folder, "--to", "npy", "--into", out, "--report", report, "--skip-existing")
    convert(*asked)
    (out / "conversions.jsonl").write_text('{"torn')
    np.save(out / "b.npy", np.load(out / "b.npy") + np.uint16(1))
    result = convert(*asked, code=2)
    assert list(verdicts(report).values()) == ["skipped", "failed", "skipped"]
    assert "nothing says what it was made from, and pixels differ in 12 of 12" in result.stderr
    lines = (out / "conversions.jsonl").read_text().splitlines()
    assert [json.loads(line)["target"] for line in lines[1:]] == ["a.npy", "day 2/a.npy"]


def test_verified_is_more_than_converted(folder: Path) -> None:
    out, report = folder.parent / "out", folder.parent / "r.json"
    asked = (folder, "--to", "npy", "--into", out, "--report", report, "--skip-existing")
    convert(*asked)
    assert "it was not verified" in convert(*asked, "--verify", code=2).stderr
    convert(*asked, "--verify", "--overwrite")
    convert(*asked, "--verify")
    assert set(verdicts(report).values()) == {"skipped"}


def test_doubts_are_those_of_each_recording(tmp_path: Path) -> None:
    """At once or one after the other: a warning belongs to the recording it is about."""
    for i in range(8):
        scan(tmp_path / "data" / f"r{i}.mib", stored=None if i % 2 else 10)
    out, report = tmp_path / "out", tmp_path / "r.json"
    convert(tmp_path / "data", "--to", "h5", "--into", out, "-j", 4, "--report", report, code=1)
    rows = json.loads(report.read_bytes())["recordings"]
    for i, row in enumerate(rows):
        assert row["verdict"] == ("converted" if i % 2 else "converted with warnings")
        assert bool(row["problems"]) == (i % 2 == 0)
        assert all("12 frames" in p["message"] for p in row["problems"][:1])
    strict = tmp_path / "strict"
    asked = (tmp_path / "data", "--to", "h5", "--into", strict, "--strict", "--report", report)
    result = convert(*asked, code=2)
    assert "Nothing was written" in result.stderr
    assert sorted(p.name for p in strict.glob("*.h5")) == ["r1.h5", "r3.h5", "r5.h5", "r7.h5"]


def test_what_fails_does_not_end_the_rest(folder: Path) -> None:
    (folder / "destroyed.mib").write_bytes(bytes(5000))
    (folder / "empty.blo").write_bytes(b"")
    (folder / "pixels.raw").write_bytes(b"\1" * 5000)
    out, report = folder.parent / "out", folder.parent / "r.json"
    convert(folder, "--to", "raw", "--into", out, "--report", report, code=2)
    assert verdicts(report) == {
        "a.mib": "converted",
        "b.mib": "converted",
        os.path.join("day 2", "a.mib"): "converted",
        "destroyed.mib": "failed",
        "empty.blo": "failed",
        "pixels.raw": "not converted",
    }
    described = ("--dtype", "u1", "--sig-shape", "50,100", "--report", report)
    convert(folder / "pixels.raw", "--to", "npy", "--into", out, *described)
    assert np.load(out / "pixels.npy").shape == (50, 100)


def test_targets_of_the_same_name(tmp_path: Path) -> None:
    scan(tmp_path / "data" / "scan.mib")
    images = RNG.integers(0, 99, (2, 3, 8, 8)).astype("u1")
    blo_writer.write_blo(tmp_path / "data" / "scan.blo", images)
    npy_writer.write_npy(tmp_path / "data" / "other.npy", images)
    convert(tmp_path / "data", "--to", "h5", "--into", tmp_path / "out")
    targets = sorted(p.name for p in (tmp_path / "out").glob("*.h5"))
    assert targets == ["other.h5", "scan.blo.h5", "scan.mib.h5"]


def test_several_sources_keep_their_folders(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "more")
    out = folder.parent / "out"
    convert(folder / "day 2", folder.parent / "more", "--to", "npy", "--into", out)
    targets = sorted(str(p.relative_to(out)) for p in out.rglob("*.npy"))
    expected = ["data/day 2/a.npy", "more/a.npy", "more/b.npy", "more/day 2/a.npy"]
    assert targets == [name.replace("/", os.sep) for name in expected]


def test_a_set_of_files_is_one_recording(tmp_path: Path) -> None:
    frames = RNG.integers(0, 99, (12, 8, 16)).astype("u2")
    paths = [tmp_path / f"s_{i}.mib" for i in range(3)]
    times, _ = mib_writer.scan_times((3, 4), jitter_ns=0)
    for i, path in enumerate(paths):
        part = slice(4 * i, 4 * i + 4)
        mib_writer.write_mib(path, frames[part], 12, first_sequence=4 * i + 1, times_ns=times[part])
    convert(*paths, "--to", "npy", "--into", tmp_path / "out")
    (target,) = (tmp_path / "out").glob("*.npy")
    assert np.load(target).size == frames.size


def test_targets_are_no_sources(folder: Path) -> None:
    """The folder of the targets may lie in that of the recordings, and hold what is left."""
    out = folder / "converted"
    convert(folder, "--to", "h5", "--into", out)
    text = convert(folder, "--to", "h5", "--into", out, "--skip-existing").stdout
    assert "3 recordings: 3 skipped" in text


def test_unfinished_conversions_are_told(folder: Path) -> None:
    partial = folder / "c.h5.partial"
    partial.mkdir()
    (partial / "lock").write_bytes(b"rsciio_tem works in this folder\n[]\n")
    (item,) = (i for i in recordings_below(folder).items if i.problem is not None)
    assert item.path == str(partial)
    assert "unfinished conversion" in item.problem.message  # type: ignore[union-attr]
    assert "c.h5.partial: not checked" in run("check", folder, code=1).stdout


def test_arguments_that_make_no_sense_together(folder: Path) -> None:
    assert "--to FORMAT" in convert(folder, "--into", folder / "out", code=2).stderr
    assert "--into FOLDER" in convert(folder / "a.mib", folder, code=2).stderr
    assert "several sources" in convert(folder / "a.mib", code=2).stderr
    assert "with --into" in convert(folder / "a.mib", "x.h5", "--skip-existing", code=2).stderr
    (folder.parent / "empty").mkdir()
    asked = ("--to", "h5", "--into", folder.parent / "out")
    assert "no recording" in convert(folder.parent / "empty", *asked, code=2).stderr
    assert (
        "'dm3' is not a format that can be written"
        in convert(folder, "--to", "dm3", "--into", "x", code=2).stderr
    )


def test_stopping_lets_conversions_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after the first: the others end where they can be gone on with; exit status 130."""
    for i in range(4):
        scan(tmp_path / "data" / f"r{i}.mib")
    out, report = tmp_path / "out", tmp_path / "r.csv"
    whole = archive.convert_checked

    def stopped_behind_the_first(source: str, *rest: Any, **more: Any) -> Any:
        row = whole(source, *rest, **more)
        if source.endswith("r1.mib"):
            raise KeyboardInterrupt
        return row

    monkeypatch.setattr(archive, "convert_checked", stopped_behind_the_first)
    asked = (tmp_path / "data", "--to", "h5", "--into", out, "--report", report)
    result = convert(*asked, code=130)
    assert "Traceback" not in result.output
    with open(report, newline="", encoding="utf-8") as file:
        rows = {os.path.basename(row["path"]): row["verdict"] for row in csv.DictReader(file)}
    assert rows["r0.mib"] == "converted"
    assert set(rows.values()) <= {"converted", "stopped"}
    monkeypatch.undo()
    convert(*asked, "--skip-existing")
    assert len(list(out.glob("*.h5"))) == 4


def arrays(folder: Path, *names: str) -> None:
    """Write arrays that differ."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        np.save(folder / name, RNG.integers(0, 9999, (3, 4, 6, 8)).astype("u2"))


def test_no_two_recordings_get_the_same_target(tmp_path: Path) -> None:
    scan(tmp_path / "data" / "scan.mib")
    arrays(tmp_path / "data", "scan.npy", "scan.mib.npy")  # scan.mib.h5 could be of two
    convert(tmp_path / "data", "--to", "h5", "--into", tmp_path / "out", "--overwrite", "-j", 3)
    targets = sorted(p.name for p in (tmp_path / "out").glob("*.h5"))
    assert targets == ["scan.mib.h5", "scan.mib.npy.h5", "scan.npy.h5"]
    for target in targets:
        source = tmp_path / "data" / target.removesuffix(".h5")
        assert compare(source, tmp_path / "out" / target, parts=["pixels"]) == []


def test_no_two_series_get_the_same_names(tmp_path: Path) -> None:
    arrays(tmp_path / "data", "a.npy", "a_000.npy")
    asked = (tmp_path / "data", "--to", "tvips", "--into", tmp_path / "out")
    convert(*asked, "-O", "max_file_size=300000")
    targets = sorted(p.name for p in (tmp_path / "out").glob("*.tvips"))
    assert targets == ["a.npy_000.tvips", "a_000.npy_000.tvips"]


def test_numbers_at_the_end_of_names_stay(tmp_path: Path) -> None:
    """A series NAME_001_000.tvips, … is not a part of one that is called NAME_000.tvips, …"""
    names = ("a_000", "a_001", "a_002", "b_7", "c12")
    arrays(tmp_path / "data", *(f"{name}.npy" for name in names))
    asked = (tmp_path / "data", "--to", "tvips", "--into", tmp_path / "out")
    convert(*asked, "-O", "max_file_size=2000")  # several files each
    firsts = ["a_000", "a_001_000", "a_002_000", "b_7_000", "c12_000"]
    for name, first in zip(names, firsts, strict=True):
        source, target = tmp_path / "data" / f"{name}.npy", tmp_path / "out" / f"{first}.tvips"
        assert compare(source, target, parts=["pixels"]) == []
    for _ in range(2):
        done = convert(*asked, "-O", "max_file_size=2000", "--skip-existing").stdout
        assert "5 recordings: 5 skipped" in done
        (tmp_path / "out" / "conversions.jsonl").unlink()


def test_targets_do_not_lie_in_each_other(tmp_path: Path) -> None:
    arrays(tmp_path / "data", "k.npy")
    arrays(tmp_path / "data" / "k.zarr.d", "x.npy")
    (tmp_path / "data" / "k.zarr.d").rename(tmp_path / "data" / "k")
    convert(tmp_path / "data", "--to", "zarr", "--into", tmp_path / "out")
    (tmp_path / "data" / "k").rename(tmp_path / "data" / "k.zarr")
    result = convert(tmp_path / "data", "--to", "zarr", "--into", tmp_path / "more", code=2)
    assert "k.zarr" in result.stderr
    # a store with another one in it is not replaced
    shutil.copytree(tmp_path / "out" / "k", tmp_path / "out" / "k.zarr" / "k")
    (tmp_path / "one").mkdir()
    shutil.move(tmp_path / "data" / "k.npy", tmp_path / "one")
    asked = (tmp_path / "one", "--to", "zarr", "--into", tmp_path / "out", "--overwrite")
    assert "a store of its own" in convert(*asked, code=2).stderr
    assert (tmp_path / "out" / "k.zarr" / "k" / "x.zarr").is_dir()


def test_what_a_virtual_data_set_is_made_of_is_not_replaced(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 99, (2, 4, 8, 8)).astype("u2")
    (tmp_path / "out").mkdir()
    layout = h5py.VirtualLayout((4, 4, 8, 8), "u2")
    for i, name in enumerate(("a", "b")):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["data"] = pixels + i
        with h5py.File(tmp_path / f"link_{name}.h5", "w") as file:
            file["there"] = h5py.ExternalLink(f"{name}.h5", "/data")
        layout[2 * i : 2 * i + 2] = h5py.VirtualSource(f"link_{name}.h5", "there", pixels.shape)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    files = {os.path.basename(name) for name in rsciio_tem.open(tmp_path / "scan.h5").files}
    assert files == {"scan.h5", "a.h5", "b.h5", "link_a.h5", "link_b.h5"}
    for name in ("b.h5", "link_a.h5"):
        before = (tmp_path / name).read_bytes()
        convert(tmp_path / "scan.h5", tmp_path / name, "--overwrite", code=2)
        assert (tmp_path / name).read_bytes() == before
    asked = (tmp_path / "scan.h5", "--to", "npy", "--into", tmp_path / "out", "--skip-existing")
    convert(*asked)
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["data"][0, 0] = 7
    assert "the recording has changed" in convert(*asked, code=2).stderr


def test_records_belong_to_their_folder(tmp_path: Path) -> None:
    """A copied folder is judged by what lies in it; a moved one stays what it is."""
    arrays(tmp_path / "here" / "data", "a.npy", "b.npy")
    asked = ("--to", "h5", "--into")
    convert(tmp_path / "here" / "data", *asked, tmp_path / "here" / "out")
    shutil.copytree(tmp_path / "here" / "out", tmp_path / "here" / "copy")
    (tmp_path / "here" / "copy" / "b.h5").unlink()
    with open(tmp_path / "here" / "copy" / "a.h5", "r+b") as file:
        file.write(b"damage")
    copy = (tmp_path / "here" / "data", *asked, tmp_path / "here" / "copy", "--skip-existing")
    result = convert(*copy, code=2)
    assert "a.h5: exists already" in result.stderr
    assert (tmp_path / "here" / "copy" / "b.h5").exists()
    (tmp_path / "here").rename(tmp_path / "there")
    there = tmp_path / "there"
    text = convert(there / "data", *asked, there / "out", "--skip-existing").stdout
    assert "2 recordings: 2 skipped" in text


def test_a_link_to_the_recording_is_no_target(tmp_path: Path) -> None:
    arrays(tmp_path / "data", "a.npy")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.npy").symlink_to(tmp_path / "data" / "a.npy")
    asked = (tmp_path / "data", "--to", "npy", "--into", tmp_path / "out", "--skip-existing")
    for more in ((), ("--overwrite", "--verify")):
        assert "is the recording that is being read" in convert(*asked, *more, code=2).stderr


def test_without_a_record_shapes_types_and_doubts_count(tmp_path: Path) -> None:
    path = scan(tmp_path / "data" / "a.mib")
    out = tmp_path / "out"
    out.mkdir()
    asked = (tmp_path / "data", "--to", "npy", "--into", out, "--skip-existing")
    convert(path, out / "a.npy", "--navigation-shape", "6,2")
    assert "differ in the shape of the scan" in convert(*asked, code=2).stderr
    convert(path, out / "a.npy", "-O", "dtype=uint32", "--overwrite")
    assert "differ in the type of numbers" in convert(*asked, code=2).stderr
    scan(tmp_path / "data" / "a.mib", stored=11)
    convert(path, out / "a.npy", "--overwrite", code=1)
    report = tmp_path / "r.json"
    text = convert(*asked, "--report", report).stdout
    assert "1 of those skipped had warnings" in text
    assert json.loads(report.read_bytes())["recordings"][0]["problems"]
    assert "a check gave warnings" in convert(*asked, "--strict", code=2).stderr


def test_frames_behind_a_given_shape_are_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RNG.integers(0, 99, (14, 6, 8)).astype("u2"))
    asked = (tmp_path / "a.npy", tmp_path / "a.h5", "--navigation-shape", "4,3")
    result = convert(*asked, code=1)
    assert "2 frames" in result.stderr
    convert(*asked, "--strict", "--overwrite", code=2)
    convert(*asked, "--last-frame", "12", "--overwrite")  # as asked


def test_the_folder_of_the_recordings_is_no_target(tmp_path: Path) -> None:
    arrays(tmp_path / "data", "a.npy")
    asked = (tmp_path / "data", "--to", "h5", "--into")
    assert "again and again" in convert(*asked, tmp_path / "data", code=2).stderr
    convert(tmp_path / "data" / "a.npy", tmp_path / "data" / "s.zarr")
    result = convert(*asked, tmp_path / "data" / "s.zarr" / "out", code=2)
    assert "is in the recording" in result.stderr
    assert not (tmp_path / "data" / "s.zarr" / "out").exists()
    assert "does not exist" in convert("nothing", *asked[1:], tmp_path / "out", code=2).stderr


def test_records_of_somebody_else(tmp_path: Path) -> None:
    arrays(tmp_path / "data", "a.npy")
    asked = (tmp_path / "data", "--to", ".H5", "--into", tmp_path / "out", "--skip-existing")
    records = tmp_path / "out" / "conversions.jsonl"
    records.parent.mkdir()
    records.write_text("shopping list\n")
    assert "no records of conversions" in convert(*asked, code=2).stderr
    assert records.read_text() == "shopping list\n"
    (tmp_path / "note.txt").write_text("note")
    records.unlink()
    records.symlink_to(tmp_path / "note.txt")
    assert "not a file with records" in convert(*asked, code=2).stderr
    records.unlink()
    records.write_text('{"target": "a.h5", "row": {}, "source": [], "options": 1}\n')
    convert(*asked)  # a line that is none counts as none
    assert len(records.read_text().splitlines()) == 2


# ---------------------------------------------------------------- checksums and reports


def test_checksums(folder: Path) -> None:
    out = folder.parent / "out"
    convert(folder, "--to", "h5", "--into", out, "--checksums")
    sums = {}
    for line in (out / "SHA256SUMS").read_bytes().splitlines():
        value, name = line.decode().split("  ", 1)
        sums[(out / name).resolve()] = value
    sources = [p for p in folder.rglob("*") if p.suffix in (".mib", ".hdr")]
    assert sums == {p.resolve(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sources}
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=out, check=True)
    (signal,) = rsciio_tem.load(out / "a.h5")
    stored = signal["original_metadata"]["converted_from"]["sha256"]
    assert stored == {n: sums[(folder / n).resolve()] for n in ("a.mib", "a.hdr")}
    asked = (folder, "--to", "h5", "--into", out, "--skip-existing")
    assert "3 skipped" in convert(*asked, "--checksums").stdout
    assert "3 skipped" in convert(*asked).stdout


@pytest.mark.parametrize("record", [True, False])
def test_checksums_of_what_is_passed_over(folder: Path, record: bool) -> None:
    """They are made later; the target, which is what it should be, stays as it is."""
    out = folder.parent / "out"
    asked = (folder, "--to", "h5", "--into", out, "--skip-existing")
    convert(*asked)
    if not record:
        (out / "conversions.jsonl").unlink()
    before = (out / "a.h5").read_bytes()
    for _ in range(2):
        assert "3 recordings: 3 skipped" in convert(*asked, "--checksums").stdout
        assert (out / "a.h5").read_bytes() == before
        lines = (out / "SHA256SUMS").read_text().splitlines()
        assert (
            f"{hashlib.sha256((folder / 'a.mib').read_bytes()).hexdigest()}  ../data/a.mib" in lines
        )
    records = [json.loads(line) for line in (out / "conversions.jsonl").read_text().splitlines()]
    assert records[-1]["row"]["checksums"]
    np.save(folder / "a.npy", np.zeros((3, 8, 16), "u2"))
    (out / "conversions.jsonl").unlink()
    (out / "b.h5").unlink()
    shutil.copy(out / "a.h5", out / "b.h5")
    assert "pixels differ" in convert(*asked, "--checksums", code=2).stderr


def test_checksums_from_another_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is passed over is listed where it is, wherever the command is called."""
    monkeypatch.chdir(folder.parent)
    asked = ("--to", "h5", "--into")
    convert("data", *asked, "out", "--checksums")
    listed = (folder.parent / "out" / "SHA256SUMS").read_bytes()
    (folder.parent / "elsewhere").mkdir()
    monkeypatch.chdir(folder.parent / "elsewhere")
    report = folder.parent / "r.json"
    more = ("--checksums", "--skip-existing", "--report", report)
    convert(os.path.join("..", "data"), *asked, os.path.join("..", "out"), *more)
    assert (folder.parent / "out" / "SHA256SUMS").read_bytes() == listed
    row = json.loads(report.read_bytes())["recordings"][0]
    assert row["verdict"] == "skipped"
    assert all(os.path.exists(name) for name in (*row["files"], *row["checksums"]))


def test_checksums_of_one(folder: Path) -> None:
    target = folder.parent / "one.h5"
    convert(folder / "a.mib", target, "--checksums")
    lines = (folder.parent / "one.h5.sha256").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["data/a.hdr", "data/a.mib"]
    (folder.parent / "two.h5.sha256").write_text("notes of somebody\n")
    result = convert(folder / "a.mib", folder.parent / "two.h5", "--checksums", code=2)
    assert "not a list of checksums" in result.stderr
    assert not (folder.parent / "two.h5").exists()


@pytest.mark.skipif(os.name == "nt", reason="names cannot have backslashes there")
def test_odd_names_in_the_list_of_checksums(tmp_path: Path) -> None:
    for name in ("back\\slash.mib", "new\nline.mib", "µ ×.mib"):
        scan(tmp_path / "data" / name)
    convert(tmp_path / "data", "--to", "npy", "--into", tmp_path / "out", "--checksums")
    if shutil.which("sha256sum"):
        command = ["sha256sum", "-c", "--quiet", "SHA256SUMS"]
        subprocess.run(command, cwd=tmp_path / "out", check=True)


def test_reports_replace_nothing_but_reports(folder: Path) -> None:
    asked = (folder, "--report")
    run("check", *asked, "r.txt", code=2)
    for name in ("r.json", "r.csv"):
        path = folder.parent / name
        path.write_text("somebody's")
        assert "is not a report" in run("check", *asked, path, code=2).stderr
        assert path.read_text() == "somebody's"
        path.unlink()
        run("check", *asked, path)
        first = path.read_bytes()
        run("check", *asked, path)
        assert len(path.read_bytes()) >= len(first) - 20
    with open(folder.parent / "r.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == ["ok"] * 3
    assert rows[0]["navigation_shape"] == "4 x 3"
    assert rows[0]["frame_shape"] == "16 x 8"


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode there")
def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    name = os.fsdecode(bytes(tmp_path / "data" / "scan") + b"\xff\xfe.mib")
    shutil.copy(scan(tmp_path / "a.mib"), name)
    for kind in ("h5", "zarr", "npy", "fch5", "mrc", "tvips", "hspy"):
        report = tmp_path / f"{kind}.json"
        asked = (tmp_path / "data", "--to", kind, "--into", tmp_path / kind, "--report", report)
        convert(*asked, code=kind == "fch5")  # which warns that the frames are not sparse
        (row,) = json.loads(report.read_bytes())["recordings"]
        assert os.fsencode(row["path"]) == os.fsencode(name)
    for kind in ("raw", "raw_csr", "yml"):  # their texts name other files
        result = convert(tmp_path / "data", "--to", kind, "--into", tmp_path / kind, code=2)
        assert "not UTF-8" in result.stderr
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for command in (["info"], ["check"], ["info", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "rsciio_tem.cli", *command, os.fsencode(tmp_path / "data")],
            capture_output=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"scan\\udcff\\udcfe" in done.stdout


# ---------------------------------------------------------------- searching


def test_nothing_that_has_the_name_of_a_recording_is_passed_over(folder: Path) -> None:
    (folder / "copy failed.mib").write_bytes(b"")
    (folder / "lost.dm4").write_bytes(bytes(5000))
    (folder / "lost.npy").write_bytes(b"")
    (folder / "text.tvips").write_text("no movie")
    (folder / "table.h5").write_bytes(b"no HDF5 at all")
    (folder / "settings.yml").write_text("colour: blue")
    (folder / "empty.yml").write_text("")
    (folder / "._a.mib").write_bytes(b"\0\5\x16\7 of macOS")
    text = run("check", folder, code=2).stdout
    for name in ("copy failed.mib", "lost.dm4", "lost.npy", "text.tvips", "empty.yml"):
        assert f"{folder / name}: error: " in text
    assert f"{folder / 'table.h5'}: not checked: " in text
    assert "settings.yml" not in text
    assert "._a.mib" not in text
    assert "passed over, not recognised as recordings: " in text
    assert "9 recordings: 3 ok, 1 not checked, 5 with errors" in text


def test_stores_that_are_none_any_more(folder: Path) -> None:
    (folder / "empty.zarr").mkdir()
    (folder / "lost.zarr" / "0").mkdir(parents=True)
    (folder / "lost.zarr" / "0" / "0").write_bytes(b"chunk")
    (folder / "s.hspy").write_bytes(b"")
    shutil.copy(folder / "b.mib", folder / "._c.mib")
    text = run("check", folder, code=2).stdout
    for name in ("empty.zarr", "lost.zarr"):
        assert f"{folder / name}: error: has the name of a Zarr store" in text
    assert f"{folder / 's.hspy'}: not checked: " in text
    assert f"{folder / '._c.mib'}: ok" in text


def test_raw_pixels_that_another_name_describes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.raw").write_bytes(bytes(range(240)))
    (tmp_path / "data" / "one.toml").write_text(
        '[params]\nfiletype = "raw"\nfile = "x.raw"\ndtype = "u1"\nsig_shape = [4, 5]\n'
        "nav_shape = [3, 4]\n"
    )
    assert "one.toml: ok" in run("check", tmp_path / "data").stdout
    convert(tmp_path / "data", "--to", "npy", "--into", tmp_path / "out")
    (target,) = (tmp_path / "out").glob("*.npy")
    assert np.load(target).shape == (3, 4, 4, 5)


def test_a_header_whose_recording_is_gone(folder: Path) -> None:
    (folder / "b.mib").unlink()
    assert f"{folder / 'b.hdr'}: error: " in run("check", folder, code=2).stdout


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="nothing is forbidden to this user"
)
def test_a_folder_that_cannot_be_looked_into(folder: Path) -> None:
    (folder / "day 2").chmod(0)
    try:
        text = run("check", folder, code=2).stdout
    finally:
        (folder / "day 2").chmod(0o700)
    assert "day 2: error: cannot be looked into: Permission denied" in text


def test_info_of_several(folder: Path) -> None:
    text = run("info", folder).stdout
    assert [line for line in text.splitlines() if line.endswith(".mib")] == [
        str(folder / "a.mib"),
        str(folder / "b.mib"),
        str(folder / "day 2" / "a.mib"),
    ]
    listed = json.loads(run("info", "--json", folder / "a.mib", folder / "day 2").stdout)
    assert [entry["scan"]["shape"] for entry in listed] == [[3, 4], [3, 4]]
    assert json.loads(run("info", "--json", folder / "a.mib").stdout)["format"] == "mib"
    result = run("info", folder / "a.mib", folder / "nothing.mib", code=2)
    assert "nothing.mib: does not exist" in result.stderr
    assert "a.mib" in result.stdout


# ---------------------------------------------------------------- comparing


def test_compare_pixels(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 99, (3, 4, 8, 9)).astype("f4")
    pixels[1, 2, 3, 4] = np.nan
    first, second = tmp_path / "a.npy", tmp_path / "b.npy"
    np.save(first, pixels)
    np.save(second, pixels)
    assert compare(first, second) == []
    changed = pixels.copy()
    changed[2, 1, 0, 0] += 2.5
    changed[2, 1, 0, 1] = np.nan
    np.save(second, changed)
    (problem,) = compare(first, second)
    assert problem.severity == "warning"
    assert problem.about == "pixels"
    assert "1 of 12 frames: 9; 2 pixels in all, by up to 2.5" in problem.message
    np.save(second, pixels.astype("f8"))
    (problem,) = compare(first, second, parts=["pixels"])
    assert (problem.severity, "float32 and float64" in problem.message) == ("info", True)
    np.save(second, pixels.reshape(12, 8, 9))
    assert [p.severity for p in compare(first, second, parts=["pixels"])] == ["info"]
    np.save(second, pixels[:, :3])
    (problem,) = compare(first, second, parts=["pixels"])
    assert "the shape of the data" in problem.message
    with pytest.raises(ValueError, match="there are pixels, axes, metadata"):
        compare(first, second, parts=["colours"])


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_compare_large_numbers(tmp_path: Path, dtype: str) -> None:
    """Neighbours that float64 cannot tell apart are different."""
    pixels = np.full((2, 3, 4), 2**62, dtype)
    np.save(tmp_path / "a.npy", pixels)
    pixels[1, 2, 3] += 1
    np.save(tmp_path / "b.npy", pixels)
    (problem,) = compare(tmp_path / "a.npy", tmp_path / "b.npy")
    assert "1 of 2 frames: 1; 1 pixels in all" in problem.message


@pytest.mark.parametrize(("kind", "value"), [("i8", 2**53 + 1), ("u8", 2**60 + 1)])
def test_compare_integers_with_floats(tmp_path: Path, kind: str, value: int) -> None:
    np.save(tmp_path / "a.npy", np.full((2, 3, 4), value, kind))
    np.save(tmp_path / "b.npy", np.full((2, 3, 4), float(value)))
    problems = compare(tmp_path / "a.npy", tmp_path / "b.npy", parts=["pixels"])
    assert "warning" in [problem.severity for problem in problems]
    np.save(tmp_path / "a.npy", np.full((2, 3, 4), value - 1, kind))
    problems = compare(tmp_path / "a.npy", tmp_path / "b.npy", parts=["pixels"])
    assert [problem.severity for problem in problems] == ["info"]


def test_compare_complex_numbers(tmp_path: Path) -> None:
    pixels = np.full((2, 3, 4), complex(np.nan, 1))
    np.save(tmp_path / "a.npy", pixels)
    np.save(tmp_path / "b.npy", pixels)
    assert compare(tmp_path / "a.npy", tmp_path / "b.npy") == []
    np.save(tmp_path / "b.npy", np.full((2, 3, 4), complex(np.nan, 2)))
    (problem,) = compare(tmp_path / "a.npy", tmp_path / "b.npy")
    assert problem.severity == "warning"


def test_compare_texts_stored_as_bytes(tmp_path: Path) -> None:
    """A blockfile begins with bytes, which HDF5 files keep as text."""
    blo_writer.write_blo(tmp_path / "a.blo", np.ones((2, 3, 4, 4), "u1"))
    rsciio_tem.convert(tmp_path / "a.blo", tmp_path / "a.h5")
    (signal,) = rsciio_tem.load(tmp_path / "a.blo")
    assert b"IMGBLO" in signal["original_metadata"]["blockfile_header"].values()
    assert [p for p in compare(tmp_path / "a.blo", tmp_path / "a.h5") if p.severity != "info"] == []


def test_compare_folders(folder: Path) -> None:
    out = folder.parent / "out"
    blo_writer.write_blo(folder / "c.blo", np.ones((2, 3, 4, 4), "u1"))
    scan(folder / "c.mib")  # so that both are called by their whole names
    scan(folder / "e_001.mib")
    convert(folder, "--to", "h5", "--into", out)
    text = run("compare", folder, out).stdout
    assert "6 pairs of recordings: 6 the same, 0 different\n" in text
    listed = json.loads(run("compare", folder, out, "--json").stdout)
    names = {Path(row["first"]).name: Path(row["second"]).name for row in listed}
    assert names["c.blo"] == "c.blo.h5"
    assert names["c.mib"] == "c.mib.h5"
    (out / "b.h5").unlink()
    scan(folder / "a.mib")
    (out / "e_001.h5").write_bytes((out / "e_001.h5").read_bytes()[:3000])
    result = run("compare", folder, out, "--only", "pixels", code=2)
    assert f"b.mib: not compared: has no counterpart in {out}." in result.stdout
    assert "e_001.h5" in result.stderr
    counts = "5 pairs of recordings: 3 the same, 1 different, 1 failed, 1 not compared\n"
    assert counts in result.stdout
    (out / "e_001.h5").unlink()
    run("compare", folder, out, code=1)
    (folder.parent / "empty").mkdir()
    result = run("compare", folder.parent / "empty", folder.parent / "empty", code=2)
    assert "holds no recording" in result.stderr
    assert "is a folder" in run("compare", folder, out / "a.h5", code=2).stderr


def test_compare_folders_of_series(tmp_path: Path) -> None:
    arrays(tmp_path / "data", "a_000.npy", "a_001.npy")
    convert(tmp_path / "data", "--to", "tvips", "--into", tmp_path / "out")
    run("compare", tmp_path / "data", tmp_path / "out", "--only", "pixels")


def test_compare_axes_and_metadata(folder: Path) -> None:
    target = folder.parent / "a.h5"
    rsciio_tem.convert(folder / "a.mib", target)
    text = run("compare", folder / "a.mib", target).stdout
    assert [line.partition(" (")[0] for line in text.splitlines()] == [
        "pixels: the same",
        "axes: the same",
        "metadata: the same",
    ]
    with h5py.File(target, "r+") as file:
        kept = file["datacube_root/rsciio_tem"]
        axes, metadata = (json.loads(kept[name][()]) for name in ("axes", "metadata"))
        axes[3]["scale"] = 7.0
        metadata["General"]["notes"] = "others"
        metadata["Signal"]["signal_type"] = "another"
        for name, value in (("axes", axes), ("metadata", metadata)):
            del kept[name]
            kept[name] = json.dumps(value)
    found = compare(folder / "a.mib", target)
    messages = [p.message for p in found if p.severity == "warning"]
    assert any("axes differ in scale of axis 3" in m and "7.0" in m for m in messages)
    assert any("metadata.Signal.signal_type" in m and "'another'" in m for m in messages)
    assert len(messages) == 2
    run("compare", folder / "a.mib", target, code=1)
    run("compare", folder / "a.mib", target, "--only", "pixels")
    listed = json.loads(run("compare", folder / "a.mib", target, "--json", code=1).stdout)
    assert {entry["part"] for entry in listed} == {"axes", "metadata"}


def test_compare_tells_frames_in_neither(tmp_path: Path) -> None:
    """Both are read with the same scan: what it has no place for is in neither."""
    path = scan(tmp_path / "a.mib", stored=11)
    convert(path, tmp_path / "a.h5", code=1)
    text = run("compare", path, tmp_path / "a.h5", code=1).stdout
    assert "frames: 3 frames of the first are not compared" in text
    text = run("check", tmp_path / "a.h5").stdout
    assert "its source announced 12 frames and held 11" in text
    assert "3 frames of its source had no place in the scan" in text
    convert(path, tmp_path / "b.h5", "-O", "missing=fill", code=1)
    text = run("compare", path, tmp_path / "b.h5", "-O", "missing=fill").stdout
    assert "pixels: the same" in text


def test_a_copy_elsewhere_is_the_same(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "copy")
    run("compare", folder / "a.mib", folder.parent / "copy" / "a.mib")


def test_compare_with_options(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 99, (12, 5, 6)).astype("u2")
    raw_writer.write_raw(tmp_path / "a.raw", pixels)
    np.save(tmp_path / "a.npy", pixels.reshape(3, 4, 5, 6))
    options = ("--dtype", "u2", "--sig-shape", "5,6", "--navigation-shape", "4,3")
    run("compare", tmp_path / "a.raw", tmp_path / "a.npy", *options, "--only", "pixels")


# ---------------------------------------------------------------- warnings


def test_warnings_are_collected_where_they_belong() -> None:
    with collected() as outer:
        warn("a", "first")
        with collected() as inner, Threads(2) as pool:
            list(pool.map(lambda i: warn("b", str(i)), range(5)))
        warn("a", "last")
    assert outer == [("a", "first"), ("a", "last")]
    assert sorted(inner) == [("b", str(i)) for i in range(5)]
    with pytest.warns(UserWarning, match="a: told"):
        warn("a", "told")


def test_what_is_left_out_of_several_signals_is_told(tmp_path: Path) -> None:
    from rsciio_tem.tools import convert as module

    np.save(tmp_path / "a.npy", np.ones((3, 4, 5), "u2"))
    (signal,) = rsciio_tem.load(tmp_path / "a.npy", lazy=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load", lambda *a, **k: [signal, {**signal}])
        with pytest.warns(UserWarning, match="holds 2 signals; only the first is written"):
            rsciio_tem.convert(tmp_path / "a.npy", tmp_path / "b.npy")


def test_one_failure_is_an_error(folder: Path) -> None:
    how = archive.Conversion("npy", strict=True)
    scan(folder / "a.mib", stored=7)
    with pytest.raises(FormatError, match="a check gives 2 warnings"):
        archive.convert_checked(str(folder / "a.mib"), str(folder / "a.npy"), how)
