# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions of the user in the same pass: a value for each frame, or an accumulator of all."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.reduction.quantities import Quantity

__all__ = ["FunctionQuantity", "UserFunctions"]

#: Methods of an accumulator.
_METHODS = ("take", "merge", "result")


def _accumulates(value: Any) -> bool:
    return all(callable(getattr(value, name, None)) for name in _METHODS)


def _takes_nothing(function: Callable[..., Any]) -> bool:
    """Whether a callable can be called, but not with a block: it makes something."""
    try:
        signature = inspect.signature(function)
        signature.bind()
    except (TypeError, ValueError):
        return False
    try:
        signature.bind(None)
    except TypeError:
        return True
    return False


def _factory(name: str, function: Any) -> Callable[[], Any] | None:
    """Return what makes accumulators; None if the function gives a value for each frame.

    Raises
    ------
    TypeError
        It is neither.
    """
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    if inspect.isclass(inner) and _accumulates(inner):
        return function  # type: ignore[no-any-return]
    if not inspect.isclass(function) and _accumulates(function):  # a pattern for the others
        return functools.partial(copy.deepcopy, function)
    if not callable(function):
        raise TypeError(
            f"the function {name!r} is of type {type(function).__name__}: neither a function of a "
            "block of frames nor an accumulator with take, merge and result"
        )
    if inspect.isclass(inner) and "take" in vars(inner):
        lacking = [method for method in _METHODS if not hasattr(inner, method)]
        raise TypeError(f"the accumulator {name!r} lacks {' and '.join(lacking)}")
    if not _takes_nothing(function):
        return None
    if not _accumulates(function()):
        raise TypeError(
            f"the function {name!r} can only be called without a block of frames, so it should "
            "make an accumulator with take, merge and result, which it does not"
        )
    return function  # type: ignore[no-any-return]


