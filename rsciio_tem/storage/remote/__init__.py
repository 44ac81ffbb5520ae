# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings that are somewhere else: S3, HTTP and whatever fsspec opens, as ranges of bytes."""
