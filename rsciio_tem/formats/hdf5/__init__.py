# SPDX-License-Identifier: GPL-3.0-or-later
"""HDF5: any data set of numbers, and the known ways in which 4D-STEM data lie in such files.

Every data set in the file is looked at, through links of every kind, and gets a meaning from the
first known layout that fits (``layouts.py``). The best one is read; the others are named.
What RosettaSciIO has a reader for and what is not a stack of frames goes to that reader as it is.
"""

from __future__ import annotations

import math
import os
from typing import Any, Literal, Unpack

import numpy as np

from rsciio_tem.errors import FormatError, Problem, Problems, Unsupported
from rsciio_tem.formats.hdf5.choice import asked_for, best
from rsciio_tem.formats.hdf5.rosettasciio import HandedOver
from rsciio_tem.formats.hdf5.writer import file_writer, target
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.parsing.checks import chunk_tables
from rsciio_tem.parsing.hdf5 import is_hdf5, kept_open, opened, require_hdf5, tree
from rsciio_tem.parsing.hdf5_frames import frames_of
from rsciio_tem.parsing.hdf5_kept import kept_in
from rsciio_tem.parsing.hdf5_links import behind, refuse_pipes
from rsciio_tem.parsing.hdf5_values import damaged_texts, has_attribute
from rsciio_tem.parsing.kept import Kept, axes_of, restored
from rsciio_tem.parsing.metadata import general
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import CommonOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import files

#: Scan positions at most whose order is exchanged.
_MOST_REORDERED = 1 << 28

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise HDF5 by its signature, known layouts by the groups at the root."""
    if not is_hdf5(path, head):
        return None
    # The library is not asked: a damaged file can keep it busy for ever.
    if b"emd_group_type" in head or path.lower().endswith(".emd"):
        return 0.8, "is an HDF5 file, an EMD by its name or its attributes", {}
    return 0.6, "has the signature of HDF5", {}


def parse(
    filename: str | os.PathLike[str],
    *,
    dataset: str | None = None,
    ds_path: str | None = None,
    dataset_path: str | None = None,
    sig_dims: int | None = None,
    sig_shape: tuple[int, ...] | None = None,
    sig_first: bool | None = None,
    order: Literal["C", "F"] | None = None,
) -> Recording:
    """Describe a data set of an HDF5 file; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = files.existing(filename)
    names = [name for name in (dataset, ds_path, dataset_path) if name is not None]
    if len(names) > 1:
        raise TypeError("dataset, ds_path and dataset_path mean the same; pass one of them")
    if order not in (None, "C", "F"):
        raise ValueError(f"order={order!r} is neither 'C' nor 'F'")
    require_hdf5(path)
    with kept_open(path):
        return _described(path, names, sig_dims, sig_shape, sig_first, order)


def _described(
    path: str,
    names: list[str],
    sig_dims: int | None,
    sig_shape: tuple[int, ...] | None,
    sig_first: bool | None,
    order: Literal["C", "F"] | None,
) -> Recording:
    problems = Problems()
    if (at := damaged_texts(path)) >= 0:
        problems.warn(
            f"is damaged at byte {at}, where its texts are kept; those of any length are left out.",
            "Copy the file again; without them, units, names and the kind of file may be missing.",
        )
    with opened(path) as file:
        if not names:
            refuse_pipes(file)
        chosen, others = (
            (asked_for(file, names[0], path), []) if names else best(file, path, problems)
        )
        shape, meaning = chosen.shape, chosen.meaning
        others_read = sorted(behind(file, chosen.path, chosen.dataset))
        name = str(chosen.dataset.name)
        kept = _kept_by_convert(file, name, path)
        original_metadata = {
            **meaning.original_metadata,
            "hdf5": chosen.described(others),
            "file": tree(file, frozenset([name, _beside(name)] if kept.entries else [name])),
        }
        of_matlab = order is None and has_attribute(chosen.dataset, "MATLAB_class")
    answered = () if sig_first is None else ("sig_first",)
    problems.extend(problem for problem in meaning.problems if problem.about not in answered)
    first = meaning.sig_first if sig_first is None else sig_first
    usual = min(meaning.sig_dims, len(shape))
    dims = _sig_dims(shape, sig_dims, sig_shape, first, path, usual)
    axes = tuple(axes_of(kept, meaning.axes or (Axis(),) * len(shape)))
    nav, sig = (slice(dims, None), slice(dims)) if first else (slice(-dims), slice(-dims, None))
    nav_shape, nav_axes, signal_axes = shape[nav], axes[nav], axes[sig]
    frame_axes = range(dims) if first else range(-dims, 0)
    if of_matlab and len(shape) > 2:
        problems.append(_of_matlab(shape, nav_shape, shape[sig]))
    if order == "F":
        frames = frames_of(path, chosen.path, frame_axes=frame_axes[::-1])
        frames = _exchanged(frames, nav_shape, path)
        nav_shape, nav_axes, signal_axes = nav_shape[::-1], nav_axes[::-1], signal_axes[::-1]
    else:
        frames = frames_of(path, chosen.path, frame_axes=frame_axes)
    hints, scan_axes = meaning.arranged(nav_shape, nav_axes)
    angles, odd = meaning.angles(nav_shape)
    problems.extend(odd)
    if sig_shape is not None and frames.frame_shape != tuple(sig_shape):
        if order == "F":
            problem = "frames in the order of Fortran keep their shape."
            raise Unsupported(path, problem, "Leave out sig_shape, or order='F'.")
        frames, signal_axes = _reshaped(frames, sig_shape, path), (Axis(),) * len(sig_shape)
    recording = Recording(
        format="hdf5",
        path=path,
        frames=frames,
        signal_axes=signal_axes,
        scan_axes=scan_axes,
        hints=hints,
        stack_axis=nav_axes[0] if len(nav_shape) == 1 else None,
        omega=angles,
        metadata={
            **meaning.metadata,
            "General": general(path, meaning.title or None, meaning.moment),
            "Signal": {"signal_type": "", **meaning.metadata.get("Signal", {})},
        },
        original_metadata=original_metadata,
        files=(path, *(name for name in others_read if not files.same_file(name, path))),
        problems=tuple(problems),
    )
    return restored(recording, kept, () if first or order == "F" else nav_shape)


