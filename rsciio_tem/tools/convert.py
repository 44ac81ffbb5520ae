# SPDX-License-Identifier: GPL-3.0-or-later
"""`rsciio_tem.convert`: write a recording in another format."""

from __future__ import annotations

import contextlib
import inspect
import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from rsciio_tem import registry
from rsciio_tem._hyperspy.signal_types import make_known
from rsciio_tem.errors import FormatError, warn
from rsciio_tem.readers import load, module_for
from rsciio_tem.storage.files import absolute, exists, recording_of
from rsciio_tem.storage.machine import Progress, is_shown
from rsciio_tem.storage.remote import session as remote
from rsciio_tem.storage.remote.address import is_address
from rsciio_tem.storage.user_paths import named_by_user
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
    to: str = "auto",
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
        The new file. Its suffix sets the format; see ``rsciio-tem formats``.
    format : str
        Name of the format of `source`, if its content does not show it; as for `load`.
    to : str
        Name of the format of `target`, or one of its suffixes, if that of `target` does not show
        it.
    overwrite : bool
        Replace an earlier target. The recording itself is never replaced.
    progress : bool or callable, optional
        Show a progress bar; by default on terminals and in notebooks, following HyperSpy's
        preferences. Or a function, called with the number of frames just written or read back.
    resume : bool
        Continue an unfinished conversion of the same source with the same options. Signals are
        always written from the beginning, because nothing shows whether they are still the same.
    verify : bool
        Read the new file back before it takes its name, and compare checksums.
    checksums : bool or dict
        Store the SHA-256 of the recording's files in the new file, if it keeps metadata:
        ``original_metadata.rsciio_tem.sha256``, which is ``converted_from.sha256`` when you load
        it again. A dict maps the paths of the files to their SHA-256.
    **options
        Keywords of the writer, and of the reader of the source.

    Returns
    -------
    str
        Path of the new file.

    Raises
    ------
    ValueError
        None of our formats writes such a file, or the recording does not fit into it.
    FileExistsError
        The file exists, and `overwrite` is False.
    FormatError
        See `load`; also if the data read back differ from the data written.
    OSError
        There is not enough disk space, or the folder cannot be written to.
    """
    path = _on_disk(target)
    if names_folder(os.fspath(target), to):
        raise FormatError(
            os.fspath(target),
            "is the name of a folder, as it ends with a slash.",
            "Name a file in it.",
        )
    if isinstance(source, (str, os.PathLike)):
        with named_by_user(source, options, guarded=False) as (named, keywords):
            return _converted(
                *(recording_of(named), path, format, to, overwrite, progress, resume, verify),
                *(checksums, keywords),
            )
    return _converted(
        source, path, format, to, overwrite, progress, resume, verify, checksums, options
    )


def names_folder(target: str, to: str) -> bool:
    """Whether a target is spelled as a folder, and is to be a file."""
    if not target.endswith(("/", os.sep)):
        return False
    suffix = os.path.splitext(os.path.normpath(target))[1].lower()
    return (suffix if to == "auto" else f".{to.lower().lstrip('.')}") not in (".zarr", ".zspy")


def _on_disk(target: str | os.PathLike[str]) -> str:
    """Return the whole path of a target; a ValueError says that it is on a server."""
    if is_address(os.fspath(target)):
        raise ValueError(
            f"{remote.shown(os.fspath(target))!r} is on a server; files are written to disks only. "
            "Write it there, and copy it"
        )
    return os.path.abspath(target)


def _converted(
    source: Any,
    path: str,
    format: str,
    to: str,
    overwrite: bool,
    progress: Progress,
    resume: bool,
    verify: bool,
    checksums: bool | Mapping[str, str],
    options: dict[str, Any],
) -> str:
    suffix = os.path.splitext(path)[1].lstrip(".").lower()
    format, to = _formats(suffix, format, to, options)
    if suffix in HYPERSPY and to in ("auto", suffix):
        return _by_hyperspy(
            source, path, format, overwrite, progress, resume, verify, checksums, options
        )
    module = _writer(path, to)
    writer_names = writer_keywords(path, to)
    writer_options = {name: options.pop(name) for name in list(options) if name in writer_names}
    identity: dict[str, Any] | None = None
    if isinstance(source, (str, os.PathLike)):
        try:
            signal = _first_of(source, format, checksums, options)
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
        read = {absolute(name) for name in (*frames.sources, source)}
        # what cannot be told from others is written from the beginning, as signals are
        with contextlib.suppress(TypeError):
            identity = {
                "source": [state(name) for name in sorted(read) if exists(name)],
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


def _formats(suffix: str, format: str, to: str, options: dict[str, Any]) -> tuple[str, str]:
    """Return the formats of source and target; takes the earlier name of the first out of options.

    Once `format` was that of the target, and `source_format` that of the source.
    """
    written = {*HYPERSPY, *(name for suffixes in writers().values() for name in suffixes)}
    if "source_format" in options:
        format, to = options.pop("source_format"), format if to == "auto" else to
        said = "source_format= is called format= now, and the format of the target is to="
    elif to == "auto" and format != "auto" and suffix not in written:
        format, to = "auto", format
        said = f"format= is that of the source; for that of the target pass to={to!r}"
    else:
        return format, to
    warnings.warn(f"rsciio_tem.convert: {said}.", FutureWarning, stacklevel=3)
    return format, to


def _by_hyperspy(
    source: Any,
    path: str,
    format: str,
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
        source = _first_of(source, format, checksums, options)
    elif options:
        raise TypeError(f"{', '.join(sorted(options))}: no keywords of a signal")
    signal = _signal_of(source)
    frames = _with_sources(SignalFrames.of(signal, "hspy"), named, options)
    if not hasattr(source, "save"):
        make_known()
        source = dict2signal(signal, lazy=frames.lazy)
    work = Work(f"{path}.partial", {"files": [os.path.basename(path)]}, resumable=False)
    obstacle = store_obstacle if path.lower().endswith(".zspy") else file_obstacle
    check_way(work, frames.sources, overwrite, obstacle)
    with work.locked():
        work.look(resume)
        check_free([path], overwrite, obstacle)
        work.open(lambda folder: None)
        try:
            shown = not callable(progress) and is_shown(progress)
            target = work.path(os.path.basename(path))
            try:
                source.save(target, overwrite=True, show_progressbar=shown)
            except ImportError as missing:
                kind = os.path.splitext(path)[1][1:].lower()
                raise ValueError(
                    f"{os.path.basename(path)!r}: HyperSpy writes this format with the package "
                    f'{missing.name}, which is not installed: pip install "rosettasciio[{kind}]"'
                ) from missing
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
    try:
        signals = load(source, format, lazy=True, **options)
    except ValueError as error:
        if format in {*writers(), *(s for suffixes in writers().values() for s in suffixes)}:
            error.add_note("format= is the format of the source; that of the target is to=.")
        raise
    signal = signals[0]
    if len(signals) > 1:
        shapes = ", ".join(" × ".join(map(str, one["data"].shape)) for one in signals[1:])
        warn(source, f"holds {len(signals)} signals; only the first is written, not {shapes}.")
    if checksums:
        ours = signal["original_metadata"].setdefault("rsciio_tem", {})
        if not isinstance(checksums, Mapping):
            checksums = checksums_of(ours.get("files") or [os.fspath(source)])
        folder = os.path.dirname(absolute(source))
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
    if is_address(path):
        return path.removeprefix(f"{folder}/")
    try:
        return os.path.relpath(path, folder).replace(os.sep, "/")
    except ValueError:  # on another drive of Windows
        return path


def _with_sources(frames: SignalFrames, source: Any, *options: Mapping[str, Any]) -> SignalFrames:
    """Add what the caller named to the files that are read, and are not to be replaced."""
    named: list[Any] = [source] if isinstance(source, (str, os.PathLike)) else []
    named += files_of(options)
    return replace(frames, sources=frames.sources | {absolute(name) for name in named})


def writers() -> dict[str, tuple[str, ...]]:
    """Return the suffixes of each format that can be written, by its name."""
    return {row.name: row.writes for row in registry.formats() if row.writes}


def _writer(path: str, to: str) -> ModuleType:
    """Return the module that writes a file; the suffix decides if there is no name of a format."""
    suffixes_of = writers()
    suffix = os.path.splitext(path)[1].lstrip(".").lower() if to == "auto" else to
    name = to
    if name not in suffixes_of:
        name = next((n for n, suffixes in suffixes_of.items() if suffix in suffixes), to)
    if name not in suffixes_of:
        suffixes_of |= {name: (name,) for name in HYPERSPY}
        listed = ", ".join(f"{name} (.{', .'.join(suffixes_of[name])})" for name in suffixes_of)
        if to == "auto":
            problem = f"the suffix of {os.path.basename(path)!r} does not name a format to write"
        else:
            problem = f"{to!r} is not a format that can be written"
        raise ValueError(f"{problem}. Pass to= with one of these: {listed}.")
    return module_for(name)


def suffix_of(format: str) -> str:
    """Return the file suffix of a format that can be written, given its name or a suffix.

    Raises
    ------
    ValueError
        None of our formats writes it.
    """
    if format in HYPERSPY or any(format in suffixes for suffixes in writers().values()):
        return format
    if format in writers():
        return writers()[format][0]
    names = sorted(
        {*HYPERSPY, *writers(), *(s for suffixes in writers().values() for s in suffixes)}
    )
    raise ValueError(
        f"{format!r} is not a format that can be written. Pass one of these: {', '.join(names)}."
    )


def writer_keywords(path: str, to: str) -> set[str]:
    """List the keywords of a writer."""
    path = os.path.abspath(path)  # a store may be written with a slash
    if os.path.splitext(path)[1].lstrip(".").lower() in HYPERSPY:
        return set()
    return set(inspect.signature(_writer(path, to).target).parameters) - {"frames", "path"}


def export_dataset(
    source: Any, path: str | os.PathLike[str], overwrite: bool = False, progress: bool = False
) -> str:
    """Write a recording as ``.npy``, with the signature of LiberTEM's function."""
    if os.path.splitext(path)[1].lower() != ".npy":
        raise ValueError(f"{os.fspath(path)!r} does not end with .npy")
    return convert(source, path, to="npy", overwrite=overwrite, progress=progress)
