# SPDX-License-Identifier: GPL-3.0-or-later
"""`rsciio_tem.convert`: a recording in another format."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rsciio_tem import registry
from rsciio_tem.readers import load, module_for
from rsciio_tem.writing.signal_frames import SignalFrames
from rsciio_tem.writing.stream import check_targets, give_name, sync, write

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
        return _by_hyperspy(source, path, source_format, overwrite, verify, options)
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
        identity = {
            "source": [[name, *_state(name)] for name in sorted(frames.sources)],
            "options": {name: _identified(value) for name, value in sorted(options.items())},
            "format": module.__name__,
            "writer": {name: _identified(value) for name, value in sorted(writer_options.items())},
            "shape": list(signal["data"].shape),
            "dtype": str(frames.dtype),
        }
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
    if isinstance(source, (str, os.PathLike)):
        source = load(source, source_format, lazy=True, **options)[0]
    elif options:
        raise TypeError(f"{', '.join(sorted(options))}: no keywords of a signal")
    if isinstance(source, Mapping):
        frames = SignalFrames.of(source, "hspy")
        source = dict2signal(dict(source), lazy=frames.lazy)
    else:
        frames = SignalFrames.of(source._to_dictionary(), "hspy")
    check_targets([path], os.path.dirname(path), frames, overwrite)
    stem, suffix = os.path.splitext(path)
    partial = f"{stem}.partial{suffix}"
    try:
        source.save(partial, overwrite=True)
        sync(partial)
        check_targets([path], os.path.dirname(path), frames, overwrite)
        give_name(partial, path)
    except BaseException:
        shutil.rmtree(partial) if os.path.isdir(partial) else Path(partial).unlink(missing_ok=True)
        raise
    return path


def _state(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _identified(value: Any) -> str:
    """Tell a value from others, in a line."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    return repr(value)


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
