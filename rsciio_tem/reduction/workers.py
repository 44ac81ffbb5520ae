# SPDX-License-Identifier: GPL-3.0-or-later
"""The shares of a pass, on threads or on the workers of a cluster, and their merging."""

from __future__ import annotations

import copy
import functools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np

from rsciio_tem.frames.arrays import ArrayFrames, DaskFrames, InMemory
from rsciio_tem.reduction.plan import Job
from rsciio_tem.reduction.quantities import Quantity
from rsciio_tem.reduction.task_payload import TaskPayload
from rsciio_tem.storage import machine

#: Shares of so many stripes are merged, then so many of these, and so on.
_TOGETHER = 8


# ---------------------------------------------------------------- threads


class Report:
    """Tells of frames that are done, of which only whole ones count."""

    def __init__(self, progress: Callable[[int], object] | None) -> None:
        self.progress, self.lock, self.left = progress, threading.Lock(), 0.0

    def __call__(self, share: float, frames: int) -> None:
        """Say that some frames of a job with this share of the work are done."""
        if self.progress is not None:
            with self.lock:
                self.left += share * frames
                if whole := int(self.left + 1e-6):
                    self.left -= whole
                    self.progress(whole)


_Share = dict[str, Quantity]


_T = TypeVar("_T")


def _merged(first: _Share, second: _Share) -> _Share:
    """Add the second share to the first."""
    for name, quantity in first.items():
        quantity.merge(second[name])
    return first


def _in_groups(shares: Iterable[_T], count: int, join: Callable[[Iterator[_T]], _T]) -> _T:
    """Join `count` shares, always the same ones; of each level of groups one is unfinished."""

    def groups(shares: Iterator[_T]) -> Iterator[_T]:
        for first in shares:
            yield join(chain([first], islice(shares, _TOGETHER - 1)))

    shares = iter(shares)
    while count > 1:
        shares, count = groups(shares), -(-count // _TOGETHER)
    (result,) = shares
    return result


def in_threads(jobs: Sequence[Job], workers: int, report: Report) -> list[_Share]:
    """Go through stripes in order, no more than a few ahead of those that are merged."""
    stop = threading.Event()
    stripes = [(job, first, last) for job in jobs for first, last in job.stripes]
    workers = max(1, min(workers, len(stripes)))

    def one(job: Job, first: int, last: int) -> _Share:
        try:
            done = partial(report, job.share)
            return job.task.stripe(job.frames[first:last], job.step, done, stop, first)
        except BaseException:
            stop.set()  # no need for the others to go on
            raise

    def shares() -> Iterator[_Share]:
        while ahead:
            share = ahead.popleft().result()
            if stop.is_set():  # it may be unfinished, because another one failed
                for future in ahead:
                    future.result()
            if (stripe := next(todo, None)) is not None:
                ahead.append(pool.submit(one, *stripe))
            yield share

    def join(group: Iterator[_Share]) -> _Share:
        return functools.reduce(_merged, group)

    todo = iter(stripes)
    with machine.Threads(workers) as pool:
        ahead = deque(pool.submit(one, *stripe) for stripe in islice(todo, workers + 1))
        try:
            total = shares()
            counts = [len(job.stripes) for job in jobs]
            return [_in_groups(islice(total, count), count, join) for count in counts]
        finally:
            stop.set()  # on Ctrl-C, do not wait for the rest of the file
            for future in ahead:
                future.cancel()


def _same(value: Any) -> Any:
    return value


def _stripe_on_worker(common: Any, stripe: Any, step: int, first: int) -> _Share:
    """Find the share of a stripe, inside a task."""
    task, payload = common
    if isinstance(stripe, np.ndarray):
        frames = ArrayFrames(InMemory(stripe), stripe.shape[:1], stripe.shape[1:], stripe.dtype)
        return task.stripe(frames, step, first=first)  # type: ignore[no-any-return]
    return task.stripe(payload.unpack(stripe), step, first=first)  # type: ignore[no-any-return]


def _merged_on_worker(shares: Sequence[_Share]) -> _Share:
    """Merge shares, inside a task. These belong to dask, which may need them a second time."""
    return functools.reduce(_merged, shares[1:], copy.deepcopy(shares[0]))


def on_cluster(job: Job, client: Any, report: Report) -> _Share:
    """Let workers take stripes and merge their shares; only the last one comes here.

    A task is sent where its stripe is and nothing that it has in common with the others. There are
    no more unfinished stripes than keep the workers busy, and merging comes first: so a worker
    holds a few shares, and of a recording of any length only a window is known to the scheduler.
    """
    import dask

    frames: Any = job.frames
    if job.task.functions is not None:
        from cloudpickle import dumps

        job.task.functions.require_picklable(dumps)
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    def submit(*args: Any, priority: int = 0) -> Any:
        future = client.submit(*args, pure=False, priority=priority)
        alive.add(future)
        return future

    def join(group: Iterator[Any]) -> Any:
        shares = list(group)
        return submit(_merged_on_worker, shares, priority=1) if len(shares) > 1 else shares[0]

    def submitted() -> Iterator[Any]:
        ahead: deque[tuple[Any, int]] = deque()
        most = 0

        def settle() -> None:
            future, count = ahead.popleft()
            if future.exception() is not None:  # waits; does not fetch the share
                future.result()
            report(job.share, count)

        for i, (first, last) in enumerate(job.stripes):
            if i % 64 == 0:  # workers may have come or gone
                most = 2 * sum(client.nthreads().values()) + _TOGETHER
            while len(ahead) >= most:
                settle()
            part = frames[first:last]
            if isinstance(
                frames, DaskFrames
            ):  # other tasks compute it, nothing is computed in ours
                part = client.compute(part.lazy())
                alive.add(part)
            else:
                part = payload.pack(part)
            task = submit(_stripe_on_worker, common, part, job.step, first)
            ahead.append((task, last - first))
            yield ahead[-1][0]
        while ahead:
            settle()

    payload = (
        TaskPayload() if isinstance(frames, DaskFrames) else TaskPayload.of(frames[:0], frames[:1])
    )
    try:
        # masks and dark frames may be large, but go there once: dask need not warn
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1PiB"}):
            common = submit(_same, (job.task, payload))
            root = _in_groups(submitted(), len(job.stripes), join)
        return root.result()  # type: ignore[no-any-return]
    except BaseException:
        client.cancel(list(alive))  # a traceback that is kept would keep the tasks, too
        raise
