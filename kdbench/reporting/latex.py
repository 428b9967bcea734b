r"""A table as LaTeX: needs \usepackage{booktabs} and nothing else, and compiles whatever the text holds."""

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, takewhile

from kdbench.reporting.layout import Layout, headings, layout, lines
from kdbench.reporting.table import Column, Table, TableCell, one_line

LINES = 40  # of a page; a longer table goes on in the next float
ROOM = 48  # lines of a page with the hyperparameters; where these need more, they follow the float as a paragraph
SMALL = 85  # letters of a printed line of notes

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


def render(table: Table, label: str = "") -> str:
    """Return one float, or several if the table is longer than a page.

    `label` is the key for \\ref, by default the table's name.
    """
    label = label or table.name
    chosen, blocks = layout(table)
    *pages, last = _pages(table, len(blocks))
    configurations = _configurations(table)
    fits = len(blocks) * len(last) + sum(math.ceil(len(line) / SMALL) for line in configurations) <= ROOM
    parts = [_part(table, block) for block in blocks]
    floats = [
        *(_float(table, label, parts, page, chosen, table.notes) for page in pages),
        _float(table, label, parts, last, chosen, (*table.notes, *(configurations if fits else ()))),
    ]
    return "\n".join([*floats, *([] if fits else _after(configurations))])


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


def _pages(table: Table, blocks: int) -> list[range]:
    """The rows of each page; a row comes again in every block."""
    pages, used = [range(0)], 0
    for place, row in enumerate(table.rows):
        taken = blocks * max(lines(cell, column) for cell, column in zip(row, table.columns, strict=True))
        used += taken
        if used > LINES and pages[-1]:
            pages.append(range(place, place))
            used = taken
        pages[-1] = range(pages[-1].start, place + 1)
    return pages


def _float(table: Table, label: str, parts: Sequence[Table], page: range, chosen: Layout, notes: Sequence[str]) -> str:
    more = " (continued)" if page.start else ""
    lines = [
        "\\begin{table}[htbp]",
        "  \\centering",
        *(["  \\addtocounter{table}{-1}"] if page.start else []),
        f"  \\caption{{{escape(table.caption + more)}}}",
        *([] if page.start else [f"  \\label{{tab:{slug(label)}}}"]),
        f"  \\{chosen.size}\\setlength{{\\tabcolsep}}{{{chosen.gap}pt}}",
        *(line for part in parts for line in _tabular(part, page, chosen)),
        *_paragraphs(notes),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _configurations(table: Table) -> list[str]:
    return ["Hyperparameters:", *table.configurations] if table.configurations else []


def _paragraphs(notes: Sequence[str]) -> list[str]:
    """Notes below a table, as wide as the text; a line that goes on is indented."""
    if not notes:
        return []
    lines = (f"    \\hangindent=1em {_breaking(escape(note), 40)}\\par" for note in notes)
    return ["  \\par\\smallskip\\parbox{\\linewidth}{\\footnotesize\\raggedright\\hyphenpenalty=10000", *lines, "  }"]


def _part(table: Table, block: Sequence[int]) -> Table:
    """Some columns of a table."""
    columns = tuple(table.columns[place] for place in block)
    return replace(table, columns=columns, rows=tuple(tuple(row[place] for place in block) for row in table.rows))


def _tabular(table: Table, page: range, chosen: Layout) -> Iterator[str]:
    yield "  \\par\\smallskip"
    yield f"  \\makebox[\\linewidth]{{\\begin{{tabular}}{{{''.join(map(_alignment, table.columns))}}}"
    yield "    \\toprule"
    yield from _head(table.columns)
    yield "    \\midrule"
    yield from _body(table, page, chosen.compact)
    yield "    \\bottomrule"
    yield "  \\end{tabular}}"


def _after(configurations: Sequence[str]) -> list[str]:
    """The same as a paragraph of the text, which a page may break."""
    lines = (f"\\noindent\\hangindent=1em {_breaking(escape(line), 40)}\\par" for line in configurations)
    return ["{\\footnotesize\\raggedright\\hyphenpenalty=10000", *lines, "}", ""]


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
    parts = [escape(part) for part in headings(column)]
    side = "r" if column.numeric else "l"
    return parts[0] if len(parts) == 1 else f"\\shortstack[{side}]{{" + " \\\\ ".join(parts) + "}"


def _body(table: Table, page: range, compact: bool) -> Iterator[str]:
    for place in page:
        row, same = table.rows[place], _repeated(table, place) if place > page.start else 0
        if page.start < place == table.baselines:
            yield "    \\midrule"
        elif place > page.start and not same and table.columns[0].groups:
            yield "    \\addlinespace[2pt]"
        yield _line(
            "" if n < same else _cell(cell, column, compact)
            for n, (cell, column) in enumerate(zip(row, table.columns, strict=True))
        )


def _repeated(table: Table, place: int) -> int:
    """How many leading columns that group say the same as the row above."""
    both = zip(table.columns, table.rows[place - 1], table.rows[place], strict=True)
    return len(list(takewhile(lambda one: one[0].groups and one[1] == one[2], both)))


def _cell(cell: TableCell, column: Column, compact: bool) -> str:
    text = escape(cell.shown)
    if column.width:
        text = _breaking(text, 20)
    if compact and cell.mean is not None:
        text = re.sub(r" \$\\pm\$ (\S+)", r"$_{\\pm \1}$", text)
    if cell.bold and text:
        text = f"\\textbf{{{text}}}"
    return f"\\raggedright {text}" if column.width else text


def _breaking(text: str, longest: int) -> str:
    """Escaped text whose words longer than this may be broken after their joints, but not around an equals sign."""
    words = (_breakable(word) if len(word) > longest else word for word in text.split(" "))
    return " ".join(words).replace(" = ", "~=~")


def _breakable(word: str) -> str:
    """A path, a dotted name."""
    return re.sub(r"(/|\\_|=|\.)(?=\w)", r"\1\\allowbreak{}", word)


def _line(cells: Iterable[str]) -> str:
    return f"    {' & '.join(cells)} \\tabularnewline"
