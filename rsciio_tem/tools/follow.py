# SPDX-License-Identifier: GPL-3.0-or-later
"""`rsciio_tem.follow`: frames of a recording that is still being written, as they are completed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.reduction.single_pass import What, one_pass
from rsciio_tem.storage.files import absolute
from rsciio_tem.storage.remote.address import is_address
from rsciio_tem.storage.remote.session import shown
from rsciio_tem.tools.open import open as describe

__all__ = ["Completed", "Following", "follow"]


@dataclass(frozen=True, eq=False)
class Completed:
    """Frames that were completed since the last time.

    Parameters
    ----------
    first : int
        Number of the first of them.
    frames : Frames
        They, as they are stored, in the order of acquisition.
    """

    first: int
    frames: Frames

    def __len__(self) -> int:
        return len(self.frames)

    def load(self) -> npt.NDArray[Any]:
        """Load them.

        Returns
        -------
        ndarray, shape (frames, rows, columns)
            In the machine's byte order.
        """
        frames = self.frames
        pixels = np.empty((len(frames), *frames.frame_shape), frames.dtype.newbyteorder("="))
        frames.load(pixels)
        return pixels


@dataclass(eq=False, repr=False)
class Following:
    """A recording that grows; iterate over it, or ask for `new` frames.

    Parameters
    ----------
    path : str
        Of a file; it need not be there yet.
    format : str
        As in `load`.
    options : dict
        Keywords of the format.
    what, masks
        As in `reduce`: what `results` are kept of.
    interval, patience : float
        As in `follow`.
    """

    path: str
    format: str
    options: dict[str, Any]
    what: tuple[What, ...] = ()
    masks: Any = None
    interval: float = 0.5
    patience: float | None = 10.0
    count: int = 0  #: frames so far
    _kind: tuple[Any, ...] = ()
    _sums: _Sums = field(default_factory=lambda: _Sums())

    def __repr__(self) -> str:  # the address and its options may hold what is secret
        return f"<Following of {shown(self.path)}: {self.count} frames>"

    def new(self) -> Completed | None:
        """Return the frames that were completed since the last time, None if there are none.

        If anything goes wrong, the same frames come the next time.

        Raises
        ------
        FormatError
            The file cannot be read, or is another one now.
        """
        recording = describe(self.path, self.format, **self.options)
        frames = recording.frames
        kind = (_identity(self.path), tuple(frames.frame_shape), frames.dtype)
        if self._kind and (kind != self._kind or len(frames) < self.count):
            raise FormatError(
                shown(self.path),
                f"is another recording than before: {_in_words(len(frames), kind)}, where there "
                f"were {_in_words(self.count, self._kind)}.",
                "Follow it anew.",
            )
        if len(frames) == self.count:
            return None
        completed = Completed(self.count, frames[self.count :])
        sums = self._sums
        if self.what or self.masks is not None:
            results = one_pass(completed.frames, what=self._quantities, masks=self.masks)
            sums = sums.with_more(len(completed), results)
        self.count, self._kind, self._sums = len(frames), kind, sums
        return completed

    def __iter__(self) -> Iterator[Completed]:
        """Yield frames as they are completed, until none were for as long as the patience is."""
        since = time.monotonic()
        while True:
            late = self.patience is not None and time.monotonic() - since > self.patience
            try:
                completed = self.new()
            except (FormatError, FileNotFoundError):
                if self.count or late:
                    raise
                completed = None  # not there yet, or its header is not complete
            if completed is not None:
                yield completed
                since = time.monotonic()
            elif late:
                return
            else:
                time.sleep(self.interval)

    @property
    def _quantities(self) -> tuple[What, ...]:
        # the spread of several parts follows from theirs and from their means
        more: tuple[What, ...] = ("sum",) if {"mean", "variance"} & {*self.what} else ()
        return tuple(dict.fromkeys((*self.what, *more)))

    @property
    def results(self) -> dict[str, npt.NDArray[Any]]:
        """What was asked for, of all frames so far.

        Returns
        -------
        dict of ndarray
            "navigator" of shape (frames,), "com" of shape (2, frames), "masks" of shape
            (masks, frames); "sum", "mean", "max" and "variance" of the frame's shape.
        """
        names = (*self.what, *(() if self.masks is None else ("masks",)))
        return {name: self._sums.result(name) for name in names} if self.count else {}


def follow(
    path: str | os.PathLike[str],
    format: str = "auto",
    *,
    what: What | Iterable[What] = (),
    masks: Any = None,
    interval: float = 0.5,
    patience: float | None = 10.0,
    **options: Any,
) -> Following:
    """Follow a recording that is still being written.

    Parameters
    ----------
    path, format
        As in `load`. The file need not be there yet. A format whose header tells how many frames
        there are, and which is an error as long as they are not, comes as a whole. Of a file on a
        server, another of its name goes unnoticed if it has as many frames of the same kind. Of
        formats that put frames together from parts in several files (4D Camera), frames come when
        their first part is there; what is missing of them is filled, and does not come later.
    what, masks
        As in `reduce`: what is computed of the new frames as they come, see
        `Following.results`.
    interval : float
        Seconds between two looks at the file.
    patience : float, optional
        Seconds without a new frame after which a loop ends; None for never.
    **options
        The format's own keywords, such as ``sig_shape`` and ``dtype`` of raw files.

    Returns
    -------
    Following
        Iterate over it to get frames as they are completed, or call its `new()`.

    Raises
    ------
    FormatError
        While it is followed: the file cannot be read, or another one has got its name.

    Examples
    --------
    >>> import rsciio_tem
    >>> following = rsciio_tem.follow("scan.mib", what=["navigator", "sum"], patience=30)
    >>> for completed in following:  # doctest: +SKIP
    ...     print(following.count, completed.load().max())
    >>> following.results["navigator"]  # doctest: +SKIP
    """
    if format == "auto" and {"dtype", "sig_shape"} <= options.keys():
        format = "raw"  # as in `load`
    kinds = cast("tuple[What, ...]", (what,) if isinstance(what, str) else tuple(what))
    if unknown := [kind for kind in kinds if kind not in get_args(What)]:
        raise ValueError(f"what={unknown} is none of {', '.join(get_args(What))}")
    for name, seconds in (("interval", interval), ("patience", patience)):
        if seconds is not None and not seconds >= 0:  # NaN as well
            raise ValueError(f"{name}={seconds!r} is no number of seconds from 0 on")
    return Following(absolute(path), format, options, kinds, masks, interval, patience)


class _Sums:
    """Results of parts, put together."""

    def __init__(self) -> None:
        self.frames = 0
        self.images: dict[str, npt.NDArray[Any]] = {}
        self.lists: dict[str, list[npt.NDArray[Any]]] = {}

    def with_more(self, count: int, results: dict[str, npt.NDArray[Any]]) -> _Sums:
        """Return these and the results of further frames; these stay as they are."""
        both = _Sums()
        both.frames = self.frames + count
        both.lists = {name: list(parts) for name, parts in self.lists.items()}
        for name, values in results.items():
            former = self.images.get(name)
            if name in ("navigator", "com", "masks"):
                both.lists.setdefault(name, []).append(values)
            elif former is None:
                both.images[name] = values
            elif name == "max":
                both.images[name] = np.maximum(former, values)
            elif name == "sum":
                both.images[name] = _added(former, values)
            elif name == "variance":
                both.images[name] = self._spread(count, values, results["sum"])
        return both

    def _spread(
        self,
        count: int,
        variance: npt.NDArray[Any],
        total: npt.NDArray[Any],
    ) -> npt.NDArray[Any]:
        """Join variances: that of all is theirs on average, and that of their means."""
        former, sums = self.images["variance"], self.images["sum"]
        both = self.frames + count
        difference = total / count - sums / self.frames
        return np.asarray(
            (self.frames * former + count * variance) / both
            + difference**2 * (self.frames * count / both**2)
        )

    def result(self, name: str) -> npt.NDArray[Any]:
        """Return a result over all frames."""
        if name == "mean":
            return np.asarray(self.images["sum"] / self.frames)
        if name in self.images:
            return self.images[name]
        joined = np.concatenate(self.lists[name], axis=-1)
        self.lists[name] = [joined]
        return joined


def _added(sums: npt.NDArray[Any], more: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Add sums; those of 64-bit pixels may have no room in 64 bits."""
    total = sums + more
    if total.dtype.kind == "u" and (total < sums).any():
        raise OverflowError("sums of 64-bit pixels do not fit into 64 bits")
    if total.dtype.kind == "i" and (((sums ^ total) & (more ^ total)) < 0).any():
        raise OverflowError("sums of 64-bit pixels do not fit into 64 bits")
    return np.asarray(total)


def _identity(path: str) -> tuple[int, int]:
    """Return what a file keeps while it grows, and another one of its name has not."""
    if is_address(path):
        return 0, 0  # servers do not tell
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _in_words(count: int, kind: tuple[Any, ...]) -> str:
    _, shape, dtype = kind
    return f"{count} frames of {' × '.join(map(str, shape))} px, {dtype.name}"
