# SPDX-License-Identifier: GPL-3.0-or-later
"""Compile every .ksy file to a Python parser in tests/oracles.

Needs Node.js with npm. The compiler is installed into a temporary directory, unless a directory
in which it is installed already is given:

    npm install --prefix DIRECTORY kaitai-struct-compiler@0.11.0 js-yaml@4.1.0
    python specifications/compile.py --prefix DIRECTORY
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SPECIFICATIONS = Path(__file__).resolve().parent
ORACLES = SPECIFICATIONS.parent / "tests" / "oracles"
PACKAGES = ("kaitai-struct-compiler@0.11.0", "js-yaml@4.1.0")

HEADER = """\
# SPDX-License-Identifier: GPL-3.0-or-later
# Written by specifications/compile.py from specifications/{name}, compiler {version}.
# sha256 of the specification: {digest}
"""


def fingerprint(specification: Path) -> str:
    """Return the SHA-256 of a specification's text, whatever its line endings."""
    return hashlib.sha256(specification.read_text(encoding="utf-8").encode()).hexdigest()


def program(name: str) -> str:
    """Return the path of a program; on Windows, npm is a script that needs its full name."""
    path = shutil.which(name)
    if path is None:
        sys.exit(f"{name} is not installed; it comes with Node.js, https://nodejs.org")
    return path


def compile_all(prefix: str) -> None:
    """Compile with the packages installed under `prefix`, and write the oracles."""
    specifications = sorted(SPECIFICATIONS.glob("*.ksy"))
    output = subprocess.run(
        [program("node"), str(SPECIFICATIONS / "compile.mjs"), prefix, *map(str, specifications)],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    compiled = json.loads(output)
    for specification in specifications:
        header = HEADER.format(
            name=specification.name, version=compiled[""], digest=fingerprint(specification)
        )
        for module, source in compiled[str(specification)].items():
            target = ORACLES / module
            target.write_text(header + source, encoding="utf-8", newline="\n")
            print(target.relative_to(SPECIFICATIONS.parent))


def main() -> None:
    """Parse the command line and compile."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prefix", help="directory with node_modules; default: a temporary one")
    prefix = parser.parse_args().prefix
    try:
        if prefix:
            compile_all(prefix)
        else:
            with tempfile.TemporaryDirectory() as temporary:
                npm = [program("npm"), "install", "--no-fund", "--no-audit", "--prefix", temporary]
                subprocess.run([*npm, *PACKAGES], check=True, stdout=subprocess.DEVNULL)
                compile_all(temporary)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{Path(error.cmd[0]).name} failed with exit status {error.returncode}")


if __name__ == "__main__":
    main()
