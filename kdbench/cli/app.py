"""The Typer app: every command parses its arguments and makes one call. Its body is imported when it runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from kdbench import __version__
from kdbench.cli.console import RESULTS, make_console, print_line
from kdbench.errors import KdbenchError

app = typer.Typer(
    name="kdbench",
    help="Benchmark knowledge distillation: one TOML file in, one honest table out.",
    epilog="Exit status: 0 success; 1 error; 2 some runs failed or are blocked by a failed run; 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
console = make_console()

MatrixFile = Annotated[Path, typer.Argument(metavar="MATRIX", help="The TOML file of the matrix.")]
Results = Annotated[Path, typer.Option("--results", help="The results folder.", envvar="KDBENCH_RESULTS")]
Reports = Annotated[Path, typer.Option("--reports", help="The folder for reports.", envvar="KDBENCH_REPORTS")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run, or its first digits.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print neither the table nor the report's path.")]
Selection = Annotated[
    Literal["last", "best_validation", "best_test"],
    typer.Option(help="The epoch whose weights are scored. best_test is optimistic; it needs track_test."),
]
REPORTS = Path("reports")


@contextmanager
def _error_handling() -> Iterator[None]:
    """Print the error of kdbench or the disk as one message and exit with status 1; an interrupt exits with 130."""
    try:
        yield
    except KdbenchError as error:
        _print_error(error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print_line(make_console(stderr=True), "stopped; rerun the same command to resume", style="yellow")
        raise typer.Exit(130) from None
    except Exception as error:
        from kdbench.results.storage_errors import as_storage_error

        storage = as_storage_error(error)
        if storage is None:
            raise
        _print_error(storage)
        raise typer.Exit(1) from None


def _print_error(error: KdbenchError) -> None:
    print_line(make_console(stderr=True), f"error: {error}", style="red")


def _print_version(requested: bool) -> None:
    if requested:
        print_line(console, f"kdbench {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Benchmark knowledge distillation: one TOML file in, one honest table out."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # so that a matrix can name a custom "module:Class" in the current folder


@app.command()
def plan(
    matrix: MatrixFile,
    results: Results = RESULTS,
    as_json: AsJson = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Measure a few steps; print hours and disk.")] = False,
) -> None:
    """Check a matrix and print what would run. Trains nothing, writes nothing."""
    with _error_handling():
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
    quiet: Quiet = False,
    executor: Annotated[
        Literal["local", "ray"], typer.Option(help="Train on this machine or in a Ray cluster (needs kdbench[ray]).")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Address of the Ray cluster, such as 10.0.0.1:6379; default: start one on this machine."),
    ] = None,
) -> None:
    """Train a matrix, write its report, print its table. Finished runs are not trained again; rerun to resume."""
    with _error_handling():
        if address is not None and executor != "ray":
            raise KdbenchError(f"--address is for a Ray cluster, got {address}; add --executor ray")
        from kdbench.cli.run import run_matrix

        failed = run_matrix(matrix, results, reports, console, quiet=quiet, on_ray=executor == "ray", address=address)
    if failed:
        raise typer.Exit(2)


@app.command()
def status(
    results: Results = RESULTS,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every two seconds until Ctrl-C.")] = False,
) -> None:
    """Print the state of every matrix and of each worker. Writes nothing."""
    with _error_handling():
        from kdbench.cli.status import print_status, watch_status

        if watch and as_json:
            raise KdbenchError("--watch and --json cannot be combined; choose one")
        if watch:
            watch_status(results, console)
        else:
            print_status(results, as_json, console)


@app.command()
def logs(
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines until the run ends.")] = False,
    results: Results = RESULTS,
) -> None:
    """Print the log of a run. While it is running, also print its worker's log."""
    with _error_handling():
        from kdbench.cli.logs import print_log

        print_log(run_id, follow, results, console)


