# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine offers: threads, free memory, a place to show progress."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar

from rsciio_tem.storage import cgroups
from rsciio_tem.storage.backends import in_task

__all__ = ["MiB", "Progress", "Threads", "free_memory", "progress_bar", "threads"]

_logger = logging.getLogger(__name__)

MiB = 1 << 20

_P = ParamSpec("_P")
_T = TypeVar("_T")


#: Whether a progress bar is shown (None: as HyperSpy is told to), or what is called instead.
Progress = bool | Callable[[int], object] | None


class _Called:
    """Stands for a progress bar where somebody else counts."""

    def __init__(self, update: Callable[[int], object]) -> None:
        self.update = update

    def __enter__(self) -> _Called:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is shown that would have to go."""


def progress_bar(total: int, progress: Progress, title: str) -> Any:
    """Return a progress bar, which shows nothing where nobody looks at it."""
    from tqdm.auto import tqdm

    if callable(progress):
        return _Called(progress)
    return tqdm(total=total, unit="frame", desc=title, disable=not is_shown(progress))


def is_shown(progress: bool | None) -> bool:
    """Whether somebody looks at a progress bar, and wants it."""
    shown = progress is not False and (sys.stderr.isatty() or "ipykernel" in sys.modules)
    if shown and progress is None and "hyperspy" in sys.modules:
        from hyperspy.api import preferences

        shown = bool(preferences.General.show_progressbar)
    return shown


class Threads(ThreadPoolExecutor):
    """Threads that see the context of the thread they work for, such as where warnings go."""

    def submit(
        self, function: Callable[_P, _T], /, *args: _P.args, **keywords: _P.kwargs
    ) -> Future[_T]:
        """Let one of the threads call a function."""
        context = copy_context()

        def call() -> _T:
            return context.run(function, *args, **keywords)

        return super().submit(call)


def threads() -> int:
    """Return the number of threads among which work is divided.

    As many as there are processors that this process may use: its affinity, limits of its groups
    (containers) and what Slurm gives a task are respected. But one inside a task of a dask worker,
    whose other threads have other tasks.
    """
    if in_task():
        return 1
    return max(1, min(_processors()))


def _processors() -> Iterator[int]:
    """List every limit of the number of processors."""
    yield _cpu_count()
    if hasattr(os, "sched_getaffinity"):
        yield len(os.sched_getaffinity(0))
    elif os.name == "nt":
        import psutil

        yield len(psutil.Process().cpu_affinity())
    yield from cgroups.processors()
    task = os.environ.get("SLURM_CPUS_PER_TASK", "")  # clusters that do not bind tasks
    if task.isdecimal():
        yield int(task)


@functools.lru_cache(maxsize=1)
def _cpu_count() -> int:
    return os.cpu_count() or 1


def free_memory() -> int | None:
    """Return the bytes this process can still get, None if the system does not tell.

    What only caches files counts as free. The memory of the machine, the limits of the groups of
    this process (containers, steps of Slurm) and its own (``ulimit``) are looked at.
    """
    free: list[int] = []
    for source in (_memory_of_machine, cgroups.memory, _memory_by_ulimit):
        try:
            free += source()
        except (OSError, ValueError):
            _logger.debug("free memory is only partly known", exc_info=True)
    return max(0, min(free)) if free else None


def _memory_of_machine() -> list[int]:
    import psutil

    return [psutil.virtual_memory().available]


def _memory_by_ulimit() -> list[int]:
    """Return what the limits of addresses (``ulimit -v``) and of data (``-d``) leave, on Linux."""
    import psutil

    if not psutil.LINUX:
        return []
    import resource

    used = psutil.Process().memory_info()
    limits = ((resource.RLIMIT_AS, used.vms), (resource.RLIMIT_DATA, used.data))
    soft = [(resource.getrlimit(kind)[0], size) for kind, size in limits]
    return [limit - size for limit, size in soft if limit != resource.RLIM_INFINITY]
