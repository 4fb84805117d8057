"""A treatment as a recipe: a list of steps that is applied to repeated scans of one condition, kept as text, and replayed.

The step ``combine`` stands where the repeats become one scan with the errors of their scatter: steps before it act on
every repeat, steps after it on the mean. The reference of a ``subtract`` step goes through the steps before that one.
"""

import inspect
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_text
from perovskite_polaron.measured.scan import Scan, Step, combine
from perovskite_polaron.measured.treatment import STEPS, replay

# The XDI field in which a treated spectrum keeps its recipe.
FIELD = "Polaron.treatment"
COMBINE = "combine"


@dataclass(frozen=True)
class Recipe:
    """Steps in order; combine and subtract stand at most once each. An empty recipe changes nothing."""

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        for name in (COMBINE, "subtract"):
            if sum(step.name == name for step in self.steps) > 1:
                raise InputError(f"the step {name!r} stands twice in the treatment: keep one")

    @property
    def reference(self) -> str | None:
        """What the recipe calls the spectrum it subtracts, or None."""
        return next((str(s.parameters["reference"]) for s in self.steps if s.name == "subtract"), None)

    def before_subtraction(self) -> "Recipe":
        """Return what the reference goes through."""
        names = [s.name for s in self.steps]
        return Recipe(self.steps[: names.index("subtract")]) if "subtract" in names else self

    def apply(self, scans: Sequence[Scan], references: Sequence[Scan] = ()) -> tuple[Scan, ...]:
        """Treat the repeats of one condition; one scan comes back when the recipe combines them, else one for each.

        references: the repeats of the spectrum to subtract, combined if there are several. InputError when it is missing.
        """
        known = {}
        if self.reference is not None:
            if not references:
                raise InputError(
                    f"the treatment subtracts {self.reference!r}: give the files of the reference to subtract"
                )
            own = self.before_subtraction()
            if len(references) > 1 and not any(s.name == COMBINE for s in own.steps):
                raise InputError("several reference scans, but no step combines them: give one, or combine the scans")
            known[self.reference] = own.apply(references)[0]
        names = [s.name for s in self.steps]
        cut = names.index(COMBINE) if COMBINE in names else len(names)
        treated = tuple(replay(scan, self.steps[:cut], known) for scan in scans)
        if cut == len(names):
            return treated
        mean = combine(treated, _common_name([scan.label for scan in treated]))
        if len(treated) == 1:
            mean = replace(mean, history=(*mean.history, Step(COMBINE, {"scans": 1})))
        return (replay(mean, self.steps[cut + 1 :], known),)

    def resampled(self, scans: Sequence[Scan], rng: np.random.Generator, references: Sequence[Scan] = ()) -> Scan:
        """Treat one bootstrap sample: as many scans drawn with replacement, the references likewise."""
        drawn = [_drawn(group, rng) for group in (scans, references) if group]
        return self.apply(drawn[0], drawn[1] if len(drawn) > 1 else ())[0]


def conditions(scans: Sequence[Scan]) -> tuple[tuple[Scan, ...], ...]:
    """Return the scans in groups of one delay and temperature, in the order of their first appearance.

    Scans that say neither are one group.
    """
    groups: dict[tuple[float | None, float | None], list[Scan]] = {}
    for scan in scans:
        groups.setdefault((scan.delay_ps, scan.temperature_C), []).append(scan)
    return tuple(tuple(group) for group in groups.values())


def format_steps(steps: Sequence[Step]) -> str:
    """Return steps as one line of JSON, which ``parse_steps`` reads back exactly."""
    return json.dumps([step.as_dict() for step in steps], allow_nan=False)


def parse_steps(text: str, source: str) -> Recipe:
    """Return the recipe in a JSON list of objects such as ``{"step": "rebin", "step_eV": 0.5}``; checked by name and type."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: the treatment is no JSON list ({error}); correct it") from None
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("step"), str) for row in rows
    ):
        raise InputError(f'{source}: a treatment is a JSON list of objects with a key "step"; correct it')
    return Recipe(tuple(_step(row, f"{source}: step {i}") for i, row in enumerate(rows, start=1)))


def read_steps(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe from a JSON file, or from the header of an XDI file that ``polaron treat`` wrote."""
    from perovskite_polaron.measured.xdi import parse_xdi

    text = read_text(path, "treatment (JSON), or XDI file with one")
    if not text.startswith("# XDI/"):
        return parse_steps(text, str(path))
    steps = parse_xdi(text, str(path)).get(FIELD)
    if not steps:
        raise InputError(f"{path} says no treatment: its header has no field {FIELD}; give a file of polaron treat")
    return parse_steps(steps, str(path))


def _step(row: dict[str, object], place: str) -> Step:
    name = str(row["step"])
    parameters = {key: value for key, value in row.items() if key != "step"}
    if name == COMBINE:
        return Step(COMBINE)
    if name not in STEPS:
        raise InputError(f"{place}: {name!r} is no step of a treatment; these are: {COMBINE}, {', '.join(STEPS)}")
    known = {k: p for k, p in inspect.signature(STEPS[name]).parameters.items() if k != "scan"}
    lacking = [k for k, p in known.items() if p.default is inspect.Parameter.empty and k not in parameters]
    wrong = [k for k in parameters if k not in known]
    if lacking or wrong:
        what = f"{', '.join(lacking)} missing" if lacking else f"{', '.join(wrong)} unknown"
        raise InputError(f"{place}: {what}; {name} takes {', '.join(known)}")
    for key, value in parameters.items():
        is_word = key in ("by", "reference")
        optional = known[key].default is None and value is None
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
        if not optional and not (isinstance(value, str) if is_word else is_number):
            raise InputError(f"{place}: {key} = {value!r} must be a {'word' if is_word else 'number'}")
        if key in ("order", "points") and not isinstance(value, int):
            raise InputError(f"{place}: {key} = {value!r} must be a whole number")
    return Step(name, parameters)


def _common_name(labels: Sequence[str]) -> str:
    """Return what the names of repeats share, cut at a separator: br_100ps_1 and br_100ps_12 share br_100ps."""
    # The first and the last in order differ first where any two do.
    low, high = min(labels), max(labels)
    length = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    shared = low[:length]
    if shared not in labels:
        shared = re.sub(r"[_\-. ][^_\-. ]*\Z", "", shared)
    return shared or labels[0]


def _drawn(scans: Sequence[Scan], rng: np.random.Generator) -> list[Scan]:
    picks: NDArray[np.int64] = rng.integers(len(scans), size=len(scans))
    return [scans[k] for k in picks]
