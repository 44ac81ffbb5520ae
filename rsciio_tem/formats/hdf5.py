# SPDX-License-Identifier: GPL-3.0-or-later
"""HDF5: any data set of numbers, and the known ways in which 4D-STEM data lie in such files.

Every data set in the file is looked at, through links of every kind, and gets a meaning from the
first known layout that fits (`rsciio_tem.h5layouts`). The best one is read; the others are named.
What RosettaSciIO has a reader for and what is no stack of frames goes to that reader as it is.
"""

from __future__ import annotations

import importlib
import math
import os
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Unpack

from rsciio_tem import files, h5, h5layouts
from rsciio_tem.checking import chunk_tables
from rsciio_tem.errors import Elsewhere, FormatError, NotThisFormat, Problem, Unsupported
from rsciio_tem.h5data import frames_of
from rsciio_tem.h5layouts import Meaning
from rsciio_tem.read import CommonOptions, read
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.scan import ScanHint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rsciio_tem.export import Target
    from rsciio_tem.h5write import Compression
    from rsciio_tem.signals import SignalFrames

__all__ = ["file_reader", "file_writer", "parse", "sniff", "target"]


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


class _Elsewhere(Unsupported):
    """A file that a reader of RosettaSciIO is for."""

    what = reader = ""


def _elsewhere(path: str, what: str, reader: str) -> _Elsewhere:
    error = _Elsewhere(
        path,
        f"is {what}, which RosettaSciIO's reader {reader} is for.",
        "rsciio_tem.load hands it over. dataset= reads any one array in it.",
    )
    error.what, error.reader = what, reader
    return error


def _delegated(found: _Elsewhere, lazy: bool, options: dict[str, Any]) -> list[dict[str, Any]]:
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


