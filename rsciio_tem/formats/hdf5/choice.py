# SPDX-License-Identifier: GPL-3.0-or-later
"""Which data set is meant."""

from __future__ import annotations

import importlib
import os
from typing import Any, NamedTuple

from rsciio_tem.errors import FormatError, OtherFormat, Problem, Unsupported
from rsciio_tem.parsing import hdf5
from rsciio_tem.parsing.hdf5 import DAMAGE, Walk, address, dectris_links, groups_with, text
from rsciio_tem.parsing.hdf5_layouts import Meaning, meaning_of, nexus_default, rosettasciio_reader


class Candidate(NamedTuple):
    """A data set with its path in the file and its meaning."""

    path: str
    dataset: Any
    meaning: Meaning

    def rank(self) -> tuple[int, bool, int]:
        """Return what decides between data sets; the greatest is read."""
        ndim, meaning = self.dataset.ndim, self.meaning
        known = bool(meaning.layout) and meaning.main
        if ndim < 3:
            tier = 1 if known else 0
        elif known and meaning.layout != "NXdata":
            tier = 7
        elif meaning.default:
            tier = 6
        elif not meaning.main:
            tier = 2
        else:
            tier = 5 if ndim == 4 else 4 if known else 3
        return tier - 10 * meaning.spectra, ndim == 4, self.dataset.size

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.dataset.shape))
        return f"{self.path} ({shape}, {self.dataset.dtype})"


class _HandedOver(Unsupported):
    """A file that a reader of RosettaSciIO is for."""

    what = reader = ""


def _handed_over(path: str, what: str, reader: str) -> _HandedOver:
    error = _HandedOver(
        path,
        f"is {what}, which RosettaSciIO's reader {reader} is for.",
        "rsciio_tem.load hands it over. dataset= reads any one array in it.",
    )
    error.what, error.reader = what, reader
    return error


