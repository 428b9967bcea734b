r"""A table as LaTeX; the document needs \usepackage{booktabs}."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, groupby, takewhile

from kdbench.reporting.formats.latex_layout import Layout, choose_layout, count_lines, heading_lines
from kdbench.reporting.formats.latex_text import allow_breaks, escape, slug
from kdbench.reporting.table import Column, Table, TableCell

Marks = Callable[[TableCell | Column], str]

PAGE_LINES = 40  # a longer table continues in another float
TEXT_HEIGHT = 535.0  # points: \\textheight of article at 10 pt on letter paper, less than that of most classes
CAPTION_LETTERS, CAPTION_LEADING = 78, 12.0  # letters of a printed line, and its height in points
NOTE_LETTERS, NOTE_LEADING = 85, 9.5
ROW_HEIGHT = 11.0
TEXT_GAP = "\\,"  # between a mark and its text
BLOCK_ROWS = 4  # the height of the heading and the rules of a block


def render_latex(table: Table, label: str = "") -> str:
    r"""Return one float, or several if the table is longer than a page.

    Args:
        table: the table.
        label: the key for \ref, after "tab:"; by default the name of the table.
    """
    layout, positions = choose_layout(table)
    blocks = [_select_columns(table, block) for block in positions]
    *pages, last_page = _pages(table, len(blocks))
    configurations = ["Hyperparameters:", *table.configurations] if table.configurations else []
    footnotes = [_note(text, mark) for text, mark in table.footnotes.items()]
    below = [*map(_note, table.notes), *map(_note, table.protocol), *map(_note, configurations)]
    free = TEXT_HEIGHT - _height(table, blocks, last_page)
    kept = [
        line
        for line, height in zip(below, _heights([*footnotes, *below])[len(footnotes) :], strict=True)
        if height <= free
    ]
    floats = [
        *(_float(table, label, blocks, page, layout, footnotes) for page in pages),
        _float(table, label, blocks, last_page, layout, [*footnotes, *kept]),
    ]
    return "\n".join([*floats, *_paragraph(below[len(kept) :])])


def _height(table: Table, blocks: Sequence[Table], page: range) -> float:
    """Return an estimate of the height of a float without its notes, in points."""
    caption = math.ceil(len(table.caption) / CAPTION_LETTERS) * CAPTION_LEADING
    return caption + len(blocks) * ROW_HEIGHT * (sum(_count_row_lines(table, index) for index in page) + BLOCK_ROWS)


def _heights(notes: Sequence[str]) -> list[float]:
    """Return the height of the notes down to the end of each."""
    return list(accumulate(math.ceil(len(note) / NOTE_LETTERS) * NOTE_LEADING for note in notes))


def _count_row_lines(table: Table, index: int) -> int:
    return max(count_lines(cell, column) for cell, column in zip(table.rows[index], table.columns, strict=True))


def _select_columns(table: Table, positions: Sequence[int]) -> Table:
    columns = tuple(table.columns[position] for position in positions)
    return replace(table, columns=columns, rows=tuple(tuple(row[n] for n in positions) for row in table.rows))


def _pages(table: Table, num_blocks: int) -> list[range]:
    """Return the rows of each page; every block repeats its rows."""
    pages, used = [range(0)], 0
    for index in range(len(table.rows)):
        lines = num_blocks * _count_row_lines(table, index)
        used += lines
        if used > PAGE_LINES and pages[-1]:
            pages.append(range(index, index))
            used = lines
        pages[-1] = range(pages[-1].start, index + 1)
    return pages


def _float(table: Table, label: str, blocks: Sequence[Table], page: range, layout: Layout, notes: Sequence[str]) -> str:
    is_continued = page.start > 0
    lines = [
        "\\begin{table}[htbp]",
        "  \\centering",
        *(["  \\addtocounter{table}{-1}"] if is_continued else []),
        f"  \\caption{{{escape(table.caption + (' (continued)' if is_continued else ''))}}}",
        *([] if is_continued else [f"  \\label{{tab:{slug(label or table.name)}}}"]),
        f"  \\{layout.size}\\setlength{{\\tabcolsep}}{{{layout.gap}pt}}",
        *(line for block in blocks for line in _tabular(block, page, layout, table.marks)),
        *_notes(notes),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _note(text: str, mark: str = "") -> str:
    return f"\\hangindent=1em {_superscript(mark)}{TEXT_GAP if mark else ''}{allow_breaks(escape(text), 40)}\\par"


def _superscript(marks: str) -> str:
    return f"\\textsuperscript{{{marks}}}" if marks else ""


def _notes(notes: Sequence[str]) -> list[str]:
    """Return notes below a table, as wide as the text."""
    if not notes:
        return []
    lines = (f"    {note}" for note in notes)
    return ["  \\par\\smallskip\\parbox{\\linewidth}{\\footnotesize\\raggedright\\hyphenpenalty=10000", *lines, "  }"]


def _paragraph(notes: Sequence[str]) -> list[str]:
    """Return notes as a paragraph of the text, in which a page may end."""
    if not notes:
        return []
    lines = (f"\\noindent{note}" for note in notes)
    return ["{\\footnotesize\\raggedright\\hyphenpenalty=10000", *lines, "}", ""]


def _tabular(table: Table, page: range, layout: Layout, marks: Marks) -> Iterator[str]:
    yield "  \\par\\smallskip"
    yield f"  \\makebox[\\linewidth]{{\\begin{{tabular}}{{{''.join(map(_alignment, table.columns))}}}"
    yield "    \\toprule"
    if any(column.group for column in table.columns):
        yield from _group_header(table.columns)
    yield _row(_heading(column, marks(column)) for column in table.columns)
    yield "    \\midrule"
    yield from _body(table, page, layout.is_compact, marks)
    yield "    \\bottomrule"
    yield "  \\end{tabular}}"


def _alignment(column: Column) -> str:
    if column.width:
        return f"p{{{column.width:g}\\linewidth}}"
    return "r" if column.is_numeric else "l"


def _group_header(columns: Sequence[Column]) -> Iterator[str]:
    """Yield the line of the groups' names, and the rules below them."""
    spans = [(name, len(list(members))) for name, members in groupby(columns, key=lambda column: column.group)]
    yield _row(
        f"\\multicolumn{{{width}}}{{c}}{{{escape(name)}}}" if name else " & " * (width - 1) for name, width in spans
    )
    first, rules = 1, []
    for name, width in spans:
        rules += [f"\\cmidrule(lr){{{first}-{first + width - 1}}}"] if name else []
        first += width
    yield f"    {' '.join(rules)}"


