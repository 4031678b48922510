"""What every plot shares: where it draws, and colours that colour-blind readers can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# M. Okabe and K. Ito, "Color Universal Design" (2008), without its yellow, which vanishes on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "--", "-.", ":")
POSITIVE, NEGATIVE = COLORS[0], COLORS[1]


def axes_or_new(ax: Axes | None, *, width: float = 6.4, height: float = 4.0) -> Axes:
    """Return `ax`, or the axes of a new figure of that size in inches.

    Raises
    ------
    ImportError
        When matplotlib is missing; the message names the extra to install.
    """
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'backprop[plot]'") from error
    _, new = pyplot.subplots(figsize=(width, height), layout="constrained")
    return new


def new_axes(rows: int, columns: int) -> list[Axes]:
    """The axes of a new figure with ``rows`` times ``columns`` pictures.

    Raises
    ------
    ImportError
        When matplotlib is missing; the message names the extra to install.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'backprop[plot]'") from error
    _, axes = pyplot.subplots(rows, columns, figsize=(4.6 * columns, 3.2 * rows), layout="constrained")
    return list(axes.flat)


def line_style(index: int) -> tuple[str, str]:
    """Colour and dash of the line number `index`: lines differ in both, so they read without colour too."""
    return COLORS[index % len(COLORS)], STYLES[index % len(STYLES)]


def whole_epochs(ax: Axes) -> None:
    """Let the x axis have ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def font_size(ax: Axes) -> str:
    """A size of letters that suits the size of the axes."""
    box = ax.get_window_extent()
    return "x-small" if min(box.width, 1.3 * box.height) < 3.2 * ax.figure.dpi else "small"


def legend(ax: Axes, **place: Any) -> None:
    """Add a legend that lets what is behind it shine through."""
    ax.legend(fontsize=font_size(ax), framealpha=0.7, edgecolor="none", handlelength=1.8, borderpad=0.2, labelspacing=0.3, **place)


def tidy(ax: Axes, *, xlabel: str, ylabel: str, title: str | None = None) -> Axes:
    """Label the axes, thin the frame and return `ax`."""
    size = font_size(ax)
    ax.set_xlabel(xlabel, fontsize=size if size == "x-small" else "medium")
    ax.set_ylabel(ylabel, fontsize=size if size == "x-small" else "medium")
    if size == "x-small":
        ax.tick_params(which="both", labelsize=size)
    if title:
        ax.set_title(title)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