def _delegated(found: _HandedOver, lazy: bool, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Let RosettaSciIO read a file."""
    try:
        module = importlib.import_module(found.reader)
    except ImportError as error:
        raise Unsupported(
            found.path,
            f"is {found.what}, and RosettaSciIO's reader {found.reader} lacks a package: {error}.",
            "Install that package, or name an array with dataset=.",
        ) from error
    try:
        result: list[dict[str, Any]] = module.file_reader(found.path, lazy=lazy, **options)
    except (NotImplementedError, MemoryError):
        raise  # about what was asked for, not about the file
    except Exception as error:
        if isinstance(error, TypeError) and "keyword" in str(error):
            raise
        raise FormatError(
            found.path,
            f"is {found.what}, and RosettaSciIO's reader {found.reader} fails: {error!r}.",
            "dataset= reads any one array in it.",
        ) from error
    return result


def _is_array(dataset: Any) -> bool:
    """Whether a data set is an array of numbers that can be images."""
    try:
        return dataset.shape is not None and dataset.ndim > 1 and dataset.dtype.kind in "buifc"
    except DAMAGE:
        return False


def _candidates(file: Any, start: Any) -> tuple[list[Candidate], Walk]:
    """List the arrays below a group, best first, each by its best path."""
    walk = hdf5.walk(start)
    best: dict[Any, Candidate] = {}
    for path, dataset in walk.datasets:
        if not _is_array(dataset) or not dataset.size:
            continue
        candidate = Candidate(path, dataset, meaning_of(path, dataset, file))
        key = address(dataset)
        if key not in best or candidate.rank() > best[key].rank():
            best[key] = candidate
    return sorted(best.values(), key=lambda c: c.rank(), reverse=True), walk


def _asked(file: Any, name: str, path: str) -> Candidate:
    """Return the data set of a name, or the best one in the group of that name."""
    wanted = name.strip("/")
    try:
        thing = file[wanted] if wanted else file
    except DAMAGE:
        link = None
        with_link = [p for p in hdf5.walk(file).broken if p[0] == wanted]
        if with_link:
            link = with_link[0][1]
        raise FormatError(
            path,
            f"has no data set {name!r}" + (f": it is a link to {link}, which is not there." if link
                                           else "."),
            _offer(_candidates(file, file)[0]),
        ) from None  # fmt: skip
    if hasattr(thing, "keys"):
        found = _candidates(file, thing)[0]
        if not found:
            raise FormatError(
                path,
                f"has a group {name!r}, and no array in it.",
                _offer(_candidates(file, file)[0]),
            )
        return found[0]
    if not _is_array(thing) or not thing.size:
        kind = "is empty" if getattr(thing, "size", 1) in (0, None) else "holds no array of numbers"
        raise Unsupported(
            path,
            f"the data set {name!r} {kind} (shape {getattr(thing, 'shape', '?')}).",
            _offer(_candidates(file, file)[0]),
        )
    return Candidate(wanted, thing, meaning_of(wanted, thing, file))


def _offer(found: list[Candidate]) -> str:
    if not found:
        return "It holds no array of numbers with two or more dimensions."
    listed = ", ".join(map(str, found[:8])) + (", …" if len(found) > 8 else "")
    return f"There are: {listed}."


def _best(file: Any, path: str, problems: list[Problem]) -> tuple[Candidate, list[Candidate]]:
    """Choose a data set, and tell about the others."""
    if found_elsewhere := rosettasciio_reader(file):
        raise _handed_over(path, *found_elsewhere)
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
    if str(text(file.attrs.get("version"))).startswith("CHESS_EIGER_STREAM"):
        raise OtherFormat(
            path,
            "is a capture of an Eiger's data stream.",
            'Pass format="eigerstream". dataset= reads any one array in it.',
            "eigerstream",
        )
    found, walk = _candidates(file, file)
    best_dims = 0 if not found or found[0].meaning.spectra else found[0].dataset.ndim
    if not best_dims or (best_dims < 3 and any(c.meaning.spectra for c in found)):
        if any("emd_group_type" in d.parent.attrs for _, d in walk.datasets):
            raise _handed_over(path, "an EMD file without frames", "rsciio.emd")
        if any(c.meaning.layout == "NXdata" for c in found) or nexus_default(file):
            raise _handed_over(path, "a NeXus file without frames", "rsciio.nexus")
    if not found and "STEM Metadata" in file:
        base = os.path.splitext(os.path.basename(path))[0]
        raise FormatError(
            path,
            "knows the scan of a Dectris recording, and holds no frames.",
            f"Open {base}_master.h5.",
        )
    if not found:
        held = [f"{p} {d.shape}" for p, d in walk.datasets[:8]]
        missing = [f"{p} -> {where}" for p, where in walk.broken[:8]]
        raise FormatError(
            path,
            "holds no array of numbers with two or more dimensions"
            + (f"; links that lead nowhere: {', '.join(missing)}" if missing else "")
            + (f"; it has {', '.join(held)}." if held else "."),
            "Put the files that it links to beside it." if missing else "",
        )
    best, others = found[0], found[1:]
    *kind, size = best.rank()
    equals = [c for c in others if [*c.rank()[:2]] == kind and 2 * c.rank()[2] >= size]
    if equals:
        listed = ", ".join(map(str, equals[:5]))
        problems.append(
            Problem(
                "warning",
                f"holds several arrays of the same kind; {best} is read, not {listed}.",
                "Pass dataset= to choose.",
            )
        )
    elif others:
        listed = ", ".join(map(str, others[:5]))
        problems.append(Problem("info", f"{best} is read, not {listed}.", "dataset= chooses."))
    lost = [p for p in walk.broken if p[1]]
    if lost:
        problems.append(
            Problem(
                "warning",
                f"{len(lost)} links lead nowhere, the first of them {lost[0][0]} to {lost[0][1]}.",
            )
        )
    if not walk.complete:
        message = "has so many groups that only the first 20000 entries were looked at."
        problems.append(Problem("warning", message, "Pass dataset= if it is not the one wanted."))
    return best, others
