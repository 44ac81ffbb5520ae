# SPDX-License-Identifier: GPL-3.0-or-later
"""From a description to data: one way from an index to pixels, eager, lazy or mapped."""
