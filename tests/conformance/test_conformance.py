# SPDX-License-Identifier: GPL-3.0-or-later
"""RosettaSciIO's own test files, unchanged, against our readers; see README.md beside this file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rsciio
from writers import ser as ser_writer

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
        },
    ),
    "test_numpy.py": ("", 11, set()),
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


def _run(name: str, folder: Path, conventions: str) -> tuple[int, set[str], str]:
    """Run one upstream test file in a process of its own; -> passed, failed tests, output."""
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(folder / name), "-p", "plugin", "--noconftest"),
            *("-q", "-rf", "-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={folder}"),
            *("-p", "no:xdist"),
            *(f"--deselect={name}::{test}" for test in LACKING_DATA.get(name, ())),
        ],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(HERE),
            "RSCIIO_TEM_CONFORMANCE": conventions,
            "TZ": "UTC",  # RosettaSciIO converts some times to that of the computer
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    output = result.stdout + result.stderr
    passed = re.search(r"(\d+) passed", output)
    failed = set(re.findall(r"^FAILED \S*?::(\S+)", output, re.MULTILINE))
    return int(passed[1]) if passed else 0, failed, output


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


@pytest.fixture(params=list(FILES))
def upstream(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """Copy an upstream test file with its data to a folder of its own."""
    name = request.param
    # the plugin imports every RosettaSciIO module that is replaced
    pytest.importorskip("skimage", reason="RosettaSciIO's blockfile module needs scikit-image")
    data = FILES[name][0]
    if not (TESTS / name).is_file():
        pytest.skip(f"this RosettaSciIO was installed without its tests ({name})")
    shutil.copy(TESTS / name, tmp_path)
    if data:
        pytest.importorskip("zarr", reason="RosettaSciIO's test file needs zarr")
        source = request.getfixturevalue("realdata") / "rosettasciio" / data
        if not source.is_dir():
            pytest.skip(f"no test data of RosettaSciIO in {source}")
        shutil.copytree(source, tmp_path / "data" / data, copy_function=shutil.copyfile)
        for folder in tmp_path.rglob("*"):
            folder.chmod(0o755 if folder.is_dir() else 0o644)
        (tmp_path / "data").chmod(0o755)
        if data == "tia":
            _missing_diffraction_patterns(tmp_path / "data" / "tia" / "new")
        if data == "mrc" and not (large := tmp_path / "data" / "mrc" / "4DSTEMscan.mrc").exists():
            # too large for most copies of the data; the tests look at its shape only
            large.write_bytes(np.array([256, 256, 256, 0], "<i4").tobytes())
            os.truncate(large, 1024 + 256**3)
    return name, tmp_path


def test_all_pass_with_their_conventions(upstream: tuple[str, Path]) -> None:
    name, folder = upstream
    passed, failed, output = _run(name, folder, "rosettasciio")
    assert not failed, output
    assert passed == FILES[name][1], output
    xfailed = re.search(r"(\d+) xfailed", output)
    assert int(xfailed[1] if xfailed else 0) == EXPECTED_FAILURES.get(name, 0), output
    assert "our reader for rsciio." in output, output


def test_known_differences_with_our_defaults(upstream: tuple[str, Path]) -> None:
    name, folder = upstream
    passed, failed, output = _run(name, folder, "ours")
    assert failed == FILES[name][2], output
    assert passed == FILES[name][1] - len(failed) + SKIPPED_ON_ERROR.get(name, 0), output
