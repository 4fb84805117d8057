"""What was published on CsPbBr3, as numbers, signs and claims to compare with.

Cannelli et al., J. Am. Chem. Soc. 143, 9048 (2021), unless a constant says otherwise. The measured
curves are in the Materials Cloud Archive, 2021.167, doi 10.24435/materialscloud:2p-e8.
"""

from perovskite_polaron.published import STEEPEST_RISE, Archive, Article, Claim, Feature, PumpProbe

#: What Crystal.formula says of every cell of the compound, and of no other one.
FORMULA = "CsPbBr3"

SOURCE = "Cannelli et al., J. Am. Chem. Soc. 143, 9048 (2021)"
#: The absorber of the transient with all features; first maximum of its ground state.
ELEMENT, WHITE_LINE_EV = "Br", 13472.0

#: Pb L3: where the edge rises most steeply, by the tables (W. T. Elam et al., Radiat. Phys. Chem.
#: 63, 121 (2002), in xraydb). Its first maximum is not published.
PB_EDGE_EV = 13035.0

#: Their longitudinal optical mode along c; Cs takes a marginal part.
MODE = {"energy_meV": 18.0, "axial_to_equatorial": 6.0, "axial_to_B": 2.5}

#: In-plane Born charges of orthorhombic CsPbBr3 (PBE, ph.x), along and across the Pb-Br-Pb line.
CHARGES_E = {"Pb": 4.65, "Br along": -4.20, "Br across": -0.84}
EPSILON_INF = 4.75

#: Bare hole mass, electron masses: Puppin et al., Phys. Rev. Lett. 124, 206402 (2020); α = 1.82.
HOLE_MASS = 0.17

#: Edge -> the two windows of the comparison parameter C, and the factor that their figure shows.
SHAPE_WINDOWS_EV = {
    "Br-K": ((13471.0, 13472.0), (13468.0, 13469.0), 2.0),
    "Pb-L3": ((13044.0, 13047.0), (13037.0, 13040.0), 1.0)}

#: Of the nanocrystals; what a photon of the pump has above it becomes heat at once.
GAP_EV = 2.4
#: What the orthorhombic crystal becomes on heating, and between which temperatures (°C).
TRANSITIONS_C = (("tetragonal", 50.0, 59.0), ("cubic", 108.0, 117.0))

# Photon energy, sign, extremum of the steady state, whether displaced atoms alone make it.
_FEATURES = (
    (13467.5, +1, 0, False),
    (13472.0, -1, +1, False),
    (13476.5, +1, 0, False),
    (13485.0, -1, +1, True),
    (13497.0, +1, -1, True),
    (13508.0, -1, +1, True),
)  # fmt: skip
FEATURES = tuple(Feature(energy, energy - WHITE_LINE_EV, sign, extremum, structural)
                 for energy, sign, extremum, structural in _FEATURES)

PUMP_PROBE = PumpProbe(
    fluence_mJ_cm2=8.8, wavelength_nm=355.0, size_A=100.0, concentration_mg_mL=5.8,
    # The thickness of the jet is not published; the estimate needs one.
    assumed_jet_A=2e6,
    delta_T_K=120.0, cooling_ps=300.0, cooled_at_ps=600.0,
    # Global fit of the traces at 13.472 keV (Br) and 13.043 keV (Pb).
    irf_sigma_ps=45.0, lifetimes_ps=((120.0, 20.0), (900.0, 300.0)), fractions=(0.60, 0.21),
    offset=0.19,
)  # fmt: skip

CLAIMS = (
    Claim("summary", "{name}: the displacement explains the post-edge signs −, +, − at 13.485, "
          "13.497, 13.508 keV", "figure 4", "signs"),
    Claim("summary", "{name} with carriers: absorption is {sign} at {place}", "figure 4",
          "near edge"),
    Claim("summary", "{name}: said not to fit the transient between 13.492 and 13.505 keV, which "
          "gains at 13.497", "figure 4", "mismatch", (13492.0, 13505.0)),
    # A place is read off a figure, and PBE stretches energies above the edge by some per cent.
    Claim("summary", "the steady state has a {extremum} (within 2 eV)", "figure 2", "steady",
          (2.0,)),
    # Bond lengths within half a unit of the last published digit, ratios within a fifth.
    Claim("summary", "Pb–Br axial 2.958 Å in the equilibrium structure", "", "within",
          (2.958, 0.0005), "axial_A", "{:.4f} Å"),
    Claim("summary", "Pb–Br equatorial 2.964 Å in the equilibrium structure", "", "within",
          (2.964, 0.0005), "equatorial_A", "{:.4f} Å"),
    Claim("summary", "axial Br moves 6 times as far as equatorial Br (within a fifth)", "",
          "within", (6.0, 1.2), "axial_to_equatorial", "{:.2f} times"),
    Claim("summary", "axial Br moves 2.5 times as far as Pb (within a fifth)", "", "within",
          (2.5, 0.5), "axial_to_B", "{:.2f} times"),
    Claim("heating", "upper limit of the temperature rise ≈ 120 K", "", "heating", (120.0,)),
    Claim("heating", "≈ 40 °C at 600 ps with 300 ps of Newton's cooling", "", "cooled",
          (40.0, 5.0)),
    Claim("shape", "C of the transient does not change as it decays (within a fifth)", "figure 3",
          "constant C", (0.2,)),
    Claim("shape", "C of the heated sample is positive above 60 °C ({name})", "figure 3",
          "positive C"),
    Claim("hot", "C of the sample at {name}, against 25 °C, is positive", "figure 3", "heated C",
          (60.0,)),
    Claim("hot", "the steady state at 25 °C has a {extremum} (within 2 eV)", "figure 2",
          "hot steady", (2.0,)),
)  # fmt: skip

# Above the edge they leave carriers behind; the others lie where excited carriers change the
# spectrum too. The same lattice at another atom: the article did not calculate this edge.
_PB_FEATURES = (
    (13031.0, +1, 0, False),
    (13038.0, +1, 0, False),
    (13043.0, -1, 0, False),
    (13060.0, +1, 0, True),
)  # fmt: skip
PB_FEATURES = tuple(Feature(energy, energy - PB_EDGE_EV, sign, extremum, structural)
                    for energy, sign, extremum, structural in _PB_FEATURES)
PB_CLAIMS = (
    Claim("summary", "{name}: Pb L3 gains at 13.060 keV (not calculated in the article)", "",
          "signs"),
    Claim("hot", "C of the sample at {name}, against 25 °C, is positive", "figure 3", "heated C",
          (35.0,)),
)  # fmt: skip

ARCHIVE = Archive(
    key="cannelli2021", place="Materials Cloud Archive 2021.167",
    doi="10.24435/materialscloud:2p-e8", licence="CC-BY 4.0", file="dataset.tar.gz",
    md5="13657aee2e61fb8f401e9bd6aa307799", edges=tuple(SHAPE_WINDOWS_EV))

ARTICLE = Article(SOURCE, FORMULA, ELEMENT, WHITE_LINE_EV, FEATURES, CLAIMS, PUMP_PROBE,
                  archive=ARCHIVE)
PB_ARTICLE = Article(SOURCE, FORMULA, "Pb", PB_EDGE_EV, PB_FEATURES, PB_CLAIMS, None, "L3",
                     STEEPEST_RISE)
ARTICLES = (ARTICLE, PB_ARTICLE)
