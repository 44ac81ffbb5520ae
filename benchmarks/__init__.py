# SPDX-License-Identifier: GPL-3.0-or-later
"""Side-by-side speed measurements; see README.md in this folder."""
