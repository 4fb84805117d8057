"""The atom in a box at several cut-offs: a cut-off that is too low is told from a ghost."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import polaron_here

from perovskite_polaron.errors import ComputationError
from perovskite_polaron.espresso.atom_box import (
    BoxCheck, BoxLevel, check_levels_in_box, sufficient, why_off)
from perovskite_polaron.espresso.pseudo import Level, make_pseudo, read_levels
from perovskite_polaron.espresso.upf import Pseudopotential
