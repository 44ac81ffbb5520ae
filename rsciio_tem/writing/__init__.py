# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets that frames are streamed into: atomic, resumable, verified."""
