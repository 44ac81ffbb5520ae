# SPDX-License-Identifier: GPL-3.0-or-later
"""RosettaSciIO's own test files, unchanged, against our readers; see README.md beside this file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rsciio
from upstream import needs_rosettasciio
from writers import ser as ser_writer

pytestmark = needs_rosettasciio("0.15")

HERE = Path(__file__).parent
TESTS = Path(rsciio.__file__).parent / "tests"

#: upstream test file -> (folder of test data, number of tests, tests that fail with our defaults)
FILES: dict[str, tuple[str, int, set[str]]] = {
    "test_quantumdetector.py": (
        "quantumdetector",
        69,
        {
            # big-endian pixels are returned in native byte order
            *(
                f"test_single_chip[Single_{n}_Frame_CounterDepth_{depth}_Rows_256.mib-{reshape}]"
                for depth in (12, 24)
                for n, reshape in ((1, False), (9, False))
            ),
            *(
                f"test_quad_chip[Quad_{n}_Frame_CounterDepth_{depth}_Rows_256.mib]"
                for n in (1, 9)
                for depth in (12, 24)  # 9 frames of 24 bit: also no scan by clock jitter
            ),
            # a scan of 3 x 3 by clock jitter
            "test_chunks[chunks1]",
            "test_chunks[chunks2]",
            # a list is taken for a scan shape
            "test_navigation_shape_list_error",
        },
    ),
    "test_numpy.py": ("", 11, {"test_write_lazy"}),  # lazy arrays can be saved
    "test_empad.py": ("empad", 10, set()),
    "test_blockfile.py": (
        "blockfile",
        30,
        {
            # two files with the same content differ in their title and in where they lie
            "test_save_load_cycle[True]",
            "test_save_load_cycle[False]",
            # our writer refuses axes that contradict the data
            "test_write_cutoff",
        },
    ),
    "test_tvips.py": ("tvips", 109, set()),
    "test_tia.py": ("tia", 30, set()),
    "test_digitalmicrograph.py": (
        "digitalmicrograph",
        191,
        {
            # images in colours can be loaded lazily
            *(f"test_data_and_axes[True-pdict{i}]" for i in (36, 43, 50, 57, 66, 73, 80, 87)),
            # the length of all tags, to which we add what we know about the recording
            "test_multi_signal",
        },
    ),
    "test_mrc.py": (
        "mrc",
        49,
        {
            "test_deprecated_mmap_mode",  # is of use here
            "test_repeated_mrc_custom_error",  # chunks may split frames
        },
    ),
}
#: tests whose data are not among ours
LACKING_DATA = {"test_digitalmicrograph.py": ("test_read_TEM_metadata",)}
#: tests that upstream expects to fail, and do
EXPECTED_FAILURES = {"test_tvips.py": 9}


#: tests that upstream skips because of an error, and that fail where there is none
SKIPPED_ON_ERROR = {"test_digitalmicrograph.py": 8}


class Results(NamedTuple):
    """What became of the upstream tests; see ``plugin.py``."""

    calls: dict[str, dict[str, int]]
    outcomes: dict[str, dict[str, dict[str, str]]]
    output: str

    def of(self, name: str, conventions: str) -> dict[str, set[str]]:
        """Return the tests of a file by their outcome."""
        tests: dict[str, set[str]] = {}
        for test, outcome in self.outcomes[conventions].get(name, {}).items():
            tests.setdefault(outcome, set()).add(test)
        return tests


def _missing_diffraction_patterns(folder: Path) -> None:
    """Write the series that most copies of the data lack; the tests look at its axes only."""
    path = folder / "16x16-diffraction_imagel_5x5x256x256_EDS_2.ser"
    if path.exists():
        return
    step, pixel = 1.873900423719105e-9, 174353422.26657104
    ser_writer.write_ser(
        path,
        [np.zeros((256, 256), "i4")] * 25,
        [ser_writer.place(5, step), ser_writer.place(5, -step, element=5)],
        tag=ser_writer.TIME_AND_PLACE,
        places=np.indices((5, 5)).reshape(2, -1).T[:, ::-1] * step,
        calibrations=[(-128 * pixel, pixel, 0)] * 25,
    )


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Run the upstream test files in one process, with their conventions and with our defaults."""
    # the plugin imports every RosettaSciIO module that is replaced
    pytest.importorskip("skimage", reason="RosettaSciIO's blockfile module needs scikit-image")
    pytest.importorskip("zarr", reason="RosettaSciIO's test files need zarr")
    folder = tmp_path_factory.mktemp("upstream")
    files = [name for name in FILES if (TESTS / name).is_file()]
    for name in files:
        shutil.copy(TESTS / name, folder)
        if data := FILES[name][0]:
            source = request.getfixturevalue("realdata") / "rosettasciio" / data
            if source.is_dir():
                _copy_data(source, folder / "data" / data)
    written = folder / "outcomes.json"
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *files, "-p", "plugin", "--noconftest"),
            *("-q", "-rf", "-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={folder}"),
            *("-p", "no:xdist"),
            *(f"--deselect={name}::{test}" for name, all in LACKING_DATA.items() for test in all),
        ],
        cwd=folder,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
            "RSCIIO_TEM_CONFORMANCE": str(written),
            "TZ": "UTC",  # RosettaSciIO converts some times to that of the computer
        },
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    output = result.stdout + result.stderr
    assert written.is_file(), output
    return Results(**json.loads(written.read_text(encoding="utf-8")), output=output)


