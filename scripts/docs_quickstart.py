"""Run the quickstart and write the table that the README and the documentation show.

python scripts/docs_quickstart.py

Writes docs/assets/quickstart.svg and the blocks of text in README.md and docs/protocol.md. The last digits depend on
the CPU, so no test runs this. Run it when the quickstart or the layout of its table changes.
"""

import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from docs_markdown import fill
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME

from kdbench.reporting import Table, render, write_report
from kdbench.reporting.formats.terminal import print_table

ROOT = Path(__file__).resolve().parent.parent
MATRIX = "matrices/quickstart.toml"
WIDTH = 112  # columns of the terminal
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def main() -> None:
    """Train in a temporary folder and write all forms of the accuracy table."""
    with TemporaryDirectory() as folder:
        results, reports = f"{folder}/results", f"{folder}/reports"
        command = [sys.executable, "-m", "kdbench", "run", MATRIX, "--results", results, "--reports", reports]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        (report,) = write_report(results, reports)
    table = replace(report.accuracy, title="", caption="", configurations=())  # README.md says what the caption says
    (ROOT / "docs" / "assets" / "quickstart.svg").write_text(as_svg(table), encoding="utf-8")
    for page, name, shown in (("README.md", "table", table), ("docs/protocol.md", "example", report.accuracy)):
        text = (ROOT / page).read_text(encoding="utf-8")
        (ROOT / page).write_text(fill(text, name, as_text(shown)), encoding="utf-8")


def as_text(table: Table) -> str:
    """Return the table as a code block of Markdown, without empty lines."""
    text = "\n".join(line for line in render(table, width=WIDTH).splitlines() if line.strip())
    return f"```\n{text}\n```"


def as_svg(table: Table) -> str:
    """Return the table as a terminal shows it; the image loads no font from elsewhere."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    print_table(table, console)
    svg = console.export_svg(title=f"kdbench run {MATRIX}", theme=SVG_EXPORT_THEME, unique_id="quickstart")
    without_fonts = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;]*Fira Code[^;]*;", f"font-family: {FONTS};", without_fonts)
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"


if __name__ == "__main__":
    main()
