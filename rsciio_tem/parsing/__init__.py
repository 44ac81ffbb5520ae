# SPDX-License-Identifier: GPL-3.0-or-later
"""What formats share in describing files."""
