# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files were described: another with the same size and time may take the place of one.

Archives are unpacked with times of whole seconds, and copies have the time of their originals. What
is kept of a file in this process is forgotten when another is found in its place.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

__all__ = ["cached", "content_of", "forgetting", "replaced"]

T = TypeVar("T")

#: Files that are remembered.
_MOST = 4096

_identities: OrderedDict[Hashable, tuple[int, int, int]] = OrderedDict()
# modules own the caches, so that they end with them
_caches: weakref.WeakSet[functools._lru_cache_wrapper[Any]] = weakref.WeakSet()
_forgetting: list[Callable[[], object]] = []
_lock = threading.Lock()


def content_of(status: os.stat_result) -> tuple[int, ...]:
    """Return what is another if the content of a file is."""
    return (status.st_size, status.st_mtime_ns, *_identity(status))


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_dev, status.st_ino, status.st_ctime_ns


def replaced(file: Hashable, status: os.stat_result) -> bool:
    """Whether a file is another one than when it was described last, with the same size and time.

    Functions that are `cached` forget their results then, and those that are `forgetting` are
    called.
    """
    identity = _identity(status)
    with _lock:
        before = _identities.pop(file, identity)
        _identities[file] = identity
        while len(_identities) > _MOST:
            _identities.popitem(last=False)
    if before == identity:
        return False
    for cache in [*_caches]:
        cache.cache_clear()
    for forget in _forgetting:
        forget()
    return True


def forgetting(function: Callable[[], None]) -> Callable[[], None]:
    """Call a function of a module, which forgets what that keeps of files, for replaced ones."""
    _forgetting.append(function)
    return function


def cached(maxsize: int) -> Callable[[Callable[..., T]], functools._lru_cache_wrapper[T]]:
    """Keep results of a function of a `DataFile`, until another file takes its place."""

    def wrap(function: Callable[..., T]) -> functools._lru_cache_wrapper[T]:
        wrapped = functools.lru_cache(maxsize)(function)
        _caches.add(wrapped)
        return wrapped

    return wrap


def _start_child() -> None:
    """Give a forked child a lock that nobody holds."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_child)
