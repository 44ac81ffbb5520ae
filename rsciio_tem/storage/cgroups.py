# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits that Linux sets for groups of processes: containers, steps of Slurm, services.

``/proc/self/cgroup`` names the group of this process in each hierarchy, ``/proc/self/mountinfo``
says where the hierarchies are mounted. A limit counts for everything below the group that it is
set for, so that those of all groups from ours up to the top are looked at. Version 1 has one
hierarchy per subject, version 2 one for all; both may be in use at the same time.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import time
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

__all__ = ["memory", "processors"]

#: What version 1 gives where there is no limit is this, rounded down to whole pages.
_UNLIMITED = 2**63 - 1 - 2**20


class _Names(NamedTuple):
    """Files of a group, in one version, and entries of its ``memory.stat``."""

    limit: str
    used: str
    cache: tuple[str, ...]


_MEMORY = {
    1: _Names(
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
    2: _Names("memory.max", "memory.current", ("inactive_file", "active_file")),
}


def memory(root: str = "/") -> list[int]:
    """Return the bytes that each limited group may still get.

    Cached contents of files count as free, as the kernel drops them before it refuses memory.
    """
    free = []
    for version, folder in _groups("memory", root):
        names = _MEMORY[version]
        limit, used = _number(folder, names.limit), _number(folder, names.used)
        if limit is not None and limit < _UNLIMITED and used is not None:
            counts = dict(line.split() for line in _lines(folder, "memory.stat"))
            cache = sum(int(counts.get(name, 0)) for name in names.cache)
            free.append(limit - max(0, used - cache))
    return free


def processors(root: str = "/") -> list[int]:
    """Return the number of processors whose time each limited group may use, rounded up."""
    # looked up for each file that is opened, which takes longer than to describe a small one
    return list(_processors_at(int(time.monotonic()))) if root == "/" else _processors(root)


@functools.lru_cache(maxsize=1)
def _processors_at(second: int) -> list[int]:
    return _processors("/")


def _processors(root: str) -> list[int]:
    counts = []
    for version, folder in _groups("cpu", root):
        names = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota = [word for name in names for word in _words(folder, name)]
        if len(quota) == 2 and all(word.isdecimal() for word in quota):  # else max, or -1
            counts.append(max(1, -(-int(quota[0]) // int(quota[1]))))
    return counts


def _groups(subject: str, root: str) -> Iterator[tuple[int, str]]:
    """List version and folder of each group that holds this process, from its own to the top."""
    groups: dict[int, PurePosixPath] = {}
    for line in _lines(root, "proc/self/cgroup"):
        # 4:memory:/slurm/job_7/step_0, or in version 2 0::/slurm/job_7/step_0
        subjects, _, group = line.partition(":")[2].partition(":")
        if not subjects:
            groups[2] = PurePosixPath(group)
        elif subject in subjects.split(","):
            groups[1] = PurePosixPath(group)
    for line in _lines(root, "proc/self/mountinfo"):
        # 31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
        mount, _, filesystem = line.partition(" - ")
        kind, *_, options = filesystem.split(" ")
        version = {"cgroup": 1, "cgroup2": 2}.get(kind, 0)
        if version not in groups or (version == 1 and subject not in options.split(",")):
            continue
        top, folder = (_unescaped(field) for field in mount.split(" ")[3:5])
        inside = PurePosixPath()
        if groups[version].is_relative_to(top):
            inside = groups[version].relative_to(top)
        # else this is a container whose group is named as it is seen from outside
        for part in (inside, *inside.parents):
            yield version, os.path.join(root, folder.lstrip("/"), part)


def _unescaped(field: str) -> str:
    r"""Decode the white space in a path of mountinfo, such as ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _lines(folder: str, name: str) -> list[str]:
    """Return the lines of a file; none if it does not exist here or cannot be read."""
    with contextlib.suppress(OSError), open(os.path.join(folder, name), "rb") as file:
        return os.fsdecode(file.read()).splitlines()
    return []


def _words(folder: str, name: str) -> list[str]:
    return " ".join(_lines(folder, name)).split()


def _number(folder: str, name: str) -> int | None:
    text = " ".join(_words(folder, name))
    return int(text) if text.isdecimal() else None
