# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals as writers see them: units, times, and blocks that fit into memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from rsciio_tem.errors import RecordingWarning
from rsciio_tem.formats import blo, mrc, tvips
from rsciio_tem.storage import machine
from rsciio_tem.writing import signal_frames, stream


@pytest.mark.parametrize(
    ("value", "units", "target", "expected"),
    [
        (2, "nm", "nm", 2),
        (2, "µm", "nm", 2000),
        (2, "μm", "nm", 2000),
        (2, "um", "cm", 2e-4),
        (5, "Å", "nm", 0.5),
        (5, "A\u030a", "nm", 0.5),
        (2, "1/Å", "1/nm", 20),
        (2, "1 / nm", "1/nm", 2),
        (2, "nm^-1", "1/nm", 2),
        (2, "nm⁻¹", "1/m", 2e9),
        (2, "s", "ms", 2000),
        (2, "min", "s", 120),
        (2, "mrad", "1/nm", None),
        (2, "s", "nm", None),
        (2, "nm", "1/nm", None),
        (2, "", "nm", None),
        (2, None, "nm", None),
        (2, object(), "nm", None),
    ],
)
def test_units(value: float, units: Any, target: str, expected: float | None) -> None:
    result = signal_frames.converted(value, units, target)
    assert result == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("general", "expected"),
    [
        ({"date": "1970-01-01", "time": "00:00:01"}, 1.0),
        ({"date": "1970-01-02"}, 86400.0),
        ({"date": "1970-01-01", "time": "02:00:00.25", "time_zone": "UTC+2"}, 0.25),
        ({"date": "1970-01-01", "time": "02:00:00", "time_zone": "+02:00"}, 0.0),
        ({"date": "1970-01-01", "time": "00:00:00", "time_zone": "-0130"}, 5400.0),
        ({"date": "2020-07-01", "time": "02:00:00", "time_zone": "Europe/Berlin"}, 1593561600.0),
        ({"date": "1970-01-01", "time": "02:00:00+02:00", "time_zone": "CST"}, 0.0),
        ({}, None),
        ({"date": "yesterday"}, None),
        ({"date": "1970-01-01", "time": "noon"}, None),
    ],
)
def test_start(general: dict[str, str], expected: float | None) -> None:
    result = signal_frames.start_ns({"General": general}, "a")
    assert result == (None if expected is None else round(expected * 10**9))


@pytest.mark.parametrize("name", ["CET", "EST", "Mars/Olympus", "+99:00"])
def test_time_zone_that_is_not_unique(name: str) -> None:
    general = {"date": "1970-01-01", "time": "00:00:01", "time_zone": name}
    with pytest.warns(RecordingWarning, match="is not unique"):
        assert signal_frames.start_ns({"General": general}, "a") == 10**9


@pytest.mark.parametrize("writer", [blo.file_writer, tvips.file_writer, mrc.file_writer])
def test_memory_of_writing_lazy_data(
    tmp_path: Path, writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dask.array as da

    monkeypatch.setattr(stream, "BLOCK", 1 << 20)
    monkeypatch.setattr(machine, "threads", lambda: 2)
    data = da.zeros((20, 20, 256, 256), chunks=(2, 2, 256, 256), dtype="u1")  # 26 MB
    axes = [
        {"name": "", "units": "nm" if i < 2 else "cm", "navigate": i < 2, "size": n, "scale": 1.0}
        for i, n in enumerate(data.shape)
    ]
    signal = {"data": data, "axes": axes, "metadata": {}, "original_metadata": {}}
    path = tmp_path / "w_000.tvips"
    writer(path, signal, show_progressbar=False)  # imports
    path.unlink()
    tracemalloc.start()
    writer(path, signal, show_progressbar=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 26_000_000
    assert peak < 10 << 20
