import numpy as np

from benchmarks.serving import _latencies


def test_turns_of_changed_speed_are_left_out() -> None:
    steady = [[1000, 1099, 0.7, 1.0, 3.0, 3.0], [1000, 901, 0.8, 2.0, 10.0, 5.0], [1000, 1000, 0.6, 3.0, 12.0, 4.0]]
    changed = [[1000, 1101, 0.1, 9.0, 9.0, 1.0], [1000, 899, 0.1, 9.0, 9.0, 1.0]]
    assert _latencies(np.array([*changed, *steady])) == "3 of 5 | 1,000 | 0.70 | 2.00 | 10.00 | 4.0 (3.5-4.5)"


def test_without_steady_speed_there_is_no_figure() -> None:
    assert _latencies(np.array([[1000, 500, 0.1, 9.0, 9.0, 1.0]])) == "0 of 1 | - | - | - | - | -"