@app.command()
def retry(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The name of a matrix; default: all.")] = None,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Queue failed runs again. Keeps their logs; `kdbench run MATRIX` then trains them."""
    with _error_handling():
        from kdbench.cli.retry import retry_runs

        retry_runs(name, results, as_json, console)


@app.command()
def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files, remove nothing.")] = False,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Remove files left by crashed attempts. Finished runs are not touched."""
    with _error_handling():
        from kdbench.cli.clean import clean_results

        clean_results(dry_run, results, as_json, console)


@app.command()
def merge(
    into: Annotated[Path, typer.Argument(metavar="A", help="The results folder that is extended.")],
    source: Annotated[Path, typer.Argument(metavar="B", help="The results folder that is read.")],
) -> None:
    """Copy the runs that A lacks or holds corrupted from B. Finished runs in A win; nothing is deleted."""
    with _error_handling():
        from kdbench.cli.merge import merge_folders

        merge_folders(into, source, console)


@app.command()
def reindex(
    deep: Annotated[bool, typer.Option("--deep", help="Verify the content of every file of every run.")] = False,
    results: Results = RESULTS,
) -> None:
    """Rebuild results.parquet and history.parquet. Corrupted runs are moved to the quarantine and queued again."""
    with _error_handling():
        from kdbench.cli.reindex import reindex_results

        reindex_results(deep, results, console)


@app.command()
def tune(
    method: Annotated[str, typer.Option(help="A label of the matrix, a method, or a sum of methods.")],
    matrix: Annotated[
        Path | None,
        typer.Option(
            help="Its first data set and pair, its recipe and its search seeds, or else its seeds, are used; default: "
            "the quickstart, without its methods."
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="The number of configurations, earlier ones included.")] = 20,
    results: Results = RESULTS,
) -> None:
    """Search a method's hyperparameters by validation accuracy. Rerun to resume.

    Values that the matrix fixes for the label, in its table or in an override, stay fixed. A list is searched in the
    range of its hyperparameter, and without a range, or in the recipe, among its values. Hyperparameters that are not
    in the table are searched if they have a range and are active.
    """
    with _error_handling():
        from kdbench.cli.tune import tune_method

        tune_method(method, matrix, trials, results, console)


@app.command()
def report(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Names of matrices; default: all.")] = None,
    results: Results = RESULTS,
    reports: Reports = REPORTS,
    selection: Selection = "last",
    text_format: Annotated[
        Literal["table", "markdown", "latex", "csv"], typer.Option("--format", help="The format of the printed table.")
    ] = "table",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write reports and print their accuracy tables."""
    with _error_handling():
        from kdbench.cli.report import print_reports, print_reports_as_json, write_reports

        notes = console if text_format == "table" and not as_json else make_console(stderr=True)
        written = write_reports(names or (), results, reports, selection, notes)
        if as_json:
            print_reports_as_json(written, console)
        elif not quiet:
            print_reports(written, text_format, console)


@app.command(name="list")
def list_(
    catalog: Annotated[
        Literal["methods", "networks", "datasets"],
        typer.Argument(metavar="methods|networks|datasets", help="What to list."),
    ],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Print the details of this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List methods, networks or data sets, or describe one of them."""
    with _error_handling():
        from kdbench.cli.list import print_list

        print_list(catalog, name, as_json, console)


@app.command()
def show(run_id: RunId, results: Results = RESULTS, as_json: AsJson = False) -> None:
    """Print the configuration, state, metrics and folder of a run."""
    with _error_handling():
        from kdbench.cli.show import print_run

        print_run(run_id, results, as_json, console)


@app.command()
def doctor(results: Results = RESULTS, as_json: AsJson = False) -> None:
    """Check versions, devices, precision and folders. Exit status 1 if a check fails."""
    with _error_handling():
        from kdbench.cli.doctor import print_checks

        healthy = print_checks(results, as_json, console)
    if not healthy:
        raise typer.Exit(1)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = Path("matrix.toml"),
) -> None:
    """Write a commented matrix to start from."""
    with _error_handling():
        from kdbench.cli.init import write_template

        print_line(console, f"wrote {path}; next: {write_template(path)}")
