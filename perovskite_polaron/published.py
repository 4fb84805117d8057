"""Records of what an article reported: places in a spectrum, a pump-probe experiment, and claims.

An article is data: ``published_cspbbr3.py`` holds one, and ``report/subject.py`` lists them. Rules
that judge a claim by what was calculated are in ``report/claims.py``.
"""

from dataclasses import dataclass

FIRST_MAXIMUM, STEEPEST_RISE = "first maximum", "steepest rise"


@dataclass(frozen=True)
class Feature:
    """A place in a measured transient.

    Attributes
    ----------
    energy_eV, offset_eV
        Photon energy, and the same from the anchor of the ground state (see ``Article``).
    sign
        +1: absorption is gained there, −1: lost.
    extremum
        What the steady state has there: +1 a maximum, −1 a minimum, 0 neither.
    structural
        Whether displaced atoms alone are said to make it; near the edge the carriers do, and they
        are not calculated.
    """

    energy_eV: float
    offset_eV: float
    sign: int
    extremum: int
    structural: bool


@dataclass(frozen=True)
class PumpProbe:
    """Pump, sample and decay of a pump-probe experiment.

    Attributes
    ----------
    fluence_mJ_cm2, wavelength_nm
        Of the pump.
    size_A, concentration_mg_mL
        Edge of a nanocrystal, and how much of them is in the jet.
    assumed_jet_A
        Thickness of the jet that the heating estimate takes.
    delta_T_K, cooling_ps, cooled_at_ps
        Published upper limit of the rise, time constant of the cooling, and the delay at which a
        temperature is published.
    irf_sigma_ps
        Standard deviation of the instrument's response.
    lifetimes_ps
        Each with its standard error.
    fractions, offset
        Amplitudes of the exponentials, and of what does not decay.
    """

    fluence_mJ_cm2: float
    wavelength_nm: float
    size_A: float
    concentration_mg_mL: float
    assumed_jet_A: float
    delta_T_K: float
    cooling_ps: float
    cooled_at_ps: float
    irf_sigma_ps: float
    lifetimes_ps: tuple[tuple[float, float], ...]
    fractions: tuple[float, ...]
    offset: float


@dataclass(frozen=True)
class Archive:
    """Where the measured data of an article are public.

    Attributes
    ----------
    key
        What ``polaron reproduce`` calls the article.
    place, doi, licence
        Of the record.
    file, md5
        Its packed file, and that file's checksum as the record gives it.
    edges
        As ``Br-K``: of which there are spectra.
    """

    key: str
    place: str
    doi: str
    licence: str
    file: str
    md5: str
    edges: tuple[str, ...]


@dataclass(frozen=True)
class Claim:
    """A published statement and how it is judged.

    Attributes
    ----------
    topic
        The table of the report that it stands in: ``summary``, ``heating``, ``shape`` or ``hot``.
    statement
        In words; ``{name}`` becomes the name of the structure that it is judged by,
        ``{assumed}`` what is assumed of the heat.
    source
        Where the article says it.
    rule
        Name of the rule in ``report/claims.RULES``.
    values
        What the rule compares with; see there.
    quantity, shown
        For rules on one number: its name in ``report/claims.quantities``, and its format.
    """

    topic: str
    statement: str
    source: str
    rule: str
    values: tuple[float, ...] = ()
    quantity: str = ""
    shown: str = ""


@dataclass(frozen=True)
class Article:
    """What one article reported on one compound at one edge.

    Attributes
    ----------
    source
        The reference, as the report prints it.
    formula, element, edge
        The compound, as ``Crystal.formula`` writes it, its absorbing element, and which edge.
    anchor_eV, anchor
        Photon energy of a place in the spectrum of the ground state, and which: its ``first
        maximum`` or its ``steepest rise``. It puts the calculated axis.
    features, claims
        Places in the transient, and statements.
    pump_probe
        The experiment, None where the article has none.
    archive
        Where its data are, None where they are not public.
    """

    source: str
    formula: str
    element: str
    anchor_eV: float
    features: tuple[Feature, ...]
    claims: tuple[Claim, ...]
    pump_probe: PumpProbe | None = None
    edge: str = "K"
    anchor: str = FIRST_MAXIMUM
    archive: Archive | None = None
