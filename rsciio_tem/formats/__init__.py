# SPDX-License-Identifier: GPL-3.0-or-later
"""One module per format; each turns a path into a `Recording` and hands it to `read`."""
