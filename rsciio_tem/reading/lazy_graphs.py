# SPDX-License-Identifier: GPL-3.0-or-later
"""Dask graphs in which chunks that are only reduced are not made.

dask fuses slices of a lazy array and the first step of a reduction into one task. Where such a task
has nothing but functions of numpy and dask, it gets `LazyChunk` objects, which are reduced while
they are read. Every other task gets ordinary arrays: no function of a user sees anything else. This
is done while dask optimises a graph, by its setting ``array_optimize``.
"""

from __future__ import annotations

import functools
import logging
import operator
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from rsciio_tem.reading.lazy import LazyFrames
from rsciio_tem.reading.lazy_chunks import ChunkSource, in_memory
from rsciio_tem.reading.lazy_joins import joining

__all__ = ["install", "optimize"]

_logger = logging.getLogger(__name__)

#: Set to 0 to leave dask's graphs as they are.
SWITCH = "RSCIIO_TEM_STREAMED_SUMS"

_SETTING = "array_optimize"

#: Graphs of more tasks are left alone: their chunks are small, and looking at tasks takes time.
_MOST_TASKS = 20_000

#: Modules of dask with nothing but functions for chunks, whose arguments are looked at as well.
_MODULES = {"dask.array.chunk", "dask.array.reductions", "dask.array.numpy_compat"}

#: Further functions of dask, of which modules also have some that call others.
_FUNCTIONS = {
    *("dask.array.core.getter", "dask.array.core.getter_nofancy", "dask.array.core.getter_inline"),
    *("dask.array.core._concatenate2", "dask.array.core.finalize", "dask.utils.partial_by_order"),
    *("dask._task_spec._identity_cast", "dask._task_spec._execute_subgraph"),
    "dask._task_spec.NestedContainer.to_container",
}

_OPERATORS = {
    getattr(operator, name)
    for name in (
        *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "neg", "abs", "invert"),
        *("and_", "or_", "xor", "eq", "ne", "lt", "le", "gt", "ge", "getitem"),
    )
}

_NUMPY = {
    *(np.where, np.sum, np.prod, np.max, np.min, np.any, np.all, np.mean, np.var, np.std),
    *(np.nansum, np.nanprod, np.nanmax, np.nanmin, np.nanmean, np.nanvar, np.nanstd, np.clip),
    *(np.argmax, np.argmin, np.nanargmax, np.nanargmin, np.broadcast_to, np.real, np.imag),
}

#: First steps of reductions in dask, as chunks see them.
_REDUCTIONS = {
    *(np.sum, np.prod, np.max, np.min, np.any, np.all, np.nansum, np.nanprod, np.nanmax, np.nanmin),
    *("chunk_max", "chunk_min", "mean_chunk", "moment_chunk", "_nanmax_skip", "_nanmin_skip"),
}


def install() -> None:
    """Let dask optimise graphs with our arrays, unless somebody else sets how it optimises."""
    import dask

    unset = object()
    if os.environ.get(SWITCH, "1") != "0" and dask.config.get(_SETTING, unset) is unset:
        dask.config.set({_SETTING: optimize})


def optimize(graph: Any, keys: Any, **options: Any) -> Any:
    """Optimise as dask does, and then let reductions read the frames piece by piece.

    Parameters
    ----------
    graph : mapping
        Graph of dask.
    keys : list
        What is computed.
    **options
        Of `dask.array.optimization.optimize`.

    Returns
    -------
    mapping
        A graph with the same results.
    """
    from dask.array.optimization import optimize as usual

    optimized = usual(graph, keys, **options)
    try:
        return _streamed(optimized, keys) if _has_frames(graph) else optimized
    except (AttributeError, ImportError, TypeError) as error:  # another version of dask
        _logger.info("sums of lazy arrays are dask's own: %r", error)
        return optimized


