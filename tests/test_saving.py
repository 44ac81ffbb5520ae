# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever our readers load can be saved by HyperSpy, and is the same when it is loaded again."""

from __future__ import annotations

import csv
import datetime
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import Sample

import rsciio_tem
from rsciio_tem.errors import FormatError
from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.reading.read import read
from rsciio_tem.reading.texts import storable, storable_title
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording

hs = pytest.importorskip("hyperspy.api")

from hyperspy.io import dict2signal  # noqa: E402

AXIS = ("name", "units", "size", "navigate", "scale", "offset")
#: HyperSpy gives longer lists of lists back in the order of their numbers as texts: 0, 1, 10, 2.
LONG_LIST = 10


def leaves(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Yield the values of a tree with their names."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value


def comparable(value: Any) -> Any:
    """Return a value as HyperSpy's files give it back."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace") if b"\0" not in value else value
    if isinstance(value, (list, tuple)):
        if len(value) > LONG_LIST and any(isinstance(one, (list, tuple, dict)) for one in value):
            return len(value)
        return np.array(value).tolist() if _plain(value) else [comparable(one) for one in value]
    if isinstance(value, Mapping):
        return {name: comparable(one) for name, one in value.items()}
    return value


def _plain(value: Any) -> bool:
    return all(isinstance(one, (bool, int, float, str, np.generic)) for one in value)


def assert_saved(signal: dict[str, Any], folder: Path, suffix: str = "hspy") -> Any:
    """Save a signal, load it again and compare everything; return the new one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # HyperSpy's own
        old = dict2signal(signal)
        old.save(folder / f"saved.{suffix}", overwrite=True)
        new = hs.load(folder / f"saved.{suffix}")
    assert type(new) is type(old)
    assert new.data.dtype == old.data.dtype
    np.testing.assert_array_equal(new.data, old.data)
    assert len(new.axes_manager._axes) == len(old.axes_manager._axes)
    for one, other in zip(new.axes_manager._axes, old.axes_manager._axes, strict=True):
        assert type(one) is type(other)
        np.testing.assert_array_equal(one.axis, other.axis)
        for name in AXIS:
            found = getattr(one, name, None)
            assert found == getattr(other, name, None) or found != found, (name, found)
    assert new.metadata.General.title == old.metadata.General.title
    for name in ("metadata", "original_metadata"):
        trees = [getattr(one, name).as_dictionary() for one in (new, old)]
        for tree in trees:
            tree.get("General", {}).pop("FileIO", None)
        entries, expected = (dict(leaves(tree)) for tree in trees)
        assert entries.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_equal(comparable(entries[key]), comparable(value), err_msg=str(key))
    return new


# -- recordings ----------------------------------------------------------------------------------


@pytest.mark.per_kind
@pytest.mark.per_format
def test_samples(sample: Sample, tmp_path: Path) -> None:
    assert_saved(sample.read_quietly(), tmp_path)


def test_real_recordings(realdata: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """One of each kind of metadata, as its upper names say; ``--every-sample`` takes all."""
    kinds: set[Any] = set()
    every = request.config.getoption("every_sample")
    with open(realdata / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        # large counted series do not fit into the memory of every machine
        options = {"last_frame": 2} if row["format"] == "hexrd" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                signals = rsciio_tem.load(realdata / row["file"], **options)
            except FormatError:  # no recording, see test_detect.py
                continue
        for signal in signals:
            # what RosettaSciIO's readers return is theirs to save
            if "rsciio_tem" not in signal["original_metadata"] and row["format"] != "dm":
                continue
            names = leaves({n: signal[n] for n in ("metadata", "original_metadata")})
            upper = frozenset(re.sub(r"\d+", "", "/".join(name[:3])) for name, _ in names)
            kind = (row["format"], upper)
            if every or kind not in kinds:
                kinds.add(kind)
                assert_saved(signal, tmp_path)
    assert len(kinds) > 40


# -- names and values that files may hold --------------------------------------------------------

#: Names, and what they become where HyperSpy's trees or files would take them for something else.
NAMES = {
    "": "_",
    ".": "_.",
    "..": "_..",
    "as_dictionary": "as_dictionary_",
    "__class__": "class___",
    "__dict__": "dict___",
    "__weakref__": "weakref___",
    "_setattr": "setattr_",
    "_lazy_attributes": "lazy_attributes_",
    "_sig_navigator": "sig_navigator",
    "_list_x": "list_x",
    "_list_empty_x": "list_empty_x",
    "_tuple_2_x": "tuple_2_x",
    "_bs_x": "bs_x",
    "_datetime_date": "datetime_date",
    "_hspy_AxesManager_x": "hspy_AxesManager_x",
    "_ragged_shapes_x": "ragged_shapes_x",
    "a\0b": "a\\0b",
    "\udcff": "\\udcff",
    "k" * 70_000: "k" * 197 + "…",
    "µ" * 300: "µ" * 98 + "…",
    **{name: name for name in ("keys", "_x", "__version__", "a b", "a.b", "é", "12", "data")},
}
VALUES: dict[str, Any] = {
    "number": 5,
    "text": "t",
    "nothing": None,
    "tree": {"q": 1},
    "list": [1, 2, 3],
    "tuple": (1.5, 2.5),
    "array": np.arange(3),
    "empty": [],
    "mixed": ["a", None],
}


def signal_of(tree: dict[str, Any], title: str = "") -> dict[str, Any]:
    pixels = np.arange(24.0).reshape(2, 3, 4)
    frames = ArrayFrames(lambda: pixels, (2,), (3, 4), pixels.dtype)
    recording = Recording(
        *("memory", "file.mib", frames, (Axis(), Axis())),
        metadata={"General": {"title": title}},
        original_metadata=tree,
    )
    (signal,) = read(recording)
    return signal


@pytest.mark.parametrize("suffix", ["hspy", "zspy"])
@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[1:-1][:20] or "none")
def test_names(name: str, suffix: str, tmp_path: Path) -> None:
    if suffix == "zspy":
        pytest.importorskip("zarr")
        if "\\" in NAMES[name]:
            pytest.skip("zarr takes a backslash for a slash")
    tree = {name: 1, **{kind: {name: value} for kind, value in VALUES.items()}}
    signal = signal_of(tree)
    assert signal["original_metadata"]["number"] == {NAMES[name]: 5}
    new = assert_saved(signal, tmp_path, suffix).original_metadata.as_dictionary()
    assert new[NAMES[name]] == 1
    assert new["tree"] == {NAMES[name]: {"q": 1}}


@pytest.mark.parametrize("name", ["a/b", "/a", "a/", "./a", "/", "/Experiments"])
def test_names_that_are_paths(name: str, tmp_path: Path) -> None:
    """Attributes of HDF5 files may have such names, groups and data sets not."""
    signal = signal_of({kind: {name: value} for kind, value in VALUES.items()})
    new = assert_saved(signal, tmp_path).original_metadata.as_dictionary()
    assert new["number"] == {name: 5}
    assert new["tree"] == {name.replace("/", "-"): {"q": 1}}


def test_names_that_become_the_same() -> None:
    tree = {"a/b": [1], "a-b": [2], "_sig_x": 3, "sig_x": 4, 1: 5, "1": 6}
    assert storable(tree) == {
        "a-b": [1], "a-b_": [2], "sig_x": 3, "sig_x_": 4, "1": 5, "1_": 6
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (10**30, str(10**30)),
        (-(2**63), -(2**63)),
        (2**64 - 1, 2**64 - 1),
        ([1, 10**30], ["1", str(10**30)]),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        (datetime.datetime(2020, 1, 2, 3, 4), "2020-01-02T03:04:00"),
        (datetime.time(3, 4), "03:04:00"),
        (b"ab", "ab"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"a\0b", "a\\0b"),
        (bytes(70_000), "\\0" * 70_000),
        (np.str_("a"), "a"),
        (np.array(5), 5),
        (np.array("a"), "a"),
        (np.array(["2020-01-02"], "M8[D]"), np.array(["2020-01-02"])),
        (np.array(["\ud800", "a\0b"]), np.array(["\\ud800", "a\\0b"])),
        (np.array([], "U1"), np.array([], "U1")),
        (np.array([1, "a", None], object), [1, "a", None]),
        (
            np.array([(1, "ab"), (2, "c")], [("n", "i4"), ("t", "U3")]),
            {"n": np.array([1, 2], "i4"), "t": np.array(["ab", "c"])},
        ),
    ],
    ids=lambda value: repr(value)[:20],
)
@pytest.mark.parametrize("suffix", ["hspy", "zspy"])
def test_values(value: Any, stored: Any, suffix: str, tmp_path: Path) -> None:
    if suffix == "zspy":
        pytest.importorskip("zarr")
    signal = signal_of({"value": value})
    new = assert_saved(signal, tmp_path, suffix).original_metadata.as_dictionary()
    np.testing.assert_equal(new["value"], stored)


@pytest.mark.parametrize("suffix", ["hspy", "zspy"])
@pytest.mark.parametrize(
    ("title", "stored"),
    [
        ("a/b", "a/b"),
        ("C:\\scans\\a", "C:/scans/a"),
        (".", "_."),
        ("..", "_.."),
        ("", ""),
        ("a\0b", "a/0b"),
        ("\ud800", "/ud800"),
        ("x" * 300, "x" * 197 + "…"),
    ],
    ids=lambda title: ascii(title)[:20],
)
def test_titles(title: str, stored: str, suffix: str, tmp_path: Path) -> None:
    """They name the group of the saved signal."""
    if suffix == "zspy":
        pytest.importorskip("zarr")
    assert storable_title(title) == stored
    new = assert_saved(signal_of({}, title), tmp_path, suffix)
    assert new.metadata.General.title == stored
