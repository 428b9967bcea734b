"""LaTeX that compiles."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.reporting import build_tables
from kdbench.reporting.formats.latex import PAGE_LINES, render_latex
from kdbench.reporting.formats.latex_text import escape, slug
from kdbench.reporting.table import MINUS, PERCENT, Column, Table, TableCell

NASTY = "50% of $x_1$ & #2 {a} ~^\\ <b> | \"q\" 'r' ``s'' [t] * --flag ± é Å ş ß \x07 /a/very/long/path_name.py"


def _table(rows: tuple[tuple[TableCell, ...], ...], **more: object) -> Table:
    columns = (
        Column("method", is_numeric=False),
        Column("a →\nb", group="digits"),
        Column("why", is_numeric=False, width=0.3),
    )
    return Table("t", "Title", "A caption, 100 %.", columns, rows, **more)  # type: ignore[arg-type]


def test_a_table_exactly() -> None:
    number = TableCell(mean=0.9, std=0.01, n=3, unit=PERCENT, is_tied=True)
    table = _table(
        ((TableCell("base"), TableCell(f"{MINUS}1"), TableCell()), (TableCell("x_y"), number, TableCell("[a]"))),
        notes=("50 %",),
        num_baselines=1,
    )
    assert (
        render_latex(table, "thesis-t")
        == r"""\begin{table}[htbp]
  \centering
  \caption{A caption, 100 \%.}
  \label{tab:thesis-t}
  \small\setlength{\tabcolsep}{5pt}
  \par\smallskip
  \makebox[\linewidth]{\begin{tabular}{lrp{0.3\linewidth}}
    \toprule
     & \multicolumn{1}{c}{digits} &  \tabularnewline
    \cmidrule(lr){2-2}
    method & \shortstack[r]{a $\rightarrow$ \\ b} & why \tabularnewline
    \midrule
    base & $-$1 & \raggedright  \tabularnewline
    \midrule
    x\_y & \textbf{90.00 $\pm$ 1.00} & \raggedright {[}a] \tabularnewline
    \bottomrule
  \end{tabular}}
  \par\smallskip\parbox{\linewidth}{\footnotesize\raggedright\hyphenpenalty=10000
    \hangindent=1em 50 \%\par
  }
