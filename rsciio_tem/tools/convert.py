# SPDX-License-Identifier: GPL-3.0-or-later
"""`rsciio_tem.convert`: a recording in another format."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from rsciio_tem import registry
from rsciio_tem.errors import warn
from rsciio_tem.readers import load, module_for
from rsciio_tem.storage.machine import Progress
from rsciio_tem.writing.checksums import checksums as checksums_of
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
    progress: Progress = None,
    resume: bool = True,
    verify: bool = False,
    checksums: bool | Mapping[str, str] = False,
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
        Name of the format of `target`, or one of its suffixes, if that of `target` does not tell
        it.
    source_format : str
        Name of the format of the recording, if its content does not tell it.
    overwrite : bool
        Replace an earlier target. The recording itself is never replaced.
    progress : bool or callable, optional
        Show a progress bar; by default on terminals and in notebooks, as HyperSpy is told to. Or
        what is called with the number of frames just written, or just read back.
    resume : bool
        Go on with an unfinished conversion of the same source with the same options. Signals are
        always written from the beginning: whether they are the same nobody can say.
    verify : bool
        Read the new file back before it takes its name, and compare checksums.
    checksums : bool or dict
        Store the SHA-256 of the files of the recording in the new file, where it keeps the
        metadata: ``original_metadata.rsciio_tem.sha256``, which loading it again shows as
        ``converted_from.sha256``. A dict has them by the paths of the files.
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
        return _by_hyperspy(
            source, path, source_format, overwrite, progress, resume, verify, checksums, options
        )
    module = _writer(path, format)
    writer_names = writer_keywords(path, format)
    writer_options = {name: options.pop(name) for name in list(options) if name in writer_names}
    identity: dict[str, Any] | None = None
    if isinstance(source, (str, os.PathLike)):
        try:
            signal = _first_of(source, source_format, checksums, options)
        except TypeError as error:
            meant = {n: get_close_matches(n, writer_names, 1, 0.8) for n in options}
            for name, close in meant.items():
                if close and f"keyword {name!r}" in str(error):
                    raise TypeError(
                        f"unexpected keyword {name!r}: did you mean {close[0]!r} of the writer?"
                    ) from error
            raise
    elif options:
        raise TypeError(
            f"{', '.join(sorted(options))}: no keyword of the writer of {module.__name__}; "
            f"it has {', '.join(sorted(writer_names)) or 'none'}"
        )
    else:
        signal = _signal_of(source)
    frames = SignalFrames.of(signal, module.__name__.rpartition(".")[2])
    if isinstance(source, (str, os.PathLike)):
        read = {os.path.abspath(name) for name in (*frames.sources, source)}
        # what cannot be told from others is written from the beginning, as signals are
        with contextlib.suppress(TypeError):
            identity = {
                "source": [state(name) for name in sorted(read) if os.path.exists(name)],
                "options": identified({**options, "checksums": bool(checksums)}),
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
    progress: Progress,
    resume: bool,
    verify: bool,
    checksums: bool | Mapping[str, str],
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
        source = _first_of(source, source_format, checksums, options)
    elif options:
        raise TypeError(f"{', '.join(sorted(options))}: no keywords of a signal")
    signal = _signal_of(source)
    frames = _with_sources(SignalFrames.of(signal, "hspy"), named, options)
    if not hasattr(source, "save"):
        source = dict2signal(signal, lazy=frames.lazy)
    work = Work(f"{path}.partial", {"files": [os.path.basename(path)]}, resumable=False)
    obstacle = store_obstacle if path.lower().endswith(".zspy") else file_obstacle
    check_way(work, frames.sources, overwrite, obstacle)
    with work.locked():
        work.look(resume)
        check_free([path], overwrite, obstacle)
        work.open(lambda folder: None)
        try:
            shown = {} if progress is None else {"show_progressbar": progress is True}
            source.save(work.path(os.path.basename(path)), overwrite=True, **shown)
            sync(work.path(os.path.basename(path)))
            check_free([path], overwrite, obstacle)
            work.give_names(verified=False)
        except BaseException:
            work.discard()
            raise
    if source.tmp_parameters.has_item("folder"):  # where HyperSpy thinks that it was saved
        source.tmp_parameters.folder = Path(path).parent
    return path


def _first_of(
    source: str | os.PathLike[str],
    format: str,
    checksums: bool | Mapping[str, str],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Load what is to be written; say so if it is not all."""
    signals = load(source, format, lazy=True, **options)
    signal = signals[0]
    if len(signals) > 1:
        shapes = ", ".join(" × ".join(map(str, one["data"].shape)) for one in signals[1:])
        warn(source, f"holds {len(signals)} signals; only the first is written, not {shapes}.")
    if checksums:
        ours = signal["original_metadata"].setdefault("rsciio_tem", {})
        if not isinstance(checksums, Mapping):
            checksums = checksums_of(ours.get("files") or [os.fspath(source)])
        folder = os.path.dirname(os.path.abspath(source))
        ours["sha256"] = {_relative(name, folder): value for name, value in checksums.items()}
    return signal


