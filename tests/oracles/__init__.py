# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsers compiled from specifications/*.ksy by specifications/compile.py; not edited by hand."""