def _copy_data(source: Path, folder: Path) -> None:
    shutil.copytree(source, folder, copy_function=shutil.copyfile)
    for path in (folder.parent, folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if folder.name == "tia":
        _missing_diffraction_patterns(folder / "new")
    if folder.name == "mrc" and not (large := folder / "4DSTEMscan.mrc").exists():
        # too large for most copies of the data; the tests look at its shape only
        large.write_bytes(np.array([256, 256, 256, 0], "<i4").tobytes())
        os.truncate(large, 1024 + 256**3)


@pytest.fixture(params=list(FILES))
def name(request: pytest.FixtureRequest) -> str:
    """Name of an upstream test file that can be run here."""
    name: str = request.param
    if not (TESTS / name).is_file():
        pytest.skip(f"this RosettaSciIO was installed without its tests ({name})")
    if data := FILES[name][0]:
        source = request.getfixturevalue("realdata") / "rosettasciio" / data
        if not source.is_dir():
            pytest.skip(f"no test data of RosettaSciIO in {source}")
    return name


def test_all_pass_with_their_conventions(name: str, results: Results) -> None:
    tests = results.of(name, "rosettasciio")
    assert not tests.get("failed"), results.output
    assert len(tests["passed"]) == FILES[name][1], results.output
    assert len(tests.get("xfailed", ())) == EXPECTED_FAILURES.get(name, 0), results.output
    module = name.removeprefix("test_").removesuffix(".py")
    assert results.calls["rosettasciio"][module] > 0


def test_known_differences_with_our_defaults(name: str, results: Results) -> None:
    tests = results.of(name, "ours")
    failed = tests.get("failed", set())
    assert failed == FILES[name][2], results.output
    expected = FILES[name][1] - len(failed) + SKIPPED_ON_ERROR.get(name, 0)
    assert len(tests["passed"]) == expected, results.output


@pytest.mark.parametrize("name", ["test_nexus.py", "test_emd_ncem.py", "test_emd_prismatic.py"])
def test_what_stays_with_rosettasciio(
    name: str, realdata: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """``hs.load`` opens NeXus and EMD files, with all options, as if we were not there."""
    pytest.importorskip("hyperspy")
    if name != "test_emd_ncem.py" and not pytestconfig.getoption("--every-sample"):
        pytest.skip("takes long: pass --every-sample")
    data = "nexus" if "nexus" in name else "emd"
    source = realdata / "rosettasciio" / data
    if not (TESTS / name).is_file() or not source.is_dir():
        pytest.skip("no tests or test data of RosettaSciIO")
    shutil.copy(TESTS / name, tmp_path)
    _copy_data(source, tmp_path / "data" / data)
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", name, "-p", "rsciio_tem", "--noconftest", "-q"),
            *("-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull, "--tb=no", "-rfE"),
            f"--rootdir={tmp_path}",
        ],
        cwd=tmp_path,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
            "COLUMNS": "300",
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    wrong = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert not [line for line in wrong if "FileNotFoundError" not in line], result.stdout
    assert " passed" in result.stdout, result.stdout + result.stderr
