# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python process that answers several tests, where it is not its start that is tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SERVER = """
import contextlib, io, json, os, sys, traceback, warnings
answers = open(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)  # what is printed past sys.stdout
shared = {}
exec(json.loads(sys.stdin.readline()), shared)
for request in sys.stdin:
    code, names = json.loads(request)
    printed, status = io.StringIO(), 0
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        try:
            exec(code, {**shared, **names})
        except SystemExit as stop:
            status = stop.code or 0
        except BaseException:
            status = 1
            traceback.print_exc(file=printed)
    print(json.dumps([status, printed.getvalue()]), file=answers, flush=True)
"""


class Interpreter:
    """Run code in another process, each time in a namespace of its own.

    Parameters
    ----------
    startup : str
        Code that runs first; what it defines is there for all other code.
    folder : Path, optional
        Working directory.
    environment : str
        Variables besides those of this process.
    """

    def __init__(self, startup: str, folder: Path | None = None, **environment: str) -> None:
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            encoding="utf-8",
            cwd=folder,
            env={**os.environ, "PYTHONUTF8": "1", **environment},
        )
        self._send(startup)

    def _send(self, request: Any) -> None:
        assert self.process.stdin is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)

    def _said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    def run(self, code: str, **names: Any) -> str:
        """Run code that finds `names`; return what it prints."""
        assert self.process.stdout is not None
        self._send([code, names])
        answer = self.process.stdout.readline()
        assert answer, self._said()
        status, printed = json.loads(answer)
        assert status == 0, printed + self._said()
        return str(printed)

    def close(self) -> None:
        """Let the process end; it must have nothing to complain of."""
        self.process.communicate(timeout=60)
        said = self._said()
        self.errors.close()
        assert self.process.returncode == 0, said
