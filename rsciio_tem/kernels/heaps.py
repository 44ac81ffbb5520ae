# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled loops over the global heaps of HDF5, where lists of any length are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rsciio_tem.kernels.common import jit, little

__all__ = ["gather"]

#: Numbers that objects of a heap can have, 0 is what is left over.
_NUMBERS = 1 << 16
#: ``GCOL``, version 1, three bytes that mean nothing.
_BEGIN = np.frombuffer(b"GCOL\1", np.uint8)


@jit
def _gather(raw, base, heaps, numbers, nbytes, targets, out, begin, places, sizes):
    first, count = 0, len(heaps)
    while first < count:
        at = heaps[first] - base
        last = first
        while last < count and heaps[last] - base == at:
            places[numbers[last]] = -1
            last += 1
        if at < 0 or at + 16 > len(raw):
            return first
        for i in range(len(begin)):
            if raw[at + i] != begin[i]:
                return first
        size = little(raw, at + 8, 8)
        if size < 16 or size > len(raw) - at:
            return first
        place, end = at + 16, at + np.int64(size)
        while end - place >= 16:
            number = np.int64(raw[place]) + 256 * np.int64(raw[place + 1])
            length = np.int64(little(raw, place + 8, 8))
            if number == 0:
                break
            if length < 0 or length > end - place - 16:
                return first
            places[number] = place + 16
            sizes[number] = length
            place += 16 + (length + 7) // 8 * 8
        for k in range(first, last):
            place = places[numbers[k]]
            if place < 0 or sizes[numbers[k]] < nbytes[k]:
                return k
            out[targets[k] : targets[k] + nbytes[k]] = raw[place : place + nbytes[k]]
        first = last
    return -1


def gather(
    raw: npt.NDArray[np.uint8],
    base: int,
    heaps: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    nbytes: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
) -> int:
    """Copy objects out of heaps.

    Parameters
    ----------
    raw : ndarray of uint8
        Bytes of a file, with whole heaps in them.
    base : int
        Place of the first of these bytes in the file.
    heaps, numbers, nbytes : ndarray of int64
        Where the heap of each object begins in the file, its number there, and how many of its
        bytes are wanted; objects of one heap follow each other.
    targets : ndarray of int64
        Where its bytes go.
    out : ndarray of uint8
        What is filled.

    Returns
    -------
    int
        The first object that is not where it should be, -1 if all are.
    """
    lengths = {len(array) for array in (heaps, numbers, nbytes, targets)}
    if len(lengths) != 1:
        raise ValueError("heaps, numbers, nbytes and targets contradict each other")
    if not len(heaps):
        return -1
    if nbytes.min() < 0 or targets.min() < 0 or (targets + nbytes).max() > len(out):
        raise ValueError("targets lie outside of the output")
    strange = (numbers <= 0) | (numbers >= _NUMBERS)
    if strange.any():
        return int(np.argmax(strange))
    scratch = np.empty(_NUMBERS, np.int64), np.empty(_NUMBERS, np.int64)
    return int(_gather(raw, base, heaps, numbers, nbytes, targets, out, _BEGIN, *scratch))