def _has_frames(graph: Any) -> bool:
    layers = getattr(graph, "layers", None)
    if layers is None:
        return True
    for name, layer in layers.items():
        if str(name).startswith("original-") and len(layer) == 1:
            (node,) = dict(layer).values()
            if isinstance(getattr(node, "value", node), LazyFrames):
                return True
    return False


def _streamed(graph: Any, keys: Any) -> Any:
    """Return a graph of low level whose reductions get chunks instead of arrays.

    What slices an array, or computes with its elements, hands its chunk on to a reduction, if
    nobody else asks for it.
    """
    from dask._task_spec import Alias, DataNode, Task
    from dask.core import flatten

    if not isinstance(graph, dict) or len(graph) > _MOST_TASKS:
        return graph
    arrays = {key: node.value for key, node in graph.items() if _is_array(node)}
    looked_at: dict[int, bool | None] = {}  # tasks of a layer share their subgraph
    reducing, carrying = set(), set()
    for key, node in graph.items():
        if not isinstance(node, Task):
            continue
        inner = node.args[0] if _has_subgraph(node) else {key: node}
        if id(inner) not in looked_at or not _has_subgraph(node):
            looked_at[id(inner)] = _reduces(inner)
        reduces = looked_at[id(inner)]
        if reduces:
            reducing.add(key)
        elif reduces is False and (node.dependencies & arrays.keys() or _has_arrays(inner)):
            carrying.add(key)
    aliases = {key: node.target for key, node in graph.items() if isinstance(node, Alias)}
    passed_on = _passed_on(graph, carrying, aliases, reducing, set(flatten(keys)))
    receiving = set(passed_on.values())
    changed: dict[Any, Any] = {}
    for key, node in graph.items():
        if key not in reducing and key not in passed_on:
            continue
        sources = node.dependencies & arrays.keys()
        if not sources and key not in receiving and not _has_arrays_in(node):
            continue
        names: dict[Any, Any] = {source: f"streamed-{source}" for source in sources}
        changed |= {
            name: DataNode(name, ChunkSource(arrays[source])) for source, name in names.items()
        }
        part = _with_chunks(node).substitute(names)
        if key in reducing:
            part = Task(key, _plain, part.func, *part.args, **part.kwargs)
        changed[key] = part
    if not changed:
        return graph
    graph = {**graph, **changed}
    graph |= _joined(graph, reducing & changed.keys(), aliases)
    needed = set().union(*(node.dependencies for node in graph.values()))
    return {key: node for key, node in graph.items() if key not in arrays or key in needed}


def _joined(
    graph: Mapping[Any, Any], results: set[Any], aliases: Mapping[Any, Any]
) -> dict[Any, Any]:
    """Return the tasks that combine results of chunks, joining them without putting them together.

    Task by task, as long as everything that they combine is such a result.
    """
    combining = {
        key: task
        for key, node in graph.items()
        if key not in results and (task := _with_joins(node)) is not None
    }
    tasks: dict[Any, Any] = {}
    while True:
        ready = [
            key
            for key, node in combining.items()
            if all(aliases.get(k, k) in results for k in node.dependencies)
        ]
        if not ready:
            return tasks
        results = results.union(ready)
        tasks |= {key: combining.pop(key) for key in ready}


def _with_joins(node: Any) -> Any:
    """Return a task that joins what it combines; None if it combines nothing."""
    from dask._task_spec import Task

    if not isinstance(node, Task):
        return None
    if _has_subgraph(node):
        inner, *others = node.args
        joins = {key: task for key, part in inner.items() if (task := _with_joins(part))}
        return Task(node.key, node.func, inner | joins, *others, **node.kwargs) if joins else None
    function = joining(node.func) if len(node.args) == 1 and not node.kwargs else None
    return None if function is None else Task(node.key, function, *node.args)


