"""A delay × energy map judged: which parts are followed, and what their time laws say."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from perovskite_polaron.analysis.kinetic_model import KineticModel
from perovskite_polaron.analysis.map_fit import Followed, Follows, follow
from perovskite_polaron.analysis.part_shapes import PartShapes
from perovskite_polaron.analysis.scenario_fit import COLLINEAR
from perovskite_polaron.analysis.scenario_found import ScenarioFit
from perovskite_polaron.analysis.scenarios import matching
from perovskite_polaron.analysis.verdict import Judgement
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.measured.delay_map import DelayMap
from perovskite_polaron.measured.treatment import crop, scale

#: By so much must BIC differ before a time law is called other than shared, or shared
#: [Kass and Raftery, J. Am. Stat. Assoc. 90, 773 (1995): strong evidence].
STRONG = 6.0
#: An excess of this many errors over the physical bound of a strength is named.
SURE = 3.0


def chosen_fit(judged: Judgement, text: str | None) -> ScenarioFit:
    """Return the fit of the mean whose parts are followed: that which a text names, or what was
    claimed.

    Raises
    ------
    InputError
        When a text names no fitted hypothesis, or several, or nothing was claimed.
    """
    fits = judged.found.fits
    if text is None:
        if judged.found.best is None:
            raise InputError("no scenario is claimed from the mean of the delays: say with --parts"
                             " what is to be followed")
        return judged.found.best
    wanted = matching(text, list(dict.fromkeys(part for fit in fits for part in fit.parts)))
    found = [fit for fit in fits if fit.parts in wanted]
    names = ", ".join(repr(fit.name) for fit in found[:5])
    require(len(found) == 1, f"--parts {text!r} names {len(found)} hypotheses ({names}): give whole"
            f" names of {', '.join(repr(f.name) for f in fits if len(f.parts) == 1)}")
    return found[0]


def follow_parts(data: DelayMap, judged: Judgement, fit: ScenarioFit, kinetics: KineticModel,
                 start_ps: Sequence[float] | None = None) -> Followed:
    """Follow the parts of a fit of the mean through a map.

    The energies are those of the mean that were fitted. Place, stretch and width of the shapes
    start from that fit and are searched for again, with the same priors; a sweep keeps the shape of
    the amplitude that it found.
    """
    kept = judged.transient.energy_eV
    scans = [scale(crop(scan, from_eV=float(kept[0]), to_eV=float(kept[-1])),
                   factor=1 / judged.unit) for scan in data.scans]
    cut = replace(data, scans=tuple(scans))
    shapes = PartShapes(fit.parts, cut.energy_eV, judged.place.offset_eV, judged.priors,
                        fit.q_sqrt_amu_A)
    shift = fit.shift_eV + fit.stretch * shapes.middle_eV
    return follow(cut, shapes, kinetics, shapes.point(shift, fit.stretch, fit.width_fwhm_eV),
                  start_ps)


def statements(found: Followed) -> Iterator[str]:
    """Yield sentences: do parts follow each other, and what to keep in mind."""
    parts = found.best.model.shapes.parts
    names = [part.name for part in parts]
    if found.unfixed:
        yield (f"Whether the parts follow each other stays open, for {found.unfixed}. All have one"
               " time law in this fit.")
    for answer in found.answers:
        yield _answer(answer, names)
    best = found.best
    freedom = best.points - best.parameters
    if best.chi2 > freedom + 4 * np.sqrt(2 * freedom):
        yield (f"Even the best does not describe the map: chi2 is {best.chi2:.0f} for {freedom}"
               " degrees of freedom; errors and answers above are then too sure.")
    values, errors = best.strengths(found.data.delay_ps)
    for part, value, error in zip(parts, values, errors, strict=True):
        low = int(np.argmin(value + SURE * error))
        if part.kind != "shift" and value[low] < -SURE * error[low]:
            yield (f"The strength of {part.name} is negative at {found.data.delay_ps[low]:g} ps, by"
                   f" {-value[low] / error[low]:.0f} errors, which no {part.name} can be: a part is"
                   " missing, or its shape is wrong.")
    yield from _collinear(found, names)
    if found.data.scatter is not None:
        yield (f"The map has no errors: {found.data.scatter:.3g}, that of every point, is from its"
               " own scatter.")
    yield ("Errors are those of the noise: what the calculation may be wrong by multiplies a part"
           " at all delays alike.")


def _answer(answer: Follows, names: Sequence[str]) -> str:
    first, *others = (names[i] for i in answer.parts)
    who = f"{' and '.join(others)} and {first}" if len(others) == 1 else "All parts together"
    says = ("follow one time law" if answer.delta_bic < -STRONG else
            "do not follow one time law" if answer.delta_bic > STRONG else
            "may or may not follow one time law")
    differ = ", ".join(
        f"{name} {value:+.3g} ± {error:.2g} ps" for name, value, error in zip(
            others, answer.difference_ps, answer.difference_err_ps, strict=True))
    return (f"{who} {says}: BIC of one is {abs(answer.delta_bic):.1f}"
            f" {'lower' if answer.delta_bic < 0 else 'higher'} than that of own ones; likelihood"
            f" ratio {answer.likelihood_ratio:.1f} for {answer.freedom} degrees of freedom (p ="
            f" {answer.p:.2g}). Mean lifetime against that of {first}: {differ}.")


def _collinear(found: Followed, names: Sequence[str]) -> Iterator[str]:
    """Yield which shapes the energies do not tell apart, at each delay alone."""
    model = found.best.model
    white = model.white(model.shapes.at(found.best.point)[0][None])
    covariance = np.linalg.pinv(np.einsum("tmp,tmq->pq", white, white))
    size = np.sqrt(covariance.diagonal())
    for j in range(len(names)):
        for i in range(j):
            value = covariance[i, j] / (size[i] * size[j])
            if abs(value) > COLLINEAR:
                yield (f"{names[i]} and {names[j]} are collinear in this window (correlation"
                       f" {value:+.2f} at each delay): read their sum only.")
