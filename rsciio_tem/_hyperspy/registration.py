# SPDX-License-Identifier: GPL-3.0-or-later
"""Our readers in RosettaSciIO's list, `rsciio.IO_PLUGINS`, which ``hs.load`` searches.

The first row is a dispatcher for suffixes that tell nothing. Formats of other packages get their
rows when somebody first searches the list, not before: their packages are neither imported when
HyperSpy starts, nor while one of them is itself being imported.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType, ModuleType
from typing import Any

from rsciio_tem._hyperspy import signal_types
from rsciio_tem.registry import (
    BY_CONTENT,
    CONTESTED,
    FORMATS,
    SHARED,
    Format,
    listed_by_us,
    third_party,
)

__all__ = ["ContentAlias", "SuffixAlias", "autoregister", "register", "unregister"]

_logger = logging.getLogger(__name__)

#: Name and module of the dispatcher.
_DISPATCHER, _DISPATCHER_MODULE = "TEM-auto", "rsciio_tem.readers"


class SuffixAlias(str):
    """An alias that is found by the suffix of a file to load, and by nothing else.

    HyperSpy looks for the reader of ``scan.mrc`` and for that of ``file_format="MRC"`` in one way,
    ignoring case, and for writers too: ``s.save("a", file_format="npy")``. Names and saving belong
    to RosettaSciIO. Only the caller of the search knows what was asked for.
    """

    __slots__ = ()

    def lower(self) -> str:
        """Return the alias as it is compared with what is searched."""
        return str.lower(self) if self._is_for(sys._getframe(1)) else "\0"

    def _is_for(self, frame: FrameType) -> bool:
        return _loading(frame) is not None


class ContentAlias(SuffixAlias):
    """A suffix alias that is found if a file has the suffix and is one that our reader is for.

    What it is not found for is RosettaSciIO's, as if we were not there.
    """

    __slots__ = ()

    def _is_for(self, frame: FrameType) -> bool:
        variables = _loading(frame)
        path = (variables or {}).get("path", (variables or {}).get("filename"))
        if not isinstance(path, (str, os.PathLike)):
            return variables == {}  # somebody reads the list
        name, suffix = os.fspath(path), str.lower(self)
        if not str(name).lower().endswith(f".{suffix}"):
            return False
        ours, theirs = BY_CONTENT[suffix]
        module = importlib.import_module(FORMATS[ours].module)
        takeover = importlib.import_module(f"{FORMATS[ours].module}.takeover")
        keywords = (variables or {}).get("kwds") or ()
        return bool(takeover.is_ours(name, keywords, module.file_reader, theirs))


def _loading(frame: FrameType | None) -> Mapping[str, Any] | None:
    """Return the variables of HyperSpy's function that loads a file by its suffix.

    None if its search, in `frame`, is for a name or for a writer; empty if it is somebody else's.
    """
    callers: list[FrameType] = []
    while frame is not None and len(callers) < 6:
        callers.append(frame)
        frame = frame.f_back
    if not any(f.f_code.co_name == "_format_name_to_reader" for f in callers):
        return {}
    for caller in callers:
        if caller.f_code.co_name == "load_single_file":
            named = (caller.f_locals.get(name) for name in ("file_format", "reader"))
            return None if any(isinstance(v, str) for v in named) else caller.f_locals
    return None


class _Searched(list[str]):
    """Suffixes or aliases of the dispatcher; whoever looks at them gets to see every format.

    HyperSpy asks each row of the list for its aliases, and finds rows that are added meanwhile.
    That is the first moment at which HyperSpy has read what all other packages bring.
    """

    def __iter__(self) -> Iterator[str]:
        _complete()
        return super().__iter__()

    def __contains__(self, suffix: object) -> bool:
        _complete()
        return super().__contains__(suffix)


def _complete() -> None:
    signal_types.make_known()
    _add_third_party()


class _Reader(ModuleType):
    """Stands for ``rsciio.<name>``, as which RosettaSciIO's own readers can be imported."""

    def __init__(self, name: str, api: str) -> None:
        super().__init__(name, f"The reader of `{api}`.")
        self.__all__ = ["file_reader"]
        self._api = api

    def __getattr__(self, name: str) -> Any:
        if name != "file_reader":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return importlib.import_module(self._api).file_reader

    def __dir__(self) -> list[str]:
        return ["file_reader"]


def _taken_over(takeover: str) -> set[str]:
    """Names of the formats whose RosettaSciIO suffixes ``hs.load`` gives to us."""
    owned = {row.name for row in FORMATS.values() if row.owned_by}
    if takeover == "auto":
        return {name for name in owned if FORMATS[name].takeover}
    if takeover in ("all", "none"):
        return owned if takeover == "all" else set()
    names = {name.strip().lower() for name in takeover.split(",") if name.strip()}
    if unknown := names - set(FORMATS):
        raise ValueError(f"unknown formats {sorted(unknown)}; there are {', '.join(FORMATS)}")
    return names & owned


def _plugin(
    name: str, api: str, description: str, suffixes: list[str], aliases: list[str]
) -> dict[str, Any]:
    return {
        "name": name,
        "name_aliases": aliases,
        "description": description,
        "full_support": False,
        "file_extensions": suffixes,
        "default_extension": 0,
        "writes": False,  # saving stays with RosettaSciIO
        "non_uniform_axis": False,
        "api": api,
    }