# ---------------------------------------------------------------- choosing


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise HDF5 by its signature, known layouts by the groups at the root."""
    if not h5.is_hdf5(path, head):
        return None
    # The library is not asked: a damaged file can keep it busy for ever.
    if b"emd_group_type" in head or path.lower().endswith(".emd"):
        return 0.8, "is an HDF5 file, an EMD by its name or its attributes", {}
    return 0.6, "has the signature of HDF5", {}


def _is_array(dataset: Any) -> bool:
    """Whether a data set is an array of numbers that can be images."""
    try:
        return dataset.shape is not None and dataset.ndim > 1 and dataset.dtype.kind in "buifc"
    except h5.DAMAGE:
        return False


def _candidates(file: Any, start: Any) -> tuple[list[Candidate], h5.Tour]:
    """List the arrays below a group, best first, each by its best path."""
    tour = h5.tour(start)
    best: dict[Any, Candidate] = {}
    for path, dataset in tour.datasets:
        if not _is_array(dataset) or not dataset.size:
            continue
        candidate = Candidate(path, dataset, h5layouts.meaning_of(path, dataset, file))
        key = h5.address(dataset)
        if key not in best or candidate.rank() > best[key].rank():
            best[key] = candidate
    return sorted(best.values(), key=lambda c: c.rank(), reverse=True), tour


def _asked(file: Any, name: str, path: str) -> Candidate:
    """Return the data set of a name, or the best one in the group of that name."""
    wanted = name.strip("/")
    try:
        thing = file[wanted] if wanted else file
    except h5.DAMAGE:
        link = None
        with_link = [p for p in h5.tour(file).broken if p[0] == wanted]
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
    return Candidate(wanted, thing, h5layouts.meaning_of(wanted, thing, file))


def _offer(found: list[Candidate]) -> str:
    if not found:
        return "It holds no array of numbers with two or more dimensions."
    listed = ", ".join(map(str, found[:8])) + (", …" if len(found) > 8 else "")
    return f"There are: {listed}."


def _best(file: Any, path: str, problems: list[Problem]) -> tuple[Candidate, list[Candidate]]:
    """Choose a data set, and tell about the others."""
    if found_elsewhere := h5layouts.elsewhere(file):
        raise _elsewhere(path, *found_elsewhere)
    group, names = h5.dectris_links(file)
    if names:
        raise Elsewhere(
            path,
            f"is the master of a Dectris recording with {len(names)} data sets in {group}.",
            'Pass format="dectris". dataset= reads one array of it.',
            "dectris",
        )
    if h5.groups_with(file, "HEXRD_FRAMECACHE_VERSION"):
        raise Elsewhere(
            path,
            "is a frame cache of hexrd, which stores frames as lists of pixels.",
            'Pass format="framecache". dataset= reads any one array in it.',
            "framecache",
        )
    if str(h5.text(file.attrs.get("version"))).startswith("CHESS_EIGER_STREAM"):
        raise Elsewhere(
            path,
            "is a capture of an Eiger's data stream.",
            'Pass format="eigerstream". dataset= reads any one array in it.',
            "eigerstream",
        )
    found, tour = _candidates(file, file)
    best_dims = 0 if not found or found[0].meaning.spectra else found[0].dataset.ndim
    if not best_dims or (best_dims < 3 and any(c.meaning.spectra for c in found)):
        if any("emd_group_type" in d.parent.attrs for _, d in tour.datasets):
            raise _elsewhere(path, "an EMD file without frames", "rsciio.emd")
        if any(c.meaning.layout == "NXdata" for c in found) or h5layouts.nexus_default(file):
            raise _elsewhere(path, "a NeXus file without frames", "rsciio.nexus")
    if not found and "STEM Metadata" in file:
        base = os.path.splitext(os.path.basename(path))[0]
        raise FormatError(
            path,
            "knows the scan of a Dectris recording, and holds no frames.",
            f"Open {base}_master.h5.",
        )
    if not found:
        held = [f"{p} {d.shape}" for p, d in tour.datasets[:8]]
        missing = [f"{p} -> {where}" for p, where in tour.broken[:8]]
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
    lost = [p for p in tour.broken if p[1]]
    if lost:
        problems.append(
            Problem(
                "warning",
                f"{len(lost)} links lead nowhere, the first of them {lost[0][0]} to {lost[0][1]}.",
            )
        )
    if not tour.complete:
        message = "has so many groups that only the first 20000 entries were looked at."
        problems.append(Problem("warning", message, "Pass dataset= if it is not the one wanted."))
    return best, others


# ---------------------------------------------------------------- description


def parse(
    filename: str | os.PathLike[str],
    *,
    dataset: str | None = None,
    ds_path: str | None = None,
    dataset_path: str | None = None,
    sig_dims: int | None = None,
    sig_shape: tuple[int, ...] | None = None,
    sig_first: bool | None = None,
) -> Recording:
    """Describe a data set of an HDF5 file; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = files.existing(filename)
    given = [name for name in (dataset, ds_path, dataset_path) if name is not None]
    if len(given) > 1:
        raise TypeError("dataset, ds_path and dataset_path mean the same; pass one of them")
    if not h5.is_hdf5(path, files.read_start(path, 4096)):
        head = files.read_start(path, 8)
        raise NotThisFormat(path, f"is no HDF5 file: it begins with {head!r}.")
    problems: list[Problem] = []
    with h5.opened(path) as file:
        others: list[Candidate] = []
        if given:
            chosen = _asked(file, given[0], path)
        else:
            chosen, others = _best(file, path, problems)
        source, meaning = chosen.dataset, chosen.meaning
        shape = tuple(int(n) for n in source.shape)
        linked = os.fspath(source.file.filename)
        original = {
            **meaning.original_metadata,
            "hdf5": {
                "dataset": chosen.path,
                "layout": meaning.layout or "unknown",
                "shape": list(shape),
                "dtype": str(source.dtype),
                "attributes": h5.attributes(source),
                "others": [str(c) for c in others[:50]],
            },
            "file": h5.tree(file, frozenset([str(source.name)])),
        }
    problems.extend(meaning.problems)
    first = meaning.sig_first if sig_first is None else sig_first
    dims = _sig_dims(shape, sig_dims, sig_shape, first, path)
    cut = dims if first else len(shape) - dims
    axes = meaning.axes or (Axis(),) * len(shape)
    ahead, behind = (shape[:cut], axes[:cut]), (shape[cut:], axes[cut:])
    (frame, signal_axes), (nav, scan_axes) = (ahead, behind) if first else (behind, ahead)
    hints: tuple[ScanHint, ...] = ()
    stack_axis = scan_axes[0] if len(nav) == 1 else None
    if len(nav) > 1:
        hints = (ScanHint("header", nav, 0.95, "shape of the data set"),)
    elif meaning.hint is not None and math.prod(meaning.hint.shape) == math.prod(nav):
        hints, scan_axes = (meaning.hint,), meaning.scan_axes
    angles, found = meaning.angles(nav)
    problems.extend(found)
    frame_axes = range(dims) if first else range(-dims, 0)
    frames = frames_of(path, chosen.path, frame_axes=tuple(frame_axes))
    if sig_shape is not None and frame != (wanted := tuple(int(n) for n in sig_shape)):
        try:
            frames = frames.configured(frame_shape=wanted)
        except Unsupported as error:
            raise Unsupported(path, error.problem, error.hint) from None
        signal_axes = (Axis(),) * len(wanted)
    name = os.path.basename(path)
    metadata = {
        **meaning.metadata,
        "General": {
            "title": os.path.splitext(name)[0],
            "original_filename": name,
            **meaning.metadata.get("General", {}),
        },
        "Signal": {"signal_type": "", **meaning.metadata.get("Signal", {})},
    }
    return Recording(
        format="hdf5",
        path=path,
        frames=frames,
        signal_axes=signal_axes,
        scan_axes=scan_axes,
        hints=hints,
        stack_axis=stack_axis,
        omega=angles,
        metadata=metadata,
        original_metadata=original,
        files=(path,) if os.path.samefile(linked, path) else (path, linked),
        problems=tuple(problems),
    )


