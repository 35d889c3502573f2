"""Geometry of the small charts. Pure: numbers in, points out; templates/_macros/charts.html draws them as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

SPARK_WIDTH, SPARK_TOP, SPARK_BOTTOM = 78.0, 5.0, 22.0
STEPS_OF_AN_AXIS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Spark:
    """A sparkline in a view box of 84 × 26: its line, and where it ends."""

    points: str
    end_x: float
    end_y: float


@dataclass(frozen=True, slots=True)
class Area:
    """One or two stacked series in a view box of 100 × 100. ``ticks`` go from the top to 0."""

    lines: tuple[str, ...]
    fills: tuple[str, ...]
    ticks: tuple[float, ...]


def spark(values: Sequence[float]) -> Spark:
    """The shape of a series, oldest first; a single value is a flat line. Empty series have no spark: ask first."""
    low, high = min(values), max(values)
    reach = (high - low) or 1

    def height(value: float) -> float:
        return SPARK_BOTTOM - (value - low) / reach * (SPARK_BOTTOM - SPARK_TOP) if high > low else 14.0

    series = list(values) if len(values) > 1 else [values[0], values[0]]
    step = SPARK_WIDTH / (len(series) - 1)
    points = " ".join(f"{2 + i * step:.1f},{height(value):.1f}" for i, value in enumerate(series))
    return Spark(points, end_x=2 + SPARK_WIDTH, end_y=round(height(series[-1]), 1))


def area(series: Sequence[Sequence[float]]) -> Area:
    """Stack series of the same length (the first at the bottom), scaled to a round top."""
    stacked = _stack(series)
    top = _round_top(max((max(line) for line in stacked), default=0.0))
    drawn = [_line(line, top) for line in stacked]
    floors = ["100,100 0,100", *(_reversed(line) for line in drawn)]
    fills = tuple(f"{line} {floor}" for line, floor in zip(drawn, floors, strict=False))
    return Area(tuple(drawn), fills, tuple(top * i / 4 for i in (4, 3, 2, 1, 0)))


def _stack(series: Sequence[Sequence[float]]) -> list[list[float]]:
    sums: list[list[float]] = []
    for values in series:
        below = sums[-1] if sums else [0.0] * len(values)
        sums.append([a + b for a, b in zip(below, values, strict=True)])
    return sums


def _line(values: Sequence[float], top: float) -> str:
    step = 100 / max(len(values) - 1, 1)
    return " ".join(f"{i * step:.2f},{100 - value / top * 100:.2f}" for i, value in enumerate(values))


def _reversed(points: str) -> str:
    return " ".join(reversed(points.split()))


def _round_top(highest: float) -> float:
    """The smallest round number that holds the highest value."""
    if highest <= 0:
        return 1.0
    magnitude = 10.0 ** (len(str(int(highest))) - 1) if highest >= 1 else 1.0
    return next(step * magnitude for step in STEPS_OF_AN_AXIS if step * magnitude >= highest)


FILTERS: dict[str, Callable[..., Any]] = {"spark_shape": spark, "area_shape": area}
