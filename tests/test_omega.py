# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotation series: the table of angles, the axis made of it, and its selection with the frames."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.reading.read import read
from rsciio_tem.recording import rotation
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.recording.rotation import angles_asked, axis_of, load_npy, wedges


def rows(*edges: tuple[float, float, int]) -> np.ndarray:
    """Make a table of wedges (start, stop, number of frames)."""
    parts = []
    for start, stop, count in edges:
        angles = np.linspace(start, stop, count + 1)
        parts.append(np.stack([angles[:-1], angles[1:]], axis=1))
    return np.concatenate(parts)


def recording(table: np.ndarray | None, count: int | None = None) -> Recording:
    frames = np.arange((count or len(table)) * 6).reshape(-1, 2, 3)
    return Recording(
        format="memory",
        path="series",
        frames=ArrayFrames(lambda: frames, (len(frames),), (2, 3), frames.dtype),
        signal_axes=(Axis(), Axis()),
        omega=table,
        metadata={"General": {"title": "x"}, "Signal": {}},
    )


# -- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [[[0, 1], [1, 2], [2, 3]], np.array([[0, 1], [1, 2], [2, 3]], "f4"), ((0, 1), (1, 2), (2, 3))],
)
def test_table(value: Any) -> None:
    table, problems = rotation.table(value, 3)
    assert not problems
    np.testing.assert_array_equal(table, rows((0, 3, 3)))


def test_hexrd_list_or_one_dimensional_omega_is_an_attribute_error_here_it_is_understood() -> None:
    middle, problems = rotation.table([0.5, 1.5, 2.5], 3)
    assert "one angle for each frame, taken as its middle" in problems[0].message
    np.testing.assert_array_equal(middle, [[0.5, 0.5], [1.5, 1.5], [2.5, 2.5]])
    limits, problems = rotation.table([0, 1, 2, 3], 3)
    assert "limits" in problems[0].message
    np.testing.assert_array_equal(limits, rows((0, 3, 3)))


@pytest.mark.parametrize(
    "value",
    [[[0, 1]] * 2, "text", {"a": 1}, np.zeros((3, 3)), [[0, np.nan]] * 3, None, [[1], [2, 3]]],
)
def test_tables_that_do_not_fit(value: Any) -> None:
    table, problems = rotation.table(value, 3)
    assert table is None
    assert problems[0].severity == "warning"


