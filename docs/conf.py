# SPDX-License-Identifier: GPL-3.0-or-later
"""How Sphinx builds the documentation."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

from rsciio_tem import __version__

sys.path.insert(0, str(Path(__file__).parent))  # the extensions beside this file

project = "rsciio-tem"
author = "The rsciio-tem developers"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc", "tables", "examples", "previews"]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_drawn", "_templates", "changes/*.*.md", "changes/released.md"]
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

numpydoc_show_class_members = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"

html_theme = "pydata_sphinx_theme"
html_title = f"{project} {version}"
html_theme_options = {
    "show_prev_next": False,
    "navbar_center": [],  # all pages are beside the page
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"**": ["all_pages"]}
html_static_path = ["_static"]
html_css_files = ["site.css"]


def _specifications(app: Sphinx, docname: str, source: list[str]) -> None:
    """Offer specifications, which lie outside of this folder, as downloads."""
    link = r"\[([^][]+)\]\(((?:\.\./)+specifications/[\w./]+)\)"
    source[0] = re.sub(link, r"{download}`\1 <\2>`", source[0])


def _links(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Link to pages that docstrings name as they are called in the repository."""
    lines[:] = [re.sub(r"``docs/([\w/]+)\.md``", r":doc:`/\1`", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Connect what is defined here."""
    app.connect("autodoc-process-docstring", _links)
    app.connect("source-read", _specifications)
