"""The commands. Each parses, makes one call and prints; what is heavy is imported inside it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from kdbench import __version__
from kdbench.errors import KdbenchError, printable_lines

app = typer.Typer(
    name="kdbench",
    help="A benchmarking harness for knowledge distillation: one TOML file in, one honest table out.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
console = Console(width=None if sys.stdout.isatty() else 120)

MatrixFile = Annotated[Path, typer.Argument(metavar="MATRIX", help="The TOML file of the matrix.")]
Results = Annotated[Path, typer.Option("--results", help="The results folder.", envvar="KDBENCH_RESULTS")]
Reports = Annotated[Path, typer.Option("--reports", help="Where reports are written.", envvar="KDBENCH_REPORTS")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or its first digits.")]
Selection = Annotated[
    Literal["last", "best_validation", "best_test"],
    typer.Option(help="Which epoch's weights a table shows. best_test is optimistic and needs track_test."),
]
RESULTS, REPORTS = Path("results"), Path("reports")


@contextmanager
def _errors() -> Iterator[None]:
    """A KdbenchError is one message and exit status 1; an interrupt is 130."""
    try:
        yield
    except KdbenchError as error:
        told = Text(f"error: {printable_lines(str(error))}", style="red")
        Console(stderr=True).print(told, soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; run the same command again to go on", style="yellow")
        raise typer.Exit(130) from None


def _version(asked: bool) -> None:
    if asked:
        console.print(f"kdbench {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """A benchmarking harness for knowledge distillation."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # so that a matrix finds a user's own "module:Class", however kdbench was started


@app.command()
def plan(
    matrix: MatrixFile,
    results: Results = RESULTS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Measure a few steps; print hours and disk.")] = False,
) -> None:
    """Check a matrix and print what would run. Trains nothing, writes nothing."""
    with _errors():
        if estimate:
            from kdbench.cli.estimate import print_estimate

            print_estimate(matrix, results, as_json, console)
            return
        from kdbench.cli.plan import print_plan

        print_plan(matrix, results, as_json, console)


@app.command()
def run(
    matrix: MatrixFile,
    results: Results = RESULTS,
    reports: Reports = REPORTS,
    executor: Annotated[
        Literal["local", "ray"], typer.Option(help="Train on this machine, or in a Ray cluster (needs kdbench[ray]).")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster, such as 10.0.0.1:6379; default: one of this machine alone.")
    ] = None,
) -> None:
    """Train what a matrix still lacks, then print its table and write its report. Run again to resume."""
    with _errors():
        if address is not None and executor != "ray":
            raise KdbenchError(f"--address {address} is the address of a Ray cluster; add --executor ray")
        from kdbench.cli.run import run_matrix

        failed = run_matrix(matrix, results, reports, console, executor == "ray", address)
    if failed:
        raise typer.Exit(2)


@app.command()
def status(
    results: Results = RESULTS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every two seconds, until Ctrl-C.")] = False,
) -> None:
    """Print what every matrix of the results folder is doing. Only reads."""
    with _errors():
        from kdbench.cli.status import print_status, watch_status

        if watch and as_json:
            raise KdbenchError("--watch is for people and --json for programs; choose one")
        if watch:
            watch_status(results, console)
        else:
            print_status(results, as_json, console)


@app.command()
def logs(
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    results: Results = RESULTS,
) -> None:
    """Print the log of a run; while it runs, also what its worker prints."""
    with _errors():
        from kdbench.cli.logs import print_log

        print_log(run_id, follow, results, console)


@app.command()
def retry(
    matrix: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A matrix's name; default: all.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="The runs that failed.")] = False,
    results: Results = RESULTS,
) -> None:
    """Let failed runs wait again; their logs stay. Then run the matrix."""
    with _errors():
        from kdbench.cli.maintenance import retry_failed

        if not failed:
            raise KdbenchError("say what is to be tried again: `kdbench retry --failed [NAME]`")
        retry_failed(matrix, results, console)


@app.command()
def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    results: Results = RESULTS,
) -> None:
    """Remove what dead attempts have left; results are never touched."""
    with _errors():
        from kdbench.cli.maintenance import clean as clean_results

        clean_results(dry_run, results, console)


@app.command()
def merge(
    into: Annotated[Path, typer.Argument(metavar="A", help="The results folder that gains.")],
    source: Annotated[Path, typer.Argument(metavar="B", help="The results folder that is read.")],
) -> None:
    """Copy into results folder A what it lacks of B. Nothing is deleted; what is done in A stays."""
    with _errors():
        from kdbench.cli.maintenance import merge_folders

        merge_folders(into, source, console)


@app.command()
def reindex(
    deep: Annotated[bool, typer.Option("--deep", help="Read every file of every run.")] = False,
    results: Results = RESULTS,
) -> None:
    """Derive results.parquet and history.parquet anew from the runs; corrupted runs are put aside."""
    with _errors():
        from kdbench.cli.maintenance import reindex as reindex_results

        reindex_results(deep, results, console)


@app.command()
def tune(
    method: Annotated[str, typer.Option(help="The method whose hyperparameters are searched.")],
    matrix: Annotated[
        Path | None, typer.Option(help="Where pair, data set, recipe and seeds come from; default: the quickstart.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="How many configurations are tried in all.")] = 20,
    results: Results = RESULTS,
) -> None:
    """Search a method's hyperparameters over their declared ranges, on validation only. Run again to resume."""
    with _errors():
        from kdbench.cli.tune import tune_method

        tune_method(method, matrix, trials, results, console)


@app.command()
def report(
    matrices: Annotated[list[str] | None, typer.Argument(help="Names of matrices; default: all there are.")] = None,
    results: Results = RESULTS,
    reports: Reports = REPORTS,
    selection: Selection = "last",
) -> None:
    """Write reports/<matrix>/report.md and tables/*.tex from the results."""
    with _errors():
        from kdbench.cli.run import write_report

        write_report(tuple(matrices or ()), results, reports, selection, console)


@app.command(name="list")
def list_(
    what: Annotated[Literal["methods", "networks", "datasets"], typer.Argument(help="What to list.")],
) -> None:
    """List the methods (hyperparameters, defaults, ranges, papers), networks or data sets."""
    with _errors():
        from kdbench.cli.catalog import print_catalog

        print_catalog(what, console)


@app.command()
def show(run_id: RunId, results: Results = RESULTS) -> None:
    """Print one run: what it is, how it went, where it lies."""
    with _errors():
        from kdbench.cli.status import print_run

        print_run(run_id, results, console)


@app.command()
def doctor(results: Results = RESULTS) -> None:
    """Check this machine: versions, devices, precision, folders."""
    with _errors():
        from kdbench.cli.doctor import print_checks

        healthy = print_checks(results, console)
    if not healthy:
        raise typer.Exit(1)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("matrix.toml"),
) -> None:
    """Write a commented matrix to start from."""
    with _errors():
        from kdbench.cli.template import write_template

        write_template(path)
        console.print(f"wrote {path}; next: kdbench plan {path}", markup=False, highlight=False, soft_wrap=True)
