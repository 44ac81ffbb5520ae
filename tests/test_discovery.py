# SPDX-License-Identifier: GPL-3.0-or-later
"""HyperSpy finds our readers by itself, and nothing of ours can break HyperSpy."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import rsciio
from interpreter import Interpreter
from writers import mib as mib_writer
from writers import mrc as mrc_writer
from writers import npy as npy_writer
from writers import raw as raw_writer

import rsciio_tem
from rsciio_tem import registry

FRAMES = np.arange(12 * 64 * 256, dtype=np.uint16).reshape(12, 64, 256) % 4096


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("discovery")
    times, exposures = mib_writer.scan_times((3, 4), jitter_ns=0)
    mib_writer.write_mib(
        path / "scan.mib", FRAMES, 12, times_ns=times, exposures_ns=exposures, hdr={"frames": 12}
    )
    npy_writer.write_npy(path / "stack.npy", FRAMES)
    raw_writer.write_raw(path / "plain.raw", FRAMES)
    raw_writer.side_file(path / "plain.raw", dtype="<u2", sig_shape=[64, 256], nav_shape=[3, 4])
    return path


#: HyperSpy finds our package by itself; from then on every warning of ours is an error.
IMPORT = """
import sys, warnings
import hyperspy.api as hs
hs.load
assert "rsciio_tem" in sys.modules
from rsciio_tem.errors import RecordingWarning
warnings.simplefilter("error", RecordingWarning)
def plugin(signal):
    return signal.metadata.General.FileIO.as_dictionary()["0"]["io_plugin"]
"""


@pytest.fixture(scope="module")
def hyperspy() -> Iterator[Interpreter]:
    """A process that has imported HyperSpy, which is all that a user does."""
    interpreter = Interpreter(IMPORT)
    yield interpreter
    interpreter.close()


def python(code: str, **environment: str) -> str:
    """Run code in a fresh interpreter; return what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return without_log(result.stdout)


def without_log(printed: str) -> str:
    """Drop HyperSpy's log lines, such as the one about signal types of packages not installed."""
    return "\n".join(line for line in printed.splitlines() if "WARNING" not in line).strip()


@pytest.mark.parametrize(
    ("name", "reader", "shape"),
    [
        ("scan.mib", "rsciio_tem.formats.mib", (3, 4, 64, 256)),
        ("scan.hdr", "rsciio_tem.readers", (3, 4, 64, 256)),
        ("stack.npy", "rsciio_tem.formats.npy", (12, 64, 256)),
        ("plain.raw", "rsciio_tem.readers", (3, 4, 64, 256)),
    ],
)
def test_hs_load_finds_us(
    hyperspy: Interpreter, folder: Path, name: str, reader: str, shape: tuple[int, ...]
) -> None:
    load = "signal = hs.load(path, lazy=True); print(plugin(signal), signal.data.shape)"
    assert hyperspy.run(load, path=str(folder / name)).splitlines()[-1] == f"{reader} {shape}"


@pytest.mark.parametrize(
    ("environment", "reader"),
    [
        ({"RSCIIO_TEM_AUTOREGISTER": "0"}, "rsciio.quantumdetector"),
        ({"RSCIIO_TEM_TAKEOVER": "none"}, "rsciio.quantumdetector"),
        ({"RSCIIO_TEM_TAKEOVER": "npy"}, "rsciio.quantumdetector"),
        ({"RSCIIO_TEM_TAKEOVER": "mib"}, "rsciio_tem.formats.mib"),
        ({"RSCIIO_TEM_TAKEOVER": "all"}, "rsciio_tem.formats.mib"),
    ],
)
def test_switches(folder: Path, environment: dict[str, str], reader: str) -> None:
    load = f"{IMPORT}\nprint(plugin(hs.load({str(folder / 'scan.mib')!r}, lazy=True)))"
    assert python(load, **environment).splitlines()[-1] == reader


