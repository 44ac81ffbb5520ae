# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbered files that are one recording."""

from __future__ import annotations

import os

import numpy as np

from rsciio_tem.errors import Problem, Problems
from rsciio_tem.formats.mib.header import LAST_NUMBER, integer
from rsciio_tem.formats.mib.layout import Layout
from rsciio_tem.scan.frame_headers import sampled
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile


def members_around(file: DataFile, layout: Layout, problems: Problems) -> list[DataFile]:
    """Collect the files that continue each other's frame numbers, around the one opened."""
    chains = []
    for place in files.places(file.path):
        chains.append(_chain(file if place == file.path else DataFile.of(place), layout))
        if len(chains[-1]) > 1:
            break
    chain = chains[-1] if len(chains[-1]) > 1 else chains[0]
    problems += chain.problems()
    return chain.members


def _chain(file: DataFile, layout: Layout) -> _Chain:
    stem, suffix = os.path.splitext(file.path)
    digits = files.split_number(os.path.basename(stem))[1]
    for n in range(len(digits)):  # digits may belong to the stem: scan5.mib, scan51.mib, …
        base = stem[: len(stem) - n]
        if n == 0 or files.is_file(base + suffix):
            chain = _Chain(file, layout, os.path.basename(base))
            if len(chain) > 1 and files.same_file(chain.members[0].path, base + suffix):
                return chain
    return _Chain(file, layout, files.split_number(os.path.basename(stem))[0])


class _Chain:
    """Files whose names differ only in a number behind `prefix`, around the one opened.

    Those from `low` to `high` are one recording.
    """

    def __init__(self, file: DataFile, layout: Layout, prefix: str) -> None:
        self.name = os.path.basename(file.path)
        self.layout = layout
        self.files = files.numbered_set(file.path, prefix)
        names = [os.path.basename(f.path) for f in self.files]
        normal = os.path.normcase(self.name)
        self.opened = next(i for i, name in enumerate(names) if os.path.normcase(name) == normal)
        self.counts = [layout.count_in(f.size) for f in self.files]
        self.begins = np.cumsum(self.counts) - self.counts
        self.start = layout.header.sequence - int(self.begins[self.opened])
        numbers = np.array([int(os.path.splitext(n)[0][len(prefix) :] or -1) for n in names])
        self.follows = np.append(False, (np.diff(numbers) == 1) | (numbers[:-1] == -1))
        _, self.kind = self.beginning(self.opened)
        self.uniform = self._is_uniform()
        self.low = 0 if self.uniform else self._reach(-1)
        self.high = len(self.files) - 1 if self.uniform else self._reach(+1)

    def __len__(self) -> int:
        return 1 + self.high - self.low

    @property
    def members(self) -> list[DataFile]:
        """The files that are one recording."""
        return self.files[self.low : self.high + 1]

    def beginning(self, i: int) -> tuple[int, list[bytes]]:
        """Return the first frame's number, and what must be the same in all files."""
        head = files.read_start(self.files[i].path, 64).split(b",")
        number = integer(head[1].decode("latin-1").strip()) if len(head) > 1 else -1
        return number, [head[0], *head[2:8]]

    def continues(self, i: int) -> bool:
        """Whether a file begins with the number, and the kind of frames, that it has to."""
        number, kind = self.beginning(i)
        counted = self.start + int(self.begins[i])
        return kind == self.kind and number in ((counted - 1) % LAST_NUMBER + 1, counted)

    def _is_uniform(self) -> bool:
        """Whether ten thousand files of one size have numbers that fit at twenty of them."""
        if len(self.files) <= 64 or len({f.size for f in self.files[:-1]}) != 1:
            return False
        some = sampled(len(self.files), 20).tolist()
        return bool(self.follows[1:].all()) and all(self.continues(i) for i in some)

    def _reach(self, direction: int) -> int:
        """Return the last file in a direction that belongs to the one opened."""
        last = self.opened
        while 0 <= (i := last + direction) < len(self.files) and self.counts[i]:
            if not (self.continues(i) and self.follows[max(i, last)]):
                break
            last = i
        return last

    def problems(self) -> list[Problem]:
        """Tell which neighbours are left out and why, and which members end within a frame."""
        if self.uniform:
            return []
        neighbours = [i for i in (self.low - 1, self.high + 1) if 0 <= i < len(self.files)]
        result = [self._why_not(i) for i in neighbours]
        for i, file in enumerate(self.members, self.low):
            if i != self.opened and (rest := self.layout.rest_in(file.size)):
                name = os.path.basename(file.path)
                result.append(Problem("warning", f"{name} ends with {rest} bytes of a frame."))
        return result

    def _why_not(self, i: int) -> Problem:
        """Tell why a neighbour is left out."""
        number, kind = self.beginning(i)
        reason = f"it begins with frame number {number}, which does not continue the numbering"
        if not self.counts[i]:
            reason = "it holds no complete frame"
        elif kind != self.kind:
            reason = "its frames are of another kind"
        elif self.continues(i):
            reason = "a number is missing between their names"
        lost = number > 1 and i > self.high and kind == self.kind
        name = os.path.basename(self.files[i].path)
        text = f"{name} is not read with {self.name}: {reason}."
        return Problem("warning" if lost else "info", text)
