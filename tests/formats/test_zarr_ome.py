# SPDX-License-Identifier: GPL-3.0-or-later
"""Images and stacks of images as OME-Zarr, and what is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import rsciio_tem
from rsciio_tem.cli import main
from rsciio_tem.errors import FormatError, RecordingWarning

zarr = pytest.importorskip("zarr")
VERSIONS = (2, 3) if int(zarr.__version__.split(".")[0]) >= 3 else (2,)
STACK = np.arange(4 * 5 * 6, dtype="u2").reshape(4, 5, 6)

Axis = dict[str, Any]


def axis(name: str, scale: float, units: str, offset: float = 0.0) -> Axis:
    return {"name": name, "scale": scale, "units": units, "offset": offset}


IMAGE = (axis("y", 0.2, "nm", 1.0), axis("x", 0.2, "nm", -2.0))
PATTERN = (axis("ky", 0.1, "1/nm"), axis("kx", 0.1, "1/nm"))


def signal(nav: tuple[Axis, ...], sig: tuple[Axis, ...], data: Any = STACK) -> dict[str, Any]:
    """A signal of some axes; of more than one scan axis, two positions along each."""
    shape = () if not nav else (4,) if len(nav) == 1 else (2,) * len(nav)
    data = np.resize(data, (*shape, 5, 6))
    axes = [{**a, "navigate": i < len(nav)} for i, a in enumerate((*nav, *sig))]
    for a, size in zip(axes, data.shape, strict=True):
        a["size"] = size
    metadata = {"General": {"title": "of steel"}, "Signal": {"signal_type": ""}}
    return {"data": data, "axes": axes, "metadata": metadata, "original_metadata": {"a": 1}}


def written(path: Path, content: dict[str, Any], version: int) -> tuple[dict[str, Any], Any]:
    """Write a store; return the description of its image, and its array as zarr opens it."""
    rsciio_tem.zarr.file_writer(path, content, zarr_format=version)
    group = zarr.open_group(str(path), mode="r")
    attributes = dict(group.attrs)
    if version == 3:
        assert attributes.keys() == {"ome"}
        assert attributes["ome"]["version"] == "0.5"
        (image,) = attributes["ome"]["multiscales"]
    else:
        (image,) = attributes["multiscales"]
        assert image["version"] == "0.4"
        assert attributes["_ARRAY_DIMENSIONS"] == [a["name"] for a in image["axes"]]
    (dataset,) = image["datasets"]
    array = group[dataset["path"]]
    if version == 3:
        assert list(array.metadata.dimension_names) == [a["name"] for a in image["axes"]]
    else:
        text = (path / dataset["path"] / ".zarray").read_text()
        assert json.loads(text)["dimension_separator"] == "/"
    return image, array


#: Axes; then their types and units in the store, and their steps and offsets.
FITTING = [
    ((), IMAGE, "space:nanometer space:nanometer", [0.2, 0.2], [1, -2]),
    (
        (axis("time", 0.5, "s"),),
        IMAGE,
        "time:second space:nanometer space:nanometer",
        [0.5, 0.2, 0.2],
        [0, 1, -2],
    ),
    (
        (axis("tilt", 2, "°", -60),),
        IMAGE,
        "angle:degree space:nanometer space:nanometer",
        [2, 0.2, 0.2],
        [-60, 1, -2],
    ),
    (
        (axis("z", 5, "µm"),),
        IMAGE,
        "space:micrometer space:nanometer space:nanometer",
        [5, 0.2, 0.2],
        [0, 1, -2],
    ),
    (
        (axis("time", 0.5, "ms"), axis("tilt", 2, "deg"), axis("z", 1, "Å")),
        IMAGE,
        "time:millisecond angle:degree space:angstrom space:nanometer space:nanometer",
        [0.5, 2, 1, 0.2, 0.2],
        [0, 0, 0, 1, -2],
    ),
    (
        (axis("", 1, ""),),
        (axis("x", 1, ""), axis("x", 1, "")),
        "frame: space: space:",
        [1, 1, 1],
        None,
    ),
    (
        (axis("x", 0.5, "nm"),),
        PATTERN,
        "position:nanometer space: space:",
        [0.5, 1, 1],
        None,
    ),
]


@pytest.mark.filterwarnings("ignore:.*none of OME-Zarr's")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("nav", "sig", "kinds", "scale", "translation"), FITTING)
def test_axes(
    tmp_path: Path, nav: Any, sig: Any, kinds: str, scale: Any, translation: Any, version: int
) -> None:
    content = signal(nav, sig)
    image, array = written(tmp_path / "a.ome.zarr", content, version)
    np.testing.assert_array_equal(array[...], content["data"])
    assert " ".join(f"{a['type']}:{a.get('unit', '')}" for a in image["axes"]) == kinds
    assert all(a.get("unit") != "" for a in image["axes"])
    names = [a["name"] for a in image["axes"]]
    assert all(names)
    assert len(set(names)) == len(names)
    expected = [{"type": "scale", "scale": scale}]
    if translation is not None:
        expected.append({"type": "translation", "translation": translation})
    assert image["datasets"][0]["coordinateTransformations"] == expected
    assert image["name"] == "of steel"
    # for us it is the same as any other store
    rsciio_tem.zarr.file_writer(tmp_path / "a.zarr", content, zarr_format=version)
    (ours,), (plain,) = (rsciio_tem.load(tmp_path / name) for name in ("a.ome.zarr", "a.zarr"))
    np.testing.assert_array_equal(ours["data"], content["data"])
    assert ours["axes"] == plain["axes"]
    assert ours["metadata"]["General"]["title"] == plain["metadata"]["General"]["title"]
    assert ours["original_metadata"]["a"] == 1


SCAN = (axis("y", 0.5, "nm"), axis("x", 0.5, "nm"))


@pytest.mark.parametrize(
    ("nav", "sig"),
    [
        (SCAN, PATTERN),
        (SCAN, IMAGE),
        (SCAN, (axis("ky", 1, ""), axis("kx", 1, ""))),
        ((axis("y", 1, ""), axis("x", 1, "")), PATTERN),
        ((axis("tilt", 1, "deg"), axis("time", 1, "s")), IMAGE),
        ((axis("z", 1, "nm"), axis("time", 1, "s")), IMAGE),
        ((axis("time", 1, "s"), *SCAN), PATTERN),
    ],
)
def test_what_is_no_image(tmp_path: Path, nav: Any, sig: Any) -> None:
    """Nothing is written of scans, which have too many axes, or of axes in another order."""
    with pytest.raises(FormatError, match=r"name ends with \.zarr, without \.ome") as error:
        rsciio_tem.zarr.file_writer(tmp_path / "a.ome.zarr", signal(nav, sig))
    assert f"{nav[0]['name']} (" in str(error.value)
    assert not os.listdir(tmp_path)
    rsciio_tem.zarr.file_writer(tmp_path / "a.zarr", signal(nav, sig))
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_axes_that_are_only_counted(tmp_path: Path) -> None:
    """Units that OME-Zarr does not have, and uneven steps, are left out with a warning."""
    uneven = {"name": "time", "units": "s", "axis": np.array([0.0, 1.0, 3.0, 4.0])}
    with pytest.warns(RecordingWarning) as warned:
        image, _ = written(tmp_path / "a.ome.zarr", signal((uneven,), PATTERN), VERSIONS[-1])
    said = [str(warning.message) for warning in warned]
    assert len(said) == 3
    assert "the coordinates of axis 'time' are uneven" in said[0]
    assert "the units '1/nm' of axis 'ky'" in said[1]
    assert [a["type"] for a in image["axes"]] == ["time", "space", "space"]
    assert all("unit" not in a for a in image["axes"])
    (scale,) = image["datasets"][0]["coordinateTransformations"]
    assert scale == {"type": "scale", "scale": [1, 1, 1]}
    (back,) = rsciio_tem.load(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(back["axes"][0]["axis"], uneven["axis"])
    assert back["axes"][1]["units"] == "1/nm"
    assert back["axes"][1]["scale"] == 0.1


def test_names(tmp_path: Path) -> None:
    """Names are those of the axes, and each is there once: the frame keeps its own."""
    content = signal((axis("x", 1, ""),), (axis("y", 1, ""), axis("x", 1, "")))
    image, _ = written(tmp_path / "a.ome.zarr", content, VERSIONS[-1])
    assert [a["name"] for a in image["axes"]] == ["x_", "y", "x"]


def test_command(tmp_path: Path) -> None:
    """Convert, verify, check, and replace what was there."""
    np.save(tmp_path / "a.npy", STACK)
    arguments = ["convert", str(tmp_path / "a.npy"), str(tmp_path / "A.OME.zarr"), "--verify"]
    for more in ([], ["--overwrite"]):
        done = CliRunner().invoke(main, [*arguments, *more])
        assert done.exit_code == 0, done.output
    assert sorted(os.listdir(tmp_path)) == ["A.OME.zarr", "a.npy"]
    assert "0" in zarr.open_group(str(tmp_path / "A.OME.zarr"), mode="r")
    np.testing.assert_array_equal(rsciio_tem.load(tmp_path / "A.OME.zarr")[0]["data"], STACK)
    assert rsciio_tem.check(tmp_path / "A.OME.zarr") == []
    chunk = next(p for p in (tmp_path / "A.OME.zarr" / "0").rglob("*") if p.name == "0")
    while chunk.is_dir():
        chunk /= "0"
    chunk.unlink()
    (problem,) = rsciio_tem.check(tmp_path / "A.OME.zarr")
    assert problem.severity == "error"
    with pytest.raises(FormatError, match="lost the chunk"):
        rsciio_tem.load(tmp_path / "A.OME.zarr")


#: Interpreters with ome-zarr and ome-zarr-models.
OTHERS = [*filter(None, os.environ.get("RSCIIO_TEM_OTHERS", "").split(os.pathsep))]

READER = """
import json, sys
import ome_zarr_models, zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

