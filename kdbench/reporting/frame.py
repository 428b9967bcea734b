"""A table as a pandas data frame."""

from typing import TYPE_CHECKING

from kdbench.reporting.table import Table

if TYPE_CHECKING:
    import pandas as pd


def to_frame(table: Table) -> "pd.DataFrame":
    """Return a table as a pandas data frame, one row per row of the table.

    A column of text is one column. A column of numbers becomes three: `<title>` with the mean in the unit that the
    title names (percent for accuracies), `<title>, std` with the sample standard deviation, and `<title>, n` with the
    number of runs. For gains, `<title>, 95 % low` and `<title>, 95 % high` are the bounds of the interval. A cell
    without a result is NaN, with n = 0. The first column, the name of the row, is the index. The last column, `notes`,
    has the footnotes of each row, if there are any.
    """
    import pandas as pd

    columns: dict[str, list[str] | list[float] | list[int]] = {}
    for position, column in enumerate(table.columns):
        cells = [row[position] for row in table.rows]
        if not column.is_numeric:
            columns[column.full_title] = [cell.text for cell in cells]
            continue
        scales = [cell.unit.scale for cell in cells]
        columns[column.full_title] = _scaled([cell.mean for cell in cells], scales)
        columns[f"{column.full_title}, std"] = _scaled([cell.std for cell in cells], scales)
        if column.has_intervals:
            intervals = [cell.interval for cell in cells]
            columns[f"{column.full_title}, 95 % low"] = _scaled([one and one.low for one in intervals], scales)
            columns[f"{column.full_title}, 95 % high"] = _scaled([one and one.high for one in intervals], scales)
        columns[f"{column.full_title}, n"] = [cell.n for cell in cells]
    if table.footnotes:
        columns["notes"] = ["; ".join(table.row_notes(row)) for row in table.rows]
    return pd.DataFrame(columns).set_index(table.columns[0].full_title)


def _scaled(values: list[float | None], scales: list[float]) -> list[float]:
    return [float("nan") if value is None else value * scale for value, scale in zip(values, scales, strict=True)]
