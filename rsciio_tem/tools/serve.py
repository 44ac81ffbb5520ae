# SPDX-License-Identifier: GPL-3.0-or-later
"""The inspector page at an address of this machine: patterns, other detectors, the side file.

Only this machine is listened to, at a free port, and only who knows a random token is answered.
"""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
import threading
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from rsciio_tem.errors import FormatError
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.reading.annotated import name_of_side_file, read_annotation
from rsciio_tem.recording.annotation import CALIBRATION, CORRECTIONS, SCAN
from rsciio_tem.recording.recording import Recording
from rsciio_tem.tools.annotate import write_annotation
from rsciio_tem.tools.survey_of_frames import (
    Geometry,
    Survey,
    packed,
    pattern_as_text,
    plain,
    virtual_images,
)

__all__ = ["Server"]

#: Bytes of a question, at most.
_LONGEST = 1 << 16

_logger = logging.getLogger(__name__)


class Server:
    """Answers what the page of an inspector asks; listens from the beginning.

    Parameters
    ----------
    recording : Recording
        What the page is about, described as if there was no side file.
    frames : Frames
        All its frames in the order of recording.
    survey : Survey
        What the page shows.
    page : str
        The page, made for a server.
    """

    def __init__(self, recording: Recording, frames: Frames, survey: Survey, page: str) -> None:
        self.recording, self.frames, self.survey = recording, frames, survey
        self.page, self.token = page.encode(), secrets.token_urlsafe(24)
        self.measuring = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self.http.daemon_threads = True

    @property
    def port(self) -> int:
        """Port that is listened at."""
        return int(self.http.server_address[1])

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def run(self) -> None:
        """Answer until it is interrupted, or its `http` is shut down."""
        try:
            self.http.serve_forever(poll_interval=0.2)
        finally:
            self.http.server_close()

    # ---------------------------------------------------------------- answers

    def pattern(self, frame: int) -> dict[str, Any]:
        """Return one pattern."""
        frames = plain(self.frames)
        if not 0 <= frame < len(frames):
            raise ValueError(f"there is no frame {frame}")
        part = frames[frame : frame + 1]
        out = np.empty((1, *part.frame_shape), part.dtype)
        part.load(out)
        values = np.abs(out[0]) if out.dtype.kind == "c" else out[0]
        return pattern_as_text(values.astype(np.float64))

    def virtual(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Measure bright field and dark field with other detectors."""
        row, column, radius, inner, outer = numbers = [
            float(question[name]) for name in ("row", "column", "radius", "inner", "outer")
        ]
        if not all(map(math.isfinite, numbers)):
            raise ValueError("detectors are numbers")
        shown = self.survey.count
        with self.measuring:
            images = virtual_images(
                self.frames[:shown], Geometry(row, column, radius, inner, outer)
            )
        channels, _ = packed({"sum": self.survey.channels["sum"], **images})
        return {"channels": [one for one in channels if one["key"] in images]}

    def save(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Write the side file: what the page says is all that it says afterwards."""
        values, notes = question["values"], question.get("notes", "")
        if not isinstance(values, dict) or not isinstance(notes, str):
            raise ValueError("that is no annotation")
        if unknown := set(values) - {*SCAN, *CALIBRATION, *CORRECTIONS}:
            raise ValueError(f"nothing is known of {sorted(unknown)[0]!r}")
        recording = self.recording
        if recording.files and os.path.lexists(side := name_of_side_file(recording)):
            try:
                read_annotation(recording, side)
            except (FormatError, ValueError) as error:
                problem = error.problem if isinstance(error, FormatError) else str(error)
                hint = "It is not replaced; delete it first."
                raise FormatError(side, f"exists already: {problem.rstrip('.')}.", hint) from None
        by = "the inspector of rsciio-tem"
        return {"path": write_annotation(recording, values, notes=notes, by=by, overwrite=True)}


class _Handler(BaseHTTPRequestHandler):
    """Looks who asks, and what."""

    server_version, sys_version = "rsciio-tem", ""
    timeout = 30

    def __init__(self, server: Server, *arguments: Any) -> None:
        self.answers = server
        super().__init__(*arguments)

    def _route(self) -> str | None:
        """Return what is asked for; None if nobody may ask that."""
        port = self.answers.port
        # pages of others, whose names lead to this machine, send another host, or their origin
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            return None
        origin = self.headers.get("Origin")
        if origin not in (None, f"http://127.0.0.1:{port}", f"http://localhost:{port}"):
            return None
        try:
            path = urlsplit(self.path).path
        except ValueError:  # no address
            return None
        token, _, what = path.lstrip("/").partition("/")
        same = secrets.compare_digest(token.encode(), self.answers.token.encode())
        return what if same else None

    def do_GET(self) -> None:
        what = self._route()
        if what == "":
            self._send(self.answers.page, "text/html; charset=utf-8")
        elif what == "pattern":
            asked = parse_qs(urlsplit(self.path).query).get("frame", [""])
            self._answer(lambda: self.answers.pattern(int(asked[0])))
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        what = self._route()
        length = self.headers.get("Content-Length", "")
        if what not in ("virtual", "save"):
            self.send_error(HTTPStatus.NOT_FOUND)
        elif not length.isdecimal() or len(length) > 9 or int(length) > _LONGEST:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            content = self.rfile.read(int(length))
            method = self.answers.virtual if what == "virtual" else self.answers.save
            self._answer(lambda: method(json.loads(content)))

    def _answer(self, make: Any) -> None:
        try:
            answer = make()
        except FormatError as error:
            answer = {"error": str(error)}
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            answer = {"error": f"{error}."}
        except OSError as error:
            answer = {"error": f"{error.filename or ''}: {error.strerror or error}."}
        self._send(json.dumps(answer).encode(), "application/json")

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *values: Any) -> None:
        _logger.debug(format, *values)
