# SPDX-License-Identifier: GPL-3.0-or-later
"""`rsciio_tem.convert`: a recording in another format."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from rsciio_tem import registry
from rsciio_tem.readers import load, module_for
from rsciio_tem.writing.identity import files_of, identified, state
from rsciio_tem.writing.obstacles import check_free, file_obstacle, store_obstacle
from rsciio_tem.writing.signal_frames import SignalFrames
from rsciio_tem.writing.stream import check_way, write
from rsciio_tem.writing.working_folder import Work, sync

__all__ = ["convert", "export_dataset"]

#: Formats that HyperSpy itself writes.
HYPERSPY = ("hspy", "zspy")


def convert(
    source: Any,
    target: str | os.PathLike[str],
    format: str = "auto",
    *,
    source_format: str = "auto",
    overwrite: bool = False,
    progress: bool | None = None,
    resume: bool = True,
    verify: bool = False,
    **options: Any,
) -> str:
    """Write a recording in another format.

    Parameters
    ----------
    source : path, dict or HyperSpy signal
        A recording, or a signal as a reader returns it; lazy data stay lazy.
    target : path
        The new file. Its suffix tells the format, see ``rsciio-tem formats``.
    format : str
        Name of the format of `target`, if the suffix does not tell it.
    source_format : str
        Name of the format of the recording, if its content does not tell it.
    overwrite : bool
        Replace an earlier target. The recording itself is never replaced.
    progress : bool, optional
        Show a progress bar; by default on terminals and in notebooks, as HyperSpy is told to.
    resume : bool
        Go on with an unfinished conversion of the same source with the same options. Signals are
        always written from the beginning: whether they are the same nobody can say.
    verify : bool
        Read the new file back before it takes its name, and compare checksums.
    **options
        Keywords of the writer, and of the reader of the source.

    Returns
    -------
    str
        Path of the new file.

    Raises
    ------
    ValueError
        Nothing of ours writes such a file, or the recording does not fit into it.
    FileExistsError
        There is such a file, and `overwrite` is False.
    FormatError
        See `load`; and if what was read back is not what was written.
    OSError
        The disk has not enough space, or the folder cannot be written to.
    """
    path = os.path.abspath(target)
    suffix = os.path.splitext(path)[1].lstrip(".").lower()
    if suffix in HYPERSPY and format in ("auto", suffix):
        return _by_hyperspy(source, path, source_format, overwrite, resume, verify, options)
    module = _writer(path, format)
    writer_names = set(inspect.signature(module.target).parameters) - {"frames", "path"}
    writer_options = {name: options.pop(name) for name in list(options) if name in writer_names}
    identity: dict[str, Any] | None = None
    if isinstance(source, (str, os.PathLike)):
        signal = load(source, source_format, lazy=True, **options)[0]
    elif options:
        raise TypeError(
            f"{', '.join(sorted(options))}: no keyword of the writer of {module.__name__}; "
            f"it has {', '.join(sorted(writer_names)) or 'none'}"
        )
    else:
        signal = dict(source if isinstance(source, Mapping) else source._to_dictionary())
    frames = SignalFrames.of(signal, module.__name__.rpartition(".")[2])
    if isinstance(source, (str, os.PathLike)):
        read = {os.path.abspath(name) for name in (*frames.sources, source)}
        # what cannot be told from others is written from the beginning, as signals are
        with contextlib.suppress(TypeError):
            identity = {
                "source": [state(name) for name in sorted(read) if os.path.exists(name)],
                "options": identified(options),
                "format": module.__name__,
                "writer": identified(writer_options),
                "shape": list(signal["data"].shape),
                "dtype": str(frames.dtype),
            }
    frames = _with_sources(frames, source, options, writer_options)
    return write(
        module.target(frames, path, **writer_options),
        frames,
        path,
        identity=identity,
        overwrite=overwrite,
        progress=progress,
        resume=resume,
        verify=verify,
    )


def _by_hyperspy(
    source: Any,
    path: str,
    source_format: str,
    overwrite: bool,
    resume: bool,
    verify: bool,
    options: Mapping[str, Any],
) -> str:
    """Let HyperSpy write its own formats, which it knows best; the file appears when complete."""
    try:
        from hyperspy.io import dict2signal
    except ImportError as error:
        raise ValueError(
            f"{os.path.basename(path)!r}: HyperSpy writes this format, and is not installed"
        ) from error
    if verify:
        raise ValueError("verify=True is for the formats that rsciio-tem itself writes")
    named = source
    if isinstance(source, (str, os.PathLike)):
        source = load(source, source_format, lazy=True, **options)[0]
    elif options:
        raise TypeError(f"{', '.join(sorted(options))}: no keywords of a signal")
    signal = source if isinstance(source, Mapping) else source._to_dictionary()
    frames = _with_sources(SignalFrames.of(signal, "hspy"), named, options)
    if isinstance(source, Mapping):
        source = dict2signal(dict(source), lazy=frames.lazy)
    work = Work(f"{path}.partial", {"files": [os.path.basename(path)]}, resumable=False)
    obstacle = store_obstacle if path.lower().endswith(".zspy") else file_obstacle
    check_way(work, frames.sources, overwrite, obstacle)
    with work.locked():
        work.look(resume)
        check_free([path], overwrite, obstacle)
        work.open(lambda folder: None)
        try:
            source.save(work.path(os.path.basename(path)), overwrite=True)
            sync(work.path(os.path.basename(path)))
            check_free([path], overwrite, obstacle)
            work.give_names(verified=False)
        except BaseException:
            work.discard()
            raise
    if source.tmp_parameters.has_item("folder"):  # where HyperSpy thinks that it was saved
        source.tmp_parameters.folder = Path(path).parent
    return path


def _with_sources(frames: SignalFrames, source: Any, *options: Mapping[str, Any]) -> SignalFrames:
    """Add what the caller named to the files that are read, and are not to be replaced."""
    named: list[Any] = [source] if isinstance(source, (str, os.PathLike)) else []
    named += files_of(options)
    return replace(frames, sources=frames.sources | {os.path.abspath(name) for name in named})


def writers() -> dict[str, tuple[str, ...]]:
    """Return which suffixes each format is written with, by its name."""
    return {row.name: row.writes for row in registry.formats() if row.writes}


def _writer(path: str, format: str) -> ModuleType:
    suffix = os.path.splitext(path)[1].lstrip(".").lower()
    suffixes_of = writers()
    if format == "auto":
        format = next(
            (name for name, suffixes in suffixes_of.items() if suffix in suffixes), format
        )
    if format not in suffixes_of:
        suffixes_of |= {name: (name,) for name in HYPERSPY}
        listed = ", ".join(f"{name} (.{', .'.join(suffixes_of[name])})" for name in suffixes_of)
        raise ValueError(
            f"nothing writes {os.path.basename(path)!r} with format={format!r}; "
            f"what is written: {listed}"
        )
    return module_for(format)


def export_dataset(
    source: Any, path: str | os.PathLike[str], overwrite: bool = False, progress: bool = False
) -> str:
    """Write a recording as ``.npy``: the call that LiberTEM has for it."""
    if os.path.splitext(path)[1].lower() != ".npy":
        raise ValueError(f"{os.fspath(path)!r} does not end with .npy")
    return convert(source, path, "npy", overwrite=overwrite, progress=progress)
