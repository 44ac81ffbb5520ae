# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process may use: processors and memory, in containers, steps of Slurm and by ulimit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from rsciio_tem.storage import cgroups, machine
from rsciio_tem.storage.machine import free_memory, threads

REPOSITORY = Path(__file__).resolve().parents[1]

#: What version 1 gives where there is no limit.
UNLIMITED = 9223372036854771712

V1_MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup ro shared:9 - tmpfs tmpfs rw,mode=755
32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 {top} /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw shared:12 - cgroup2 cgroup2 rw
"""
V2_MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 {top} {folder} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""
STEP = "/slurm/uid_9/job_7/step_0"


@pytest.mark.parametrize(
    "broken",
    [
        "caching.CacheImpl._locator_classes = []",
        "caching.IndexDataCacheFile.save = caching.IndexDataCacheFile.load = full",
    ],
)
def test_compiled_code_that_cannot_be_kept(broken: str) -> None:
    """Neither a package that cannot be written nor a full disk ends anything; one line says so."""
    code = f"""
import errno
from numba.core import caching
def full(*args): raise OSError(errno.ENOSPC, "No space left on device")
{broken}
import numpy as np
from rsciio_tem.kernels.common import big_endian, little
raw = np.array([1, 2], np.uint8)
print(little(raw, 0, 2), big_endian(raw, 0, 2))
"""
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert process.stdout.split() == ["513", "258"], process.stderr
    (line,) = process.stderr.splitlines()
    assert line.startswith("compiled code cannot be kept")
    assert "NUMBA_CACHE_DIR" in line


class Tree:
    """A root folder in which Linux describes the groups of this process."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> None:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def version_1(self, group: str = STEP, top: str = "/") -> None:
        lines = f"9:name=systemd:/\n4:memory:{group}\n2:cpu,cpuacct:{group}\n0::/\n"
        self.write("proc/self/cgroup", lines)
        self.write("proc/self/mountinfo", V1_MOUNTS.format(top=top))

    def version_2(self, group: str = STEP, top: str = "/", folder: str = "/sys/fs/cgroup") -> None:
        self.write("proc/self/cgroup", f"0::{group}\n")
        self.write("proc/self/mountinfo", V2_MOUNTS.format(top=top, folder=folder))

    def memory_1(
        self, group: str, limit: int, used: int, inactive: int = 0, active: int = 0
    ) -> None:
        folder = f"/sys/fs/cgroup/memory{group}"
        self.write(f"{folder}/memory.limit_in_bytes", f"{limit}\n")
        self.write(f"{folder}/memory.usage_in_bytes", f"{used}\n")
        self.write(
            f"{folder}/memory.stat",
            "inactive_file 7\nactive_file 7\n"  # of this group alone, without those below it
            f"total_inactive_file {inactive}\ntotal_active_file {active}\n",
        )

    def memory_2(
        self, group: str, limit: int | str, used: int, inactive: int = 0, active: int = 0
    ) -> None:
        folder = f"/sys/fs/cgroup{group}"
        self.write(f"{folder}/memory.max", f"{limit}\n")
        self.write(f"{folder}/memory.current", f"{used}\n")
        cached = f"inactive_file {inactive}\nactive_file {active}\n"
        self.write(f"{folder}/memory.stat", f"anon 5\nfile 99999\n{cached}")

    def cpu_1(self, group: str, quota: int, period: int = 100_000) -> None:
        folder = f"/sys/fs/cgroup/cpu,cpuacct{group}"
        self.write(f"{folder}/cpu.cfs_quota_us", f"{quota}\n")
        self.write(f"{folder}/cpu.cfs_period_us", f"{period}\n")

    def memory(self) -> list[int]:
        return cgroups.memory(str(self.root))

    def processors(self) -> list[int]:
        return cgroups.processors(str(self.root))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


# -- memory of groups ----------------------------------------------------------------------------