def _of_matlab(
    shape: tuple[int, ...], nav_shape: tuple[int, ...], frame_shape: tuple[int, ...]
) -> Problem:
    """Warn that MATLAB showed the axes in reverse order."""
    here, there, result = (
        " x ".join(map(str, sizes))
        for sizes in (shape, shape[::-1], (*nav_shape[::-1], *frame_shape[::-1]))
    )
    return Problem(
        "warning",
        f"was written by MATLAB, which stores axes in reverse order: {there} there is {here} here.",
        f"Pass order='F' if frames look transposed: that makes {result} of it."
        + " If frames are the last axes in MATLAB, pass sig_first=True, too." * bool(nav_shape),
    )


def _exchanged(frames: Frames, nav_shape: tuple[int, ...], path: str) -> Frames:
    """Return frames in the order that they have if the first axis of the scan is the fastest."""
    if len(nav_shape) < 2:
        return frames
    count = math.prod(nav_shape)
    if count > _MOST_REORDERED:
        raise Unsupported(
            path,
            f"has {count} scan positions, too many to exchange their order.",
            "Leave out order='F'.",
        )
    return frames[np.arange(count).reshape(nav_shape).T.ravel()]


def _beside(dataset: str) -> str:
    """Return the group in which ``convert`` keeps what belongs to a data set."""
    return f"/{dataset.strip('/').partition('/')[0]}/rsciio_tem"


def _kept_by_convert(file: Any, dataset: str, path: str) -> Kept:
    """Return what ``convert`` keeps beside a data set: metadata and axes of its source, times."""
    group = _beside(dataset)
    return Kept() if dataset.startswith(f"{group}/") else kept_in(file, group, path)


def _sig_dims(
    shape: tuple[int, ...],
    sig_dims: int | None,
    sig_shape: tuple[int, ...] | None,
    first: bool,
    path: str,
    usual: int,
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
    dims = usual if sig_dims is None else int(sig_dims)
    if not 0 < dims <= len(shape):
        raise FormatError(path, f"sig_dims={sig_dims} for a data set of {len(shape)} dimensions.")
    return dims


def _reshaped(frames: Frames, shape: tuple[int, ...], path: str) -> Frames:
    """Return frames in another shape of as many pixels."""
    try:
        return frames.read_as(frame_shape=tuple(int(n) for n in shape))
    except Unsupported as error:
        raise Unsupported(path, error.problem, error.hint) from None


CHECKS = (chunk_tables,)


@documented
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
    order: Literal["C", "F"] | None = None,
    **options: Unpack[CommonOptions],
) -> list[dict[str, Any]]:
    """Read a data set of an HDF5 file.

    Parameters
    ----------
    filename : str or path
        The file.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    dataset : str
        Path of the data set in the file, or of a group, from which the best data set is read. By
        default the most likely one is read, and the others are listed.
    ds_path : str
        LiberTEM's name for `dataset`.
    dataset_path : str or list of str
        RosettaSciIO's name for `dataset`; a list gives several signals.
    sig_dims : int
        Number of axes of a frame, by default two.
    sig_shape : tuple of int
        Reshape frames; the last axes of the data set must have as many pixels together.
    sig_first : bool
        The frame axes come first in the data set, the scan axes after them; by default what the
        layout of the file says.
    order : {"C", "F"}
        "F": a program whose first axis is the fastest, such as MATLAB or Fortran, wrote the array.
        Rows and columns of frames are swapped, and the scan axes are reversed, during reading. "C"
        (default) reads it as stored; for MATLAB's files this gives a warning.
    **options
        `CommonOptions`.

    Returns
    -------
    list of dict
        One, unless you ask for several data sets. Files that are not a stack of frames, and that
        RosettaSciIO has a reader for, are returned as that reader returns them.

    Raises
    ------
    NotThisFormat
        The file is not an HDF5 file.
    Truncated
        It ends early, or files that it links to are missing.
    FormatError
        It has no such data set, or no data set at all.
    """
    del distributed  # nothing is left to do for it
    signals: list[dict[str, Any]] = []
    names: list[str | None] = [*dataset_path] if isinstance(dataset_path, list) else [dataset_path]
    for name in names or [None]:
        try:
            recording = parse(
                filename,
                dataset=dataset,
                ds_path=ds_path,
                dataset_path=name,
                sig_dims=sig_dims,
                sig_shape=sig_shape,
                sig_first=sig_first,
                order=order,
            )
        except HandedOver as theirs:
            explicit = {
                "mmap_mode": mmap_mode,
                "navigation_shape": navigation_shape,
                "first_frame": first_frame,
                "last_frame": last_frame,
                "sig_dims": sig_dims,
                "sig_shape": sig_shape,
                "sig_first": sig_first,
                "order": order,
                "chunks": None if isinstance(chunks, str) and chunks == "auto" else chunks,
            }
            asked = {k: v for k, v in explicit.items() if v is not None}
            return theirs.read(lazy, {**asked, **options})
        common = (lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame)
        signals += read(recording, *common, options=options)
    return signals
