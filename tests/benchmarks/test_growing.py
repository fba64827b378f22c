from pathlib import Path

from benchmarks.growing import forgetting_table, spread
from clustnet.files import write_table


def row(step: int, node: str, accuracy: float) -> dict[str, object]:
    return {"step": step, "node": node, "accuracy": accuracy, "sensitivity": 0.5, "specificity": 0.25}


def test_first_node_before_and_after(tmp_path: Path) -> None:
    for seed, now in enumerate((0.6, 0.8)):
        rows = [row(1, "all", 0.9), row(2, "all", 0.7), row(2, "a", 0.5), row(3, "all", now), row(3, "a", 0.5)]
        write_table(tmp_path / f"full_seed{seed}" / "matrix.csv", rows)
    lines = forgetting_table({"full": [tmp_path / "full_seed0", tmp_path / "full_seed1"]}).splitlines()
    assert lines[2] == "| baseline | before | 0.900 ± 0.000 (0.900) | 0.500 ± 0.000 (0.500) | 0.250 ± 0.000 (0.250) |"
    assert lines[3].startswith("| conventional | after the second node | 0.700 ± 0.000 (0.700) |")
    assert lines[4].startswith("| conventional | after all nodes | 0.700 ± 0.141 (0.600) |")


def test_spread_of_one_value_and_of_counts() -> None:
    assert spread([0.5]) == "0.500"
    assert spread([1234.0, 1234.0]) == "1,234"
