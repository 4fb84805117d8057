"""A treatment as a recipe: steps for the repeats of one condition, kept as text and replayed.

The step ``combine`` stands where the repeats become one scan with the errors of their scatter:
steps before it act on every repeat, steps after it on the mean. The reference of a ``subtract``
step goes through the steps before that one.
"""

import inspect
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import read_text
from perovskite_polaron.measured.drift import align
from perovskite_polaron.measured.repeats import combine
from perovskite_polaron.measured.scan import Scan, Step
from perovskite_polaron.measured.treatment import STEPS, replay
from perovskite_polaron.measured.xdi import parse_xdi

#: The XDI field in which a treated spectrum keeps its recipe.
FIELD = "Polaron.treatment"
COMBINE = "combine"
#: The step of all scans together, before any other: see ``drift.align``.
ALIGN = "align"
# What the parameters of the steps are, where they are not numbers.
_WHAT = {"by": "word", "reference": "word", "order": "whole number", "points": "whole number"}


@dataclass(frozen=True)
class Recipe:
    """Steps in order; combine and subtract stand at most once each."""

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        for name in (ALIGN, COMBINE, "subtract"):
            require(self.names.count(name) < 2,
                    f"the step {name!r} stands twice in the treatment: keep one")
        require(ALIGN not in self.names[1:], f"the step {ALIGN!r} must be the first one: it needs "
                "the scans as they were read")

    @property
    def names(self) -> list[str]:
        """The names of the steps."""
        return [step.name for step in self.steps]

    @property
    def combines(self) -> bool:
        """Whether the scans of one condition are repeats, to be averaged."""
        return COMBINE in self.names

    @property
    def align_eV(self) -> tuple[float, float] | None:
        """The interval by which all scans are aligned, or None."""
        if ALIGN not in self.names:
            return None
        return (self.steps[0].parameters["from_eV"], self.steps[0].parameters["to_eV"])

    @property
    def reference(self) -> str | None:
        """What the recipe calls the spectrum it subtracts, or None."""
        found = (str(s.parameters["reference"]) for s in self.steps if s.name == "subtract")
        return next(found, None)

    def apply(self, scans: Sequence[Scan], references: Sequence[Scan] = ()) -> tuple[Scan, ...]:
        """Treat the repeats of one condition; a step align was done for all conditions together.

        Parameters
        ----------
        scans : sequence of Scan
            The repeats.
        references : sequence of Scan
            The repeats of the spectrum to subtract, combined if there are several.

        Returns
        -------
        tuple of Scan
            One when the recipe combines the scans, else one for each.

        Raises
        ------
        InputError
            When the reference is missing.
        """
        known = {}
        if self.reference is not None:
            require(references, f"the treatment subtracts {self.reference!r}: give the files of "
                    "the reference to subtract")
            own = Recipe(self.steps[: self.names.index("subtract")])
            require(len(references) < 2 or own.combines, "several reference scans, but no step "
                    "combines them: give one, or combine the scans")
            known[self.reference] = own.apply(references)[0]
        cut = self.names.index(COMBINE) if self.combines else len(self.steps)
        begin = int(ALIGN in self.names)
        treated = tuple(replay(scan, self.steps[begin:cut], known) for scan in scans)
        if not self.combines:
            return treated
        mean = combine(treated, _common_name([scan.label for scan in treated]),
                       self.steps[cut].parameters.get("robust_sigmas"))
        if len(treated) == 1:
            mean = replace(mean, history=(*mean.history, Step(COMBINE, {"scans": 1})))
        return (replay(mean, self.steps[cut + 1 :], known),)


def conditions(scans: Sequence[Scan]) -> tuple[tuple[Scan, ...], ...]:
    """Return the scans in groups of one delay and temperature, in the order of first appearance.

    Scans that say neither are one group.
    """
    groups: dict[tuple[float | None, float | None], list[Scan]] = {}
    for scan in scans:
        groups.setdefault((scan.delay_ps, scan.temperature_C), []).append(scan)
    return tuple(map(tuple, groups.values()))


def format_steps(steps: Sequence[Step]) -> str:
    """Return steps as one line of JSON, which ``parse_steps`` reads back exactly."""
    return json.dumps([step.as_dict() for step in steps], allow_nan=False)


def parse_steps(text: str, source: str) -> Recipe:
    """Return the recipe in a JSON list of objects such as ``{"step": "rebin", "step_eV": 0.5}``."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: the treatment is no JSON list ({error}); correct it") from None
    require(isinstance(rows, list)
            and all(isinstance(row, dict) and isinstance(row.get("step"), str) for row in rows),
            f'{source}: a treatment is a JSON list of objects with a key "step"; correct it')
    return Recipe(tuple(_step(row, f"{source}: step {i}") for i, row in enumerate(rows, start=1)))


def read_steps(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe from a JSON file, or from the header of an XDI file of ``polaron treat``."""
    text = read_text(path, "treatment (JSON), or XDI file with one")
    if not text.startswith("# XDI/"):
        return parse_steps(text, str(path))
    steps = parse_xdi(text, str(path)).get(FIELD)
    require(steps, f"{path} says no treatment: its header has no field {FIELD}; give a file of "
            "polaron treat")
    return parse_steps(steps, str(path))


def normalisation(text: str) -> str:
    """Return the name of a normalisation; earlier files say "absolute_area" and "last"."""
    return "last-point" if text == "last" else text.replace("_", "-")


def _step(row: dict[str, Any], place: str) -> Step:
    """Return a step, checked by its name and the names and types of its parameters."""
    name = row["step"]
    parameters = {key: value for key, value in row.items() if key != "step"}
    functions: dict[str, Callable[..., Any]] = {ALIGN: align, COMBINE: combine, **STEPS}
    require(name in functions, f"{place}: {name!r} is no step of a treatment; these are: "
            f"{', '.join(functions)}")
    known = dict(list(inspect.signature(functions[name]).parameters.items())[1:])
    if name == COMBINE:
        # Beside it the file says what came of it.
        known = {"robust_sigmas": known["robust_sigmas"]}
        parameters = {key: value for key, value in parameters.items() if key in known}
    lacking = [k for k, p in known.items() if p.default is p.empty and k not in parameters]
    wrong = [k for k in parameters if k not in known]
    if lacking or wrong:
        what = f"{', '.join(lacking)} missing" if lacking else f"{', '.join(wrong)} unknown"
        raise InputError(f"{place}: {what}; {name} takes {', '.join(known)}")
    for key, value in parameters.items():
        what = _WHAT.get(key, "number")
        is_right = (isinstance(value, str) if what == "word" else not isinstance(value, bool)
                    and isinstance(value, int if what == "whole number" else int | float)
                    and -inf < value < inf)
        require(is_right or (value is None and known[key].default is None),
                f"{place}: {key} = {value!r} must be a {what}")
    if name == "normalise":
        parameters["by"] = normalisation(parameters["by"])
    return Step(name, parameters)


def _common_name(labels: Sequence[str]) -> str:
    """Return what the names of repeats share: br_100ps for br_100ps_1 and br_100ps_12."""
    # Of words, not of paths.
    shared = os.path.commonprefix(labels)  # noqa: RUF071
    if shared not in labels:
        shared = re.sub(r"[_\-. ][^_\-. ]*\Z", "", shared)
    return shared or labels[0]
