"""Parse the command line, run the command, and turn bad input into one line and exit status 2."""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NoReturn

from segmentation.cli import benches, chain, develop, plan, report, scans, simulation, study
from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    from collections.abc import Sequence


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like every other error of the command."""

    def error(self, message: str) -> NoReturn:
        """Raise `InputError` instead of printing the usage."""
        raise InputError(f"{message}; see '{self.prog} --help'")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Refuse what a command does not know here, where its name and its options are at hand."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].partition("=")[0]
            if not name.startswith("-"):
                self.error(f"one argument too many: {name!r}")
            self.error(f"there is no option {name!r}{nearest_name(name, list(self._option_string_actions))}")
        return found, unknown


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cs-stem`` with the given arguments (those of the process if None) and return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may not be printable here
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        parser = _parser()
        commands = _commands(parser)
        if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
            hint = nearest_name(arguments[0], commands)
            raise InputError(f"unknown command {arguments[0]!r}{hint}; expected one of {', '.join(commands)}")
        options = parser.parse_args(arguments)
        options.func(options)
    except InputError as error:
        _close_progress_bars()
        sys.stderr.write(f"cs-stem: error: {' '.join(str(error).split())}\n")
        return 2
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone: nothing is left to say, nor at exit to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        sys.stderr.write("cs-stem: error: not enough memory for a frame of this size; cut it into parts\n")
        return 2
    except OSError as error:
        reason = f"{error.strerror or error} ({error.filename})" if error.filename else str(error)
        sys.stderr.write(f"cs-stem: error: {reason}; nothing half-written was left behind\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("cs-stem: interrupted; files already written are whole\n")
        return 130
    return 0


def _close_progress_bars() -> None:
    """Take what is left of progress bars off the line that an error is about to be written on."""
    from tqdm import tqdm

    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()


def _parser() -> Parser:
    parser = Parser(
        prog="cs-stem",
        description="Sparse STEM scan in, measured particles out.",
        epilog="Each command has its own --help.",
    )
    parser.add_argument("--version", action="version", version=f"cs-stem {version('cs-stem')}")
    commands: Any = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    chain.add_commands(commands)
    scans.add_commands(commands)
    simulation.add_commands(commands)
    develop.add_commands(commands)
    benches.add_commands(commands)
    study.add_commands(commands)
    report.add_commands(commands)
    plan.add_commands(commands)
    _describe(parser)
    return parser


def _describe(parser: argparse.ArgumentParser) -> None:
    """Give the help of each command what the list of commands says of it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for entry in action._choices_actions:
                command = action.choices[entry.dest]
                text = (entry.help or "").replace("%%", "%")
                command.description = f"{text[:1].upper()}{text[1:]}."
                _describe(command)


def _commands(parser: Parser) -> list[str]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return list(actions[0].choices)