\end{table}
"""
    )


def test_escapes_by_hand() -> None:
    assert escape("a_b & 5% #1 {x} $y$") == r"a\_b \& 5\% \#1 \{x\} \$y\$"
    assert escape("\\~^") == r"\textbackslash{}\textasciitilde{}\textasciicircum{}"
    assert escape("--x") == "-{}-x"
    assert escape("5 ± 1 → \N{MINUS SIGN}2†") == r"5 $\pm$ 1 $\rightarrow$ $-$2$^{\dagger}$"


def test_letters_stay_utf_8() -> None:
    assert escape("é e\u0301 ß \N{GREEK SMALL LETTER ALPHA} 你\nb") == "é é ß \N{GREEK SMALL LETTER ALPHA} 你 b"


SAFE = re.compile(r"\\[a-zA-Z]+\{\}|\\[{}$&#%_]|\$\\[a-z]+\$|\$-\$|\$\^\{\\dagger\}\$|\{\}|\{[\[*]\}")


@given(st.text(max_size=40) | st.text("\\{}$&#%_^~<>|\"'`[]*-\n a", max_size=40))
def test_no_text_leaves_an_unescaped_special(text: str) -> None:
    found = escape(text)
    assert found.isprintable()
    assert "--" not in found
    assert not re.search(r"[\\{}$&#%_^~<>|\"'`*]", SAFE.sub("", found))


def test_a_long_table_continues_in_the_next_float() -> None:
    rows = tuple((TableCell(str(n)), TableCell(), TableCell()) for n in range(PAGE_LINES + 1))
    found = render_latex(_table(rows), "t")
    assert found.count("\\begin{table}") == found.count("\\end{table}") == 2
    assert found.count("(continued)") == found.count("\\addtocounter{table}{-1}") == 1
    assert found.count("\\label") == 1


def test_a_page_has_fewer_rows_if_cells_wrap() -> None:
    long = TableCell("word " * 20)
    rows = tuple((TableCell(str(n)), TableCell(), long) for n in range(PAGE_LINES // 2))
    assert render_latex(_table(rows), "t").count("(continued)") == 3
    assert render_latex(_table((rows[0],)), "t").count("(continued)") == 0


def test_a_group_is_named_once_on_each_page() -> None:
    columns = (Column("pair", is_numeric=False, hides_repeats=True), Column("configuration", is_numeric=False))
    rows = tuple((TableCell("a" if n < 2 else "b"), TableCell("same")) for n in range(PAGE_LINES + 2))
    first, second = render_latex(Table("t", "T", "C.", columns, rows), "t").split("(continued)")
    body = [line.split(" & ")[0].strip() for line in first.splitlines() if line.endswith("same \\tabularnewline")]
    assert body == ["a", "", "b", *[""] * (PAGE_LINES - 3)]
    assert [line.strip() for line in second.splitlines() if "same" in line] == [
        "b & same \\tabularnewline",
        "& same \\tabularnewline",
    ]


def test_a_nested_group_is_named_again_in_the_next_group() -> None:
    columns = (
        Column("a", is_numeric=False, hides_repeats=True),
        Column("b", is_numeric=False, hides_repeats=True),
        Column("n"),
    )
    rows = tuple((TableCell(a), TableCell("same"), TableCell(n)) for a, n in (("x", "1"), ("x", "2"), ("y", "3")))
    lines = [line.strip() for line in render_latex(Table("t", "T", "C.", columns, rows), "t").splitlines()]
    start = lines.index("x & same & 1 \\tabularnewline")
    assert lines[start + 1 : start + 4] == [
        *("&  & 2 \\tabularnewline", "\\addlinespace[2pt]", "y & same & 3 \\tabularnewline"),
    ]


def test_wide_tables_have_subscripts_and_wider_ones_are_split() -> None:
    number = TableCell(mean=0.9, std=0.01, n=3, unit=PERCENT, is_chosen=True)
    texts = [
        render_latex(Table("t", "T", "C.", tuple(Column(f"m{n}") for n in range(count)), ((number,) * count,)), "t")
        for count in (7, 20)
    ]
    assert texts[0].count("\\textbf{90.00$_{\\pm 1.00}$}") == 7
    assert [text.count("\\begin{tabular}") for text in texts] == [1, 3]
    assert [text.count("\\begin{table}") for text in texts] == [1, 1]


def test_a_sign_after_a_subscript_is_outside_of_it() -> None:
    number = TableCell(mean=0.9, std=0.01, n=3, unit=PERCENT, is_untested=True)
    text = render_latex(Table("t", "T", "C.", tuple(Column(f"m{n}") for n in range(7)), ((number,) * 7,)), "t")
    assert text.count("90.00$_{\\pm 1.00}$$^{\\ddagger}$") == 7


def test_hyperparameters_are_below_the_last_page_or_after_it_if_they_are_many() -> None:
    rows = tuple((TableCell(str(n)), TableCell(), TableCell()) for n in range(PAGE_LINES + 1))
    first, second = render_latex(_table(rows, configurations=("vanilla: alpha = 0.9",)), "t").split("(continued)")
    assert "vanilla" not in first
    assert second.index("Hyperparameters:") < second.index("vanilla: alpha~=~0.9\\par") < second.index("\\end{table}")
    many = render_latex(_table(rows, configurations=tuple(f"m{n}: alpha = 0.9" for n in range(PAGE_LINES + 9))), "t")
    assert many.index("\\end{table}") < many.index("Hyperparameters:") < many.index("m0: alpha~=~0.9")


def test_slugs() -> None:
    assert slug("triplet + HKD") == "triplet-hkd"
    assert slug("../é") == "table"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex with booktabs (texlive-latex-recommended)")
def test_all_tables_compile(thesis, tmp_path: Path) -> None:
    pairs = tuple((data, teacher, "s_1") for data in ("a&b", "c%d") for teacher in ("t#1", "t^2", "t~3"))
    builder = thesis(pairs)
    for name in (NASTY, "[option]", "*star"):
        builder.add(name, [0.5, 0.6, NASTY], pair=pairs[0], hyperparameters={NASTY: NASTY})
    builder.add_incompatible(NASTY + "2", NASTY, pair=pairs[0])
    builder.add("noted", [0.5, 0.6, 0.7], pair=pairs[0], seeds=(3, 4, 5), method_recipe=NASTY, torch_version="2.7.1")
    body = "\n".join(render_latex(table, f"{table.name}") for table in build_tables(builder.index, builder.frame))
    packages = ("[utf8]{inputenc}", "[T1]{fontenc}", "{booktabs}")
    preamble = "\n".join(["\\documentclass{article}", *(f"\\usepackage{package}" for package in packages)])
    document = f"{preamble}\n\\begin{{document}}\n{body}\\end{{document}}\n"
    (tmp_path / "report.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_footnotes_are_superscripts_in_every_block_of_a_split_table() -> None:
    number = TableCell(mean=0.9, std=0.01, n=3, unit=PERCENT, footnotes=("60 epochs",))
    name = TableCell("vanilla", footnotes=("60 epochs", "100 % of x_1"))
    columns = (Column("method", is_numeric=False, footnotes=("torch",)), *(Column(f"m{n}") for n in range(20)))
    text = render_latex(Table("t", "T", "C.", columns, ((name, *[number] * 20),), ("Note.",)), "t")
    blocks = text.count("\\begin{tabular}")
    assert blocks > 1
    assert text.count("method\\textsuperscript{a}") == text.count("vanilla\\textsuperscript{b,c}") == blocks
    assert text.count("\\makebox[0pt][l]{\\textsuperscript{b}}") == 20
    notes = [line.split("1em ")[1] for line in text.splitlines() if "hangindent" in line]
    assert notes == [
        *("\\textsuperscript{a}\\,torch\\par", "\\textsuperscript{b}\\,60 epochs\\par"),
        *("\\textsuperscript{c}\\,100 \\% of x\\_1\\par", "Note.\\par"),
    ]
