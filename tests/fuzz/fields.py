# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the fields of a binary file lie: what the parsers made from the specifications read."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import kaitaistruct

#: Fields of a file that are listed; those of its later frames repeat those of the first.
_MOST = 4000


class Field(NamedTuple):
    """A stretch of a file that means one thing."""

    start: int
    size: int


class _Bytes(io.BytesIO):
    """Bytes that know where in the file they were read."""

    log: Log

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.start = self.log.starts.get(id(content), (0, b""))[0]


class Log:
    """What a parser reads."""

    def __init__(self) -> None:
        self.fields: dict[Field, None] = {}
        self.starts: dict[int, tuple[int, bytes]] = {}  # the bytes are kept, so that ids stay

    def types(self) -> tuple[type, type]:
        """Return the classes that a parser is to use instead of its own."""
        log = self

        class Stream(kaitaistruct.KaitaiStream):
            def _read_bytes_not_aligned(self, n: int) -> bytes:
                start = getattr(self._io, "start", 0) + self.pos()
                content = super()._read_bytes_not_aligned(n)
                if content and len(log.fields) < _MOST:
                    log.fields[Field(start, len(content))] = None
                    log.starts[id(content)] = (start, content)
                return content

        return Stream, type("Bytes", (_Bytes,), {"log": log})


#: Suffixes of files, the parsers for them, and what these must be told.
_PARSERS: dict[str, tuple[str, str, tuple[tuple[Any, ...], ...]]] = {
    "mib": ("mib", "Mib", ((12,), (24,), (1,))),
    "blo": ("blo", "Blo", ((8,), (16,))),
    "dm3": ("dm", "Dm", ((),)),
    "dm4": ("dm", "Dm", ((),)),
    "gtg": ("dm", "Dm", ((),)),
    "frms6": ("frms6", "Frms6", ((),)),
    "bin": ("k2is", "K2is", ((),)),
    "npy": ("npy", "Npy", ((),)),
    "seq": ("seq", "Seq", ((),)),
    "metadata": ("seq_metadata", "SeqMetadata", ((),)),
    "ser": ("ser", "Ser", ((),)),
    "tvips": ("tvips", "Tvips", ((),)),
    **{name: ("mrc", "Mrc", ((False,), (True,))) for name in ("mrc", "mrcs", "st", "map", "rec")},
}


def _attempts(suffix: str, content: bytes) -> Iterator[list[Field]]:
    if suffix not in _PARSERS:
        return
    name, parser, arguments = _PARSERS[suffix]
    module = importlib.import_module(f"oracles.{name}")
    before = module.KaitaiStream, module.BytesIO
    for some in arguments:
        log = Log()
        module.KaitaiStream, module.BytesIO = stream, inner = log.types()
        try:
            parsed = getattr(module, parser)(*some, stream(inner(content)))
            parsed._fetch_instances()
        except (kaitaistruct.KaitaiStructError, ValueError, EOFError, OverflowError):
            pass  # what was read so far is good enough
        finally:
            module.KaitaiStream, module.BytesIO = before
        yield list(log.fields)


def fields_of(suffix: str, content: bytes) -> list[Field]:
    """List the fields of a file, as far as there is a specification for it."""
    return max(_attempts(suffix.lower(), content), key=len, default=[])