def test_version_1(tree: Tree) -> None:
    tree.version_1()
    assert tree.memory() == []
    tree.memory_1("", UNLIMITED, 10_000)
    tree.memory_1("/slurm", UNLIMITED, 9000)
    assert tree.memory() == []
    tree.memory_1(STEP, 5000, 4000)
    assert tree.memory() == [1000]
    tree.memory_1(STEP, 5000, 4000, inactive=300, active=200)
    assert tree.memory() == [1500]


def test_version_2(tree: Tree) -> None:
    tree.version_2()
    assert tree.memory() == []
    tree.memory_2(STEP, "max", 4000, inactive=10)
    assert tree.memory() == []
    tree.memory_2(STEP, 5000, 4000, inactive=300, active=200)
    assert tree.memory() == [1500]
    tree.memory_2(STEP, 5000, 6000)  # a limit can be lowered below what is in use
    assert tree.memory() == [-1000]


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_groups_above(tree: Tree, version: int) -> None:
    getattr(tree, f"version_{version}")()
    memory = getattr(tree, f"memory_{version}")
    memory(STEP, 9000, 100)
    memory("/slurm/uid_9/job_7", 5000, 4900, inactive=50)
    memory("/slurm", 80_000, 70_000)
    memory("/slurm/uid_9/job_8", 10, 10)  # others
    memory("/slurm/uid_9/job_7/step_1", 10, 10)
    assert tree.memory() == [8900, 150, 10_000]


def test_container_that_sees_itself_as_the_top(tree: Tree) -> None:
    tree.version_2("/")
    tree.memory_2("", 5000, 4000)
    assert tree.memory() == [1000]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("group", "top"),
    [
        ("/docker/abc", "/docker/abc"),  # mounted for the container, named as on its host
        ("/docker/abc", "/docker/def"),  # mounted for another one
        ("/../../abc", "/docker"),
    ],
)
def test_container_that_is_named_from_outside(
    tree: Tree, version: int, group: str, top: str
) -> None:
    getattr(tree, f"version_{version}")(group, top)
    getattr(tree, f"memory_{version}")("", 5000, 4000)
    assert tree.memory() == [1000]


def test_group_within_a_container(tree: Tree) -> None:
    tree.version_1("/docker/abc/worker", "/docker/abc")
    tree.memory_1("/worker", 3000, 10)
    tree.memory_1("", 5000, 4000)
    assert tree.memory() == [2990, 1000]


def test_white_space_in_the_mount(tree: Tree) -> None:
    tree.version_2("/a b", folder=r"/sys/fs/my\040groups")
    tree.write("/sys/fs/my groups/a b/memory.max", "5000")
    tree.write("/sys/fs/my groups/a b/memory.current", "1000")
    assert tree.memory() == [4000]  # even without memory.stat


def test_files_that_are_missing(tree: Tree) -> None:
    assert tree.memory() == tree.processors() == []
    tree.write("proc/self/mountinfo", V2_MOUNTS.format(top="/", folder="/sys/fs/cgroup"))
    assert tree.memory() == tree.processors() == []
    tree.version_2()
    tree.memory_2(STEP, 5000, 4000)
    (tree.root / f"sys/fs/cgroup{STEP}/memory.current").unlink()
    assert tree.memory() == []
    (tree.root / "proc/self/mountinfo").unlink()
    assert tree.memory() == tree.processors() == []


# -- processors ----------------------------------------------------------------------------------


def test_processors_of_version_1(tree: Tree) -> None:
    tree.version_1()
    tree.cpu_1("", -1)
    assert tree.processors() == []
    tree.cpu_1("/slurm", 400_000)
    tree.cpu_1(STEP, 25_000, 50_000)  # half of one
    assert tree.processors() == [1, 4]


def test_processors_of_version_2(tree: Tree) -> None:
    tree.version_2()
    tree.write(f"/sys/fs/cgroup{STEP}/cpu.max", "max 100000\n")
    assert tree.processors() == []
    tree.write(f"/sys/fs/cgroup{STEP}/cpu.max", "250000 100000\n")
    tree.write("/sys/fs/cgroup/slurm/cpu.max", "800000 100000\n")
    assert tree.processors() == [3, 8]


