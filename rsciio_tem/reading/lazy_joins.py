# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of chunks that are joined without being put together first.

A reduction in dask gives one result per chunk, concatenates a few of them, and reduces what comes
of it, again and again. Over the scan, each result is an image: for a camera of four megapixels,
30 MB, of which dask makes four copies per chunk, in fresh memory. Here the images are added up,
or compared, one after the other into the first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["JOINS", "joined", "joining"]

#: Reductions of arrays, and what joins two of them.
JOINS: dict[Any, np.ufunc] = {
    np.sum: np.add,
    np.prod: np.multiply,
    np.max: np.maximum,
    np.min: np.minimum,
    np.any: np.logical_or,
    np.all: np.logical_and,
}

#: Functions of dask that reduce as functions of numpy do, where there are values.
_SAME: dict[str, Any] = {
    "dask.array.reductions.chunk_max": np.max,
    "dask.array.reductions.chunk_min": np.min,
}

#: Smaller results cost less than looking at them.
_LEAST = 1 << 16


def joining(function: Any) -> Any:
    """Return a function of dask that concatenates and reduces in one that joins.

    Parameters
    ----------
    function : callable
        Of a task.

    Returns
    -------
    callable or None
        A function with the same results; None if `function` does something else.
    """
    first, rest = getattr(function, "first", None), list(getattr(function, "funcs", ()))
    if first is not None and len(rest) == 1:  # of the package toolz: one after the other
        if _name(first) == "dask.array.core._concatenate2":
            reduction = _reduction(rest[0])
            return reduction and functools.partial(joined, function, reduction)
        return None
    if isinstance(function, functools.partial) and _name(function) in (
        "dask.array.reductions.mean_combine",
        "dask.array.reductions.mean_agg",
    ):
        return functools.partial(_joined_means, function)
    return None


def joined(function: Callable[..., Any], reduction: Any, arrays: Any) -> Any:
    """Reduce arrays in nested lists along the axes by which they are nested.

    Parameters
    ----------
    function : callable
        Does it with whatever is given.
    reduction : functools.partial
        Function of numpy, with axis and keepdims.
    arrays : list
        Arrays, in lists of lists: as many levels as there are axes to concatenate along.

    Returns
    -------
    numpy.ndarray
        The same as ``function(arrays)``.
    """
    parts = list(_flat(arrays))
    options = dict(reduction.keywords)
    axes, keepdims = options.pop("axis", None), bool(options.pop("keepdims", False))
    if not _can_be_joined(parts, axes) or options.keys() - {"dtype"}:
        return function(arrays)
    total = _total(parts, reduction.func, options)
    if keepdims:
        return total
    values = np.squeeze(total, axis=axes)
    return values if values.ndim else values[()]  # as numpy does


def _joined_means(function: functools.partial[Any], pairs: Any) -> Any:
    """Add up numbers of values and their totals, of which dask makes means."""
    parts = list(_flat(pairs))
    options = dict(function.keywords)
    axes = options.get("axis")
    sums_only = all(isinstance(part, dict) and part.keys() == {"n", "total"} for part in parts)
    if not sums_only or options.get("computing_meta"):
        return function(pairs)
    sums = {}
    for name in ("n", "total"):
        values = [part[name] for part in parts]
        if not _can_be_joined(values, axes):
            return function(pairs)
        sums[name] = _total(values, np.sum, {})
    if _name(function).endswith("mean_combine") and options.get("keepdims"):
        return sums
    nested: Any = sums
    for _ in axes or ():
        nested = [nested]
    return function(nested)


def _total(parts: list[Any], reduce: Any, options: dict[str, Any]) -> npt.NDArray[Any]:
    """Join arrays of one shape."""
    join = JOINS[reduce]
    one: npt.NDArray[Any] = np.zeros((1,), parts[0].dtype)
    dtype = np.asarray(reduce(one, **options)).dtype
    if all(not any(part.strides) for part in parts):  # the same number everywhere
        number = reduce(np.stack([part[(0,) * part.ndim] for part in parts]), **options)
        return np.broadcast_to(np.asarray(number, dtype), parts[0].shape)
    if len(parts) == 1:
        return np.asarray(parts[0].astype(dtype, copy=False))
    total = np.asarray(join(parts[0], parts[1], dtype=_type_of(join, dtype)))
    for part in parts[2:]:
        join(total, part, out=total)
    return total.astype(dtype, copy=False)


def _type_of(join: np.ufunc, dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Logical functions always give truth values, and take no other type."""
    return None if join in (np.logical_or, np.logical_and) else dtype


def _can_be_joined(parts: list[Any], axes: Any) -> bool:
    """Whether parts are plain arrays of one shape, with one value along the axes."""
    first = parts[0] if parts else None
    if type(first) is not np.ndarray or first.dtype.kind not in "buif":
        return False
    if not first.size or first.nbytes < _LEAST:
        return False
    if not isinstance(axes, tuple) or any(first.shape[a] != 1 for a in axes):
        return False
    return all(
        type(p) is np.ndarray and p.shape == first.shape and p.dtype == first.dtype for p in parts
    )


def _flat(nested: Any) -> Iterator[Any]:
    if isinstance(nested, (list, tuple)):
        for part in nested:
            yield from _flat(part)
    else:
        yield nested


def _reduction(function: Any) -> Any:
    """Return a reduction of which `joined` knows how to join results; None for others."""
    if not isinstance(function, functools.partial) or function.args:
        return None
    reduce: Any = _SAME.get(_name(function), function.func)
    return functools.partial(reduce, **function.keywords) if reduce in JOINS else None


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
