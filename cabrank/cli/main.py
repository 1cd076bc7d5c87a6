"""The commands and their options; what each does stands in its own module, loaded when it is used.

Options win over the environment, which wins over `.env`: an option that is not given is None here
and stays out of what the settings class of the process is given.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cabrank.cli import dead, tasks
from cabrank.cli.options import AsJson, Key, Url
from cabrank.cli.output import WIDE
from shared.errors import CabrankError, ConfigError
from shared.task import Mode

EXIT_FAILED = 1
EXIT_CONFIG = 2  # also what a wrong command line ends with
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="cabrank",
    help="A task fleet: a balancer hands each task to the next free slot of a fleet of workers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(tasks.app, name="tasks")
app.add_typer(dead.app, name="dead")

Host = Annotated[
    str | None, typer.Option(help="Address to listen on: HOST, else 127.0.0.1.", metavar="ADDRESS")
]
Slots = Annotated[
    int | None,
    typer.Option(help="Tasks that may run at one time, a worker: SLOTS, else 10.", min=1),
]
Functions = Annotated[
    Path | None,
    typer.Option(help="Folder of functions: FUNCTIONS, else ./functions.", metavar="DIR"),
]
Store = Annotated[
    str | None,
    typer.Option(
        help="Store of durable tasks: STORE_URL, else sqlite:///cabrank.db.", metavar="URL"
    ),
]
LogLevel = Annotated[
    str | None, typer.Option(help="debug, info, warn or error: LOG_LEVEL, else info.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"cabrank {version('cabrank')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


@app.command()
def up(
    host: Host = None,
    port: Annotated[
        int | None,
        typer.Option(help="The balancer's port: PORT, else 4000; 0 takes a free one.", min=0),
    ] = None,
    workers: Annotated[int, typer.Option(help="How many workers.", min=0)] = 2,
    worker_port: Annotated[
        int,
        typer.Option(help="The first worker's port; the others follow. 0 takes free ones.", min=0),
    ] = 3000,
    slots: Slots = None,
    functions: Functions = None,
    store: Store = None,
    workers_file: Annotated[
        Path | None,
        typer.Option(
            help="Fleet to dial; else one of the workers started, in .cabrank/.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Start a balancer and its workers, restart what dies, and end all of them on Ctrl-C."""
    from cabrank.cli.fleet_plan import UpOptions
    from cabrank.cli.up import run_up

    options = UpOptions(
        host=host,
        port=port,
        workers=workers,
        worker_port=worker_port,
        slots=slots,
        functions=functions,
        store=store,
        workers_file=workers_file,
    )
    raise typer.Exit(run_up(options, _say))


@app.command()
def balancer(
    host: Host = None,
    port: Annotated[int | None, typer.Option(help="Port: PORT, else 4000.", min=0)] = None,
    workers_file: Annotated[
        Path | None,
        typer.Option(help="The fleet to dial: WORKERS_FILE, else workers.json.", metavar="FILE"),
    ] = None,
    store: Store = None,
    log_level: LogLevel = None,
) -> None:
    """Run one balancer."""
    from balancer.cli import run

    overrides: dict[str, object] = {
        "host": host,
        "port": port,
        "workers_file": workers_file,
        "store_url": store,
        "log_level": log_level,
    }
    raise typer.Exit(run(_given(overrides)))


@app.command()
def worker(
    host: Host = None,
    port: Annotated[int | None, typer.Option(help="Port: PORT, else 3000.", min=0)] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Group of workers with the same functions: GROUP, else default."),
    ] = None,
    contract: Annotated[
        int | None, typer.Option(help="Version of the group's interface: CONTRACT, else 1.", min=0)
    ] = None,
    slots: Slots = None,
    functions: Functions = None,
    keep_going: Annotated[
        bool | None,
        typer.Option("--keep-going", help="Start although a file of functions cannot be imported."),
    ] = None,
    log_level: LogLevel = None,
) -> None:
    """Run one worker."""
    from worker.cli import run

    overrides: dict[str, object] = {
        "host": host,
        "port": port,
        "group": group,
        "contract": contract,
        "slots": slots,
        "functions": functions,
        "keep_going": keep_going,
        "log_level": log_level,
    }
    raise typer.Exit(run(_given(overrides)))


