"""Places of a run where a switch can matter."""

from __future__ import annotations

import random

import pytest

from kprobesim.races.exploring.points import Points


def test_pairs_come_back_each_once_in_order() -> None:
    pairs = [(1, 5), (0, 5), (1, 5), (7, 2**39), (0, 0)]
    points = Points(Points.code(*pair) for pair in pairs)
    assert list(points) == [(1, 5), (0, 5), (7, 2**39), (0, 0)]
    assert (len(points), points[1], points[-2:]) == (4, (0, 5), [(7, 2**39), (0, 0)])
    assert points.counts() == {0: 2, 1: 1, 7: 1}
    assert list(points.with_([(0, 0), (2, 3)])) == [*points, (2, 3)]
    assert points == Points(points.codes) != Points()
    assert hash(points) == hash(Points(points.codes))


def test_samples_are_drawn_from_them() -> None:
    points = Points(Points.code(1, step) for step in range(10))
    assert set(random.Random(1).sample(points, 3)) < set(points)
    with pytest.raises(IndexError):
        points[10]