path, seen = sys.argv[1], []
image = ome_zarr_models.open_ome_zarr(zarr.open_group(path, mode="r"))
(node,) = Reader(parse_url(path))()
print(json.dumps({
    "model": type(image).__module__,
    "sum": int(node.data[0].sum().compute()),
    "axes": node.metadata["axes"],
    "steps": node.metadata["coordinateTransformations"][0],
    "name": node.metadata["name"],
}))
"""


@pytest.mark.filterwarnings("ignore:.*none of OME-Zarr's")
@pytest.mark.parametrize("python", OTHERS or [sys.executable])
@pytest.mark.parametrize("version", VERSIONS)
def test_other_programs(tmp_path: Path, python: str, version: int) -> None:
    """ome-zarr reads the images, and ome-zarr-models finds nothing against them."""

    def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [python, "-W", "ignore", "-c", script, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    if run("import ome_zarr, ome_zarr_models").returncode:
        pytest.skip("ome-zarr and ome-zarr-models are not installed there")
    for number, (nav, sig, *_) in enumerate(FITTING):
        path = tmp_path / f"{number}.ome.zarr"
        content = signal(nav, sig)
        image, _ = written(path, content, version)
        done = run(READER, str(path))
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout.splitlines()[-1])
        assert seen["model"] == (
            "ome_zarr_models.v05.image" if version == 3 else "ome_zarr_models.v04.image"
        )
        assert seen["sum"] == content["data"].sum()
        assert seen["axes"] == image["axes"]
        assert seen["steps"] == image["datasets"][0]["coordinateTransformations"]
        assert seen["name"] == "of steel"