@app.command()
def demo(
    leave: Annotated[
        bool, typer.Option("--exit", help="End when the work is done; 0 only if every check holds.")
    ] = False,
    port: Annotated[
        int, typer.Option(help="The balancer's port; 0 takes a free one.", min=0)
    ] = 4000,
    worker_port: Annotated[
        int, typer.Option(help="The first worker's port; 0 takes free ones.", min=0)
    ] = 3000,
    functions: Annotated[
        Path | None,
        typer.Option(help="The example functions, when not in a checkout.", metavar="DIR"),
    ] = None,
) -> None:
    """Start a small fleet, put real work through all three modes, check it, and stay up."""
    from cabrank.cli.demo.session import DemoOptions, run_demo

    options = DemoOptions(leave=leave, port=port, worker_port=worker_port, functions=functions)
    raise typer.Exit(run_demo(options, Console(highlight=False)))


@app.command()
def submit(
    function: Annotated[str, typer.Argument(help="Name of the function.")],
    params: Annotated[
        list[str] | None,
        typer.Argument(
            help="name=value …; a value that is JSON is taken as JSON.", metavar="NAME=VALUE"
        ),
    ] = None,
    mode: Annotated[Mode | None, typer.Option(help="How the answer is wanted.")] = None,
    input_json: Annotated[
        str | None,
        typer.Option("--input", help="The whole input as a JSON object.", metavar="JSON"),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(help="URL that gets the result; means --mode webhook.", metavar="URL"),
    ] = None,
    priority: Annotated[float | None, typer.Option(help="1 (first) to 2097152.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Group, when several host the function.")
    ] = None,
    contract: Annotated[int, typer.Option(help="Version of the group's interface.")] = 1,
    timeout: Annotated[
        float | None, typer.Option(help="Limit of one run.", metavar="SECONDS")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(help="Limit of the whole call.", metavar="SECONDS")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Submit a task and print what comes back: cabrank submit hello name=Ada --mode stream."""
    from cabrank.cli.config import load_call_settings
    from cabrank.cli.parameters import parse_input
    from cabrank.cli.submit import Submission, run_submit

    task = Submission(
        function=function,
        input=parse_input(params or [], input_json),
        mode=mode,
        webhook=webhook,
        group=group,
        contract=contract,
        priority=priority,
        timeout_s=timeout,
        deadline_s=deadline,
        as_json=as_json,
    )
    run_submit(task, load_call_settings(url, key), Console(highlight=False))


@app.command()
def workers(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show the fleet: every worker, its slots, its functions and its tags."""
    from cabrank.cli.config import load_call_settings
    from cabrank.cli.output import print_line, workers_json, workers_table
    from shared.client import Client

    settings = load_call_settings(url, key)
    with Client.sync(settings.cabrank_url, key=settings.lb_auth_key) as client:
        fleet = client.workers()
    if as_json:
        print_line(workers_json(fleet))
    else:
        # Where there is no terminal, whose width is known, lines may be as long as they need.
        width = None if sys.stdout.isatty() else WIDE
        Console(highlight=False, width=width).print(workers_table(fleet))


def main() -> None:
    """Run the command line; the process ends here."""
    try:
        app()
    except ConfigError as exc:
        _say(exc.message)
        sys.exit(EXIT_CONFIG)
    except CabrankError as exc:
        _say(f"{exc.message} ({exc.code})" + _hint(exc))
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _given(overrides: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in overrides.items() if value is not None}


def _say(text: str) -> None:
    """Tell a person; standard output is for results."""
    print(f"cabrank: {text}", file=sys.stderr, flush=True)


def _hint(error: CabrankError) -> str:
    if error.code == "unauthorized":
        return "; give --key, set LB_AUTH_KEY, or run this where the balancer was started"
    if error.code == "unreachable":
        return "; give --url or set CABRANK_URL"
    return ""
