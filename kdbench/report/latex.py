r"""A table as LaTeX: needs \usepackage{booktabs} and nothing else, and compiles whatever the text holds."""

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from kdbench.report.table import Cell, Column, Table, one_line

LINES = 40  # of a page; a longer table goes on in the next float
LETTERS = 62  # of a printed line in the type of a table, for cells that wrap

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedblright{}",
    "'": r"\textquoteright{}",
    "`": r"\textquoteleft{}",
    "[": "{[}",  # after a row's end it would open an option
    "*": "{*}",
    "±": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "→": r"$\rightarrow$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "\N{MICRO SIGN}": r"$\mu$",
    "†": r"$^{\dagger}$",
    "\N{EN DASH}": r"\textendash{}",
    "\N{EM DASH}": r"\textemdash{}",
    "\N{LEFT SINGLE QUOTATION MARK}": r"\textquoteleft{}",
    "\N{RIGHT SINGLE QUOTATION MARK}": r"\textquoteright{}",
    "\N{LEFT DOUBLE QUOTATION MARK}": r"\textquotedblleft{}",
    "\N{RIGHT DOUBLE QUOTATION MARK}": r"\textquotedblright{}",
    "ß": r"\ss{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "\N{LATIN SMALL LETTER DOTLESS I}": r"\i{}",
}
GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa mu nu xi pi rho sigma tau upsilon phi chi psi omega"
SPECIAL |= {unicodedata.lookup(f"GREEK SMALL LETTER {name}"): rf"$\{name}$" for name in GREEK.split()}
ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}


def render(table: Table, label: str) -> str:
    """One float, or several where the table is longer than a page; `label` is the key for \\ref."""
    return "\n".join(_float(table, label, page) for page in _pages(table))


def escape(text: str) -> str:
    """Text on one line in which no character is markup; what has no sign in LaTeX is shown by its code point."""
    joined = "".join(map(_character, one_line(text)))
    return re.sub("-(?=-)", "-{}", joined)  # two hyphens would become a dash


def slug(text: str) -> str:
    """Letters, digits and hyphens: for file names and labels."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-").lower() or "table"


def _character(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if character.isascii() and character.isprintable():
        return character
    base, *marks = list(unicodedata.normalize("NFD", character))
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in ACCENTS:
        return f"\\{ACCENTS[marks[0]]}{{{base}}}"
    return f"{{[}}U+{ord(character):04X}]"


def _pages(table: Table) -> list[range]:
    """The rows of each page."""
    pages, used = [range(0)], 0
    for place, row in enumerate(table.rows):
        lines = max(_lines(cell, column) for cell, column in zip(row, table.columns, strict=True))
        used += lines
        if used > LINES and pages[-1]:
            pages.append(range(place, place))
            used = lines
        pages[-1] = range(pages[-1].start, place + 1)
    return pages


def _lines(cell: Cell, column: Column) -> int:
    """About how many printed lines a cell takes."""
    return math.ceil(len(cell.shown) / (LETTERS * column.width)) if column.width else 1


def _float(table: Table, label: str, page: range) -> str:
    more = " (continued)" if page.start else ""
    notes = [f"  \\par\\smallskip{{\\footnotesize {escape(note)}\\par}}" for note in table.notes]
    lines = [
        "\\begin{table}[htbp]",
        "  \\centering",
        *(["  \\addtocounter{table}{-1}"] if page.start else []),
        f"  \\caption{{{escape(table.caption + more)}}}",
        *([] if page.start else [f"  \\label{{tab:{slug(label)}}}"]),
        "  \\par\\smallskip",
        f"  {_size(table)}",
        f"  \\makebox[\\linewidth]{{\\begin{{tabular}}{{{''.join(map(_alignment, table.columns))}}}",
        "    \\toprule",
        *_head(table.columns),
        "    \\midrule",
        *_body(table, page),
        "    \\bottomrule",
        "  \\end{tabular}}",
        *notes,
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _size(table: Table) -> str:
    """Type and gaps that keep a wide table on the page."""
    count = len(table.columns)
    size, gap = ("small", 5) if count < 5 else ("footnotesize", 4) if count < 7 else ("scriptsize", 2)
    return f"\\{size}\\setlength{{\\tabcolsep}}{{{gap}pt}}"


def _alignment(column: Column) -> str:
    if column.width:
        return f"p{{{column.width:g}\\linewidth}}"
    return "r" if column.numeric else "l"


def _head(columns: Sequence[Column]) -> Iterator[str]:
    if any(column.group for column in columns):
        yield from _groups(columns)
    yield _line(map(_title, columns))


def _groups(columns: Sequence[Column]) -> Iterator[str]:
    spans = [(name, len(list(members))) for name, members in groupby(columns, key=lambda column: column.group)]
    yield _line(
        f"\\multicolumn{{{width}}}{{c}}{{{escape(name)}}}" if name else " & " * (width - 1) for name, width in spans
    )
    place, rules = 1, []
    for name, width in spans:
        rules += [f"\\cmidrule(lr){{{place}-{place + width - 1}}}"] if name else []
        place += width
    yield f"    {' '.join(rules)}"


def _title(column: Column) -> str:
    lines = [escape(line) for line in column.title.split("\n")]
    return lines[0] if len(lines) == 1 else "\\shortstack[r]{" + " \\\\ ".join(lines) + "}"


def _body(table: Table, page: range) -> Iterator[str]:
    for place in page:
        if page.start < place == table.baselines:
            yield "    \\midrule"
        above = table.rows[place - 1] if place > page.start else ()
        yield _line(
            "" if column.groups and above and above[i] == cell else _cell(cell, column)
            for i, (cell, column) in enumerate(zip(table.rows[place], table.columns, strict=True))
        )


def _cell(cell: Cell, column: Column) -> str:
    text = escape(cell.shown)
    if column.width:
        text = " ".join(_breakable(word) for word in text.split(" "))
    if cell.bold and text:
        text = f"\\textbf{{{text}}}"
    return f"\\raggedright {text}" if column.width else text


def _breakable(word: str) -> str:
    """A long word (a path, a dotted name) that may be broken after its joints."""
    return re.sub(r"(/|\\_|=|\.)(?=\w)", r"\1\\allowbreak{}", word) if len(word) > 20 else word


def _line(cells: Iterable[str]) -> str:
    return f"    {' & '.join(cells)} \\tabularnewline"