def _signal_of(source: Any) -> dict[str, Any]:
    """Return a signal as readers return it; a TypeError says what is none."""
    if isinstance(source, (list, tuple)) and len(source) == 1:  # as `load` returns them
        source = source[0]
    if isinstance(source, Mapping):
        return dict(source)
    if hasattr(source, "_to_dictionary"):
        signal: dict[str, Any] = source._to_dictionary()
        return signal
    raise TypeError(
        f"pass one path or one signal, not {type(source).__name__}; an array is a signal after "
        "rsciio_tem.from_array(array)[0]"
    )


def _relative(path: str, folder: str) -> str:
    try:
        return os.path.relpath(path, folder).replace(os.sep, "/")
    except ValueError:  # on another drive of Windows
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
    """Return the module that writes a file; the suffix decides if there is no name of a format."""
    suffixes_of = writers()
    suffix = os.path.splitext(path)[1].lstrip(".").lower() if format == "auto" else format
    if format not in suffixes_of:
        format = next((n for n, suffixes in suffixes_of.items() if suffix in suffixes), format)
    if format not in suffixes_of:
        suffixes_of |= {name: (name,) for name in HYPERSPY}
        listed = ", ".join(f"{name} (.{', .'.join(suffixes_of[name])})" for name in suffixes_of)
        raise ValueError(
            f"nothing writes {os.path.basename(path)!r} with format={format!r}; "
            f"what is written: {listed}"
        )
    return module_for(format)


def suffix_of(format: str) -> str:
    """Return the suffix of the files of a format that is written, given its name or a suffix.

    Raises
    ------
    ValueError
        Nothing of ours writes it.
    """
    if format in HYPERSPY or any(format in suffixes for suffixes in writers().values()):
        return format
    if format in writers():
        return writers()[format][0]
    names = sorted(
        {*HYPERSPY, *writers(), *(s for suffixes in writers().values() for s in suffixes)}
    )
    raise ValueError(f"no format {format!r} is written; there are {', '.join(names)}")


def writer_keywords(path: str, format: str) -> set[str]:
    """List the keywords of a writer."""
    path = os.path.abspath(path)  # a store may be written with a slash
    if os.path.splitext(path)[1].lstrip(".").lower() in HYPERSPY:
        return set()
    return set(inspect.signature(_writer(path, format).target).parameters) - {"frames", "path"}


def export_dataset(
    source: Any, path: str | os.PathLike[str], overwrite: bool = False, progress: bool = False
) -> str:
    """Write a recording as ``.npy``: the call that LiberTEM has for it."""
    if os.path.splitext(path)[1].lower() != ".npy":
        raise ValueError(f"{os.fspath(path)!r} does not end with .npy")
    return convert(source, path, "npy", overwrite=overwrite, progress=progress)