class FunctionQuantity(Quantity):
    """What a function of the user finds in the frames of one stripe.

    Parameters
    ----------
    name : str
        What the user calls it.
    function : callable
        Gets a block.
    settings : dict
        What numpy does about overflows and the like, see `numpy.errstate`.
    first : int
        Number of the first frame of the stripe.
    """

    def __init__(
        self, name: str, function: Callable[..., Any], settings: dict[str, Any], first: int
    ) -> None:
        self.name, self.settings, self.first = name, settings, first
        self.function: Callable[..., Any] | None = function

    def call(self, frames: str, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the user; its errors get a note."""
        try:
            with np.errstate(**self.settings):
                return function(*args)
        except BaseException as error:
            hint = ""
            if isinstance(error, ValueError) and "read-only" in str(error):
                hint = "; blocks are read-only, copy what is to be changed"
            note = f"rsciio_tem.reduce: in the function {self.name!r}, with {frames}{hint}"
            if isinstance(error, StopIteration):  # which Python takes for the end of a loop
                stopped = RuntimeError("StopIteration was raised, and no loop is there to be ended")
                stopped.add_note(note)
                raise stopped from error
            error.add_note(note)
            raise

    def frames(self, at: int, count: int) -> str:
        """Say which frames a block has."""
        first = self.first + at
        return f"the frames {first} to {first + count - 1}" if count > 1 else f"the frame {first}"


class PerFrameFunction(FunctionQuantity):
    """A value, or an array, for each frame."""

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        settings: dict[str, Any],
        first: int,
        count: int,
    ) -> None:
        super().__init__(name, function, settings, first)
        self.count, self.parts = count, list[npt.NDArray[Any]]()
        #: Where they go, once their shape and type are seen.
        self.values: npt.NDArray[Any] | None = None

    def take(self, at: int, block: npt.NDArray[Any]) -> None:
        assert self.function is not None
        frames = self.frames(at, len(block))
        try:
            returned = self.call(frames, self.function, block)
            if np.ma.is_masked(returned):
                raise TypeError(
                    f"the function {self.name!r} returned, with {frames}, an array of which a part "
                    "is masked; return its values with filled(), or two functions"
                )
            values = np.asarray(returned)
        except ValueError as error:
            if "inhomogeneous" not in str(error) or hasattr(error, "__notes__"):
                raise
            raise ValueError(
                f"the function {self.name!r} returned, with {frames}, values of different shapes"
            ) from error
        if values.shape[:1] != (len(block),):
            raise ValueError(
                f"the function {self.name!r} returned an array of shape {values.shape} with "
                f"{frames}; needed is one value, or array, for each of these {len(block)} frames, "
                "along the first axis"
            )
        if self.values is None:
            self.values = np.empty((self.count, *values.shape[1:]), values.dtype)
        self._require(self.values.shape[1:], values.shape[1:], frames)
        if values.dtype != self.values.dtype:
            self.values = self.values.astype(np.result_type(self.values, values))
        self.values[at : at + len(block)] = values

    def _require(self, before: tuple[int, ...], now: tuple[int, ...], frames: str) -> None:
        if now != before:
            raise ValueError(
                f"the function {self.name!r} returned, with {frames}, arrays of shape {now} for "
                f"each frame, and before arrays of shape {before}"
            )

    def close(self) -> None:
        self.function = None

    def merge(self, other: PerFrameFunction) -> None:
        assert self.values is not None
        assert other.values is not None
        frames = other.frames(0, other.count)
        self._require(self.values.shape[1:], other.values.shape[1:], frames)
        self.parts += [other.values, *other.parts]

    def result(self) -> npt.NDArray[Any]:
        assert self.values is not None
        return np.concatenate([self.values, *self.parts]) if self.parts else self.values


class AccumulatorQuantity(FunctionQuantity):
    """What an accumulator of the user makes of all frames."""

    def __init__(
        self, name: str, factory: Callable[[], Any], settings: dict[str, Any], first: int
    ) -> None:
        super().__init__(name, factory, settings, first)
        self.accumulator = self.call("no frame yet", factory)
        self.function = None
        self.taken = 0

    def take(self, at: int, block: npt.NDArray[Any]) -> None:
        self.call(self.frames(at, len(block)), self.accumulator.take, block)
        self.taken += len(block)

    def merge(self, other: AccumulatorQuantity) -> None:
        frames = f"what it found in {other.frames(0, other.taken)}"
        self.call(frames, self.accumulator.merge, other.accumulator)
        self.taken += other.taken

    def result(self) -> Any:
        return self.call(f"all {self.taken} frames", self.accumulator.result)


@dataclass(frozen=True, eq=False)
class UserFunctions:
    """Functions of the user, by name; they pickle if these do.

    Parameters
    ----------
    functions : mapping
        From names to functions of a block, and to classes, factories or patterns of accumulators.

    Raises
    ------
    TypeError
        One is neither a function nor an accumulator.
    """

    functions: Mapping[str, Any]
    factories: dict[str, Callable[[], Any] | None] = field(init=False)
    #: What numpy does about overflows and the like where the pass was started.
    settings: dict[str, Any] = field(default_factory=lambda: dict(np.geterr()))

    def __post_init__(self) -> None:
        if not isinstance(self.functions, Mapping) or not all(
            isinstance(name, str) for name in self.functions
        ):
            raise TypeError("functions should be a dict of functions by their names")
        made = {name: _factory(name, f) for name, f in self.functions.items()}
        object.__setattr__(self, "factories", made)

    @property
    def per_frame(self) -> list[str]:
        """Names of those that give a value for each frame."""
        return [name for name, factory in self.factories.items() if factory is None]

    def quantities(self, first: int, count: int) -> dict[str, Quantity]:
        """Make the share of a stripe of so many frames from a first one on."""
        made = dict[str, Quantity]()
        for name, factory in self.factories.items():
            if factory is None:
                function = self.functions[name]
                made[name] = PerFrameFunction(name, function, self.settings, first, count)
            else:
                made[name] = AccumulatorQuantity(name, factory, self.settings, first)
        return made

    def require_picklable(self, dumps: Callable[[Any], Any]) -> None:
        """Raise a `TypeError` for what cannot be sent to other processes."""
        for name, function in self.functions.items():
            try:
                dumps(function)
            except Exception as error:
                raise TypeError(
                    f"the function {name!r} cannot be sent to the workers, because it cannot be "
                    f"pickled: {error}. Define it in a module, or without what it keeps hold of, "
                    "such as open files and locks."
                ) from error
