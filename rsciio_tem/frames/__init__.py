# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the frames of a recording are, and how their bytes become pixels."""
