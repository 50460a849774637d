"""Matplotlib as all figures here use it: the same content gives the same bytes, without a date."""

from __future__ import annotations

from typing import Any

from medm_plm.errors import InputError

FILE_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}
"""Entries to leave out of a file, by its kind."""


def new_figure(width: float, height: float) -> Any:
    """Start a figure that lays itself out.

    Args:
        width (`float`): in inches.
        height (`float`): in inches.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        InputError: if matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(
            "figures need matplotlib, which is not installed", remedy="pip install medm-plm[figures]"
        ) from None
    matplotlib.rcParams["svg.hashsalt"] = "medm_plm"  # else ids in the SVG are drawn by chance
    return Figure(figsize=(width, height), layout="constrained")
