"""Tables as pandas data frames."""

import math

from kdbench.reporting import build_tables, to_frame


def test_the_accuracy_table(thesis) -> None:
    builder = thesis()
    frame = to_frame(build_tables(builder.index, builder.frame)[0])
    column = "cifar10: resnet34 → resnet18"
    assert frame.index.name == "method"
    assert list(frame.index[:3]) == ["teacher", "student from scratch", "vanilla"]
    assert list(frame.columns[:3]) == [column, f"{column}, std", f"{column}, n"]
    assert frame.loc["vanilla", column] == 100 * (0.92 + 0.931 + 0.942) / 3
    assert math.isclose(frame.loc["vanilla", f"{column}, std"], 1.1)
    assert frame[f"{column}, n"].to_dict()["half"] == 1
    assert math.isnan(frame.loc["teacher", f"{column}, std"])


def test_a_cell_without_a_result_is_nan(thesis) -> None:
    builder = thesis()
    frame = to_frame(build_tables(builder.index, builder.frame)[0])
    for label in ("broken", "later", "fsp"):
        assert frame.filter(regex="(scratch|resnet18|%\\))$").loc[label].isna().all()
        assert (frame.filter(regex=", n$").loc[label] == 0).all()


def test_columns_of_text_stay_text(thesis) -> None:
    builder = thesis()
    (table,) = [table for table in build_tables(builder.index, builder.frame) if table.name == "failed"]
    frame = to_frame(table)
    assert list(frame.columns[:2]) == ["pair", "configuration"]
    assert frame["error"].iloc[0] == "CUDA error: x_y"
