# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled loops over pixels: the only room that imports numba."""
