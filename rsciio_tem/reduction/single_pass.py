# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums, virtual detectors and centres of mass from one pass over the frames.

A few threads take stripes of frames in turn. Each loads blocks that fit into a core's cache and
adds them up while they are there, so a decoded copy of the data never exists. Of sparse frames
only the entries are added up. The stripes, and the groups in which their shares are merged, do not
depend on the number of threads: the result is the same to the last bit whoever does the work, also
the workers of a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.protocol import Frames
from rsciio_tem.reduction.detectors import mask_stack
from rsciio_tem.reduction.functions import UserFunctions
from rsciio_tem.reduction.plan import plan_of
from rsciio_tem.reduction.quantities import accumulator
from rsciio_tem.reduction.workers import Report, in_threads, on_cluster
from rsciio_tem.storage import machine

__all__ = ["What", "in_this_thread", "one_pass"]

#: "navigator": sum of each frame; "sum", "mean", "max", "variance" over all frames, pixel by
#: pixel; "com": centre of mass of each frame.
What = Literal["navigator", "sum", "mean", "max", "variance", "com"]


def one_pass(
    frames: Frames,
    *,
    what: Collection[What] = ("navigator", "sum"),
    masks: Any = None,
    functions: UserFunctions | None = None,
    progress: Callable[[int], object] | None = None,
    threads: int | None = None,
    client: Any = None,
) -> dict[str, npt.NDArray[Any]]:
    """Reduce frames, reading each of them once.

    Parameters
    ----------
    frames : Frames
        What to reduce; blanks count with their fill value.
    what : collection of str
        See `What`.
    masks : array_like, or sequence or dict of array_like and callables, optional
        Weights of virtual detectors, each of the frame's shape; a callable such as `Disk` gets
        the frame's shape.
    functions : UserFunctions, optional
        What is called with blocks of frames.
    progress : callable, optional
        Called with the number of frames just done; never by two threads at once.
    threads : int, optional
        Number of threads; by default one for each processor that this process may use.
    client : distributed.Client, optional
        Compute on the workers of a cluster, which must see the files under the same names. Frames
        in the memory of this process are reduced here.

    Returns
    -------
    dict of ndarray
        "navigator" of shape (frames,); "sum", "mean", "max" and "variance" of the frame's shape;
        "com" of shape (2, frames), row and column; with `masks` "masks" of shape (masks, frames);
        what `functions` return under their names, of shape (frames, ...) if it is for each frame.
        Sums of integers are exact. Means, variances, centres of mass and weighted sums are float64
        (weighted sums complex128 for complex pixels or weights).
    """
    if unknown := set(what) - set(get_args(What)):
        raise ValueError(f"what={sorted(unknown)} is none of {', '.join(get_args(What))}")
    count, shape, dtype = len(frames), tuple(frames.frame_shape), frames.dtype
    if not count:
        raise ValueError("there are no frames to reduce")
    weights = {} if masks is None else {"masks": mask_stack(masks, shape)}
    if "com" in what and (len(shape) != 2 or dtype.kind == "c"):
        raise ValueError("centres of mass are for two-dimensional frames of real pixels")
    if "variance" in what and dtype.kind == "c":
        raise ValueError("the variance is for real pixels")
    plan = plan_of(
        frames,
        frozenset(what) - {"mean"} | ({"sum"} if "mean" in what else set()),
        weights,
        functions,
    )
    report = Report(progress)
    if client is not None and not frames.in_memory:
        merged = [on_cluster(job, client, report) for job in plan.jobs]
    else:
        merged = in_threads(plan.jobs, threads or machine.threads(), report)
    results = plan.finish([{name: q.result() for name, q in job.items()} for job in merged])
    if "mean" in what:
        results["mean"] = results["sum"] / count
    if "max" in what:
        results["max"] = results["max"].astype(dtype.newbyteorder("="), copy=False)
    if "sum" in what:
        results["sum"] = results["sum"].astype(accumulator(dtype), copy=False)
    if "com" in what:
        mass, *moments = results["com"]
        with np.errstate(invalid="ignore", divide="ignore"):
            results["com"] = np.where(mass != 0, np.stack(moments) / mass, np.nan)
    asked = {*what, *weights}
    names = [name for name in (*get_args(What), *weights) if name in asked]
    return {name: results[name] for name in (*names, *(functions.functions if functions else ()))}


def in_this_thread(
    frames: Frames, what: Collection[str], weights: dict[str, npt.NDArray[Any]] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Reduce a chunk of frames in the calling thread, which is one of many.

    Parameters
    ----------
    frames : Frames
        At least one.
    what : collection of str
        Of "navigator", "sum", "max" and "variance", see `one_pass`.
    weights : dict of ndarray, shape (masks, *frame_shape), optional
        Of virtual detectors.

    Returns
    -------
    dict of ndarray
        As from `one_pass`; sums of small integers may be of 32 bits.
    """
    plan = plan_of(frames, frozenset(what), weights or {})
    shares = [job.task.stripe(job.frames, job.step) for job in plan.jobs]
    return plan.finish([{name: q.result() for name, q in share.items()} for share in shares])