@pytest.fixture
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cgroups, "processors", list)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)


@pytest.mark.usefixtures("eight_processors")
def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads() == 8
    monkeypatch.setattr(cgroups, "processors", lambda: [3, 12])
    assert threads() == 3
    monkeypatch.setattr(cgroups, "processors", lambda: [12])
    assert threads() == 8


@pytest.mark.usefixtures("eight_processors")
@pytest.mark.parametrize(
    ("value", "expected"), [("2", 2), ("64", 8), ("0", 1), ("", 8), ("many", 8), ("-1", 8)]
)
def test_threads_of_a_task_of_slurm(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: int
) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", value)
    assert threads() == expected


def test_threads_of_this_machine() -> None:
    assert 1 <= threads() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_affinity() -> None:
    one = "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    assert output(f"{one}; print(machine.threads())") == "1"


# -- memory of this process ----------------------------------------------------------------------


def test_smallest_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    of_group: list[int] = []
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=5_120_000))
    monkeypatch.setattr(cgroups, "memory", lambda: of_group)
    assert free_memory() == 5_120_000
    of_group[:] = [9_000_000, 3_000_000]
    assert free_memory() == 3_000_000
    of_group[:] = [-5]
    assert free_memory() == 0


@pytest.mark.parametrize("error", [FileNotFoundError("/proc/meminfo"), ValueError("odd")])
def test_memory_that_is_partly_known(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails() -> Any:
        raise error

    monkeypatch.setattr(psutil, "virtual_memory", fails)
    monkeypatch.setattr(machine, "_memory_by_ulimit", list)
    monkeypatch.setattr(cgroups, "memory", lambda: [7])
    assert free_memory() == 7
    monkeypatch.setattr(cgroups, "memory", fails)
    assert free_memory() is None


def test_memory_of_this_machine() -> None:
    free = free_memory()
    assert free is not None
    assert 2**20 < free < psutil.virtual_memory().total


def output(code: str, *, shell: str = "true") -> str:
    """Run code in a new process, after a command of the shell; return what it prints."""
    code = f"import os, rsciio_tem; from rsciio_tem.storage import machine\n{code}"
    return subprocess.run(
        ["bash", "-c", f'{shell} && exec "$@"', "bash", sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ).stdout.strip()


ULIMIT = pytest.mark.skipif(not psutil.LINUX, reason="only Linux keeps to these limits")


@ULIMIT
@pytest.mark.parametrize("option", ["-v", "-d"])
def test_ulimit(option: str) -> None:
    shell = f"ulimit {option} 8000000"
    show = "(left,) = machine._memory_by_ulimit(); print(left, machine.free_memory())"
    left, free = map(int, output(show, shell=shell).split())
    assert 1 << 30 < left < 8_000_000 << 10
    assert free <= left
    allocate = "import mmap; block = mmap.mmap(-1, 500 << 20, mmap.MAP_PRIVATE)"
    less = int(output(f"{allocate}; {show}", shell=shell).split()[0])
    assert abs(left - less - (500 << 20)) < 50 << 20
    assert output("print(machine._memory_by_ulimit())", shell=f"ulimit {option} unlimited") == "[]"


@ULIMIT
def test_loading_within_ulimit(tmp_path: Path) -> None:
    """More than may be had is not tried; the error says what to do instead."""
    path = tmp_path / "large.raw"
    with path.open("wb") as file:
        file.truncate(8_500_000_000)  # nothing is stored
    load = f"rsciio_tem.load({str(path)!r}, 'raw', dtype='u1', sig_shape=(1000, 1000)"
    code = f"""
try:
    {load})
except rsciio_tem.errors.NotEnoughMemory as error:
    print(error)
print({load}, lazy=True)[0]['data'].shape)
"""
    text = output(code, shell="ulimit -v 8000000")
    assert "do not fit into the" in text
    assert "lazy=True" in text
    assert text.endswith("(8500, 1000, 1000)")
