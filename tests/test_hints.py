# SPDX-License-Identifier: GPL-3.0-or-later
"""Every message that names a keyword, an option or a call is followed literally, and it works.

`CASES` provoke messages, take from their text what they say to pass, and pass it. What cannot be
followed by a machine is in `NOT_FOLLOWED`, with the reason. A search of the source finds every
such text, and each has to be in one of the two.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
import shlex
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from samples import SPECS
from writers import (
    dectris,
    dm,
    eigerstream,
    empad,
    fourdcamera,
    framecache,
    frms6,
    imagefiles,
    k2is,
    mib,
    mrc,
    seq,
    stempy,
    tpx3,
    tvips,
)
from writers import hdf5 as hdf5_writer

import rsciio_tem
from rsciio_tem import cli
from rsciio_tem.cli.words import as_options
from rsciio_tem.errors import RecordingWarning
from rsciio_tem.readers import load

Options = dict[str, Any]
PACKAGE = Path(rsciio_tem.__file__).parent
RNG = np.random.default_rng(2)

# ---------------------------------------------------------------- what a message says to pass

_VALUE = r"=(\"[^\"]*\"|'[^']*'|\([^()]*\)|\[[^\[\]]*\]|-?[\w.+-]*\w)?"


def values_in(said: str, name: str) -> list[str]:
    """What stands behind each ``name=`` of a message, "" where nothing does."""
    return [match[1] or "" for match in re.finditer(rf"(?<![\w.]){name}{_VALUE}", said)]


def literal(text: str, given: Options) -> Any:
    """Read a value as Python does; names in it, such as x and y, are given."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return eval(text, {"__builtins__": {}}, given)


def passed(said: str, choice: str, given: Options) -> Options:
    """Take from a message the keywords of one of its choices: names, ``name#1`` for the second."""
    options = {}
    for word in choice.split():
        name, _, number = word.partition("#")
        texts = values_in(said, name)
        assert texts, f"{name}= is not in: {said}"
        text = texts[int(number or 0)]
        options[name] = literal(text, given) if text else given[name]
    return options


def on_command_line(said: str, options: Options, given: Options) -> list[str]:
    """Take the same from the message as the command line shows it."""
    shown = as_options(said)
    words: list[str] = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        left = re.sub(rf"(-O|--option) '?{name}=", "", shown)
        assert not re.search(rf"(?<![\w.]){name}=", left), f"{name}= is Python: {shown}"
        if value is False and f"--no-{flag[2:]}" in shown:
            words.append(f"--no-{flag[2:]}")
        elif f"-O {name}=" in shown or f"-O '{name}=" in shown:
            words += ["-O", f"{name}={json.dumps(value)}"]
            if name not in given and not any(map(_has_names, values_in(said, name))):
                typed = [w for w in re.findall(rf"-O ('{name}=[^']*'|{name}=[^\s;,)]+)", shown)]
                texts = [shlex.split(w.rstrip(".,"))[0] for w in typed]
                assert not texts or any(_read(t.partition("=")[2]) == value for t in texts), shown
        else:
            assert flag in shown, f"{flag} is not in: {shown}"
            text = ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
            words += [flag] if value is True else [flag, text]
    return words