def _passed_on(
    graph: Mapping[Any, Any],
    carrying: set[Any],
    aliases: Mapping[Any, Any],
    reducing: set[Any],
    outputs: set[Any],
) -> dict[Any, Any]:
    """Return which reduction is the only one to ask for what a task carries."""
    users: dict[Any, list[Any]] = {key: [] for key in (*carrying, *aliases)}
    for key, node in graph.items():
        for source in node.dependencies & users.keys():
            users[source].append(key)
    result = {}
    for key in carrying:
        last, names = key, [key]
        while len(users.get(last, ())) == 1:
            last = users[last][0]
            names.append(last)
            if last not in aliases:
                break
        if last in reducing and outputs.isdisjoint(names[:-1]):
            result[key] = last
    return result


def _is_array(node: Any) -> bool:
    return isinstance(getattr(node, "value", None), LazyFrames)


def _has_arrays(inner: Mapping[Any, Any]) -> bool:
    """Whether dask has put an array that only one task needs into this task."""
    return any(_is_array(node) or _has_arrays_in(node) for node in inner.values())


def _has_subgraph(node: Any) -> bool:
    # tasks of older versions of dask cannot say so themselves
    return getattr(getattr(node, "func", None), "__name__", "") == "_execute_subgraph"


def _has_arrays_in(node: Any) -> bool:
    return _has_subgraph(node) and _has_arrays(node.args[0])


def _with_chunks(node: Any) -> Any:
    """Return a task in which arrays are chunks."""
    from dask._task_spec import DataNode, Task

    if _is_array(node):
        return DataNode(node.key, ChunkSource(node.value))
    if not _has_arrays_in(node):
        return node
    inner, *others = node.args
    inner = {key: _with_chunks(part) for key, part in inner.items()}
    return Task(node.key, node.func, inner, *others, **node.kwargs)


def _plain(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function; what it returns has no chunks."""
    return in_memory(function(*args, **kwargs))


def _reduces(inner: Mapping[Any, Any]) -> bool | None:
    """Whether a task has a reduction; None if it has others than functions of numpy and dask."""
    reductions = False
    waiting = list(inner.values())
    uses: Counter[Any] = Counter()
    while waiting:
        node = waiting.pop()
        if type(node).__name__ in ("TaskRef", "Alias"):
            uses[getattr(node, "target", node.key)] += 1
        function = getattr(node, "func", None)
        if function is None:  # a value, or another name of a node
            continue
        values = (*node.args, *node.kwargs.values())
        if not _is_known(function) or not _have_known_functions(values):
            return None
        first = _innermost(function)
        reductions |= first in _REDUCTIONS or (
            getattr(first, "__module__", "") == "dask.array.reductions"
            and getattr(first, "__name__", "") in _REDUCTIONS
        )
        for value in values:
            waiting += value.values() if isinstance(value, dict) else [value]
    # what is used twice would be read twice
    return None if any(count > 1 for count in uses.values()) else reductions


def _innermost(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _is_known(function: Any) -> bool:
    """Whether a function is one of numpy or dask that calls no others but known ones."""
    if isinstance(function, functools.partial):
        values = (*function.args, *function.keywords.values())
        return _is_known(function.func) and _have_known_functions(values)
    if type(function).__name__ == "Compose":  # of the package toolz
        return all(map(_is_known, (function.first, *function.funcs)))
    if isinstance(function, (np.ufunc, type)) or function in _OPERATORS or function in _NUMPY:
        return not isinstance(function, type) or function in (list, tuple, dict)
    module = getattr(function, "__module__", "")
    return module in _MODULES or f"{module}.{getattr(function, '__qualname__', '')}" in _FUNCTIONS


def _have_known_functions(values: Iterable[Any]) -> bool:
    """Whether all functions among arguments are known."""
    for value in values:
        if isinstance(value, (list, tuple)):
            if not _have_known_functions(value):
                return False
        elif isinstance(value, dict):
            if not _have_known_functions(value.values()):
                return False
        elif (
            callable(value)
            and not hasattr(value, "dependencies")  # a task
            and not isinstance(value, (type, np.dtype, np.generic))
            and not _is_known(value)
        ):
            return False
    return True
