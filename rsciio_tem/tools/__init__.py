# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user calls; reached through `rsciio_tem` and the command line."""