def _has_names(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return True
    return False


def _read(text: str) -> Any:
    import yaml

    value = yaml.safe_load(text)
    return tuple(value) if isinstance(value, list) else value


# ---------------------------------------------------------------- cases


@dataclass(frozen=True)
class Case:
    """A message, and how it is followed.

    Parameters
    ----------
    hint : str
        What the text in the source contains.
    make : callable
        Writes a recording into a folder; returns its path and the keywords that go wrong.
    choices : tuple of str
        What the message offers: keywords that are passed together, see `passed`.
    given : dict
        Values of what the message leaves open; called with the message and the path if callable.
    again : bool
        The message may come again: it is information, or about another choice.
    without : tuple of str
        Keywords that the message says to leave out.
    console : bool
        Whether it can be followed on the command line.
    call : callable
        What is called, instead of `load`.
    then : str
        Pattern of the next message, if one follows by necessity.
    """

    hint: str
    make: Callable[[Path], tuple[Path, Options]]
    choices: tuple[str, ...]
    given: Options = field(default_factory=dict)
    again: bool = False
    without: tuple[str, ...] = ()
    console: bool = True
    call: Callable[..., Any] | None = None
    then: str = ""

    def __str__(self) -> str:
        return re.sub(r"\W+", "-", self.hint).strip("-")[:60]


def said_by(call: Callable[..., Any], path: Path, options: Options) -> tuple[str, bool]:
    """Return what a call says, and whether it fails."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call(path, **options)
        except (ValueError, TypeError, OSError) as error:
            return str(error), True
        said = [str(one.message) for one in caught if issubclass(one.category, RecordingWarning)]
    return "\n".join(said), False


def loaded(path: Path, **options: Any) -> None:
    """Load a recording, and say what is odd about it as well."""
    for signal in load(path, **options):
        data = signal["data"]
        data = data.compute() if hasattr(data, "dask") else data
        np.asarray(data.todense() if hasattr(data, "todense") else data)
    own = {k: v for k, v in options.items() if k in _own_keywords(path, options)}
    for problem in rsciio_tem.open(path, options.get("format", "auto"), **own).problems:
        warnings.warn(str(problem), RecordingWarning, stacklevel=2)


def looked_at(path: Path, **options: Any) -> None:
    """Check a recording, and load it."""
    load(path, **options)
    for problem in rsciio_tem.check(path):
        warnings.warn(str(problem), RecordingWarning, stacklevel=2)


def _own_keywords(path: Path, options: Options) -> set[str]:
    import inspect

    from rsciio_tem.readers import chosen, module_for

    raw = {"dtype", "sig_shape"} <= options.keys()
    name = chosen(path, options.get("format", "auto"), raw=raw)[0]
    return set(inspect.signature(module_for(name).parse).parameters)


def console(path: Path, folder: Path, options: list[str]) -> tuple[str, int]:
    """Convert on the command line."""
    call = ["convert", str(path), str(folder / "out.npy"), "--overwrite", "--quiet", *options]
    result = CliRunner().invoke(cli.main, call)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output, result.exit_code


def sample(format: str, variant: str, **options: Any) -> Callable[[Path], tuple[Path, Options]]:
    """A sample of the tests, read without its keywords."""

    def make(folder: Path) -> tuple[Path, Options]:
        (spec,) = [s for s in SPECS if (s.format, s.variant) == (format, variant)]
        path = spec.make(folder, np.random.default_rng(zlib.crc32(str(spec).encode()))).path
        assert path is not None
        return path, dict(options)

    return make


def npy(array: Any, **options: Any) -> Callable[[Path], tuple[Path, Options]]:
    """An array, and keywords."""

    def make(folder: Path) -> tuple[Path, Options]:
        np.save(folder / "a.npy", array)
        return folder / "a.npy", dict(options)

    return make


def image_beside(path: Path, image: Any) -> str:
    """Save an image that a keyword names."""
    np.save(path.parent / "image.npy", image)
    return str(path.parent / "image.npy")


STACK = RNG.integers(0, 999, (12, 16, 24)).astype("u2")
SCAN = STACK.reshape(3, 4, 16, 24)


def _raw(name: str, **options: Any) -> Callable[[Path], tuple[Path, Options]]:
    def make(folder: Path) -> tuple[Path, Options]:
        (folder / name).write_bytes(np.zeros((6, 256, 256), "u2").tobytes())
        return folder / name, dict(options)

    return make


def _whole_frames(folder: Path, *, module: bool = False) -> Path:
    """A file of whole frames of the 4D Camera, perhaps with a name like one of sectors."""
    images = RNG.integers(0, 999, (6, 576, 576)).astype("u2")
    path = fourdcamera.write_fourdcamera(folder, images, scan=(2, 3), version=3)
    return path.rename(folder / "scan17_module0.data") if module else path


def _hdf5(*arrays: tuple[str, Any], **options: Any) -> Callable[[Path], tuple[Path, Options]]:
    def make(folder: Path) -> tuple[Path, Options]:
        with h5py.File(folder / "a.h5", "w") as file:
            for name, array in arrays:
                file[name] = array
        return folder / "a.h5", dict(options)

    return make


def _matlab(folder: Path) -> tuple[Path, Options]:
    path, _ = _hdf5(("cbed", SCAN))(folder)
    with h5py.File(path, "r+") as file:
        file["cbed"].attrs["MATLAB_class"] = np.bytes_("uint16")
    return path, {}


def _masked(folder: Path) -> tuple[Path, Options]:
    """A master whose mask has another shape than its frames."""
    return dectris.write_dectris(folder, STACK, mask=np.zeros((4, 5), "u4")), {}


def _flat_field(folder: Path) -> tuple[Path, Options]:
    return dectris.write_dectris(folder, STACK, flatfield=RNG.uniform(0.9, 1, (16, 24))), {}


def _dm(*images: Any, **options: Any) -> Callable[[Path], tuple[Path, Options]]:
    return lambda folder: (dm.write_dm(folder / "a.dm4", images), dict(options))


def _swapped_and_not(folder: Path) -> tuple[Path, Options]:
    tags = dm.swapped(True)
    return dm.write_dm(folder / "a.dm4", [dm.image(SCAN, tags=tags, units=dm.SCAN_FIRST)]), {}


def _g2(folder: Path) -> tuple[Path, Options]:
    analog, digital = RNG.integers(0, 9000, (2, 3, 4, 128, 128))
    words = empad.g2_words(analog, digital, digital % 2)
    maps = folder / "calibration"
    maps.mkdir()
    for name in ("G1A", "G1B", "G2A", "G2B", "B2A", "B2B", "FFA", "FFB"):
        np.ones((128, 128), "<f4").tofile(maps / f"{name}.r32")
    return empad.write_g2(folder, words, acquired=True), {}


def _caches(folder: Path) -> tuple[Path, Options]:
    path = framecache.write_fch5(folder / "a.h5", STACK % 3, group="/images/ge1")
    framecache.write_fch5(path, STACK % 3, group="/images/ge2", mode="a")
    return path, {"format": "framecache"}


def _sizes_differ(folder: Path) -> tuple[Path, Options]:
    frms6.write_recording(folder, STACK[:, :4, :2])
    frms6.write_frms6(folder / "scan_002.frms6", frms6.in_stored_order(STACK[:, :8, :2]))
    return folder / "scan_002.frms6", {}


def _one_trigger(folder: Path) -> tuple[Path, Options]:
    ticks = np.arange(100) * 9600
    words = [*tpx3.triggers("TDC1 rising", [0]), *tpx3.hits(5, 6, ticks)]
    (folder / "a.tpx3").write_bytes(tpx3.stream(words))
    return folder / "a.tpx3", {"navigation_shape": (5, 1)}


def _only_dark(folder: Path) -> tuple[Path, Options]:
    frms6.write_recording(folder, STACK, STACK[:5])
    (folder / "scan_001.frms6").unlink()
    return folder / "scan_000.frms6", {}


def _k2(**options: Any) -> Callable[[Path], tuple[Path, Options]]:
    def make(folder: Path) -> tuple[Path, Options]:
        frames = RNG.integers(0, 4096, (3, 8, 256)).astype("u2")
        return k2is.write_k2is(folder, frames, block=(4, 16)), dict(options)

    return make


def _no_whole_frame(folder: Path) -> tuple[Path, Options]:
    frames = RNG.integers(0, 4096, (2, 8, 256)).astype("u2")
    return k2is.write_k2is(folder, frames, stops=(0, 0, 0, 0, 0, 6, 0, 0), block=(4, 16)), {}


def _merlin(count: int = 12, **how: Any) -> Callable[[Path], tuple[Path, Options]]:
    def make(folder: Path) -> tuple[Path, Options]:
        path = folder / "a.mib"
        mib.write_mib(path, STACK[:count], 12, **how)
        return path, {}

    return make


def _zarr(folder: Path) -> tuple[Path, Options]:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(folder / "b.zarr"), mode="w")
    group["deep/inside"] = SCAN
    return folder / "b.zarr", {"dataset": "x"}


def _compressed_mrc(folder: Path) -> tuple[Path, Options]:
    plain = mrc.write_mrc(folder / "plain.mrc", STACK, 6)
    (folder / "a.mrc.gz").write_bytes(gzip.compress(plain.read_bytes()))
    return folder / "a.mrc.gz", {"lazy": True}


def _movie(folder: Path, **how: Any) -> Path:
    return mrc.write_movie(folder, STACK[:6], {"Scan - Type": "XY File"}, **how)


def _without_positions(folder: Path) -> tuple[Path, Options]:
    path = _movie(folder)
    (folder / "places.csv").write_text("".join(f"{i},0\n" for i in range(6)))
    return path, {}


def _positions_beside(folder: Path) -> tuple[Path, Options]:
    path = _movie(folder, positions=[(i, 0) for i in range(6)])
    return path, {"metadata_file": folder / "20250102_00042_info.txt"}


def _bad_positions(folder: Path) -> tuple[Path, Options]:
    path = _movie(folder, positions=[(0, 0)] * 6)
    places = folder / "20250102_00042_scan_coordinates.csv"
    places.write_text("9000,9000\n" + "0,0\n" * 5)
    return path, {}


def _several(folder: Path) -> tuple[Path, Options]:
    np.savez(folder / "a.npz", first=SCAN, second=SCAN + 1)
    return folder / "a.npz", {}


def _one_half(folder: Path) -> tuple[Path, Options]:
    top, bottom = seq.write_halves(folder, STACK, 4)
    bottom.rename(folder / "elsewhere.seq")
    return top, {}


def _square_halves(folder: Path) -> tuple[Path, Options]:
    return seq.write_halves(folder, RNG.integers(0, 99, (12, 24, 24)).astype("u2"), 4, xml=False)[
        0
    ], {}


def _odd_halves(folder: Path) -> tuple[Path, Options]:
    return seq.write_halves(folder, STACK[:, :, :20], 4, xml=False)[0], {}


def _lost_buffers(folder: Path) -> tuple[Path, Options]:
    return seq.write_halves(folder, STACK, 4, without=([1], [1]))[0], {}


def _scanned(*, scan: Any, **options: Any) -> Callable[[Path], tuple[Path, Options]]:
    def make(folder: Path) -> tuple[Path, Options]:
        return tvips.write_tvips(folder / "a_000.tvips", STACK, scan=scan), dict(options)

    return make


def _rotated(folder: Path) -> tuple[Path, Options]:
    path = tvips.write_tvips(folder / "a_000.tvips", STACK, rotator=range(1, 13))
    return path, {"placement": "rotator"}


def _without_rotator(folder: Path) -> tuple[Path, Options]:
    path = tvips.write_tvips(folder / "a_000.tvips", STACK, rotator=[1] * 12)
    return path, {"placement": "rotator"}


def _images(meta: Options | None = None, **layout: Any) -> Callable[[Path], tuple[Path, Options]]:
    def make(folder: Path) -> tuple[Path, Options]:
        imagefiles.write_series(folder, STACK[:4])
        more = {"meta": meta} if meta else {}
        return imagefiles.write_list(folder / "a.yml", "im_*", **more, **layout), {}

    return make


def _short_names(folder: Path) -> tuple[Path, Options]:
    """The first files of a recording are not there, and nothing says how many frames they had."""
    frms6.write_recording(folder, STACK, numbers=[2], has_hdr=False)
    return folder / "scan_002.frms6", {}


def _without_the_third(folder: Path) -> tuple[Path, Options]:
    frms6.write_recording(folder, STACK, files=[5, 3, 4], numbers=[1, 2, 4], has_hdr=False)
    return folder / "scan_001.frms6", {}


def _of_another_size(folder: Path) -> tuple[Path, Options]:
    """The other half is of a recording with other frames."""
    top, bottom = seq.write_halves(folder, STACK, 4)
    (folder / "more").mkdir()
    _, other = seq.write_halves(folder / "more", STACK[:, :, :16], 4)
    other.replace(bottom)
    return top, {}


def _of_other_buffers(folder: Path) -> tuple[Path, Options]:
    top, bottom = seq.write_halves(folder, STACK, 4)
    (folder / "more").mkdir()
    bottom.rename(folder / "more" / "right.seq")
    for side in folder.glob(f"{bottom.name}*"):
        side.rename(folder / "more" / side.name.replace(bottom.name, "right.seq"))
    (folder / "others").mkdir()
    _, other = seq.write_halves(folder / "others", STACK, 4, first_number=500)
    for file in other.parent.glob(f"{other.name}*"):
        file.rename(folder / file.name)
    return top, {}


def _halves_at(*times: str) -> Callable[[Path], tuple[Path, Options]]:
    """Halves whose names have times that are apart."""

    def make(folder: Path) -> tuple[Path, Options]:
        top, bottom = seq.write_halves(folder, STACK, 4, times=(times[0], times[1]))
        for later in times[2:]:
            (folder / top.name.replace(times[0], later)).write_bytes(top.read_bytes())
        (folder / "bottom").write_text(bottom.name)
        return top, {}

    return make


def _other_half(said: str, path: Path) -> str:
    return str(path.parent / (path.parent / "bottom").read_text())


def _unnamed_half(folder: Path) -> tuple[Path, Options]:
    top, bottom = seq.write_halves(folder, STACK, 4)
    top.rename(folder / "upper.seq")
    (folder / "bottom").write_text(bottom.name)
    return folder / "upper.seq", {"celeritas": True}


def _flipped(folder: Path) -> tuple[Path, Options]:
    path = seq.write_seq(folder / "scan.seq", STACK)
    maps = [({"Binning": 1}, [{"Rows": "4"}])]
    seq.write_sides(folder, info={"Flip": "Vertical"}, maps=maps)
    return path, {}


def _damaged_chunk(folder: Path) -> tuple[Path, Options]:
    with h5py.File(folder / "a.h5", "w") as file:
        data = file.create_dataset("a", data=STACK, chunks=(1, 16, 24), compression="gzip")
        place = data.id.get_chunk_info(5).byte_offset
    with open(folder / "a.h5", "r+b") as raw:
        raw.seek(place)
        raw.write(b"\xff" * 40)
    return folder / "a.h5", {}


def _last_header_lost(folder: Path) -> tuple[Path, Options]:
    path, _ = _merlin()(folder)
    size = path.stat().st_size // 12
    with open(path, "r+b") as file:
        file.seek(11 * size)
        file.write(bytes(100))
    return path, {}


def _header_lost(folder: Path) -> tuple[Path, Options]:
    path, _ = _merlin()(folder)
    size = path.stat().st_size // 12
    with open(path, "r+b") as file:
        file.seek(8 * size)
        file.write(bytes(100))
    return path, {}


def _bytes_between(folder: Path) -> tuple[Path, Options]:
    path, _ = _merlin()(folder)
    content = path.read_bytes()
    size = len(content) // 12
    parts = [content[i * size : (i + 1) * size] + bytes(64) for i in range(12)]
    path.write_bytes(b"".join(parts))
    return path, {}


def _two_axes_in_nm(folder: Path) -> tuple[Path, Options]:
    axes = [(0, 1, "")] * 4
    return hdf5_writer.write_dm5(folder / "a.dm5", SCAN.astype("f4"), axes), {}


def _cache_as_arrays(folder: Path) -> tuple[Path, Options]:
    return framecache.write_npz(folder / "a.npz", STACK % 3), {"format": "npy"}


def _too_many_positions(folder: Path) -> tuple[Path, Options]:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("a", (1 << 15, 1 << 15, 8, 8), "u1", chunks=(1, 64, 8, 8))
    return folder / "a.h5", {"order": "F"}


def _scanned_images(folder: Path) -> tuple[Path, Options]:
    """Frames that show where lines begin."""
    y, x = np.mgrid[:12, :16]
    row = np.exp(-(((x - 8) / 3) ** 2)) * 200 + 20 * (y % 2)
    frames = np.zeros((12, 16, 8, 8), "u2") + (row + 50)[..., None, None].astype("u2")
    frames += RNG.integers(0, 3, frames.shape).astype("u2")
    np.save(folder / "a.npy", frames.reshape(-1, 8, 8))
    return folder / "a.npy", {"scan": "content"}


def only_loaded(path: Path, **options: Any) -> None:
    """Load a recording."""
    load(path, **options)


def only_parsed(path: Path, **options: Any) -> None:
    """Describe a recording in HDF5."""
    rsciio_tem.hdf5.parse(path, **options)


def _listed_in(said: str, path: Path) -> str:
    """The second of the arrays that a message lists: the first one may have been read."""
    names = re.search(r"not ([^ ,(]+?)[ .,]|one of ([^ ,]+?)[.,]|lists ([^ ,.]+)", said)
    assert names is not None, said
    return next(name for name in names.groups() if name)


CASES = [
    # scan shapes
    Case(
        'dtype="uint16", sig_shape=(256, 256), navigation_shape=(x, y), or write them',
        _raw("a.raw", format="raw"),
        ("dtype sig_shape navigation_shape", "dtype sig_shape"),
        {"x": 3, "y": 2},
    ),
    Case(
        'format="raw", dtype="uint16", sig_shape=(256, 256)',
        _raw("a.something"),
        ("format dtype sig_shape",),
    ),
    Case('dtype="{kind[1]}"', _raw("a_256x256_uint16.raw", format="raw"), ("dtype sig_shape",)),
    Case(
        'Pass missing="fill" or missing="crop"',
        npy(STACK, navigation_shape=(5, 3), missing="raise"),
        ("missing", "missing#1"),
        again=True,
    ),
    Case(
        "Pass navigation_shape=(x, y)",
        npy(STACK, scan="timestamps"),
        ("navigation_shape",),
        {"x": 4, "y": 3},
        without=("scan",),
    ),
    Case(
        "with line_skip= the number of extra frames per line",
        npy(STACK, flyback="drop"),
        ("navigation_shape line_skip",),
        {"x": 3, "y": 3, "line_skip": 1},
        without=("flyback",),
    ),
    Case(
        "roi={list(roi)",
        npy(SCAN, roi=(0, 5, 7)),
        ("roi",),
        console=False,
    ),
    Case(
        'flyback="keep" keeps them.',
        sample("dectris", "frames before each line"),
        ("flyback",),
        again=True,
    ),
    # corrections and types
    Case(
        "Pass an image of the shape of a frame, or corrections=False",
        npy(STACK, dark=np.zeros((3, 3))),
        ("corrections",),
        without=("dark",),
        console=False,
    ),
    Case(
        'Pass repair="fill" to look further out, or allow_empty=True',
        npy(STACK, excluded_pixels=np.pad(np.ones((5, 5), bool), ((0, 11), (0, 19)))),
        ("repair", "allow_empty"),
        console=False,
    ),
    Case(
        "fill_value=nan needs a floating dtype=",
        npy(STACK, fill_value=np.nan),
        ("dtype",),
        {"dtype": "float32"},
        console=False,
    ),
    Case(
        "Pass excluded_pixels=.",
        _masked,
        ("excluded_pixels",),
        {"excluded_pixels": lambda said, path: image_beside(path, np.zeros((16, 24), bool))},
        again=True,
    ),
    Case(
        'flatfield="stored" does.',
        _flat_field,
        ("flatfield",),
        again=True,
        call=looked_at,
    ),
    Case(
        "Pass dark=, or corrections=False.",
        sample("frms6", "not unfolded"),
        ("corrections", "dark"),
        {"dark": lambda said, path: image_beside(path, np.zeros(_frame_shape(path)))},
        again=True,
    ),
    Case(
        "sparse='scipy' is not lazy; pass sparse=True, or lazy=False",
        sample("raw_csr", "scan", sparse="scipy", lazy=True),
        ("sparse#1", "lazy"),
        console=False,
    ),
    Case(
        "Pass chips='quad' or chips='row'.",
        sample("tpx3", "four chips", chips="single"),
        ("chips", "chips#1"),
    ),
    Case(
        "Pass dwell_time= in seconds to cut them into frames of this length.",
        sample("tpx3", "no triggers"),
        ("dwell_time",),
        {"dwell_time": 2e-6},
    ),
    Case(
        "Pass dwell_time= in seconds; if the ",
        sample("tpx3", "no triggers", navigation_shape=(2, 2)),
        ("dwell_time",),
        {"dwell_time": lambda said, path: float(said.rpartition("it is ")[2].rstrip("."))},
    ),
    Case(
        "If a trigger marks each line, pass navigation_shape= too.",
        sample("tpx3", "triggers of lines", dwell_time=1e-5),
        ("navigation_shape",),
        {"navigation_shape": (4, 3)},
    ),
    Case(
        "Check the scan shape. If each marks a position, there are {count}: pass ",
        sample("tpx3", "scan", navigation_shape=(2, 21)),
        ("navigation_shape",),
        {"navigation_shape": (5, 4)},
    ),
    Case(
        "If they mark the lines of {scans} scans one after the other, pass ",
        sample("tpx3", "scan", navigation_shape=(5, 10)),
        ("navigation_shape",),
    ),
    Case(
        "If they mark lines, pass navigation_shape=({lines}, {positions}).",
        sample("tpx3", "triggers of lines", navigation_shape=(3, 7)),
        ("navigation_shape",),
    ),
    Case(
        "If they mark lines, pass navigation_shape= with the positions in a line and these ",
        sample("tpx3", "triggers of lines"),
        ("navigation_shape",),
        {"navigation_shape": (4, 3)},
    ),
    Case(
        "Pass dwell_time=, in seconds.",
        _one_trigger,
        ("dwell_time",),
        {"dwell_time": 5e-5},
    ),
    # formats
    Case('or pass format="hdf5".', _hdf5(("a", SCAN), format="dectris"), ("format",)),
    Case(
        'Pass format="dectris". dataset= reads one array of it.',
        lambda folder: (dectris.write_dectris(folder, STACK, inside=True), {"format": "hdf5"}),
        ("format", "dataset"),
        {"dataset": "entry/data/data_000001"},
    ),
    Case(
        'Pass format="framecache". dataset= reads any one array in it.',
        lambda folder: (
            framecache.write_fch5(folder / "a.h5", STACK % 3),
            {"format": "hdf5"},
        ),
        ("format",),
    ),
    Case(
        'Pass format="eigerstream". dataset= reads any one array in it.',
        lambda folder: (
            eigerstream.write_stream(folder / "a.h5", STACK.astype("u4")),
            {"format": "hdf5"},
        ),
        ("format",),
    ),
    Case(
        'Pass format="stempy". dataset= reads any one array in it.',
        lambda folder: (
            stempy.write_counts(folder / "a.h5", SCAN % 2),
            {"format": "hdf5"},
        ),
        ("format",),
    ),
    Case(
        "Pass version=3 if it holds whole frames.",
        lambda folder: (_whole_frames(folder), {"format": "fourdcamera", "version": 5}),
        ("version",),
    ),
    Case(
        "Pass version=3 for whole frames, version=5 for sectors of 144 rows.",
        lambda folder: (_whole_frames(folder, module=True), {"format": "fourdcamera"}),
        ("version",),
    ),
    # HDF5, Zarr, archives
    Case("Pass order='F' if frames look transposed", _matlab, ("order", "order sig_first")),
    Case(
        "Leave out sig_shape, or order='F'.",
        _hdf5(("a", SCAN), order="F", sig_shape=(12, 32)),
        (),
        without=("sig_shape",),
    ),
    Case(
        "sig_shape only reshapes frames; dataset= chooses another array.",
        _hdf5(("a", SCAN), ("b", np.zeros((5, 30), "u1")), sig_shape=(5, 6)),
        ("dataset",),
        {"dataset": "b"},
    ),
    Case(
        "Pass dataset= to choose.",
        _hdf5(("a", SCAN), ("b", SCAN)),
        ("dataset",),
        {"dataset": _listed_in},
    ),
    Case(
        "dataset= chooses.",
        _hdf5(("a", SCAN), ("b", STACK)),
        ("dataset",),
        {"dataset": _listed_in},
    ),
    Case("Pass dataset= one of ", _zarr, ("dataset",), {"dataset": _listed_in}),
    Case("Pass key= to choose.", _several, ("key",), {"key": _listed_in}),
    Case("key= chooses.", sample("npy", "npz"), ("key",), {"key": _listed_in}, console=False),
    Case(
        "Pass group= with one of ",
        _caches,
        ("group",),
        {"group": lambda said, path: re.findall(r"one of ([^,]+),", said)[0]},
        call=lambda path, **options: rsciio_tem.framecache.parse(
            path, **{k: v for k, v in options.items() if k != "format"}
        ),
        console=False,
    ),
    # cameras
    Case(
        "Pass layers=2 if both counters",
        _merlin(counters=np.arange(12) % 2),
        ("layers",),
    ),
    Case(
        "If the images look wrong, pass data_order='frames'.",
        _dm(dm.image(SCAN.transpose(2, 3, 0, 1))),
        ("data_order",),
    ),
    Case("If the images look wrong, pass data_order={other", _swapped_and_not, ("data_order",)),
    Case(
        "a scan that was stored pixel by pixel needs data_order='pixels'.",
        _dm(dm.image(SCAN, tags=dm.swapped(True)), order="F"),
        ("data_order",),
        without=("order",),
    ),
    Case(
        "Pass dataset_index= one of ",
        _dm(dm.image(SCAN), dataset_index=7),
        ("dataset_index",),
        {"dataset_index": lambda said, path: int(re.findall(r"one of (\d+)", said)[0])},
    ),
    Case(
        "Pass calibration= the folder",
        _g2,
        ("calibration",),
        {"calibration": lambda said, path: str(path.parent / "calibration")},
    ),
    Case("with single_file=True to read the dark frames", _only_dark, ("single_file",)),
    Case("Pass single_file=True to read it alone.", _sizes_differ, ("single_file",), again=True),
    Case(
        "If the image of the scan looks sheared, pass navigation_shape=",
        sample("frms6", "lines and columns differ"),
        ("navigation_shape",),
        again=True,
    ),
    Case(
        "Pass binning= if that is wrong.",
        sample("frms6", "no .hdr"),
        ("binning",),
        {"binning": lambda said, path: int(re.findall(r"; (\d+) is taken", said)[0])},
    ),
    Case("Pass crop=False, dark_rows=False.", _k2(crop=True), ("crop dark_rows",)),
    Case('Pass sectors="any" to read what there is.', _no_whole_frame, ("sectors",)),
    Case(
        'Pass sectors="any" to read them',
        sample("k2is", "sectors begin and end apart"),
        ("sectors",),
    ),
    Case(
        "sync_offset= or first_frame= chooses another one.",
        sample("k2is", "scan"),
        ("sync_offset", "first_frame"),
        {"sync_offset": 0, "first_frame": 0},
        again=True,
    ),
    Case(
        "sync_offset= chooses another one.",
        sample("k2is", "no shutter flag"),
        ("sync_offset",),
        {"sync_offset": 1},
        again=True,
    ),
    Case("Unpack it on disk, or pass lazy=False.", _compressed_mrc, ("lazy",), console=False),
    Case(
        "Pass signed=True or signed=False.",
        lambda folder: (mrc.write_mrc(folder / "a.mrc", STACK.astype("u1"), 0, version=0), {}),
        ("signed", "signed#1"),
    ),
    Case("Pass scan_file={likely", _positions_beside, ("scan_file", "metadata_file")),
    Case(
        "{hint}, or metadata_file=None for the frames as they were recorded.",
        _without_positions,
        ("scan_file", "metadata_file"),
        {"scan_file": lambda said, path: str(path.parent / "places.csv")},
    ),
    Case(
        "Pass another scan_file, or metadata_file=None",
        _bad_positions,
        ("metadata_file",),
    ),
    Case(
        "Pass it as top= or bottom=, or celeritas=False",
        _one_half,
        ("bottom", "celeritas"),
        {"bottom": lambda said, path: str(path.parent / "elsewhere.seq")},
    ),
    Case(
        "Pass prebuffer= if they are not.",
        _square_halves,
        ("prebuffer",),
        {"prebuffer": lambda said, path: int(re.findall(r"; (\d+) are assumed", said)[0])},
    ),
    Case(
        "Pass prebuffer=, the number of frames in a buffer.",
        _odd_halves,
        ("prebuffer",),
        {"prebuffer": 4},
    ),
    Case('Pass lost="drop" to leave them out.', _lost_buffers, ("lost",), again=True),
    Case(
        "Pass all_slots=True to read every slot.",
        sample("seq", "slots never written"),
        ("all_slots",),
    ),
    Case(
        'placement="stored" returns all frames.',
        sample("tvips", "scan coordinates, gaps and repetitions"),
        ("placement",),
    ),
    Case(
        'Pass placement="stored" to arrange the frames as they come.',
        _scanned(scan=tvips.raster(3, 4), nav_shape=(4, 3), placement="scan"),
        ("placement",),
    ),
    Case(
        "Pass placement='rotator' with scan_shape=(y, x)",
        _rotated,
        ("scan_shape placement",),
        {"x": 4, "y": 3},
    ),
    Case(
        "Pass for example sig_shape=",
        sample("raw_csr", "frame shape as a keyword"),
        ("sig_shape",),
    ),
    Case(
        "counts in each file; pass empty_frames=0, and first_frame=",
        _images(options={"empty-frames": 1}),
        ("empty_frames first_frame",),
        {"first_frame": 1},
    ),
    Case(
        "Pass omega= with begin and end of each frame.",
        _images(meta={"omega": [[0, 1]] * 5}),
        ("omega",),
        {"omega": [[i, i + 1] for i in range(4)]},
        console=False,
    ),
    Case(
        " If frames are the last axes in MATLAB, pass sig_first=True, too.",
        _matlab,
        ("order sig_first",),
    ),
    Case(
        "Leave out order='F'.",
        _too_many_positions,
        (),
        without=("order",),
        call=only_parsed,
        console=False,
    ),
    Case("Pass sig_first=False if it is the last two.", _two_axes_in_nm, ("sig_first",)),
    Case(
        "frames in other chunks can be read with first_frame= and last_frame=.",
        _damaged_chunk,
        ("first_frame", "last_frame"),
        {"first_frame": 6, "last_frame": 5},
    ),
    Case(
        "arrays with key= to look at it.",
        _cache_as_arrays,
        ("key",),
        {"key": "0_data"},
        console=False,
    ),
    Case(
        "Other images of the file can be chosen with dataset_index=.",
        _dm(dm.image(SCAN, data_type=99), dm.image(STACK)),
        ("dataset_index",),
        {"dataset_index": 2},
    ),
    Case(
        "Pass dataset_index= for another image, or leave these keywords out.",
        _dm(dm.image(np.arange(1024, dtype="f4")), first_frame=1),
        (),
        without=("first_frame",),
        console=False,
        call=only_loaded,
    ),
    Case(
        "Pass sync_offset=-N if you know how many.",
        _short_names,
        ("sync_offset",),
        {"N": 3},
        again=True,
    ),
    Case("Open one of them with single_file=True.", _without_the_third, ("single_file",)),
    Case(
        "last_frame= leaves out what follows the damage.",
        _header_lost,
        ("last_frame",),
        {"last_frame": 8},
        again=True,
        call=looked_at,
    ),
    Case(
        "and pass last_frame= to leave out the damaged ones.",
        _last_header_lost,
        ("last_frame",),
        {"last_frame": lambda said, path: int(re.findall(r"last frame \((\d+)\)", said)[0])},
        again=True,
    ),
    Case("for RAW data pass depth=1, 6, 12 or 24.", _bytes_between, ("depth",), again=True),
    Case("Pass celeritas=False for this half as it is stored.", _of_another_size, ("celeritas",)),
    Case(
        "Pass the halves that belong together as top= and bottom=.",
        _of_other_buffers,
        ("top bottom",),
        {
            "top": lambda said, path: str(path),
            "bottom": lambda said, path: str(path.parent / "more" / "right.seq"),
        },
    ),
    Case(
        "Pass the right one as top= or bottom=, or celeritas=False for this half alone.",
        _halves_at("13-49-04.160", "13-49-09.196", "13-49-09.190"),
        ("bottom", "celeritas"),
        {"bottom": _other_half},
    ),
    Case(
        "If they belong together, pass it as top= or bottom=; celeritas=False",
        _halves_at("13-49-04.160", "15-49-09.196"),
        ("bottom", "celeritas"),
        {"bottom": _other_half},
    ),
    Case(
        "Pass the other one as top= or bottom=.",
        _unnamed_half,
        ("bottom",),
        {"bottom": _other_half},
        then="Pass prebuffer=",
    ),
    Case(
        'Pass defects="listed" or "turned", or excluded_pixels=.',
        _flipped,
        ("defects", "excluded_pixels"),
        {"excluded_pixels": lambda said, path: image_beside(path, np.zeros((16, 24), bool))},
        again=True,
    ),
    Case(
        "snake=True needs a scan shape with lines.",
        npy(STACK, snake=True),
        ("navigation_shape",),
        {"x": 4, "y": 3},
    ),
    Case(
        "and pass navigation_shape=(x, y) once you are sure",
        _scanned_images,
        ("navigation_shape",),
        {"x": 16, "y": 12},
        without=("scan",),
    ),
    Case(
        "Pass sparse=False, or leave these out.",
        sample("raw_csr", "scan", sparse=True, corrections=True, dark=np.zeros((6, 10))),
        ("sparse",),
        console=False,
    ),
    Case(
        "Name one of them: format=",
        lambda folder: ((folder / "a.img").write_bytes(b"some") and folder / "a.img", {}),
        ("format",),
        console=False,
        then="reader .jeol",
    ),
]


def _frame_shape(path: Path) -> tuple[int, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return rsciio_tem.open(path).frames.frame_shape


def _words(hint: str) -> str:
    """The part of a hint that is the same in the source and in a message."""
    return re.split(r"\{|'?\"?$", hint)[0] or hint.partition("}")[2]


def _given(case: Case, said: str, path: Path) -> Options:
    return {k: v(said, path) if callable(v) else v for k, v in case.given.items()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_hint_is_followed(case: Case, tmp_path: Path) -> None:
    path, options = case.make(tmp_path)
    call = case.call or loaded
    said, _ = said_by(call, path, options)
    words = _words(case.hint)
    assert words in said
    left = {name: value for name, value in options.items() if name not in case.without}
    given = _given(case, said, path)
    for choice in case.choices or ("",):
        now, failed = said_by(call, path, left | passed(said, choice, given))
        assert not failed or (case.then and re.search(case.then, now)), now
        assert case.again or words not in now


def _shown(options: Options) -> list[str]:
    """Keywords as options of the command."""
    words: list[str] = []
    for name, value in options.items():
        if name in ("format", "scan", "flyback", "navigation_shape", "nav_shape", "sig_shape"):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
        else:
            words += ["-O", f"{name}={json.dumps(value, default=str)}"]
    return words


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.console and not case.then], ids=str
)
def test_hint_is_followed_on_the_command_line(case: Case, tmp_path: Path) -> None:
    path, options = case.make(tmp_path)
    said, _ = said_by(case.call or loaded, path, options)
    left = {name: value for name, value in options.items() if name not in case.without}
    given = _given(case, said, path)
    for choice in case.choices or ("",):
        chosen = passed(said, choice, given)
        others = {name: value for name, value in left.items() if name not in chosen}
        output, status = console(
            path, tmp_path, [*_shown(others), *on_command_line(said, chosen, given)]
        )
        assert status < 2, output


# ---------------------------------------------------------------- other calls

#: Texts that are followed by the tests below, one by one.
FOLLOWED: list[str] = []


def followed(*hints: str) -> Callable[[Any], Any]:
    """Note which texts a test follows."""
    FOLLOWED.extend(hints)
    return lambda test: test


def message(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """Return what a call says that fails."""
    with pytest.raises((ValueError, TypeError, OverflowError)) as caught:
        call(*arguments, **options)
    return str(caught.value)


@followed("Load it lazily: hs.load({", "or part of it with first_frame= and last_frame=.")
def test_too_large_for_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hs = pytest.importorskip("hyperspy.api")
    path, _ = npy(STACK)(tmp_path)
    monkeypatch.setattr("rsciio_tem.storage.machine.free_memory", lambda: 7000)
    said = message(load, path)
    (call,) = re.findall(r"hs\.load\(.*?\)", said)
    assert eval(call, {"hs": hs}).data.shape == STACK.shape
    assert set(values_in(said, "first_frame") + values_in(said, "last_frame")) == {""}
    assert len(load(path, first_frame=3, last_frame=7)[0]["data"]) == 4
    said = message(lambda: rsciio_tem.from_array(STACK, dtype="float64"))
    lazy = passed(said, "lazy", {})
    assert rsciio_tem.from_array(STACK, dtype="float64", **lazy)[0]["data"].shape == STACK.shape


@followed("Take a part of them with first_frame= and last_frame=, or pass chunks=.")
def test_too_many_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = npy(np.zeros((3000, 300, 300), "u1"))(tmp_path)
    monkeypatch.setattr("rsciio_tem.reading.read._MOST_CHUNKS", 2)
    assert "pass chunks=" in message(load, path, lazy=True)
    load(path, lazy=True, chunks=3000)
    load(path, lazy=True, first_frame=5, last_frame=50)


@followed("Pass lazy=True, or part of the recording with first_frame= and last_frame=.")
@pytest.mark.filterwarnings("ignore:.*lines are complete")
def test_too_large_sparse_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sparse")
    path, _ = sample("raw_csr", "scan")(tmp_path)
    monkeypatch.setattr("rsciio_tem.storage.machine.free_memory", lambda: 1100)
    said = message(load, path, sparse=True)
    load(path, sparse=True, **passed(said, "lazy", {}))
    load(path, sparse=True, first_frame=0, last_frame=4)


@followed("fill_value must be 0 with sparse=")
def test_fill_value_of_sparse_arrays(tmp_path: Path) -> None:
    pytest.importorskip("sparse")
    path, _ = sample("raw_csr", "scan")(tmp_path)
    more = {"sparse": True, "sync_offset": -4}
    assert "must be 0" in message(load, path, fill_value=3, **more)
    load(path, fill_value=0, **more)


@followed("numpy.ma.filled, 0)", "pass dask.array.from_array(...) of it")
def test_arrays_of_other_kinds(tmp_path: Path) -> None:
    da = pytest.importorskip("dask.array")
    masked = np.ma.masked_equal(STACK, STACK[0, 0, 0])
    for array in (masked, da.from_array(masked)):
        said = message(rsciio_tem.from_array, array)
        (call,) = re.findall(r"pass (array\..*\))$", said)
        assert rsciio_tem.from_array(eval(call, {"array": array, "numpy": np}))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("a", data=STACK)
        said = message(rsciio_tem.from_array, data, sig_shape=(8, 48))
        assert "dask.array.from_array(...)" in said
        assert rsciio_tem.from_array(da.from_array(data), sig_shape=(8, 48))


@followed("pass dtype='float64' to the reader")
def test_sums_beyond_64_bits(tmp_path: Path) -> None:
    path, _ = npy(np.full((3, 4, 4), 2**63, "u8"))(tmp_path)
    said = message(rsciio_tem.reduce, path)
    rsciio_tem.reduce(path, **passed(said, "dtype", {}))


@followed(
    "to rsciio_tem.from_array; key= reads one of its lists",
    "an array is a signal after rsciio_tem.from_array(array)[0]",
)
def test_arrays_that_are_none_of_a_reader(tmp_path: Path) -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    scipy_sparse.save_npz(tmp_path / "a.npz", scipy_sparse.csr_matrix(STACK[0]))
    said = message(load, tmp_path / "a.npz")
    assert "scipy.sparse.load_npz" in said
    dense = scipy_sparse.load_npz(tmp_path / "a.npz").toarray()
    assert rsciio_tem.from_array(dense)
    load(tmp_path / "a.npz", key="data", sig_dims=1)
    assert "key= reads one of its lists" in said
    said = message(rsciio_tem.convert, dense, tmp_path / "a.npy")
    (call,) = re.findall(r"rsciio_tem\.from_array\(array\)\[0\]", said)
    signal = eval(call, {"rsciio_tem": rsciio_tem, "array": dense})
    assert rsciio_tem.convert(signal, tmp_path / "a.npy")


@followed(
    "rsciio_tem.load hands it over. dataset= reads any one array in it.",
    "hs.load and rsciio_tem.load try that reader.",
    "file_reader and hs.load hand it over.",
)
def test_what_rosettasciio_reads(tmp_path: Path) -> None:
    path = hdf5_writer.write_nexus(
        tmp_path / "a.nxs", np.arange(50.0), [("energy", "eV", np.arange(50.0))]
    )
    said = message(rsciio_tem.open, path)
    assert "rsciio_tem.load hands it over. dataset= reads" in said
    assert load(path)[0]["data"].shape == (50,)
    spectrum = dm.write_dm(tmp_path / "a.dm4", [dm.image(np.arange(1024, dtype="f4"))])
    assert "file_reader and hs.load hand it over" in message(rsciio_tem.open, spectrum)
    assert rsciio_tem.dm.file_reader(spectrum)
    (tmp_path / "a.msa").write_text("#FORMAT      : EMSA/MAS Spectral Data File\n")
    assert "rsciio_tem.load try that reader" in message(rsciio_tem.open, tmp_path / "a.msa")
    assert "'msa'" in message(load, tmp_path / "a.msa")  # it tries, and says what it lacks


@followed(
    "Pass intensity_scaling=, for example 'minmax' or (low, high)",
    ", or dtype='uint16'.",
    "Round the signal, or pass intensity_scaling=.",
    "dtype='uint8' or intensity_scaling= makes an 8-bit one",
    "intensity_scaling='dtype' is for whole numbers",
)
@pytest.mark.filterwarnings("ignore:.*(is stored as|16-bit blockfiles)")
def test_pixels_that_blockfiles_do_not_hold(tmp_path: Path) -> None:
    target = tmp_path / "a.blo"
    square = SCAN[..., :16]
    (signal,) = rsciio_tem.from_array(square)
    said = message(rsciio_tem.convert, signal, target, dtype="uint8")
    for choice in ("intensity_scaling", "dtype"):
        how = {"dtype": "uint8", **passed(said, choice, {"intensity_scaling": "minmax"})}
        rsciio_tem.convert(signal, target, overwrite=True, **how)
    assert "'minmax' or (low, high)" in said
    rsciio_tem.convert(signal, target, overwrite=True, intensity_scaling=(0, 999))
    (floating,) = rsciio_tem.from_array(square / 7)
    said = message(rsciio_tem.convert, floating, target, overwrite=True)
    assert "pass intensity_scaling=" in said
    rsciio_tem.convert(floating, target, overwrite=True, intensity_scaling="minmax")
    assert "for whole numbers" in message(
        rsciio_tem.convert, floating, target, overwrite=True, intensity_scaling="dtype"
    )
    (signal,) = rsciio_tem.from_array(square)
    with pytest.warns(RecordingWarning, match="intensity_scaling= makes an 8-bit one") as caught:
        rsciio_tem.convert(signal, target, overwrite=True, dtype="uint16")
    texts = values_in(str(caught[-1].message), "dtype")
    (small,) = rsciio_tem.from_array(square % 200)
    rsciio_tem.convert(small, target, overwrite=True, dtype=literal(texts[0], {}))


@followed(
    "{listed}: pass dtype='",
    "pass dtype='{narrower}'",
    "or leave out imagej=True for a plain stack",
    "pass bin=, inav= or isig= to make it smaller",
    "such as isig='{columns}",
    "pass inav= or isig= for a part of it",
)
@pytest.mark.filterwarnings("ignore::rsciio_tem.errors.RecordingWarning")
def test_limits_of_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = npy(SCAN.astype("u4"))(tmp_path)
    for name, more in (("a.mrc", {}), ("a.tif", {"imagej": True})):
        said = message(rsciio_tem.convert, path, tmp_path / name, **more)
        rsciio_tem.convert(path, tmp_path / name, **more, **passed(said, "dtype", {}))
    path, _ = npy(SCAN.astype("i4"))(tmp_path)
    said = message(rsciio_tem.convert, path, tmp_path / "a.tvips")
    rsciio_tem.convert(path, tmp_path / "a.tvips", **passed(said, "dtype", {}))
    said = message(rsciio_tem.convert, path, tmp_path / "b.tif", imagej=True)
    assert "leave out imagej=True" in said
    rsciio_tem.convert(path, tmp_path / "b.tif")
    path, _ = npy(SCAN % 200)(tmp_path)
    said = message(rsciio_tem.convert, path, tmp_path / "a.blo")
    rsciio_tem.convert(path, tmp_path / "a.blo", **passed(said, "isig", {}))
    np.testing.assert_array_equal(load(tmp_path / "a.blo")[0]["data"], SCAN[..., 4:20] % 200)
    command = ["convert", str(path), str(tmp_path / "b.blo"), "--quiet"]
    result = CliRunner().invoke(cli.main, command)
    (typed,) = re.findall(r"--isig (\S+)", result.output)
    result = CliRunner().invoke(cli.main, [*command, "--isig", typed])
    assert result.exit_code in (0, 1), result.output
    path, _ = npy(np.zeros((1, 70_000, 2, 2), "u1"))(tmp_path)
    said = message(rsciio_tem.convert, path, tmp_path / "c.blo")
    given = {"inav": ":60000", "isig": ":"}
    rsciio_tem.convert(path, tmp_path / "c.blo", **passed(said, "inav", given))
    path, _ = npy(SCAN)(tmp_path)
    monkeypatch.setattr("rsciio_tem.formats.tiff.writer.CLASSIC", 7000)
    said = message(rsciio_tem.convert, path, tmp_path / "c.tif", imagej=True)
    given = {"bin": 4, "inav": ":1", "isig": ":8"}
    for choice in given:
        how = {**passed(said, choice, given), **({"dtype": "uint16"} if choice == "bin" else {})}
        rsciio_tem.convert(path, tmp_path / "c.tif", imagej=True, overwrite=True, **how)


@followed(
    "output_yaml=True: the YAML file",
    "omega belongs to layout='hexrd'",
    "verify=True is for the formats that rsciio-tem itself writes",
)
def test_keywords_of_writers_that_belong_to_others(tmp_path: Path) -> None:
    (signal,) = rsciio_tem.from_array(STACK)
    said = message(rsciio_tem.convert, signal, tmp_path / "a.fch5", output_yaml=True)
    assert ".npz" in said
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        rsciio_tem.convert(signal, tmp_path / "a.npz", **passed(said, "output_yaml", {}))
    omega = [[i, i + 1] for i in range(12)]
    said = message(rsciio_tem.convert, signal, tmp_path / "a.h5", omega=omega)
    rsciio_tem.convert(signal, tmp_path / "a.h5", omega=omega, **passed(said, "layout", {}))
    pytest.importorskip("hyperspy.api")
    said = message(rsciio_tem.convert, signal, tmp_path / "a.hspy", verify=True)
    assert passed(said, "verify", {}) == {"verify": True}
    rsciio_tem.convert(signal, tmp_path / "a.hspy")


@followed(
    "top= and bottom= are for recordings in halves; celeritas=False",
    "pass either a list of files as filename, or files=",
    "signed= is for 8-bit pixels",
    "{image.name} has colours, order='F' has not.",
    "see also data_order=",
)
def test_keywords_that_contradict(tmp_path: Path) -> None:
    top, bottom = seq.write_halves(tmp_path, STACK, 4)
    assert "says no" in message(load, top, bottom=bottom, celeritas=False)
    load(top, celeritas=False)
    load(top, bottom=bottom)
    path = dm.write_dm(tmp_path / "a.dm4", [dm.image(SCAN[0, 0])])
    assert "either" in message(rsciio_tem.dm.file_reader, [path], files=[path])
    rsciio_tem.dm.file_reader([path])
    rsciio_tem.dm.file_reader(path, files=[path])
    stack = mrc.write_mrc(tmp_path / "a.mrc", STACK, 6)
    assert "8-bit" in message(load, stack, signed=True)
    load(stack)
    assert "see also data_order=" in message(load, path, order="A")
    load(path, data_order="frames")


@followed(
    "Finish that one first, delete the folder, or pass resume=False to begin anew.",
    "format= is the format of the source; that of the target is to=.",
    "for that of the target pass to={",
    "source_format= is called format= now, and the format of the target is to=",
    "Pass to= with one of these: {",
    'missing="fill" keeps an incomplete line.',
)
def test_conversions(tmp_path: Path) -> None:
    path, _ = npy(STACK)(tmp_path)
    target = tmp_path / "b.npy"

    def stop(frames: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rsciio_tem.convert(path, target, progress=stop)
    said = message(rsciio_tem.convert, path, target, nav_shape=(3, 4))
    rsciio_tem.convert(path, target, nav_shape=(3, 4), **passed(said, "resume", {}))
    with pytest.raises(ValueError, match="is no") as caught:
        rsciio_tem.convert(path, tmp_path / "c.h5", "hdf5")
    assert "of the target is to=" in caught.value.__notes__[0]
    rsciio_tem.convert(path, tmp_path / "c.h5", to="hdf5")
    with pytest.warns(FutureWarning, match="pass to=") as warned:
        rsciio_tem.convert(path, tmp_path / "c.bin", "raw")
    rsciio_tem.convert(
        path, tmp_path / "c.bin", overwrite=True, **passed(str(warned[0].message), "to", {})
    )
    with pytest.warns(FutureWarning, match="source_format= is called format= now"):
        rsciio_tem.convert(path, tmp_path / "d.h5", source_format="npy")
    rsciio_tem.convert(path, tmp_path / "d.h5", format="npy", to="hdf5", overwrite=True)
    said = message(rsciio_tem.convert, path, tmp_path / "d.xyz")
    (first,) = re.findall(r"these: (\w+)", said)
    rsciio_tem.convert(path, tmp_path / "d.xyz", to=first)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        rsciio_tem.convert(path, tmp_path / "e.h5", nav_shape=(2, 5))
        (problem,) = rsciio_tem.compare(path, tmp_path / "e.h5", parts=["pixels"], nav_shape=(2, 5))
        more = passed(str(problem), "missing", {})
        rsciio_tem.convert(path, tmp_path / "f.h5", nav_shape=(3, 5), **more)
        assert not rsciio_tem.compare(
            path, tmp_path / "f.h5", parts=["pixels"], nav_shape=(3, 5), **more
        )


@followed("For several recordings, call it for each name in glob.glob().")
def test_several_names(tmp_path: Path) -> None:
    import glob

    npy(STACK)(tmp_path)
    said = message(load, tmp_path / "*.npy")
    (call,) = re.findall(r"glob\.glob\(\)", said)
    assert [load(name) for name in glob.glob(str(tmp_path / "*.npy"))]
    assert call


def command(*words: Any, status: int = 0) -> str:
    """Call the command, and return what it says."""
    result = CliRunner().invoke(cli.main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result.output


@followed(
    "Pass --overwrite to replace it.",
    "--overwrite replaces it.",
    "pass SOURCE and TARGET, or several sources with --into FOLDER and --to FORMAT",
    "--skip-existing is for many recordings, with --into FOLDER",
    "To convert all in it: --into FOLDER --to FORMAT.",
    "Name a file in it, or pass --into FOLDER --to FORMAT.",
    "--into FOLDER needs --to FORMAT, such as --to h5",
    "Pass --overwrite to convert it again, or choose another folder.",
    "--skip-existing passes over what is converted, --overwrite replaces it.",
    "Leave out --strict to pass over it.",
    "Leave out --strict to write what is there.",
    "navigation_shape= has room for fewer.",
    "pixels were not read (--pixels does)",
    "--navigation-shape X,Y",
)
def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, _ = npy(STACK)(tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    np.save(folder / "b.npy", SCAN)

    def option(said: str, *names: str) -> list[str]:
        """Take options from what was said, with FOLDER and FORMAT filled in."""
        words: list[str] = []
        for name in names:
            match = re.search(rf"{name}( [A-Za-z0-9]+)?", said)
            assert match is not None, said
            value = {" FOLDER": ["out"], " FORMAT": ["h5"]}.get(match[1] or "", [])
            words += [name, *value]
        return words

    command("preview", path, "-o", "a.png")
    said = command("preview", path, "-o", "a.png", status=2)
    command("preview", path, "-o", "a.png", *option(said, "--overwrite"))
    command("convert", path, "b.npy", "--quiet")
    said = command("convert", path, "b.npy", "--quiet", status=2)
    command("convert", path, "b.npy", "--quiet", *option(said, "--overwrite"))
    said = command("convert", folder, status=2)
    command("convert", folder, *option(said, "--into", "--to"))
    said = command("convert", folder, "x.h5", status=2)
    command("convert", folder, *option(said, "--into", "--to"), "--overwrite")
    said = command("convert", path, folder, status=2)
    command("convert", path, *option(said, "--into", "--to"))
    said = command("convert", path, "x.h5", "--skip-existing", status=2)
    more = option(said, "--skip-existing", "--into")
    said = command("convert", path, *more, status=2)
    (suffix,) = re.findall(r"such as --to (\w+)", said)
    command("convert", path, *more, "--to", suffix)
    said = command("convert", path, "--into", "out", "--to", "h5", status=2)
    for name in ("--skip-existing", "--overwrite"):
        command("convert", path, "--into", "out", "--to", "h5", *option(said, name))
    odd = ["--into", "out", "--to", "h5", "--navigation-shape", "5,2"]
    said = command("convert", path, *odd, "--skip-existing", status=2)
    assert "2 frames behind" not in said
    output = command("convert", path, *odd, *option(said, "--overwrite"), status=1)
    assert "warning" in output
    said = command("convert", path, *odd, "--skip-existing", "--strict", status=2)
    assert "Leave out --strict to pass over it" in said
    command("convert", path, *odd, "--skip-existing")
    said = command("convert", path, "c.h5", "--navigation-shape", "5,2", "--strict", status=2)
    assert "Leave out --strict to write what is there" in said
    command("convert", path, "c.h5", "--navigation-shape", "5,2", "--quiet", status=1)
    said = command("check", path)
    command("check", path, *option(said, "--pixels"))
    said = command("info", path)
    (shape,) = re.findall(r"--navigation-shape X,Y: 12 frames would fill (\d+,\d+)", said)
    command("info", path, "--navigation-shape", shape)


# ---------------------------------------------------------------- all of them

#: What cannot be followed by a machine, by words of its text, and why.
NOT_FOLLOWED = {
    # of side files and of the inspector
    "write it again with rsciio-tem annotate --overwrite": "tests/test_side_file.py does so",
    "# What rsciio-tem and hs.load read with the recording": "the first line of a file",
    "say something of the recording, such as navigation_shape=(x, y)": "is an example",
    "overwrite=True replaces it.": "tests/test_side_file.py passes it",
    "--serve writes no file; leave out --output": "leaves an option out",
    # of reference files
    "Write a copy for them with rsciio-tem convert.": "is another command",
    "rsciio-tem check says what is lost.": "is another command",
    "unless it gets mask_and_scale=False; ": "a keyword of xarray",
    "zarr_format=3 has no such trap": "tests/test_reference.py passes it",
    "Let the name of the target end with .parq, or write": "tests/test_reference.py does so",
    "With flip_y=True they are upright": "tests/test_reference.py passes it",
    "is written to a disk, and target= ": "tests/test_reference.py passes it",
    "rsciio_tem.from_array(...) takes arrays": "tests/test_wrong_kinds.py reduces arrays",
    # of headers that are looked at with the pixels
    "to put all records where their numbers say": "tests/formats/test_blo.py passes both",
    "to put all frames where their headers say": "test_tvips.py and test_fourdcamera.py pass it",
    # other texts that name something
    "would have to be mapped into memory": "tests/test_remote.py loads it without",
    "is no number; pass one that pixels can have": "tests/test_read.py passes one",
    "rsciio-tem could not register its readers": "is the name of the package",
    "ours: hs.load uses the reader listed": "explains a table",
    "--navigation-shape {columns + 1},{lines}": "of the demo, which tests/test_cli.py types",
    "hs.load({text}, lazy=True)": "of the demo, which has just called it",
    "rsciio_tem.load({text}, lazy=True)": "of the demo, which has just called it",
    "  rsciio-tem info {name}": "of the demo, which tests/test_cli.py types",
    "  rsciio-tem preview {name}": "of the demo, which tests/test_cli.py types",
    "--size: a scan has two sizes": "repeats the option that was typed",
    "-O {": "writes options in place of keywords",
    "(--scan content): {hint.reason}": "is drawn on a picture",
    'flyback="drop": no flyback frames': "the beginning of 'with line_skip= …'",
    "cannot be processed (processing=)": "repeats the keyword that was passed",
    # parts of texts that are followed
    "sig_shape=({sizes[-1]": "a part of 'dtype=…', by the name of a file",
    "navigation_shape=({scan[1]": "a part of 'dtype=…', by the name of a file",
    "nav_shape=({sizes[0]": "a part of 'dtype=…', by the name of a file",
    "Pass scan_file=": "a part of '…, or metadata_file=None'",
    # the same keyword as elsewhere, after something that takes long or is hard to bring about
    "Pass dataset= if it is not the one wanted.": "'Pass dataset= to choose.', of 20000 groups",
    "pass layers= if you know the number.": "'Pass layers=2', but only a person knows the number",
    "Layers are mixed up from there on; pass last_frame=": "'last_frame= leaves out what follows'",
    "Pass navigation_shape=({columns}, {lines}) if it is one": "tests/test_scan.py has such times",
    "line_skip={stored - columns} leaves out": "tests/test_scan_lines.py passes it",
    "line_skip={extra} use the last ones": "tests/test_scan_lines.py passes it",
    "; while it is still being written, without lazy=True": "tests/test_backends.py lets it grow",
    "Without lazy=True it may say more, or work.": "what another package says cannot be known",
    "dataset= reads any one array in it.": "'rsciio_tem.load hands it over. dataset= …'",
    "Pass dwell_time= to cut it into shorter frames.": "needs 4 billion hits in a pixel",
    "Pass verify=False to complete it, or resume=False": "killed at one moment: as below",
    "with other options, pass resume=False.": "tests/test_export.py passes it",
    "Pass resume=False to begin anew.": "killed at one moment: tests/kill_conversions.py",
    # needs other packages or programs
    "pip install": "packages are not installed by a test",
    "h5repack": "needs the programs of HDF5, and a filter that nobody has",
    'hs.load(..., file_format="MRCZ")': "needs the package mrcz",
    "numpy.savez_compressed writes what can be read.": "is another way to write the file",
    "is a file of HyperSpy, which hs.load opens.": "tests/test_checking.py saves one",
}


def _texts() -> Iterator[tuple[str, str]]:
    """All texts in the source but documentation, with their places; values in braces."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        beside: set[int] = set()  # documentation, declarations of options, parts of other texts
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)):
                first = node.body[0] if node.body else None
                if isinstance(first, ast.Expr):
                    beside.add(id(first.value))
            if isinstance(node, ast.JoinedStr):
                beside |= {id(part) for part in ast.walk(node) if part is not node}
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                *("click.option", "click.group", "main.command", "logging.getLogger"),
                *("re.compile", "re.fullmatch", "re.sub", "re.search"),
            ):
                beside |= {id(part) for part in ast.walk(node)}
        for node in ast.walk(tree):
            if id(node) in beside:
                continue
            place = f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield place, node.value
            elif isinstance(node, ast.JoinedStr):
                parts = (
                    part.value
                    if isinstance(part, ast.Constant)
                    else f"{{{ast.unparse(part.value)}}}"  # type: ignore[attr-defined]
                    for part in node.values
                )
                yield place, "".join(map(str, parts))


