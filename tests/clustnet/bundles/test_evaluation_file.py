import json
from pathlib import Path
from typing import Any

import pytest

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.evaluation_file import read_evaluation
from clustnet.errors import UserError
from tests.synthetic import made_up_evaluation, with_evaluation, write_bundle


def test_a_bundle_without_the_file_has_no_evaluation(synthetic_bundle: Path) -> None:
    assert read_evaluation(Bundle(synthetic_bundle)) is None


def test_the_tables_come_back_as_they_were_written(tmp_path: Path) -> None:
    evaluation = read_evaluation(Bundle(with_evaluation(write_bundle(tmp_path / "bundle"))))
    assert evaluation is not None
    assert json.loads(evaluation.model_dump_json()) == made_up_evaluation()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema_version: Input should be 1"),
        ({"confusion": [[-1] * 10] * 10}, r"confusion\.0\.0: Input should be greater than or equal to 0"),
        ({"notes": ""}, "notes: Extra inputs are not permitted"),
        ({"confusion": [[1] * 10] * 9}, "tables that do not fit"),
        ({"images": 999}, "tables that do not fit"),
        ({"budget": {"data": "mnist:train", "draws": 1, "points": []}}, "budget.points: List should have at least 1"),
        ({"experts": [[1] * 9] * 5}, "tables that do not fit"),
    ],
)
def test_a_wrong_file_is_refused_with_its_fault(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    bundle = Bundle(with_evaluation(write_bundle(tmp_path / "bundle"), **changes))
    with pytest.raises(UserError, match=message):
        read_evaluation(bundle)
