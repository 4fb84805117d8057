"""The command ``polaron``: finds the verb, and turns errors into one line and a status."""

import argparse
import importlib
import io
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from perovskite_polaron.errors import PolaronError

if TYPE_CHECKING:
    from perovskite_polaron.cli.options import Verb

# verb -> what it does. Its module is imported only when it is called, so that ``polaron --help``
# is instant; there imports stand at the top, but for figures that are drawn only when asked for.
VERBS = {
    "doctor": "say what is installed, in which version, and what is missing",
    "structure": "write a built-in or given crystal, and describe its symmetry and absorbers",
    "bonds": "measure B-X bonds, off-centring, tilts; compare two structures",
    "modes": "compute or read the Γ modes of a crystal and choose the one that dresses carriers",
    "distort": "displace a crystal along phonon modes",
    "xrd": "compute the powder patterns of crystals and ensembles",
    "ensemble": "make snapshots of a hot crystal from modes, dynamics or a trajectory",
    "project": "say how much of which mode the displacement between two structures holds",
    "pseudo": "make or check pseudopotentials for a core-hole calculation",
    "prepare": "write every Quantum ESPRESSO input of a study, without running",
    "run": "run a study: resumable, with progress",
    "status": "say how far a study has come",
    "carriers": "say what electrons and holes open and block in the spectra of a study",
    "pdos": "say which shells of which atoms make the bands across the gap",
    "converge": "say how far the difference spectrum moves with each setting",
    "gc": "free the disk of what a study needs no more",
    "export": "write a finished study to one HDF5 file, and to an archive",
    "spectra": "align, weight, average and subtract the spectra of a study",
    "report": "write everything about a study on one page, with its figures and their data",
    "view": "show a structure, a mode, measured spectra or a study as a page in the browser",
    "lanczos": "evaluate one XSpectra save file on any grid and width",
    "treat": "average, treat and subtract measured scans, with every step on record",
    "match": "fit zero, widths and scale of a calculated steady state to a measured one",
    "plan": "say how many scans, at which energies or delays, see what is expected",
    "compare": "find which scenario a measured transient supports, and how strongly",
    "kinetics": "fit pump-probe traces with shared lifetimes",
    "cparam": "compute the comparison parameter of transients",
    "heat": "estimate how hot a pump pulse can make nanocrystals",
    "reproduce": "make an article's figures and our numbers from its public archive"}
# Verbs whose module has another name.
_MODULES = dict.fromkeys(("prepare", "run", "status", "gc", "export"), "study")


def load(verb: str) -> "Verb":
    """Return a verb, importing its module: that of one verb, or one with a table of several."""
    from perovskite_polaron.cli.options import Verb

    module = importlib.import_module(f"perovskite_polaron.cli.{_MODULES.get(verb, verb)}")
    several: dict[str, Verb] = getattr(module, "VERBS", {})
    return several.get(verb) or Verb(module.add_arguments, module.run)


def build_parser(*known: str | None) -> argparse.ArgumentParser:
    """Return the parser of the command, with the options of the verbs that are named."""
    parser = argparse.ArgumentParser(
        prog="polaron",
        description="From a crystal and a measured X-ray transient to how far which atoms moved.",
        epilog="polaron VERB --help explains a verb and shows an example.")
    parser.add_argument("--version", nargs="?", const="short", choices=("short", "full"),
                        help="print the version and exit; full: with what a report of a mistake"
                        " needs")
    parser.add_argument("--completion", choices=("bash", "zsh", "tcsh"), help="print the script"
                        " that completes commands in this shell")
    parser.add_argument("--threads", metavar="N", help="threads of the compiled core (default:"
                        " POLARON_THREADS, else the cores that are there)")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, description in VERBS.items():
        sub = verbs.add_parser(
            name, help=description, description=description[0].upper() + description[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter)
        # argparse would take -10eV for an option: by default only plain numbers may follow a minus.
        sub._negative_number_matcher = re.compile(r"-\.?\d")
        if name in known:
            entry = load(name)
            sub.epilog = "example:\n" + textwrap.indent(entry.example, "  ")
            entry.add_arguments(sub)
            sub.set_defaults(run=entry.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own); return 0, 1 (failed) or 2 (bad input)."""
    warnings.formatwarning = lambda message, *_, **__: f"polaron: warning: {message}\n"
    _ready_streams()
    try:
        try:
            return _command(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()  # after --help too, which leaves with SystemExit
    except PolaronError as error:
        return _ended(str(error), error.exit_status)
    except KeyboardInterrupt:
        return _ended("interrupted; finished work is kept, run the same command again to go on",
                      130)
    except BrokenPipeError:
        # The reader of our output (head, less) left, which is no error.
        _drop_stdout()
        return 0
    except MemoryError:
        return _ended("the memory does not suffice: ask for fewer points, or a smaller cell", 1)
    except OSError as error:
        if error.filename is None:
            _drop_stdout()
        where = "standard output" if error.filename is None else str(error.filename)[:200]
        return _ended(f"{where}: {error.strerror or error}; correct the path or its rights, or free"
                      " the disk", 1)


def _command(arguments: list[str]) -> int:
    verb = next((a for a in arguments if a in VERBS), None)
    parser = build_parser(verb)
    args = parser.parse_args(arguments)
    if args.version:
        from perovskite_polaron.cli.version import print_version

        print_version(args.version == "full")
        return 0
    if args.completion:
        from perovskite_polaron.cli.version import print_completion

        print_completion(build_parser(*VERBS), args.completion)
        return 0
    if args.verb is None:
        parser.print_help()
        return 0
    if args.threads:
        os.environ["POLARON_THREADS"] = args.threads
    return args.run(args) or 0


def _ended(words: str, status: int) -> int:
    """Print the one line of an error, and return the exit status."""
    print(f"polaron: {' '.join(words.split())}", file=sys.stderr)
    return status


class _Stderr(io.TextIOWrapper):
    """Standard error: where it cannot be written, the work goes on without it."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _ready_streams() -> None:
    """Open standard streams that are closed, and let them take any character and any end."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # A file opened later must not become a standard stream. What is printed to a closed
            # one is an error, as on a full disk, not lost.
            os.open(os.devnull, os.O_RDONLY if number < 2 else os.O_WRONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stderr is sys.__stderr__:
        sys.stderr = _Stderr(sys.stderr.buffer if sys.stderr else os.fdopen(2, "wb"),
                             errors="backslashreplace", line_buffering=True)


def _drop_stdout() -> None:
    """Let what is still to be written go nowhere; Python would complain when it closes stdout."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