def _sig_dims(
    shape: tuple[int, ...],
    sig_dims: int | None,
    sig_shape: tuple[int, ...] | None,
    first: bool,
    path: str,
) -> int:
    """Return how many axes of the data set are those of a frame."""
    if sig_shape is not None:
        pixels = math.prod(int(n) for n in sig_shape)
        for dims in range(1, len(shape) + 1):
            part = shape[:dims] if first else shape[len(shape) - dims :]
            if math.prod(part) == pixels and sig_dims in (None, dims):
                return dims
        raise FormatError(
            path,
            f"the data set has the shape {shape}, of which no axes at its "
            f"{'beginning' if first else 'end'} make frames of {tuple(sig_shape)}.",
            "sig_shape only reshapes frames; dataset= chooses another array.",
        )
    dims = min(2, len(shape)) if sig_dims is None else int(sig_dims)
    if not 0 < dims <= len(shape):
        raise FormatError(path, f"sig_dims={sig_dims} for a data set of {len(shape)} dimensions.")
    return dims


# ---------------------------------------------------------------- reader


CHECKS = (chunk_tables,)


def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool = False,
    *,
    dataset: str | None = None,
    ds_path: str | None = None,
    dataset_path: str | list[str] | None = None,
    sig_dims: int | None = None,
    sig_shape: tuple[int, ...] | None = None,
    sig_first: bool | None = None,
    **options: Unpack[CommonOptions],
) -> list[dict[str, Any]]:
    """Read a data set of an HDF5 file.

    Parameters
    ----------
    filename : str or path
        The file.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    dataset : str
        Path of the data set in the file, or of a group whose best one is read. By default it is
        chosen, and the others are named.
    ds_path : str
        LiberTEM's name for `dataset`.
    dataset_path : str or list of str
        RosettaSciIO's name for it; a list gives several signals.
    sig_dims : int
        Number of axes of a frame, by default two.
    sig_shape : tuple of int
        Reshape frames; the last axes of the data set have as many pixels together.
    sig_first : bool
        The axes of the frame come first in the data set, those of the scan behind them; by
        default what the layout of the file says.
    **options
        `CommonOptions`.

    Returns
    -------
    list of dict
        One, unless several data sets were asked for. What is no stack of frames and has a reader
        in RosettaSciIO is returned as that reader does.

    Raises
    ------
    NotThisFormat
        The file is no HDF5.
    Truncated
        It ends early, or files that it links to are missing.
    FormatError
        It holds no such data set, or none at all.
    """
    del distributed  # nothing is left to do for it
    names: list[str | None] = list(dataset_path) if isinstance(dataset_path, list) else []
    if names and (dataset is not None or ds_path is not None):
        raise TypeError("dataset, ds_path and dataset_path mean the same; pass one of them")
    result = []
    for name in names or [None]:
        own = name if name is not None else dataset_path
        assert not isinstance(own, list)
        try:
            recording = parse(
                filename,
                dataset=dataset,
                ds_path=ds_path,
                dataset_path=own,
                sig_dims=sig_dims,
                sig_shape=sig_shape,
                sig_first=sig_first,
            )
        except _Elsewhere as found:
            explicit = {
                "mmap_mode": mmap_mode,
                "navigation_shape": navigation_shape,
                "first_frame": first_frame,
                "last_frame": last_frame,
                "sig_dims": sig_dims,
                "sig_shape": sig_shape,
                "sig_first": sig_first,
            }
            asked = {k: v for k, v in explicit.items() if v is not None}
            if not isinstance(chunks, str) or chunks != "auto":
                asked["chunks"] = chunks
            return _delegated(found, lazy, {**asked, **options})
        result.extend(
            read(
                recording,
                lazy=lazy,
                chunks=chunks,
                mmap_mode=mmap_mode,
                navigation_shape=navigation_shape,
                first_frame=first_frame,
                last_frame=last_frame,
                options=options,
            )
        )
    return result


