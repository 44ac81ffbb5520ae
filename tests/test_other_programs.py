# SPDX-License-Identifier: GPL-3.0-or-later
"""Other programs read what `convert` writes; those that are not installed are skipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from writers import mib as writer

import rsciio_tem

FRAMES = np.arange(12 * 64 * 256, dtype=np.uint16).reshape(12, 64, 256) % 4096


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "scan.mib"
    writer.write_mib(path, FRAMES, hdr={"frames": 12})
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.h5", "a.tvips", "a.raw"])
@pytest.mark.filterwarnings("ignore")
def test_libertem(recording: Path, name: str) -> None:
    api = pytest.importorskip("libertem.api")
    from libertem.udf.sum import SumUDF

    path = rsciio_tem.convert(recording, recording.with_name(name), nav_shape=(3, 4))
    options = {"dtype": "<u2", "nav_shape": (3, 4), "sig_shape": (64, 256)}
    context = api.Context.make_with("inline")
    if name == "a.raw":
        dataset = context.load("raw", path=path, **options)
    else:
        dataset = context.load("auto", path=path)
    assert tuple(dataset.shape) == (3, 4, 64, 256)
    total = context.run_udf(dataset, SumUDF())["intensity"].data
    expected = rsciio_tem.load(recording)[0]["data"].reshape(FRAMES.shape).sum(axis=0)
    np.testing.assert_array_equal(total, expected)


@pytest.mark.filterwarnings("ignore")
def test_py4dstem(recording: Path) -> None:
    py4dstem = pytest.importorskip("py4DSTEM")
    path = rsciio_tem.convert(
        recording, recording.with_name("a.h5"), nav_shape=(3, 4), scan_step="0.5 nm"
    )
    cube = py4dstem.read(path)
    assert cube.calibration.get_R_pixel_size() == 0.5
    np.testing.assert_array_equal(cube.data, rsciio_tem.load(path)[0]["data"])