def _understood(plugins: Any) -> bool:
    """Whether RosettaSciIO still describes its readers as in the versions we were tested with."""
    keys = {"name", "name_aliases", "file_extensions", "default_extension", "writes", "api"}
    modules = {str(p.get("api")) for p in plugins}
    owners = {row.owned_by for row in FORMATS.values() if row.owned_by}
    return all(keys <= set(p) for p in plugins) and owners <= modules


def register(takeover: str = "auto") -> None:
    """Add the readers to the list that ``hs.load`` searches; a second call replaces them.

    Parameters
    ----------
    takeover : str
        Which of the formats that RosettaSciIO also reads are opened with our reader: "auto" (those
        whose RosettaSciIO tests our reader passes), "all", "none", or names separated by commas.
        RosettaSciIO's own reader stays available with ``file_format=``.
    """
    from rsciio import IO_PLUGINS

    if takeover == "auto" and not _understood(IO_PLUGINS):
        _logger.warning("this RosettaSciIO is unknown to rsciio-tem: its formats are left to it")
        takeover = "none"
    taken = _taken_over(takeover)
    contested = [
        SuffixAlias(suffix)
        for suffix, (name, upstream) in CONTESTED.items()
        if name in taken or (not upstream and takeover != "none")
    ]
    plugins = [
        _plugin(
            _DISPATCHER,
            _DISPATCHER_MODULE,
            "TEM recordings recognised by their content",
            _Searched([*SHARED, _DISPATCHER.lower()]),
            _Searched([_DISPATCHER_MODULE, *contested]),
        )
    ]
    theirs = {
        suffix
        for plugin in IO_PLUGINS
        if not listed_by_us(plugin)
        for suffix in plugin["file_extensions"]
    }
    for row in FORMATS.values():
        # Suffixes that RosettaSciIO owns are taken as aliases of the name: HyperSpy looks at
        # those first, and nobody finds the same suffix listed twice.
        unshared = [s for s in row.suffixes if s not in SHARED and s not in CONTESTED]
        aliases = [SuffixAlias(s) for s in unshared if s in theirs] if row.name in taken else []
        if row.name not in taken and takeover != "none":
            aliases += [ContentAlias(s) for s, (name, _) in BY_CONTENT.items() if name == row.name]
        listed = [s for s in unshared if s not in theirs]
        plugins.append(_row(row, listed, aliases))
    unregister()
    IO_PLUGINS[:0] = plugins
    _importable(plugins)


def _row(row: Format, suffixes: list[str], aliases: list[SuffixAlias]) -> dict[str, Any]:
    return _plugin(
        f"TEM-{row.name}",
        row.module,
        row.description,
        [*suffixes, f"tem-{row.name}"],
        [row.module, *aliases],
    )


def _importable(plugins: Iterable[dict[str, Any]]) -> None:
    for plugin in plugins:
        name = f"rsciio.{plugin['name'].lower()}"
        sys.modules[name] = _Reader(name, plugin["api"])


_adding = threading.Lock()


def _add_third_party() -> None:
    """Add the formats of other packages to the end of the list, if they are not there yet.

    Suffixes that RosettaSciIO reads stay with it; those of ours, or of several other packages, go
    to the dispatcher.
    """
    from rsciio import IO_PLUGINS

    formats = third_party()
    if not formats:
        return
    with _adding:
        listed = {str(plugin["name"]): plugin for plugin in IO_PLUGINS if listed_by_us(plugin)}
        new = [row for name, row in formats.items() if f"TEM-{name}" not in listed]
        if not new or _DISPATCHER not in listed:
            return
        theirs = {
            text.lower()
            for plugin in IO_PLUGINS
            if not listed_by_us(plugin)
            for key in ("name_aliases", "file_extensions")
            for text in (plugin["name"], *(plugin.get(key) or ()))
        }
        for row in new:
            suffixes = dict.fromkeys(row.suffixes)
            free = [s for s in suffixes if not _shared(s, listed) and s not in theirs]
            plugin = listed[f"TEM-{row.name}"] = _row(row, free, [])
            IO_PLUGINS.append(plugin)
            _importable([plugin])


def _shared(suffix: str, listed: Mapping[str, dict[str, Any]]) -> bool:
    """Whether one of our rows has a suffix; it is the dispatcher's from now on."""
    for plugin in listed.values():
        for key in ("file_extensions", "name_aliases"):
            # the lists proper, which are not being searched
            if list.__contains__(plugin[key], suffix):
                if plugin["name"] != _DISPATCHER:
                    at = plugin[key].index(suffix)
                    listed[_DISPATCHER][key].append(plugin[key].pop(at))
                return True
    return False


def unregister() -> None:
    """Remove the readers from the list that ``hs.load`` searches."""
    from rsciio import IO_PLUGINS

    signal_types.forget()
    IO_PLUGINS[:] = [p for p in IO_PLUGINS if not listed_by_us(p)]
    for name in [name for name, module in sys.modules.items() if isinstance(module, _Reader)]:
        del sys.modules[name]


def autoregister() -> None:
    """Register as the environment says; never raises.

    ``RSCIIO_TEM_AUTOREGISTER=0`` switches it off, ``RSCIIO_TEM_TAKEOVER`` is the argument of
    `register`.
    """
    try:
        if os.environ.get("RSCIIO_TEM_AUTOREGISTER", "1").lower() in ("0", "no", "false", "off"):
            return
        register(os.environ.get("RSCIIO_TEM_TAKEOVER", "auto"))
    except Exception as error:  # importing us must never break importing HyperSpy
        _logger.warning("rsciio-tem could not register its readers: %r", error)
