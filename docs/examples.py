# SPDX-License-Identifier: GPL-3.0-or-later
"""Examples of the documentation: taken out of its pages, run, and drawn.

A block of code behind ``<!-- run -->`` is run, one behind ``<!-- draw -->`` draws the picture that
follows it, too. Tests run all pages. As an extension of Sphinx, this draws the pictures of the web
site; as a command, ``python docs/examples.py``, those in ``docs/images``, for readers without one.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
import warnings
from collections.abc import Iterable
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent

#: Where the web site has its pictures, seen from its pages.
DRAWN = "_drawn"

_BLOCK = re.compile(
    r"^<!-- (run|draw) -->\n```(\w+)\n(.*?)^```$(?:\n\n!\[[^]]*\]\(images/([\w.]+)\))?",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """Code of a page: its language, itself, the line before it, and the picture that it draws."""

    language: str
    code: str
    line: int
    picture: str


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page that are run, in their order."""
    result = []
    for match in _BLOCK.finditer(text):
        draws = match[1] == "draw"
        if draws and not match[4]:
            raise ValueError(f"no picture follows the block that should draw it:\n{match[3]}")
        line = text.count("\n", 0, match.start(3))
        result.append(Block(match[2], match[3], line, match[4] if draws else ""))
    marks = len(re.findall(r"^<!-- (?:run|draw) -->$", text, re.MULTILINE))
    if len(result) != marks:
        raise ValueError(f"{marks} blocks are marked, {len(result)} follow their mark")
    return result


def run_page(page: str, content: Iterable[Any], pictures: str = "") -> int:
    """Run the blocks of a page one after the other; return how many examples failed.

    Parameters
    ----------
    page : str
        Its name, for messages.
    content : iterable of Block
        What `blocks` returns.
    pictures : str
        Folder for what is drawn; without it, nothing is.
    """
    import doctest

    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.FAIL_FAST
    names: dict[str, Any] = {"__name__": "__main__"}
    failed = 0
    for block in (Block(*one) for one in content):
        if block.language == "console":
            _run_commands(page, block)
        elif block.language == "pycon":
            test = doctest.DocTestParser().get_doctest(block.code, names, page, page, block.line)
            runner = doctest.DocTestRunner(verbose=False, optionflags=flags)
            failed += runner.run(test, clear_globs=False).failed
            names = test.globs
        elif block.language == "python":
            exec(compile("\n" * block.line + block.code, page, "exec"), names)
        elif block.language == "toml":  # a file, whose first line is its name
            name = block.code.partition("\n")[0].removeprefix("# ")
            Path(name).write_text(block.code, encoding="utf-8")
        else:
            raise ValueError(f"{page}: nothing runs {block.language}")
        if failed:
            break
        named = block.picture and pictures
        _close_figures(os.path.join(pictures, block.picture) if named else "")
    return failed


def _run_commands(page: str, block: Block) -> None:
    """Run commands of ours; compare what is shown below one with what it prints."""
    import doctest

    from click.testing import CliRunner

    from rsciio_tem.cli import main

    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for part in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        program, *arguments = shlex.split(command)
        if program != "rsciio-tem":
            raise ValueError(f"{page}: $ {command} is no command of ours")
        result = CliRunner().invoke(main, arguments, prog_name=program)
        same = doctest.OutputChecker().check_output(expected, result.stdout, flags)
        if result.exit_code or (expected and not same):
            problem = f"ends with {result.exit_code} and prints\n{result.output}"
            raise AssertionError(f"{page}: $ {command} {problem}")


def _close_figures(name: str) -> None:
    """Close the open figures; if they have a name, put them beside each other, and save them."""
    import matplotlib.pyplot as plt
    import numpy as np
    from PIL import Image

    images = []
    for number in plt.get_fignums() if name else ():
        canvas: Any = plt.figure(number).canvas
        canvas.draw()
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    plt.close("all")
    if not name:
        return
    if not images:
        raise ValueError(f"nothing was drawn for {name}")
    size = sum(image.width for image in images), max(image.height for image in images)
    sheet = Image.new("RGB", size, "white")
    left = 0
    for image in images:
        sheet.paste(image, (left, (size[1] - image.height) // 2))
        left += image.width
    sheet.quantize(256, Image.Quantize.MAXCOVERAGE).save(name, optimize=True)


def prepare() -> None:
    """Have quiet programs, and figures of the same size on every machine."""
    import hyperspy.api as hs
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"figure.dpi": 80, "figure.max_open_warning": 0})
    hs.set_log_level("ERROR")
    hs.preferences.General.show_progressbar = False


def draw(folder: Path) -> None:
    """Run the pages that draw pictures, each in an empty folder, and keep what they draw."""
    from rsciio_tem.errors import RecordingWarning

    prepare()
    folder.mkdir(exist_ok=True)
    for page in sorted(DOCS.rglob("*.md")):
        content = blocks(page.read_text(encoding="utf-8"))
        if any(block.picture for block in content):
            with tempfile.TemporaryDirectory() as empty, chdir(empty), warnings.catch_warnings():
                warnings.simplefilter("ignore", RecordingWarning)  # the page speaks of them
                if run_page(page.name, content, str(folder)):
                    raise ValueError(f"an example of {page} failed, see above")


# ---------------------------------------------------------------- the web site


def _draw(app: Sphinx) -> None:
    """Draw pictures unless they are newer than all that they are made of."""
    folder = Path(app.srcdir) / DRAWN
    package = DOCS.parent / "rsciio_tem"
    sources = [*DOCS.rglob("*.md"), *DOCS.glob("*.py"), *package.rglob("*.py")]
    newest = max(file.stat().st_mtime for file in sources)
    mark = folder / "done"
    if app.config.draw and (not mark.exists() or mark.stat().st_mtime < newest):
        draw(folder)
        mark.touch()


def _replaced(app: Sphinx, docname: str, source: list[str]) -> None:
    """Show the pictures that were drawn for this web site instead of those in the repository."""
    for block in blocks(source[0]):
        if block.picture and app.config.draw:
            source[0] = source[0].replace(f"(images/{block.picture})", f"({DRAWN}/{block.picture})")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx; with ``-D draw=0``, it shows the pictures of the repository, quickly."""
    app.add_config_value("draw", True, "env", bool)
    app.connect("builder-inited", _draw)
    app.connect("source-read", _replaced)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    draw(DOCS / "images")
    sys.exit()
