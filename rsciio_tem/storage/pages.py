# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files can be used where the system keeps them in memory, without copying their bytes.

A kernel that runs on mapped pages touches each byte once. The price: a file that gets shorter, or a
disk that cannot be read, then ends the process instead of raising an error. So only files of local
disks that nobody pulls out are used so, and only while their bytes are in memory already.
"""

from __future__ import annotations

import os
from functools import lru_cache

__all__ = ["are_in_memory", "is_on_local_disk"]

#: File systems of disks in this machine, and of its memory.
_LOCAL = frozenset(
    {
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "jfs", "reiserfs"),
        *("tmpfs", "ramfs", "overlay"),
    }
)

#: Of bytes in memory, one in so many is looked at.
_APART = 1 << 20


def is_on_local_disk(path: str, device: int) -> bool:
    """Whether a file, with the number of its device, is on a fixed disk of this machine.

    Known on Linux only.
    """
    return _is_local(device, os.path.dirname(os.path.realpath(path)))


@lru_cache(maxsize=256)
def _is_local(device: int, folder: str) -> bool:
    number = f"{os.major(device)}:{os.minor(device)}" if hasattr(os, "major") else ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split() for line in file]
    except OSError:
        return False
    kinds = {line[2]: line[line.index("-") + 1] for line in lines}
    if number not in kinds:  # parts of a btrfs have numbers of their own
        mounts = {line[4]: line for line in lines}
        while folder not in mounts and folder != os.path.dirname(folder):
            folder = os.path.dirname(folder)
        if folder not in mounts:
            return False
        number = mounts[folder][2]
    return kinds[number] in _LOCAL and not _is_removable(number)


def _is_removable(number: str) -> bool:
    for disk in (number, f"{number}/.."):  # of a partition, its disk
        try:
            with open(f"/sys/dev/block/{disk}/removable", encoding="ascii") as file:
                return file.read().strip() == "1"
        except OSError:
            continue
    return False  # no disk: the memory of this machine


def are_in_memory(fd: int, start: int, nbytes: int) -> bool:
    """Whether bytes of an open file are in memory; a few of them are looked at."""
    flag = getattr(os, "RWF_NOWAIT", None)
    if flag is None:
        return False
    one = bytearray(1)
    try:
        return all(
            os.preadv(fd, [one], at, flag) == 1
            for at in (*range(start, start + nbytes, _APART), start + nbytes - 1)
        )
    except OSError:  # not in memory, or the file system cannot tell
        return False
