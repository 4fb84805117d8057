"""Bonds, octahedra, tilts and displacements of any framework of corner-sharing BX6 octahedra.

Axes. The three pseudo-cubic axes are found from the bonds themselves, whatever the setting or
orientation: every X-B-X line of every octahedron belongs to one of three directions, which are
averaged over the crystal. The mean step from B to B along each direction is fixed by the lattice,
so it is the same before and after a distortion. The axial direction is the one whose step differs
most from the other two (c in Pbnm, b in Pnma). In a cubic crystal, where none does, the motion of
its atoms singles one out in the same way, where there is one (``Framework.by_motion``), else it is
the one nearest to the lattice vector c. It can be given instead.

Elements. X may be several elements (mixed halides), and so may B (double perovskites). Atoms of
molecules and of anions such as NO3 are no X. Octahedra that share edges or faces are refused: axial
bonds and tilts are those of corner-sharing ones. B that lack an octahedron, beside a vacancy say,
are set aside.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.kernels.geometry import Octahedra, octahedra
from perovskite_polaron.lattice.anions import MOLECULAR, common_anions, in_molecules
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.matching import displacement

_SEVENTH = 1.15
# Steps, and mean squares of motion, that agree to this are equal.
_EQUAL = 1e-3


@dataclass(frozen=True, eq=False)
class Framework:
    """Which X surrounds which B, found once for a crystal and valid for small distortions of it.

    Attributes
    ----------
    crystal : Crystal
        The crystal it was found in.
    b, x : str
        Elements, several as Ag/Bi.
    centres : (b,) int64
        Atoms B.
    ligands : (b, 6) int64
        Atoms X around each B, ordered +1 −1 +2 −2 +3 −3 along the axes.
    images : (b, 6, 3) int64
        Lattice translation of each of them.
    axes : (3, 3) float64
        Unit vectors (rows), the last is axial.
    bridges : (k, 2) int64
        Pairs of bonds (6·octahedron + ligand) that end on one X.
    set_aside : (k,) int64
        Atoms of the elements B that are not in an octahedron.
    is_cubic : bool
        Whether the three steps from B to B are equal, so that they tell no axial direction.
    """

    crystal: Crystal
    b: str
    x: str
    centres: NDArray[np.int64]
    ligands: NDArray[np.int64]
    images: NDArray[np.int64]
    axes: Array
    bridges: NDArray[np.int64]
    set_aside: NDArray[np.int64]
    is_cubic: bool = False

    @property
    def bonds_A(self) -> Array:
        """(b, 6, 3) vectors from B to X, Å."""
        return _bonds_A(self.crystal, self.centres, self.ligands, self.images)

    @property
    def axial_x(self) -> NDArray[np.int64]:
        """Atoms X bound along the axial direction."""
        return np.unique(self.ligands[:, 4:])

    @property
    def equatorial_x(self) -> NDArray[np.int64]:
        """Atoms X bound along the two equatorial directions."""
        return np.unique(self.ligands[:, :4])

    def toward(self, direction: ArrayLike) -> "Framework":
        """Return the same octahedra with the axis nearest to a Cartesian direction as axial."""
        last = int(np.argmax(np.round(np.abs(self.axes @ np.asarray(direction)), 9)))
        order = [(last + 1) % 3, (last + 2) % 3, last]
        slots = [2 * axis + side for axis in order for side in (0, 1)]
        ligands, images = self.ligands[:, slots], self.images[:, slots]
        return replace(self, ligands=ligands, images=images, axes=self.axes[order],
                       bridges=_bridges(self.crystal, self.centres, ligands, images))

    def by_motion(self, moved_A: ArrayLike) -> "Framework":
        """Return the octahedra of a cubic crystal with the axis along which its atoms move most
        otherwise than along the other two as the axial one: that of a wave along an axis, or that
        which a tilt turns about. Those of another crystal, and of a motion that is alike along all
        three, are returned as they are.

        Parameters
        ----------
        moved_A
            (n, 3) displacements or a pattern, real or complex, of any size.
        """
        squares = (np.abs(np.asarray(moved_A) @ self.axes.T) ** 2).sum(axis=0)
        odd = _oddness(squares)
        if not self.is_cubic or odd.max() <= _EQUAL * squares.sum():
            return self
        return self.toward(self.axes[int(odd.argmax())])


@dataclass(frozen=True, eq=False)
class BondReport:
    """Geometry of one crystal; means are over all bonds of the class, angles in degrees.

    An angle is None where no X of its class joins two B.
    """

    framework: Framework
    axial_A: float
    equatorial_A: float
    axial_angle_deg: float | None
    equatorial_angle_deg: float | None
    octahedra: Octahedra

    def by_pair(self) -> dict[str, dict[str, Array]]:
        """Return the axial and equatorial lengths (Å) of each pair of elements, as ``Ag–Br``."""
        f, species = self.framework, np.array(self.framework.crystal.species)
        lengths, axial = self.octahedra.lengths_A[0], np.arange(6) >= 4
        pairs = np.char.add(np.char.add(species[f.centres], "–")[:, None], species[f.ligands])
        return {str(pair): {"axial": lengths[:, axial][pairs[:, axial] == pair],
                            "equatorial": lengths[:, ~axial][pairs[:, ~axial] == pair]}
                for pair in dict.fromkeys(pairs.ravel().tolist())}

    def offcentring_by_element(self) -> dict[str, float]:
        """Return the mean off-centring (Å) of each element B."""
        species = np.array(self.framework.crystal.species)[self.framework.centres]
        return {str(b): float(self.octahedra.offcentring_A[0][species == b].mean())
                for b in dict.fromkeys(species.tolist())}


@dataclass(frozen=True, eq=False)
class Displacements:
    """How far atoms moved between two structures of one crystal, apart from the centre of mass.

    Attributes
    ----------
    displacement_A : (n, 3) float64
        Å, in the order and axes of the reference.
    classes_A : dict
        Root-mean-square displacement of axial_X, equatorial_X, B and A atoms, Å; without octahedra
        of each element.
    shift_A : (3,) float64
        The rigid translation that was removed, up to a lattice vector, Å.
    """

    displacement_A: Array
    classes_A: dict[str, float]
    shift_A: Array

    @property
    def ratio(self) -> dict[str, float | None]:
        """What class_ratios makes of classes_A; empty without octahedra."""
        return class_ratios(self.classes_A) if "axial_X" in self.classes_A else {}


def find_framework(crystal: Crystal, b: str | None = None, x: str | None = None,
                   axial: str | None = None) -> Framework:
    """Return the octahedra of a crystal.

    Parameters
    ----------
    crystal : Crystal
        A framework of corner-sharing octahedra.
    b, x : str, optional
        Elements, several with commas. By default X is the commonest anion outside of molecules
        (all halogens, if it is one); B is the cation with the shortest six bonds to it, and every
        other atom in an octahedron whose X are not yet bound to two B.
    axial : str, optional
        A lattice vector ("a", "b", "c") near a pseudo-cubic axis; default: see the module.

    Raises
    ------
    InputError
        When there is no anion, an element is missing, half of B are not surrounded by six X in
        three axes, or octahedra share more than corners.
    """
    for element in [e for text in (b, x) if text for e in text.split(",")]:
        crystal.require(element)
    species = np.array(crystal.species)
    free = np.ones(len(species), dtype=bool) if x else ~in_molecules(crystal)
    anions = x.split(",") if x else common_anions(crystal, species[free].tolist())
    cations, atoms, images, distances = _neighbours(crystal, anions, free)
    vectors = _bonds_A(crystal, cations, atoms, images)
    kinds, fits = species[cations], _octahedral(vectors, distances)
    near = min(dict.fromkeys(kinds), key=lambda s: (
        s in MOLECULAR, float(distances[kinds == s, :6].mean())))
    named = np.isin(kinds, b.split(",") if b else near)
    chosen = named & fits
    require(2 * chosen.sum() > named.sum(), f"{b or near} is not in an octahedron of"
            f" {','.join(anions)} in {crystal.label}: name B and X, such as Ag,Bi and Cl,Br")
    if b is None:  # a second B shares X with the first; an A cation binds X that join two B
        bound = np.bincount(atoms[chosen].ravel(), minlength=len(species))
        chosen |= fits & (bound[atoms] < 2).all(axis=1)
    centres, atoms, images = cations[chosen], atoms[chosen], images[chosen]
    _bridges(crystal, centres, atoms, images)  # refuses before axes are looked for
    vectors = vectors[chosen]
    axes = _axes(vectors)
    steps = _steps_A(vectors, axes)
    axes = axes[_axial_last(crystal, steps, axes, axial)]
    order = _slots(crystal, vectors, axes)
    ligands = np.take_along_axis(atoms, order, 1)
    images = np.take_along_axis(images, order[:, :, None], 1)
    b, x = ("/".join(dict.fromkeys(species[i].tolist())) for i in (centres, np.unique(ligands)))
    return Framework(crystal, b, x, centres, ligands, images, axes,
                     _bridges(crystal, centres, ligands, images), cations[named & ~fits],
                     axial is None and bool(_oddness(steps).max() < _EQUAL * steps.mean()))


def bond_report(crystal: Crystal, framework: Framework | None = None) -> BondReport:
    """Return the bond lengths, off-centring, variances, tilts and angles of one crystal."""
    framework = framework or find_framework(crystal)
    zero = np.zeros((1, *framework.ligands.shape, 3))
    found = octahedra(framework.bonds_A, zero, [[0.0]], framework.axes, framework.bridges)
    axial = framework.bridges[:, 0] % 6 >= 4  # ligands 4 and 5 of an octahedron are the axial ones
    lengths, angles = found.lengths_A[0], found.angles_deg[0]
    along, across = (float(a.mean()) if len(a) else None for a in (angles[axial], angles[~axial]))
    return BondReport(framework, float(lengths[:, 4:].mean()), float(lengths[:, :4].mean()),
                      along, across, found)


def sweep_bonds(framework: Framework, patterns: Array, coefficients: ArrayLike) -> Octahedra:
    """Return the geometry for each row of coefficients (s, m), without building the structures.

    Parameters
    ----------
    framework : Framework
        Octahedra of the equilibrium structure.
    patterns : (m, n, 3) float64
        As from distortion.real_patterns for the framework's crystal.
    coefficients : (s, m)
        How much of each pattern, at each point of the sweep.
    """
    changes = patterns[:, framework.ligands] - patterns[:, framework.centres][:, :, None]
    return octahedra(framework.bonds_A, changes, coefficients, framework.axes, framework.bridges)


def compare(displaced: Crystal, reference: Crystal,
            framework: Framework | None = None) -> Displacements:
    """Return how far the atoms of displaced are from those of reference, in whatever order.

    Atoms are matched as matching.displacement does, however far they moved; then the motion of the
    centre of mass is removed.

    Parameters
    ----------
    displaced, reference : Crystal
        Two structures with the same lattice.
    framework : Framework, optional
        Of the reference: it says which atoms are axial. By default it is found, in a cubic crystal
        with the axial direction that the motion singles out; where there is none, classes are the
        elements.

    Raises
    ------
    InputError
        When the two are not the same crystal.
    """
    require(sorted(displaced.species) == sorted(reference.species), f"{displaced.label} and"
            f" {reference.label} differ in composition: compare two structures of one cell")
    require(np.allclose(displaced.lattice_A, reference.lattice_A, atol=1e-3), f"{displaced.label}"
            f" and {reference.label} have different lattices: compare two structures of one cell")
    moved = displacement(displaced, reference, np.inf)
    shift = reference.masses_amu @ moved / reference.masses_amu.sum()
    fractional = shift @ np.linalg.inv(reference.lattice_A)
    moved = moved - shift
    framework = framework or framework_of(reference, moved)
    squares = (moved**2).sum(axis=1)
    classes = (rms_by_element(reference, squares) if framework is None
               else rms_by_class(framework, squares))
    return Displacements(moved, classes, (fractional - np.rint(fractional)) @ reference.lattice_A)


def framework_of(crystal: Crystal, moved_A: ArrayLike) -> Framework | None:
    """Return the octahedra of a crystal whose atoms move, ``Framework.by_motion``; None without."""
    try:
        return find_framework(crystal).by_motion(moved_A)
    except InputError:
        return None


def named_classes(framework: Framework, classes: Mapping[str, float]) -> dict[str, float]:
    """Return classes under what they are in this crystal: ``axial Br``, ``Pb``, ``Cs``."""
    f = framework
    others = [s for s in dict.fromkeys(f.crystal.species) if s not in f"{f.b}/{f.x}".split("/")]
    names = {"axial_X": f"axial {f.x}", "equatorial_X": f"equatorial {f.x}", "B": f.b,
             "A": "/".join(others)}
    return {names[key]: value for key, value in classes.items() if names.get(key, key)}


def rms_by_element(crystal: Crystal, squares: ArrayLike) -> dict[str, float]:
    """Return the root of the mean of squares over the atoms of each element."""
    values, species = np.asarray(squares, dtype=np.float64), np.array(crystal.species)
    return {s: float(np.sqrt(values[species == s].mean())) for s in dict.fromkeys(crystal.species)}


def class_ratios(classes: Mapping[str, float]) -> dict[str, float | None]:
    """Return the ratios axial_to_equatorial and axial_to_B; None where the denominator is zero."""
    axial = classes["axial_X"]
    return {f"axial_to_{name}": axial / classes[key] if classes[key] > 1e-9 else None
            for name, key in (("equatorial", "equatorial_X"), ("B", "B"))}


def rms_by_class(framework: Framework, squares: ArrayLike) -> dict[str, float]:
    """Return the root of the mean of squares over the atoms axial_X, equatorial_X, B and A.

    A are the atoms that are neither B, set aside or not, nor X; a class without atoms has 0.
    """
    values = np.asarray(squares, dtype=np.float64)
    x = framework.x.split("/")
    members: dict[str, Any] = {
        "axial_X": framework.axial_x, "equatorial_X": framework.equatorial_x,
        "B": framework.centres, "A": [i for i, s in enumerate(framework.crystal.species) if i not in
                                      (*framework.centres, *framework.set_aside) and s not in x]}
    return {k: float(np.sqrt(values[v].mean())) if len(v) else 0.0 for k, v in members.items()}


def _bonds_A(crystal: Crystal, centres: NDArray[np.int64], ligands: NDArray[np.int64],
             images: NDArray[np.int64]) -> Array:
    x = crystal.positions
    return (x[ligands] + images - x[centres][:, None]) @ crystal.lattice_A


def _neighbours(crystal: Crystal, x: list[str], free: NDArray[np.bool_]) -> tuple[
        NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Array]:
    """Cations (b,) and their six nearest X, of the free atoms: atoms, translations; distances of
    the nearest seven.
    """
    p, inside = crystal.positions, np.isin(crystal.species, x)
    centres, anions = np.flatnonzero(~inside), np.flatnonzero(inside & free)
    require(len(centres), f"{crystal.label} holds {', '.join(x)} only: B is missing")
    heights = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice_A), axis=0)
    reach = np.ceil(5.0 / heights).astype(int)
    cells = np.array(list(product(*[range(-k, k + 1) for k in reach])))
    atoms, images, distances = [], [], []
    for centre in centres:
        delta = p[anions] - p[centre]
        nearest = np.rint(delta)
        shifts = cells[None] - nearest[:, None]
        d = np.linalg.norm((delta[:, None] + shifts) @ crystal.lattice_A, axis=2).ravel()
        best = np.argsort(d, kind="stable")[:7]
        atom, cell = np.unravel_index(best, (len(anions), len(cells)))
        atoms.append(anions[atom[:6]])
        images.append(shifts[atom[:6], cell[:6]])
        distances.append(d[best])
    return centres, np.array(atoms), np.array(images, dtype=np.int64), np.array(distances)


def _octahedral(vectors: Array, distances: Array) -> NDArray[np.bool_]:
    """Which cations (b,) have six X in three lines, the seventh being farther."""
    unit = vectors / np.maximum(distances[:, :6, None], 1e-9)
    # The cosine of an X-B-X line; in a trigonal prism none is below -0.72.
    lines = ((unit @ unit.swapaxes(1, 2) < -0.75).sum(axis=2) == 1).all(axis=1)
    return lines & (distances[:, 6] >= _SEVENTH * distances[:, 5])


def _axes(vectors: Array) -> Array:
    """Unit pseudo-cubic axes (3, 3): X-B-X lines of one octahedron, averaged over the crystal."""
    unit = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    opposite = (unit[0] @ unit[0].T).argmin(axis=1)
    axes = np.array([unit[0, i] - unit[0, j] for i, j in enumerate(opposite) if i < j])
    for _ in range(3):
        axes /= np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-9)
        along = unit.reshape(-1, 3) @ axes.T
        owner = np.abs(along).argmax(axis=1)
        sign = np.sign(along[np.arange(len(along)), owner])
        axes = np.array([(vectors.reshape(-1, 3) * sign[:, None])[owner == k].sum(axis=0)
                         for k in range(3)])
    axes /= np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-9)
    return np.array([a * np.sign(a[np.abs(a).argmax()]) for a in axes])


def _oddness(values: Array) -> Array:
    """How far each of three values is from the nearer one of the other two."""
    return np.array([np.abs(values[k] - np.delete(values, k)).min() for k in range(3)])


def _steps_A(vectors: Array, axes: Array) -> Array:
    """Mean steps (3,) from B to B along the axes, Å."""
    flat = vectors.reshape(-1, 3) @ axes.T
    owner = np.abs(flat).argmax(axis=1)
    return np.array([np.abs(flat[owner == k, k]).sum() / len(vectors) for k in range(3)])


def _axial_last(crystal: Crystal, steps: Array, axes: Array, axial: str | None) -> list[int]:
    if axial is None:
        odd = _oddness(steps)
        cubic = odd.max() < _EQUAL * steps.mean()
        direction = crystal.lattice_A[2] if cubic else axes[int(odd.argmax())]
    elif axial in ("a", "b", "c"):
        direction = crystal.lattice_A["abc".index(axial)]
    else:
        raise InputError(f"axial direction {axial!r} is not a lattice vector: give a, b or c")
    cosine = np.abs(axes @ direction) / np.linalg.norm(direction)
    # Of axes equally near, the one along Cartesian z or y: whatever rounding says.
    last = int(np.lexsort(np.round([*np.abs(axes.T), cosine], 4))[-1])
    require(axial is None or cosine[last] >= 0.9, f"axial direction {axial} is near no pseudo-cubic"
            f" axis of {crystal.label}: give another")
    return [(last + 1) % 3, (last + 2) % 3, last]


def _slots(crystal: Crystal, vectors: Array, axes: Array) -> NDArray[np.int64]:
    """Order (b, 6) in which the six ligands of each B lie along +1 −1 +2 −2 +3 −3."""
    along = vectors @ axes.T
    owner = np.abs(along).argmax(axis=2)
    slot = 2 * owner + (np.take_along_axis(along, owner[:, :, None], 2)[:, :, 0] < 0)
    order = slot.argsort(axis=1)
    require((np.take_along_axis(slot, order, 1) == np.arange(6)).all(),
            f"the octahedra of {crystal.label} have no common axes: name another B or X")
    return order


def _bridges(crystal: Crystal, centres: NDArray[np.int64], ligands: NDArray[np.int64],
             images: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of bonds that end on one X, in a framework that shares corners only."""
    flat, cells = ligands.ravel(), images.reshape(-1, 3)
    ends = [np.flatnonzero(flat == atom) for atom in np.unique(flat)]
    # How many X join one B to another, which is in the cell that the last three numbers say.
    joined = Counter((i // 6, j // 6, *(cells[i] - cells[j]))
                     for pair in ends for i, j in permutations(pair, 2))
    shared = max(joined.values(), default=0)
    words = {2: "edges shared", 3: "faces shared"}.get(shared, "one X in more than two octahedra")
    require(shared < 2 and max(map(len, ends)) <= 2, f"{crystal.label} is not corner-sharing"
            f" ({words} around {', '.join(sorted({crystal.species[i] for i in centres}))}): axial"
            " bonds and tilts do not apply; name B and X of a corner-sharing framework, if any")
    return np.array([p for p in ends if len(p) == 2], dtype=np.int64).reshape(-1, 2)