# ---------------------------------------------------------------- writing


def target(
    frames: SignalFrames,
    path: str,
    *,
    layout: Literal["emd", "hexrd"] = "emd",
    group: str | None = None,
    dataname: str | None = None,
    compression: Compression | Mapping[str, Any] | None = None,
    gzip: int = 1,
    shuffle: bool = True,
    chunk_rows: int = 0,
    omega: Any = "auto",
) -> Target:
    """Return what `rsciio_tem.convert` streams frames into; parameters as in `file_writer`."""
    from rsciio_tem import h5write, sparsewrite

    if layout not in ("emd", "hexrd"):
        raise ValueError(f"layout={layout!r} is neither 'emd' nor 'hexrd'")
    hexrd = layout == "hexrd"
    attributes: dict[str, Any] = {}
    if hexrd:
        rows = sparsewrite.angles(frames, omega, path)
        attributes = sparsewrite.metadata(frames, rows)
    elif not isinstance(omega, str) or omega != "auto":
        raise ValueError("omega belongs to layout='hexrd'")
    return h5write.Hdf5(
        path,
        frames,
        layout=layout,
        group=group or ("imageseries" if hexrd else "datacube"),
        dataname=dataname or ("images" if hexrd else "data"),
        compression=compression or ("gzip" if hexrd else "bitshuffle-lz4"),
        gzip=gzip,
        shuffle=shuffle,
        chunk_rows=chunk_rows,
        attributes=attributes,
    )


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    *,
    layout: Literal["emd", "hexrd"] = "emd",
    group: str | None = None,
    dataname: str | None = None,
    compression: Compression | Mapping[str, Any] | None = None,
    gzip: int = 1,
    shuffle: bool = True,
    chunk_rows: int = 0,
    omega: Any = "auto",
    overwrite: bool = False,
) -> None:
    """Write a signal as HDF5, piece by piece if it is lazy.

    Parameters
    ----------
    filename : str or path
        The file; it appears under its name when it is complete.
    signal : dict
        As RosettaSciIO's writers receive it.
    layout : {"emd", "hexrd"}
        EMD 1.0, which py4DSTEM, emdfile and `hs.load` with this package open, or the group of
        hexrd's imageseries.
    group, dataname : str
        Name of the array (by default "datacube") in an EMD; path of the group ("imageseries") for
        hexrd, and name of the data set in it ("images").
    compression : {"bitshuffle-lz4", "gzip", "none"} or mapping
        By default bitshuffle with LZ4 for EMD, which needs `hdf5plugin` to be read, and "gzip" for
        hexrd. A mapping holds keywords of h5py's ``create_dataset``.
    gzip : int
        Level of "gzip", 0 to 9.
    shuffle : bool
        Whether "gzip" sorts the bytes of pixels first.
    chunk_rows : int
        Rows of a frame in a chunk; 0 for whole frames.
    omega : array or "auto"
        For hexrd: angles at which each frame begins and ends, in degrees; by default those of the
        signal.
    overwrite : bool
        Replace a file of this name. The recording that the signal was read from is never replaced.

    Raises
    ------
    ValueError
        A keyword has no such value.
    FileExistsError
        There is such a file.
    """
    from rsciio_tem import export
    from rsciio_tem.signals import SignalFrames

    frames = SignalFrames.of(signal, "hdf5")
    made = target(
        frames,
        os.fspath(filename),
        layout=layout,
        group=group,
        dataname=dataname,
        compression=compression,
        gzip=gzip,
        shuffle=shuffle,
        chunk_rows=chunk_rows,
        omega=omega,
    )
    export.write(made, frames, filename, overwrite=overwrite)
