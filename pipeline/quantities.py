"""Numbers and durations in words."""

from __future__ import annotations

__all__ = ["number", "span"]


def number(value: float) -> str:
    """Four digits of a number, or all before its point.

    >>> number(-0.123456), number(15123.4)
    ('-0.1235', '15,123')
    """
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e12 else f"{value:.4g}"


def span(seconds: float) -> str:
    """A duration in its one or two largest units.

    >>> span(100), span(600), span(4000), span(9000), span(350_000)
    ('100 s', '10 min', '66 min', '2 h 30 min', '4 days')
    """
    whole = max(0, round(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{days} days"
