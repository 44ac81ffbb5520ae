# SPDX-License-Identifier: GPL-3.0-or-later
"""What a converted recording still knows of the one it was made from: everything."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from kinds import one_of_each_kind
from samples import SPECS, Sample, Spec
from writers import mib as mib_writer

import rsciio_tem
from rsciio_tem.cli.info import describe
from rsciio_tem.cli.options import opened
from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.reading.lazy import LazyFrames, lazy_source
from rsciio_tem.scan.times import FrameTimes, Times

TIMES = ("time_ns", "exposure_ns", "sequence", "counter")


@pytest.fixture(autouse=True)
def _unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk, nearly a thousand times."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr(os, "sync", lambda: None, raising=False)


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """List what is not the same, where JSON has no words for the difference."""
    if isinstance(old, Mapping):
        old = {str(key): value for key, value in old.items()}
        if not isinstance(new, Mapping) or old.keys() != new.keys():
            yield f"{where}: {old.keys()} {new.keys() if isinstance(new, Mapping) else new}"
            return
        for key, value in old.items():
            yield from differences(value, new[key], f"{where}.{key}")
    elif isinstance(old, (list, tuple)):
        if not isinstance(new, (list, tuple)) or len(old) != len(new):
            yield f"{where}: {old!r:.200} {new!r:.200}"
            return
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, f"{where}[{i}]")
    elif isinstance(old, np.ndarray) and old.ndim and old.dtype.kind in "biufc":
        if not isinstance(new, np.ndarray) or not np.array_equal(
            old, new, equal_nan=old.dtype.kind in "fc"
        ):
            yield f"{where}: {old!r:.200} {new!r:.200}"
        elif old.size and old.dtype.newbyteorder("=") != new.dtype.newbyteorder("="):
            yield f"{where}: {old.dtype} {new.dtype}"
    else:
        plain = old.item() if isinstance(old, (np.generic, np.ndarray)) else old
        if plain is not None and not isinstance(plain, (bool, int, float, str, bytes)):
            plain = str(plain)
        if plain != new and not (plain != plain and new != new):
            yield f"{where}: {old!r:.200} {new!r:.200}"


def converted(sample: Sample, target: Path) -> dict[str, Any]:
    """Convert a sample; return the lazy signal of the original."""
    options = sample.options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            before = rsciio_tem.load(sample.path, sample.format, lazy=True, **options)[0]
            rsciio_tem.convert(sample.path, target, format=sample.format, progress=False, **options)
        except (FormatError, ValueError) as error:
            pytest.skip(str(error))
    return before


def times_at_positions(source: LazyFrames) -> dict[str, Any]:
    """Return what the original says of the frame at each position."""
    origin = source.origin
    assert origin is not None
    times, count = origin.recording.times, len(source.frames)
    assert times is not None
    index = np.arange(origin.recording.count)[origin.index]
    if not isinstance(origin.index, slice):
        index[origin.index < 0] = -1
    if (blanks := source.frames.blanks) is not None:
        index[blanks] = -1
    whole = times.read(0, times.count)
    result = {}
    for name in TIMES:
        values = getattr(whole, name)
        values = values[index] if len(values) else np.full(count, -1)
        result[name] = np.where(index < 0, -1, values)
    return result


def columns(read: FrameTimes, count: int) -> dict[str, Any]:
    """Return times with all of their columns."""
    return {
        name: getattr(read, name) if len(getattr(read, name)) else np.full(count, -1)
        for name in TIMES
    }


STORED = [spec for spec in SPECS if spec.has_file]


@pytest.mark.parametrize("spec", STORED, ids=str)
def test_everything_comes_back(spec: Spec, sample_of: Any, tmp_path: Path) -> None:
    comes_back(sample_of(spec), tmp_path / "copy.h5")


@pytest.mark.parametrize("spec", one_of_each_kind(STORED), ids=str)
def test_everything_comes_back_from_zarr(spec: Spec, sample_of: Any, tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    comes_back(sample_of(spec), tmp_path / "copy.zarr")


def comes_back(sample: Sample, target: Path) -> None:
    before = converted(sample, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        recording = rsciio_tem.open(target)
        more = {"corrections": False} if sample.options.get("corrections") is False else {}
        after = rsciio_tem.load(target, lazy=True, **more)[0]
    np.testing.assert_array_equal(after["data"], before["data"])
    assert after["data"].dtype == before["data"].dtype.newbyteorder("=")
    assert not list(differences(before["axes"], after["axes"]))
    assert not list(differences(before["metadata"], after["metadata"]))
    source, copy = dict(before["original_metadata"]), dict(after["original_metadata"])
    copy.pop("converted_into")
    ours = copy.pop("rsciio_tem")
    evidence = source.pop("rsciio_tem")
    earlier = source.pop("converted_from", None)
    source.pop("converted_into", None)
    source["converted_from"] = evidence | ({} if earlier is None else {"converted_from": earlier})
    assert not list(differences(source, copy))
    mask = np.asarray(evidence.get("missing_mask", False))
    assert np.array_equal(np.asarray(ours.get("missing_mask", False)), mask)
    assert ours.get("navigator") == evidence.get("navigator")
    frames = lazy_source(before["data"])
    if frames is None or frames.origin is None or frames.origin.recording.times is None:
        assert recording.times is None
        return
    expected = times_at_positions(frames)
    if all((values < 0).all() for values in expected.values()):
        assert recording.times is None
        return
    assert isinstance(recording.times, Times)
    whole = columns(recording.times.read(0, recording.count), recording.count)
    assert not list(differences(expected, whole))
    middle = recording.count // 2
    part = columns(recording.times.read(middle, recording.count), recording.count - middle)
    assert not list(differences({k: v[middle:] for k, v in expected.items()}, part))


# ---------------------------------------------------------------- one thing at a time


@pytest.fixture(params=["h5", "zarr"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "zarr":
        pytest.importorskip("zarr")
    return tmp_path / f"copy.{request.param}"


def quietly(do: Any, *args: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        return do(*args, **options)


def scan_of(tmp_path: Path, lost: tuple[int, ...] = ()) -> Path:
    """Write 8 x 10 frames of a Merlin camera, without those that are lost."""
    times, exposures = mib_writer.scan_times((8, 10), rng=np.random.default_rng(3))
    keep = np.setdiff1d(np.arange(80), lost)
    frames = (np.arange(80)[:, None, None] + np.arange(96).reshape(8, 12)).astype("u2")
    return mib_writer.write_mib(
        tmp_path / "scan.mib",
        frames[keep],
        times_ns=times[keep],
        exposures_ns=exposures[keep],
        sequences=keep + 1,
    )


def summary(path: Path) -> dict[str, Any]:
    """Return what ``info`` says of the times."""
    recording, arranged = quietly(opened, str(path), {})
    return describe(str(path), recording, [], arranged)["times"]


def test_times_are_used(tmp_path: Path, target: Path) -> None:
    path = scan_of(tmp_path)
    rsciio_tem.convert(path, target, nav_shape=(8, 10))
    assert summary(target) == summary(path)
    assert rsciio_tem.check(target) == []
    rsciio_tem.convert(path, target, nav_shape=(8, 10), snake=True, overwrite=True)
    assert summary(target) == summary(path)
    assert rsciio_tem.check(target) == []
    # a stack stays one, whatever its times say
    rsciio_tem.convert(path, target, scan="stack", overwrite=True)
    assert rsciio_tem.load(target, lazy=True)[0]["data"].shape == (80, 8, 12)
    # of a signal that was changed nobody knows the times
    signal = rsciio_tem.load(path, nav_shape=(8, 10), lazy=True)[0]
    signal["data"] = signal["data"][::-1]
    rsciio_tem.convert(signal, target, overwrite=True)
    assert rsciio_tem.open(target).times is None


def test_frames_that_are_lost(tmp_path: Path, target: Path) -> None:
    lost = (13, 47, 48)
    path = scan_of(tmp_path, lost)
    options = {"nav_shape": (8, 10), "fill_value": 65535}
    before = quietly(rsciio_tem.load, path, **options)[0]
    mask = before["original_metadata"]["rsciio_tem"]["missing_mask"]
    assert np.flatnonzero(mask).tolist() == [*lost]
    quietly(rsciio_tem.convert, path, target, **options)
    after = rsciio_tem.load(target)[0]
    np.testing.assert_array_equal(after["data"], before["data"])
    assert (after["data"][mask] == 65535).all()
    assert (rsciio_tem.load(target, fill_value=7)[0]["data"][mask] == 7).all()
    np.testing.assert_array_equal(after["original_metadata"]["rsciio_tem"]["missing_mask"], mask)
    if target.suffix == ".h5":  # lines of frames are not frames
        lines = rsciio_tem.load(target, sig_dims=3)[0]
        np.testing.assert_array_equal(lines["data"], before["data"])
        assert "missing_mask" not in lines["original_metadata"]["rsciio_tem"]
    recording = rsciio_tem.open(target)
    assert recording.times is not None
    assert np.flatnonzero(recording.times.read(0, 80).time_ns < 0).tolist() == [*lost]
    assert recording.stored_times is not None
    assert recording.stored_times.count == 77
    assert (recording.stored_times.read(0, 77).time_ns >= 0).all()
    assert [p.message for p in rsciio_tem.check(target)] == [
        "3 positions of 80 had no frame when it was converted."
    ]
    # once more: what is read is what the first copy says
    again = target.with_name(f"again{target.suffix}")
    rsciio_tem.convert(target, again)
    third = rsciio_tem.load(again)[0]
    np.testing.assert_array_equal(third["data"], before["data"])
    np.testing.assert_array_equal(third["original_metadata"]["rsciio_tem"]["missing_mask"], mask)
    evidence = third["original_metadata"]["converted_from"]
    assert evidence["format"] == target.suffix[1:].replace("h5", "hdf5")
    assert evidence["converted_from"]["format"] == "mib"


def test_layers(tmp_path: Path, target: Path) -> None:
    """Counters of the same moment are not frames that were stored twice."""
    frames = np.arange(2 * 20 * 96).reshape(40, 8, 12).astype("u2")
    times = np.repeat(mib_writer.START_NS + np.arange(20) * 1_000_000, 2)
    path = mib_writer.write_mib(tmp_path / "scan.mib", frames, times_ns=times)
    rsciio_tem.convert(path, target, layers=2, nav_shape=(4, 5))
    before = rsciio_tem.load(path, layers=2, nav_shape=(4, 5))[0]
    after = rsciio_tem.load(target)[0]
    np.testing.assert_array_equal(after["data"], before["data"])
    assert after["axes"] == before["axes"]
    assert after["data"].shape == (2, 4, 5, 8, 12)
    assert rsciio_tem.check(target) == []


def test_corrections(tmp_path: Path, target: Path) -> None:
    """What was applied is not applied again; what was not comes along."""
    spec = next(s for s in SPECS if s.format == "dectris" and s.variant == "masked pixels")
    sample = spec.make(tmp_path, np.random.default_rng(1))
    for applied in (True, False):
        options = {**sample.options, "corrections": "auto" if applied else False}
        quietly(rsciio_tem.convert, sample.path, target, overwrite=True, **options)
        for corrections in ("auto", False):
            after = rsciio_tem.load(target, corrections=corrections)[0]
            same = quietly(
                rsciio_tem.load,
                sample.path,
                **{**options, "corrections": "auto" if applied else corrections},
            )[0]
            np.testing.assert_array_equal(after["data"], same["data"])
        stored = rsciio_tem.open(target).corrections
        assert (stored is None) == applied
        differences = quietly(rsciio_tem.compare, sample.path, target, **options)
        assert not [one for one in differences if one.about == "pixels" and one.severity != "info"]
        kept = after["original_metadata"]["converted_from"]
        assert ("corrections" in kept) == applied


@pytest.mark.parametrize(
    "spec", [spec for spec in SPECS if spec.format in ("dectris", "frms6", "seq")], ids=str
)
def test_corrections_are_turned_with_the_frames(spec: Spec, sample_of: Any, tmp_path: Path) -> None:
    sample: Sample = sample_of(spec)
    recording = quietly(sample.parse)
    if recording.corrections is None or "corrections" in sample.options:
        pytest.skip("nothing to correct")
    turned: list[dict[str, Any]] = [{}]
    if recording.frames.upside_down is not None:
        turned += [{"flip_y": True}, {"flip_y": False}]
    for options in turned:
        options = {**sample.options, **options}
        plain = {name: value for name, value in options.items() if name != "repair"}
        target = tmp_path / "copy.h5"
        quietly(
            rsciio_tem.convert,
            sample.path,
            target,
            format=sample.format,
            overwrite=True,
            **plain,
            corrections=False,
        )
        repair = {"repair": options["repair"]} if "repair" in options else {}
        expected = quietly(rsciio_tem.load, sample.path, sample.format, **options)[0]["data"]
        after = quietly(rsciio_tem.load, target, **repair)[0]["data"]
        np.testing.assert_array_equal(after, expected)
        assert after.dtype == expected.dtype


def test_navigator(tmp_path: Path, target: Path) -> None:
    path = scan_of(tmp_path)
    rsciio_tem.convert(path, target, nav_shape=(8, 10), navigator="full")
    signal = rsciio_tem.load(target, lazy=True)[0]
    image = signal["metadata"]["_HyperSpy"]["_sig_navigator"]
    np.testing.assert_array_equal(image["data"], signal["data"].sum(axis=(2, 3)))
    for options in ({"nav_shape": (80,)}, {"roi": [3, 4]}, {"sync_offset": 1}):
        other = quietly(rsciio_tem.load, target, lazy=True, **options)[0]
        assert "_HyperSpy" not in other["metadata"]
    without = rsciio_tem.load(target, navigator=False)[0]["metadata"]["_HyperSpy"]
    assert list(without) == ["navigators"]


def test_rotation_series(tmp_path: Path, target: Path) -> None:
    frames = np.random.default_rng(1).integers(0, 3, (6, 8, 12)).astype("u2")
    omega = np.stack([np.arange(6) * 0.5, np.arange(1, 7) * 0.5], axis=1)
    omega[4:] += 20  # two wedges
    signal = {
        "data": frames,
        "axes": [
            {"name": n, "size": s, "scale": 1.0, "offset": 0.0, "units": "", "navigate": n == "z"}
            for n, s in zip("zyx", frames.shape, strict=True)
        ],
        "metadata": {},
        "original_metadata": {},
    }
    quietly(rsciio_tem.framecache.file_writer, tmp_path / "a.npz", signal, omega=omega)
    for options in ({}, {"roi": [5, 1]}, {"sync_offset": -1}):
        quietly(rsciio_tem.convert, tmp_path / "a.npz", target, overwrite=True, **options)
        before = quietly(rsciio_tem.load, tmp_path / "a.npz", **options)[0]
        after = quietly(rsciio_tem.load, target)[0]
        assert not list(differences(before["axes"], after["axes"]))
        for name in ("omega", "omega_wedges"):
            pair = (signal["original_metadata"][name] for signal in (before, after))
            assert not list(differences(*pair))
    part = quietly(rsciio_tem.load, target, first_frame=2)[0]["original_metadata"]["omega"]
    np.testing.assert_array_equal(part, omega[1:])


def test_times_that_cannot_be_read(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scan_of(tmp_path)
    signal = rsciio_tem.load(path, nav_shape=(8, 10), lazy=True)[0]
    source = lazy_source(signal["data"])
    assert source is not None
    assert source.origin is not None

    def damaged(first: int, last: int) -> FrameTimes:
        raise FormatError(path, "a header is damaged.")

    times = dataclasses.replace(source.origin.recording.times, read=damaged)  # type: ignore[type-var]
    recording = dataclasses.replace(source.origin.recording, times=times)
    vars(source)["origin"] = dataclasses.replace(source.origin, recording=recording)
    with pytest.warns(RecordingWarning, match="times of the frames are left out.*damaged"):
        rsciio_tem.convert(signal, target)
    np.testing.assert_array_equal(rsciio_tem.load(target)[0]["data"], signal["data"])
    assert rsciio_tem.open(target).times is None


def test_files_of_version_0_1(tmp_path: Path) -> None:
    """They hold metadata and axes, and nothing else."""
    path = tmp_path / "old.h5"
    rsciio_tem.convert(scan_of(tmp_path), path, nav_shape=(8, 10))
    metadata = {"General": {"title": "old"}}
    original = {"vendor": 1, "rsciio_tem": {"format": "mib", "missing_mask": "[False True]"}}
    with h5py.File(path, "r+") as file:
        group = file["datacube_root/rsciio_tem"]
        for name in ("frames", "times", "metadata", "original_metadata"):
            del group[name]
        group["metadata"] = json.dumps(metadata)
        group["original_metadata"] = json.dumps(original)
    signal = rsciio_tem.load(path)[0]
    assert signal["metadata"] == metadata
    assert signal["original_metadata"]["vendor"] == 1
    assert signal["original_metadata"]["converted_from"] == original["rsciio_tem"]
    assert rsciio_tem.open(path).times is None
    with h5py.File(path, "r+") as file:  # as somebody else might
        group = file["datacube_root/rsciio_tem"]
        group["frames"] = json.dumps({"times": {"layers": "x", "resolution_ns": None}})
        group["times/time_ns"] = np.arange(7)
        group["blanks"] = np.array([3, 900])
        group["corrections/dark"] = np.zeros((3, 3))
        group["original_metadata"][()] = json.dumps(
            {"a": {"rsciio_tem array": "nowhere", "dtype": "<u2"}}
        )
    recording = rsciio_tem.open(path)
    assert recording.times is recording.corrections is recording.frames.blanks is None
    assert recording.original_metadata["a"] == {"rsciio_tem array": "nowhere", "dtype": "<u2"}
    # what is kept beside the frames is no recording
    assert recording.original_metadata["converted_into"]["hdf5"]["others"] == []