def test_rosettasciio_stays_reachable_by_name(hyperspy: Interpreter, folder: Path) -> None:
    printed = hyperspy.run(
        "for name, options in (('QuantumDetector', {}), ('TEM-mib', {'scan': 'stack'})):\n"
        "    signal = hs.load(path, file_format=name, **options)\n"
        "    print(plugin(signal), signal.data.shape)",
        path=str(folder / "scan.mib"),
    )
    theirs, ours = printed.splitlines()[-2:]
    assert theirs.startswith("rsciio.quantumdetector ")
    assert ours == "rsciio_tem.formats.mib (12, 64, 256)"


def test_module_as_file_format(folder: Path) -> None:
    """It is taken, though ours is not registered and would not be found."""
    path = str(folder / "scan.mib")
    load = f"import rsciio_tem; print(hs.load({path!r}, file_format=rsciio_tem.mib).data.shape)"
    printed = python(f"{IMPORT}\n{load}", RSCIIO_TEM_AUTOREGISTER="0")
    assert printed.splitlines()[-1] == "(3, 4, 64, 256)"


def test_saving_stays_with_rosettasciio(hyperspy: Interpreter, tmp_path: Path) -> None:
    path = tmp_path / "saved.npy"
    hyperspy.run(
        "import numpy as np\nhs.signals.Signal2D(np.arange(24.0).reshape(2, 3, 4)).save(path)",
        path=str(path),
    )
    np.testing.assert_array_equal(np.load(path), np.arange(24.0).reshape(2, 3, 4))


SAVE = """
import os, numpy as np
s = hs.signals.Signal2D(np.zeros((3, 4, 16, 16), "u1"))
for name in ("npy", "numpy", "TVIPS", "tvips", "blo", "Blockfile", "hspy"):
    here = os.path.join(folder, name)
    s.save(os.path.join(here, "a"), file_format=name)
    t = s.deepcopy()
    t.tmp_parameters.folder, t.tmp_parameters.filename = here, "b"
    t.save(file_format=name)
    print(name, *sorted(os.listdir(here)))
"""


def test_saving_by_name_is_as_without_us(hyperspy: Interpreter, tmp_path: Path) -> None:
    ours = hyperspy.run(SAVE, folder=str(tmp_path / "with"))
    folder = str(tmp_path / "without")
    without = python(f"{IMPORT}\nfolder = {folder!r}\n{SAVE}", RSCIIO_TEM_AUTOREGISTER="0")
    assert without_log(ours) == without
    assert "npy a.npy b.npy" in ours


GROUPS = """
import h5py, os
names = {"scan.mib": "QuantumDetector", "stack.npy": "NumPy", "a.mrc": "MRC"}
for name, file_format in names.items():
    for reader in (None, file_format):
        saved = os.path.join(folder, f"{reader}-{name}.hspy")
        hs.load(os.path.join(folder, name), file_format=reader).save(saved)
        print(*h5py.File(saved)["Experiments"])
"""


def test_groups_of_saved_files_are_called_as_without_us(
    hyperspy: Interpreter, folder: Path
) -> None:
    """The title names them, and other programs look for `/Experiments/__unnamed__`."""
    mrc_writer.write_mrc(folder / "a.mrc", np.zeros((4, 16, 16), "u2"))
    printed = hyperspy.run(GROUPS, folder=str(folder))
    assert without_log(printed).split() == ["__unnamed__"] * 6