def _keywords() -> set[str]:
    from rsciio_tem.cli.words import _OPTIONS, _others

    return set(_OPTIONS) | set(_others()) | {"lazy", "chunks", "mmap_mode", "sparse", "file_format"}


def hints() -> list[tuple[str, str]]:
    """Texts that name a keyword to pass, an option, a call or a command."""
    keywords = "|".join(sorted(_keywords(), key=len, reverse=True))
    echo = re.compile(rf"(?<!pass )(?<!write )\b({keywords})=['\"]?\{{")  # what was passed
    named = re.compile(
        rf"(?<![\w.])({keywords})=(?!=)|(?<![\w-])--[a-z]|(?<![\w{{-])-[O] |pip install|h5repack"
        r"|\b(rsciio_tem|hs|numpy|dask\.array|glob|pip)\.[a-z_]+(\(|\b(?= |\.|$))|rsciio-tem [a-z]+"
    )
    return [
        (place, text)
        for place, text in _texts()
        if " " in text.strip() and named.search(echo.sub("", text))
    ]


def test_every_hint_is_followed_or_says_why_not() -> None:
    """New texts need a case; so do changed ones."""
    known = [*(case.hint for case in CASES), *FOLLOWED, *NOT_FOLLOWED]
    texts = hints()
    lacking = [f"{place}: {text}" for place, text in texts if not any(w in text for w in known)]
    assert not lacking, "\n".join(lacking)
    all_texts = [text for _, text in _texts()]
    stale = [words for words in known if not any(words in text for text in all_texts)]
    assert not stale, stale
