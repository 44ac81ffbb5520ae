# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine offers: threads, free memory, a place to show progress."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from rsciio_tem.storage.backends import in_task

__all__ = ["MiB", "free_memory", "progress_bar", "threads"]

_logger = logging.getLogger(__name__)

MiB = 1 << 20


def progress_bar(total: int, progress: bool | None, title: str) -> Any:
    """Return a progress bar, which shows nothing where nobody looks at it."""
    from tqdm.auto import tqdm

    shown = progress is not False and (sys.stderr.isatty() or "ipykernel" in sys.modules)
    if shown and progress is None and "hyperspy" in sys.modules:
        from hyperspy.api import preferences

        shown = bool(preferences.General.show_progressbar)
    return tqdm(total=total, unit="frame", desc=title, disable=not shown)


def threads() -> int:
    """Return the number of threads among which work is divided.

    As many as there are processors that this process may use; but one inside a task of a dask
    worker, whose other threads have other tasks.
    """
    if in_task():
        return 1
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def free_memory() -> int | None:
    """Return the bytes this process can still get, None if the system does not tell."""
    free: list[int] = []
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    free.append(int(line.split()[1]) * 1024)
        with (
            open("/sys/fs/cgroup/memory.max", encoding="ascii") as limit,
            open("/sys/fs/cgroup/memory.current", encoding="ascii") as used,
        ):
            if (text := limit.read().strip()) != "max":
                free.append(int(text) - int(used.read()))
    except (OSError, ValueError):
        _logger.debug("free memory is only partly known", exc_info=True)
    if free:
        return max(0, min(free))
    if os.name == "nt":
        return _free_memory_windows()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _free_memory_windows() -> int | None:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "a", "b", "c", "d", "e")),
        )

    status = Status()
    status.length = ctypes.sizeof(Status)
    windll = getattr(ctypes, "windll", None)
    if windll is None or not windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.free)