CONTENTS = """
import os, h5py, numpy as np, rsciio_tem
pixels = np.zeros((3, 4, 40, 50), "u2")
def at(name):
    return os.path.join(folder, name)
rsciio_tem.convert(hs.signals.Signal2D(pixels), at("cube.emd"))
with h5py.File(at("cube.emd")) as a, h5py.File(at("py4dstem.emd"), "w") as b:
    b.attrs.update(a.attrs)
    for name in a:
        a.copy(name, b)
    del b[f"{name}/rsciio_tem"]
hs.signals.Signal2D(pixels[0]).save(at("ncem.emd"))
hs.signals.Signal2D(pixels).save(at("saved.nxs"))
def nexus(name, pixels, **attributes):
    with h5py.File(at(name), "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        for label in ("one", "two"):
            group = entry.create_group(label)
            group.attrs.update(NX_class="NXdata", signal="data", **attributes)
            group["data"] = pixels[: 1 if label == "two" else 3]
            for axis in "yx":
                group[axis] = np.arange({"y": 3, "x": 4}[axis])
nexus("scan.nxs", pixels)
nexus("stack.nxs", pixels[0])
nexus("dots.nxs", pixels, axes=["y", "x", ".", "."])
nexus("image.nxs", pixels, interpretation="image")
nexus("spectra.nxs", pixels[0, :, :, :9])
for name, options in calls:
    signals = hs.load(at(name), **options)
    signal = signals[0] if isinstance(signals, list) else signals
    print(name, plugin(signal), signal.axes_manager.signal_dimension, signal.data.shape)
"""

OURS, EMD, NEXUS = "rsciio_tem.formats.hdf5", "rsciio.emd", "rsciio.nexus"


def test_emd_and_nexus_are_ours_only_where_rosettasciio_misses_the_frames(
    hyperspy: Interpreter, tmp_path: Path
) -> None:
    path = "/entry/two/data"
    expected: list[tuple[str, dict[str, object], str]] = [
        ("cube.emd", {}, OURS),
        ("cube.emd", {"first_frame": 0}, OURS),
        ("cube.emd", {"stack_group": False}, EMD),
        ("cube.emd", {"file_format": "EMD"}, EMD),
        ("py4dstem.emd", {}, OURS),
        ("ncem.emd", {}, EMD),
        ("scan.nxs", {}, OURS),
        ("scan.nxs", {"dataset": path}, OURS),
        ("scan.nxs", {"dataset_path": "/entry/two"}, NEXUS),
        ("scan.nxs", {"nxdata_only": True}, NEXUS),
        ("stack.nxs", {"lazy": True}, OURS),
        *((name, {}, NEXUS) for name in ("saved.nxs", "dots.nxs", "image.nxs", "spectra.nxs")),
    ]
    calls = [(name, options) for name, options, _ in expected]
    printed = without_log(hyperspy.run(CONTENTS, folder=str(tmp_path), calls=calls)).splitlines()
    assert [line.split()[:2] for line in printed] == [[name, r] for name, _, r in expected]
    frames = [line for line in printed if OURS in line]
    assert all(" 2 (" in line for line in frames)
    assert frames[4].endswith("(1, 4, 40, 50)")


NAMES = """
import rsciio, hyperspy.io
for row in rsciio.IO_PLUGINS:
    if row["api"].startswith("rsciio."):
        for name in (row["name"], *row["name_aliases"]):
            assert hyperspy.io._infer_file_reader(name)["api"] == row["api"], name
assert "mrc" in [alias for row in rsciio.IO_PLUGINS for alias in row["name_aliases"]]
for path in paths:
    for file_format in (None, "MRC", "mrc"):
        print(file_format, plugin(hs.load(path, file_format=file_format)))
"""


def test_names_are_rosettasciios_and_suffixes_ours(hyperspy: Interpreter, tmp_path: Path) -> None:
    """MRC, TVIPS, DM3 and DM4 are both, and HyperSpy's search ignores case."""
    paths = [str(tmp_path / name) for name in ("a.mrc", "B.MRC")]
    for path in paths:
        mrc_writer.write_mrc(Path(path), np.zeros((4, 16, 16), "u2"))
    printed = hyperspy.run(NAMES, paths=paths).splitlines()
    assert printed == ["None rsciio_tem.formats.mrc", "MRC rsciio.mrc", "mrc rsciio.mrc"] * 2


def test_rosettasciios_own_test_of_its_list() -> None:
    """Every reader of the list is importable as ``rsciio.<name>``, and has what it says."""
    tests = Path(rsciio.__file__).parent / "tests" / "test_import.py"
    if not tests.is_file():
        pytest.skip("this RosettaSciIO comes without its tests")
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest"),
            *("-c", os.devnull, "-p", "rsciio_tem", str(tests), "-k", "plugins or aliases or all"),
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]