def test_given(tmp_path: Path) -> None:
    table = rows((0, 3, 3))
    np.save(tmp_path / "om.npy", table)
    for value in (table, table.tolist(), tmp_path / "om.npy", str(tmp_path / "om.npy")):
        found, _ = angles_asked(value, None, 3, "p")
        np.testing.assert_array_equal(found, table)
    assert angles_asked("auto", None, 3, "p")[0] is None
    assert angles_asked("auto", table, 3, "p")[0] is not None
    for nothing in (None, False):
        assert angles_asked(nothing, table, 3, "p")[0] is None
    with pytest.raises(FormatError, match="p: omega has shape"):
        angles_asked(table, None, 4, "p")


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    """An array of objects runs code when it is loaded carelessly."""

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    np.save(tmp_path / "objects.npy", np.array([Evil()], object), allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Evil()))
    for name in ("objects.npy", "pickle.npy"):
        with pytest.raises(FormatError, match=name):
            load_npy(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_npy_that_lies(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((3, 2)))
    content = path.read_bytes()
    for changed in (
        content[:-1],
        content[:20],
        b"",
        content.replace(b"(3, 2)", b"(3000000000, 2)", 1),
        content.replace(b"'<f8'", b"'|V8'", 1),
    ):
        path.write_bytes(changed)
        with pytest.raises(FormatError, match=r"a\.npy"):
            load_npy(path)
    with pytest.raises(FormatError, match="does not exist"):
        load_npy(tmp_path / "none.npy")


# -- wedges --------------------------------------------------------------------------------------


def test_wedges() -> None:
    table = rows((0, 60, 120), (60, 70, 10), (100, 110, 20))
    assert wedges(table) == [
        {"start": 0.0, "stop": 60.0, "nsteps": 120},
        {"start": 60.0, "stop": 70.0, "nsteps": 10},
        {"start": 100.0, "stop": 110.0, "nsteps": 20},
    ]
    assert wedges(table[:0]) == []
    assert wedges(table[:1]) == [{"start": 0.0, "stop": 0.5, "nsteps": 1}]


def test_wedges_forgive_rounding() -> None:
    table = rows((0, 1, 3)) + np.random.default_rng(1).uniform(-4e-7, 4e-7, (3, 2))
    assert len(wedges(table)) == 1


def test_hexrd_never_checks_the_last_frame_here_it_is_a_wedge_of_its_own() -> None:
    table = rows((0, 10, 10))
    table[-1] = 42, 43
    assert [w["nsteps"] for w in wedges(table)] == [9, 1]


# -- the axis ------------------------------------------------------------------------------------


def test_equal_steps_make_a_uniform_axis() -> None:
    axis, warning = axis_of(rows((0, 360, 1440)))
    assert not warning
    assert axis == Axis("omega", "°", 0.25, 0.125)


def test_falling_angles() -> None:
    axis, _ = axis_of(rows((10, 0, 10)))
    assert (axis.scale, axis.offset) == (-1, 9.5)


@pytest.mark.parametrize(
    ("table", "offset", "scale"),
    [
        (rows((300, 360, 60), (0, 60, 60)), 300.5, 1),
        (rows((60, 0, 60), (360, 300, 60)), 59.5, -1),
        (rows((0, 360, 4), (0, 360, 4)), 45, 90),
    ],
)
def test_beyond_a_full_turn(table: np.ndarray, offset: float, scale: float) -> None:
    axis, warning = axis_of(table)
    assert not warning
    assert axis.values is None
    assert (axis.offset, axis.scale) == pytest.approx((offset, scale))


def test_wedges_apart_make_a_non_uniform_axis() -> None:
    table = rows((0, 60, 6), (100, 110, 10))
    axis, warning = axis_of(table)
    assert not warning
    np.testing.assert_array_equal(axis.values, table.mean(axis=1))
    across, _ = axis_of(rows((250, 300, 5), (5, 10, 5)))
    assert across.values is not None
    assert across.values[5] == 365.5


@pytest.mark.parametrize(
    "table",
    [rows((0, 90, 9), (0, 90, 9)), rows((5, 5, 4)), rows((0, 1, 2), (0.4, 2, 3))],
    ids=["there and back", "no rotation", "overlap"],
)
def test_hyperspy_cannot_take_angles_that_repeat(table: np.ndarray) -> None:
    axis, warning = axis_of(table)
    assert axis == Axis()
    assert axis.values is None
    assert "go back and forth" in warning


def test_single_frames() -> None:
    assert axis_of(rows((3, 4, 1)))[0] == Axis("omega", "°", 1, 3.5)
    assert axis_of(np.full((2, 2), np.nan)) == (Axis(), "")


# -- reading -------------------------------------------------------------------------------------


def test_read() -> None:
    (signal,) = read(recording(rows((0, 5, 10))))
    assert signal["axes"][0] == {
        **{"index_in_array": 0, "name": "omega", "navigate": True, "offset": 0.25},
        **{"scale": 0.5, "size": 10, "units": "°"},
    }
    original = signal["original_metadata"]
    np.testing.assert_array_equal(original["omega"], rows((0, 5, 10)))
    assert original["omega_wedges"] == [{"start": 0.0, "stop": 5.0, "nsteps": 10}]


def test_angles_are_selected_with_the_frames() -> None:
    """Bad frames are dropped together with their angles (hexrd issues 599, 603)."""
    table = rows((0, 5, 10))
    (cut,) = read(recording(table), first_frame=2, last_frame=-1)
    assert (cut["axes"][0]["offset"], cut["axes"][0]["size"]) == (1.25, 7)
    np.testing.assert_array_equal(cut["original_metadata"]["omega"], table[2:9])
    chosen = [0, 1, 2, 5, 6, 7, 8, 9]
    (roi,) = read(recording(table), options={"roi": chosen})
    np.testing.assert_array_equal(roi["axes"][0]["axis"], table[chosen].mean(axis=1))
    np.testing.assert_array_equal(roi["original_metadata"]["omega"], table[chosen])
    assert [w["nsteps"] for w in roi["original_metadata"]["omega_wedges"]] == [3, 5]


def test_blanks_have_no_angle() -> None:
    (signal,) = read(recording(rows((0, 5, 10))), options={"sync_offset": -2})
    assert signal["axes"][0]["offset"] == pytest.approx(-0.75)
    assert np.isnan(signal["original_metadata"]["omega"][:2]).all()
    assert signal["original_metadata"]["omega_wedges"][0]["nsteps"] == 10
    with pytest.warns(RecordingWarning, match="frames without angle"):
        read(recording(rows((0, 5, 5), (7, 8, 5))), options={"sync_offset": -2})


def test_grid_keeps_the_table_only() -> None:
    (signal,) = read(recording(rows((0, 5, 10))), options={"nav_shape": (2, 5)})
    assert [axis["name"] for axis in signal["axes"]] == ["y", "x", "dy", "dx"]
    assert signal["original_metadata"]["omega"].shape == (10, 2)


def test_warning_of_angles_that_repeat() -> None:
    with pytest.warns(RecordingWarning, match="series: the rotation series has angles that go"):
        (signal,) = read(recording(rows((0, 90, 3), (0, 90, 3))))
    assert signal["axes"][0]["name"] == "frame"
    assert len(signal["original_metadata"]["omega_wedges"]) == 2


@pytest.mark.parametrize("lazy", [False, True])
def test_hyperspy_takes_and_saves_the_axes(tmp_path: Path, lazy: bool) -> None:
    hs = pytest.importorskip("hyperspy.api")
    for table in (rows((0, 5, 10)), rows((0, 5, 5), (70, 80, 5)), rows((10, 0, 10))):
        (signal,) = read(recording(table), lazy=lazy)
        made = hs.signals.Signal2D(**signal)
        made = made.as_lazy() if lazy else made
        axis = made.axes_manager[0]
        assert (axis.name, axis.units) == ("omega", "°")
        np.testing.assert_allclose(axis.axis, table.mean(axis=1))
        np.testing.assert_array_equal(made.inav[3].data, np.arange(18, 24).reshape(2, 3))
        name = tmp_path / f"{len(list(tmp_path.iterdir()))}.hspy"
        made.save(name)
        again = hs.load(name)
        np.testing.assert_allclose(again.axes_manager[0].axis, table.mean(axis=1))


# -- real files ----------------------------------------------------------------------------------


def test_table_that_hexrd_wrote(realdata: Path, tmp_path: Path) -> None:
    """Two wedges, with frames that hexrd wrote too."""
    import rsciio_tem

    golden = realdata / "imageseries" / "golden"
    if not (golden / "omega.npy").is_file():
        pytest.skip("no files of hexrd")
    listed = tmp_path / "series.yml"
    listed.write_text(
        f"image-files: {{directory: {golden}, files: dense.npy}}\n"
        f'meta: {{omega: "! load-numpy-array {golden / "omega.npy"}", panel: ge1}}\n'
    )
    (signal,) = rsciio_tem.load(listed)
    np.testing.assert_array_equal(signal["data"], np.load(golden / "dense.npy"))
    np.testing.assert_allclose(
        signal["axes"][0]["axis"], [0.125, 0.375, 0.625, 10.875, 11.125, 11.375]
    )
    assert signal["original_metadata"]["omega_wedges"] == [
        {"start": 0.0, "stop": 0.75, "nsteps": 3},
        {"start": 10.75, "stop": 11.5, "nsteps": 3},
    ]
    assert signal["metadata"]["General"]["title"] == "ge1"