def _heading(column: Column, marks: str) -> str:
    *first, last = [escape(line) for line in heading_lines(column)]
    lines = [*first, last + _superscript(marks)]
    side = "r" if column.is_numeric else "l"
    return lines[0] if len(lines) == 1 else f"\\shortstack[{side}]{{" + " \\\\ ".join(lines) + "}"


def _body(table: Table, page: range, is_compact: bool, marks: Marks) -> Iterator[str]:
    for index in page:
        repeats = _count_repeats(table, index) if index > page.start else 0
        if page.start < index == table.num_baselines:
            yield "    \\midrule"
        elif index > page.start and not repeats and table.columns[0].hides_repeats:
            yield "    \\addlinespace[2pt]"
        cells = zip(table.rows[index], table.columns, strict=True)
        yield _row(
            "" if n < repeats else _cell(cell, column, is_compact, marks(cell))
            for n, (cell, column) in enumerate(cells)
        )


def _count_repeats(table: Table, index: int) -> int:
    """Return the number of leading columns with `hides_repeats` whose cell equals the one above."""
    columns = zip(table.columns, table.rows[index - 1], table.rows[index], strict=True)
    return len(list(takewhile(lambda one: one[0].hides_repeats and one[1] == one[2], columns)))


def _cell(cell: TableCell, column: Column, is_compact: bool, marks: str) -> str:
    text = escape(cell.display)
    if column.width:
        text = allow_breaks(text, 20)
    if is_compact and cell.mean is not None:
        text = re.sub(r" \$\\pm\$ ([0-9.]+)", r"$_{\\pm \1}$", text)
    if cell.is_bold and text:
        text = f"\\textbf{{{text}}}"
    if marks:  # in a column of numbers without width, so that the digits stay aligned
        text += f"\\makebox[0pt][l]{{{_superscript(marks)}}}" if column.is_numeric else _superscript(marks)
    return f"\\raggedright {text}" if column.width else text


def _row(cells: Iterable[str]) -> str:
    return f"    {' & '.join(cells)} \\tabularnewline"