def test_readers_can_be_imported_from_rosettasciio() -> None:
    import importlib

    for plugin in rsciio.IO_PLUGINS:
        if plugin["api"].startswith("rsciio_tem."):
            module = importlib.import_module(f"rsciio.{plugin['name'].lower()}")
            assert dir(module) == ["file_reader"]
            assert module.file_reader is importlib.import_module(plugin["api"]).file_reader
            with pytest.raises(AttributeError, match="has no attribute 'parse'"):
                module.parse  # noqa: B018


def test_a_broken_registration_never_breaks_hyperspy(tmp_path: Path) -> None:
    printed = python(
        """
        import importlib.util, sys
        # a registry whose register() raises, in place of ours
        import rsciio
        class Broken(list):
            def __setitem__(self, key, value): raise RuntimeError("no")
        sys.modules["rsciio._io_plugins"].IO_PLUGINS = Broken(rsciio.IO_PLUGINS)
        import hyperspy.api as hs
        print("alive", hs.signals.Signal2D)
        """
    )
    assert "alive" in printed


def test_an_unknown_rosettasciio_keeps_its_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = [{k: v for k, v in p.items() if k != "writes"} for p in rsciio.IO_PLUGINS]
    plugins = [p for p in plugins if not p["api"].startswith("rsciio_tem")]
    monkeypatch.setattr(sys.modules["rsciio._io_plugins"], "IO_PLUGINS", plugins)
    rsciio_tem.register()
    ours = [p for p in plugins if p["api"] == "rsciio_tem.formats.mib"]
    assert len(ours) == 1
    assert "mib" not in ours[0]["name_aliases"]


SIGNAL_TYPES = """
import logging
import hyperspy.api as hs
from hyperspy.extensions import ALL_EXTENSIONS
logged = []
class Keep(logging.Handler):
    def emit(self, record): logged.append(record.getMessage())
logging.getLogger("hyperspy").addHandler(Keep())
classes = ALL_EXTENSIONS["signals"]
"""


def test_signal_types_without_their_package_are_no_warning(folder: Path, tmp_path: Path) -> None:
    """The signal is a `Signal2D`, as HyperSpy makes it, and keeps its type, also when saved."""
    printed = python(
        f"""{SIGNAL_TYPES}
for kind in ("electron_diffraction", "diffraction", "EBSD"):
    for row in [name for name, row in classes.items() if row["signal_type"] == kind]:
        del classes[row]  # as if its package were not installed
before = {{name: dict(row) for name, row in classes.items()}}
s = hs.load({str(folder / "scan.mib")!r}, lazy=True)
s.save({str(tmp_path / "saved.hspy")!r})
again = hs.load({str(tmp_path / "saved.hspy")!r})
s.T, s.inav[0].sum(), s.isig[0], s.compute(), s.change_dtype("complex64"), again.as_lazy()
print(logged, type(again).__name__, type(s).__name__, again.metadata.Signal.signal_type)
import rsciio_tem
rsciio_tem.unregister()
assert {{name: dict(row) for name, row in classes.items()}} == before
rsciio_tem.register()
"""
    )
    assert printed.splitlines()[-1] == "[] Signal2D ComplexSignal2D electron_diffraction"


