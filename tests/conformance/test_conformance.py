# SPDX-License-Identifier: GPL-3.0-or-later
"""RosettaSciIO's own test files, unchanged, against our readers; see README.md beside this file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rsciio

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
}
#: tests that upstream expects to fail, and do
EXPECTED_FAILURES = {"test_tvips.py": 9}


def _run(name: str, folder: Path, conventions: str) -> tuple[int, set[str], str]:
    """Run one upstream test file in a process of its own; -> passed, failed tests, output."""
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(folder / name), "-p", "plugin", "--noconftest"),
            *("-q", "-rf", "-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={folder}"),
            *("-p", "no:xdist"),
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
    assert passed == FILES[name][1] - len(failed), output
