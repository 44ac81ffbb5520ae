# SPDX-License-Identifier: GPL-3.0-or-later
"""Which data set is meant."""

from __future__ import annotations

import math
import os
from typing import Any, NamedTuple

from rsciio_tem.errors import FormatError, OtherFormat, Problem, Problems, Unsupported
from rsciio_tem.formats.hdf5.layouts import meaning_of, nexus_default
from rsciio_tem.formats.hdf5.meaning import Meaning
from rsciio_tem.formats.hdf5.rosettasciio import HandedOver, hand_over
from rsciio_tem.parsing.hdf5 import address, groups_with
from rsciio_tem.parsing.hdf5_links import (
    Walk,
    dectris_links,
    member,
    require_links,
    require_near,
    walk,
)
from rsciio_tem.parsing.hdf5_values import DAMAGE, attribute, attributes, has_attribute, text

#: Rows and columns of a frame at least; arrays with fewer of them are tables of numbers.
_LEAST_FRAME = 4


class Candidate(NamedTuple):
    """A data set with its path in the file and its meaning."""

    path: str
    dataset: Any
    meaning: Meaning

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data set."""
        return tuple(map(int, self.dataset.shape))

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.dataset.shape)

    def rank(self) -> tuple[int, bool, int]:
        """Return what decides between data sets; the greatest is read."""
        shape, meaning = self.shape, self.meaning
        ndim, frame = len(shape), shape[:2] if meaning.sig_first else shape[-2:]
        scan = ndim == 4 and min(frame) >= _LEAST_FRAME  # or else it is a table
        is_recording = bool(meaning.layout) and meaning.main
        if ndim < 3:
            tier = 1 if is_recording else 0
        elif is_recording and meaning.layout != "NXdata":
            tier = 7
        elif meaning.default:
            tier = 6
        elif not meaning.main:
            tier = 2
        else:
            tier = 5 if scan else 4 if is_recording else 3
        return tier - 10 * meaning.spectra, scan, self.size

    def described(self, others: list[Candidate]) -> dict[str, Any]:
        """Return what the original metadata say of it, and of others that are not read."""
        return {
            "dataset": self.path,
            "layout": self.meaning.layout or "unknown",
            "shape": list(self.shape),
            "dtype": str(self.dataset.dtype),
            "attributes": attributes(self.dataset),
            "others": [str(c) for c in others[:50]],
        }

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.dataset.shape))
        return f"{self.path} ({shape}, {self.dataset.dtype})"


def _is_array(dataset: Any) -> bool:
    """Whether a data set is an array of numbers that can be images."""
    try:
        shape = dataset.shape
        return shape is not None and len(shape) > 1 and dataset.dtype.kind in "buifc"
    except DAMAGE:
        return False


def _candidates(file: Any, start: Any) -> tuple[list[Candidate], Walk]:
    """List the arrays below a group, best first, each by its best path."""
    tour = walk(start)
    best: dict[Any, Candidate] = {}
    for path, dataset in tour.datasets:
        if not _is_array(dataset) or 0 in dataset.shape or "/rsciio_tem/" in path:
            continue  # beside what ``convert`` writes it keeps dark images and the like
        candidate = Candidate(path, dataset, meaning_of(path, dataset, file))
        key = address(dataset)
        if key not in best or candidate.rank() > best[key].rank():
            best[key] = candidate
    return sorted(best.values(), key=lambda c: c.rank(), reverse=True), tour


# ---------------------------------------------------------------- by name


def asked_for(file: Any, name: str, path: str) -> Candidate:
    """Return the data set of a name, or the best one in the group of that name."""
    inner = name.strip("/")
    require_links(file, name)
    try:
        thing = file[inner] if inner else file
        require_near(thing)
    except FormatError:
        raise
    except DAMAGE:
        target = next((where for at, where in walk(file).broken if at == inner), "")
        why = f": it is a link to {target}, which is not there." if target else "."
        raise FormatError(path, f"has no data set {name!r}{why}", _offer(file)) from None
    if hasattr(thing, "keys"):
        candidates = _candidates(file, thing)[0]
        if not candidates:
            raise FormatError(path, f"has a group {name!r}, and no array in it.", _offer(file))
        return candidates[0]
    if not _is_array(thing) or not thing.size:
        kind = "is empty" if getattr(thing, "size", 1) in (0, None) else "holds no array of numbers"
        raise Unsupported(
            path,
            f"the data set {name!r} {kind} (shape {getattr(thing, 'shape', '?')}).",
            _offer(file),
        )
    return Candidate(inner, thing, meaning_of(inner, thing, file))


def _offer(file: Any) -> str:
    candidates = _candidates(file, file)[0]
    if not candidates:
        return "It holds no array of numbers with two or more dimensions."
    listed = ", ".join(map(str, candidates[:8])) + (", …" if len(candidates) > 8 else "")
    return f"There are: {listed}."


# ---------------------------------------------------------------- by itself


def best(file: Any, path: str, problems: Problems) -> tuple[Candidate, list[Candidate]]:
    """Choose a data set, and tell about the others."""
    hand_over(file, path)
    _point_to_format(file, path)
    candidates, tour = _candidates(file, file)
    if candidates or not any(target for _, target in tour.broken):
        _hand_over_spectra(file, path, candidates, tour)
    if not candidates:
        raise _without_arrays(file, path, tour)
    chosen, *others = candidates
    _tell_others(chosen, others, problems)
    if lost := [link for link in tour.broken if link[1]]:
        link, target = lost[0]
        problems.warn(f"{len(lost)} links lead nowhere, the first of them {link} to {target}.")
    if not tour.complete:
        problems.warn(
            "has so many groups that only the first 20000 entries were looked at.",
            "Pass dataset= if it is not the one wanted.",
        )
    return chosen, others


def _point_to_format(file: Any, path: str) -> None:
    """Raise if another of our formats is for a file."""
    group, names = dectris_links(file)
    if names:
        raise OtherFormat(
            path,
            f"is the master of a Dectris recording with {len(names)} data sets in {group}.",
            'Pass format="dectris". dataset= reads one array of it.',
            "dectris",
        )
    if groups_with(file, "HEXRD_FRAMECACHE_VERSION"):
        raise OtherFormat(
            path,
            "is a frame cache of hexrd, which stores frames as lists of pixels.",
            'Pass format="framecache". dataset= reads any one array in it.',
            "framecache",
        )
    if member(file, "electron_events/frames") is not None:
        raise OtherFormat(
            path,
            "holds counted electrons of stempy, as lists of pixels.",
            'Pass format="stempy". dataset= reads any one array in it.',
            "stempy",
        )
    if text(attribute(file, "version")).startswith("CHESS_EIGER_STREAM"):
        raise OtherFormat(
            path,
            "is a capture of an Eiger's data stream.",
            'Pass format="eigerstream". dataset= reads any one array in it.',
            "eigerstream",
        )


def _hand_over_spectra(file: Any, path: str, candidates: list[Candidate], tour: Walk) -> None:
    """Raise if a reader of RosettaSciIO is for a file, which has no frames."""
    frames = [c for c in candidates[:1] if not c.meaning.spectra]
    if frames and (frames[0].dataset.ndim > 2 or not any(c.meaning.spectra for c in candidates)):
        return
    if any(has_attribute(d.parent, "emd_group_type") for _, d in tour.datasets):
        raise HandedOver.of(path, "an EMD file without frames", "rsciio.emd")
    if any(c.meaning.layout == "NXdata" for c in candidates) or nexus_default(file):
        raise HandedOver.of(path, "a NeXus file without frames", "rsciio.nexus")


def _without_arrays(file: Any, path: str, tour: Walk) -> FormatError:
    if member(file, "STEM Metadata") is not None:
        base = os.path.splitext(os.path.basename(path))[0]
        return FormatError(
            path,
            "knows the scan of a Dectris recording, and holds no frames.",
            f"Open {base}_master.h5.",
        )
    datasets = ", ".join(f"{p} {d.shape}" for p, d in tour.datasets[:8])
    missing = ", ".join(f"{p} -> {target}" for p, target in tour.broken[:8])
    return FormatError(
        path,
        "holds no array of numbers with two or more dimensions"
        + (f"; links that lead nowhere: {missing}" if missing else "")
        + (f"; it has {datasets}." if datasets else "."),
        "Put the files that it links to beside it." if missing else "",
    )


def _tell_others(chosen: Candidate, others: list[Candidate], problems: Problems) -> None:
    """Tell what else could have been read; warn if it is as good."""
    *kind, size = chosen.rank()
    equals = [c for c in others if [*c.rank()[:2]] == kind and 2 * c.rank()[2] >= size]
    listed = ", ".join(map(str, (equals or others)[:5]))
    if equals:
        problems.warn(
            f"holds several arrays of the same kind; {chosen} is read, not {listed}.",
            "Pass dataset= to choose.",
        )
    elif others:
        problems.append(Problem("info", f"{chosen} is read, not {listed}.", "dataset= chooses."))
