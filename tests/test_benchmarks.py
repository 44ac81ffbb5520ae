# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmarks run, and check their results; how fast anything is, is no test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

#: What needs neither other processes nor special rights.
WORKS = (
    "open,open-guess,open-first,describe,detect,frame,load,sum-scan,sum-detector,lazy-mean,"
    "lazy-max,lazy-crop,lazy-virtual,reduce-all,function-disk"
)


def test_small_files(tmp_path: Path) -> None:
    if not (REPOSITORY / "benchmarks").is_dir():
        pytest.skip("no benchmarks beside these tests")
    command = [sys.executable, "-m", "benchmarks", "--size=1", "--repeats=1", "--peers=numpy"]
    command += ["--formats=empad,mib-u16,hdf5", f"--works={WORKS}", f"--output={tmp_path / 'a.md'}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "a.md").read_text(encoding="utf-8")
    assert "WRONG" not in table
    assert "error" not in table
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(rows) >= 3 * len(WORKS.split(","))
