"""Curves as SVG, drawn on the server: a sparkline says in words what it shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html
from django.utils.safestring import SafeString

WIDTH, HEIGHT, MARGIN = 240.0, 44.0, 3.0


@dataclass(frozen=True, kw_only=True)
class Series:
    """Values of one figure, the oldest first; `limit` is where it becomes bad."""

    title: str
    values: Sequence[float]
    unit: str = ""
    limit: float | None = None
    digits: int = 0

    @property
    def last(self) -> float:
        return self.values[-1] if self.values else 0.0

    @property
    def highest(self) -> float:
        return max(self.values, default=0.0)

    @property
    def bad(self) -> bool:
        return self.limit is not None and self.last > self.limit

    def label(self) -> str:
        """What a screen reader says instead of the curve."""
        if not self.values:
            return f"{self.title}: no samples yet"
        return (
            f"{self.title}: now {self.last:,.{self.digits}f}{self.unit}, "
            f"at most {self.highest:,.{self.digits}f}{self.unit}"
        )


def spark(series: Series) -> SafeString:
    """A curve with its area and, where it lies in the picture, the limit as a line."""
    values = list(series.values)
    if len(values) < 2:
        values = [series.last, series.last]
    top = max([*values, (series.limit or 0.0) * 1.1, 1e-9])
    step = WIDTH / (len(values) - 1)
    points = [(number * step, _y(value, top)) for number, value in enumerate(values)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    area = f"0,{HEIGHT:.1f} {line} {WIDTH:.1f},{HEIGHT:.1f}"
    limit = ""
    if series.limit is not None:
        y = f"{_y(series.limit, top):.1f}"
        limit = format_html('<line class="limit" x1="0" x2="{}" y1="{}" y2="{}"/>', f"{WIDTH:.0f}", y, y)
    return format_html(
        '<svg class="spark{}" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<polygon points="{}"/>{}<polyline points="{}"/></svg>',
        " bad" if series.bad else "",
        f"{WIDTH:.0f}",
        f"{HEIGHT:.0f}",
        series.label(),
        area,
        limit,
        line,
    )


def share_bar(percent: float, label: str) -> SafeString:
    """How much of the whole, as a bar."""
    return format_html(
        '<svg class="share" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="rest" width="100" height="6"/><rect class="part" width="{}" height="6"/></svg>',
        label,
        f"{min(max(percent, 0.0), 100.0):.1f}",
    )


def _y(value: float, top: float) -> float:
    return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * min(max(value, 0.0), top) / top