def test_signal_types_of_installed_packages_are_theirs(folder: Path) -> None:
    """Another package has a class for one of the types (here HyperSpy's, under another name)."""
    printed = python(
        f"""{SIGNAL_TYPES}
import hyperspy._signals.lazy_signal2d as module
class LazyPatterns(module.LazySignal2D):
    _signal_type = "electron_diffraction"
module.LazyPatterns = LazyPatterns
classes["LazyPatterns"] = {{**classes["LazySignal2D"], "signal_type": "electron_diffraction"}}
s = hs.load({str(folder / "scan.mib")!r}, lazy=True)
print(logged, type(s).__name__, "electron_diffraction" in str(classes["LazySignal2D"]))
"""
    )
    assert printed.splitlines()[-1] == "[] LazyPatterns False"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers(folder: Path, tmp_path: Path, method: str) -> None:
    if sys.platform == "win32" and method != "spawn":
        pytest.skip("Windows spawns")
    script = tmp_path / "pool.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import multiprocessing as mp
            def work(path):
                import hyperspy.api as hs
                signal = hs.load(path, lazy=True)
                return signal.metadata.General.FileIO.as_dictionary()["0"]["io_plugin"]
            if __name__ == "__main__":
                with mp.get_context({method!r}).Pool(1) as pool:
                    print(pool.apply(work, ({str(folder / "scan.mib")!r},)))
            """
        )
    )
    result = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False
    )
    assert without_log(result.stdout) == "rsciio_tem.formats.mib", result.stderr


def test_registration_is_idempotent_and_reversible() -> None:
    from rsciio import IO_PLUGINS

    def ours() -> list[str]:
        return [p["name"] for p in IO_PLUGINS if p["api"].startswith("rsciio_tem.")]

    before = list(IO_PLUGINS)
    try:
        rsciio_tem.register()
        names = ours()
        assert names[1:] == [f"TEM-{name}" for name in registry.FORMATS]
        rsciio_tem.register()
        assert ours() == names
        assert IO_PLUGINS[0]["name"] == names[0]
        rsciio_tem.unregister()
        assert ours() == []
        with pytest.raises(ValueError, match="unknown formats"):
            rsciio_tem.register("nonsense")
    finally:
        IO_PLUGINS[:] = before


def test_no_suffix_is_listed_twice() -> None:
    """Programs that resolve suffixes through the same list fail on duplicates."""
    from rsciio import IO_PLUGINS

    others = {
        suffix.lower()
        for p in IO_PLUGINS
        if not p["api"].startswith("rsciio_tem.")
        for suffix in p["file_extensions"]
    }
    ours = [
        suffix
        for p in IO_PLUGINS
        if p["api"].startswith("rsciio_tem.")
        for suffix in p["file_extensions"]
    ]
    assert len(set(ours)) == len(ours)
    assert not set(ours) & others
    assert not any(p["writes"] for p in IO_PLUGINS if p["api"].startswith("rsciio_tem."))


def test_every_format_is_an_entry_point() -> None:
    found = {e.name: e.value for e in entry_points(group="rosettasciio.plugins")}
    expected = {row.name: row.module for row in registry.FORMATS.values()}
    assert {k: v for k, v in found.items() if v.startswith("rsciio_tem.")} == expected
    for name in expected:
        module = getattr(rsciio_tem, name)
        assert callable(module.file_reader)
        assert callable(module.parse)
        assert callable(module.sniff)


def test_formats_can_be_listed_before_and_after_a_reader_is_imported() -> None:
    printed = python(
        """
        import rsciio_tem
        before = rsciio_tem.formats()
        rsciio_tem.mib
        assert rsciio_tem.formats() == before
        print(*(row.name for row in before))
        """
    )
    assert printed.split() == list(registry.FORMATS)


BY_SUFFIX = """
import importlib, rsciio
for key in ("tem-auto", "tem-mib", "raw"):
    (reader,) = {p["api"] for p in rsciio.IO_PLUGINS if key in p["file_extensions"]}
    name = "plain.raw" if key == "raw" else "scan.mib"
    (signal,) = importlib.import_module(reader).file_reader(os.path.join(folder, name))
    print(key, reader, signal["data"].shape)
"""


def test_programs_that_look_suffixes_up_find_us_by_name(
    hyperspy: Interpreter, folder: Path
) -> None:
    """Quantem looks for a reader so, and refuses suffixes that are listed twice."""
    printed = without_log(hyperspy.run("import os\n" + BY_SUFFIX, folder=str(folder)))
    assert printed.splitlines() == [
        "tem-auto rsciio_tem.readers (3, 4, 64, 256)",
        "tem-mib rsciio_tem.formats.mib (3, 4, 64, 256)",
        "raw rsciio_tem.readers (3, 4, 64, 256)",
    ]
