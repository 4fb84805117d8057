#!/bin/sh
# Make sure that Quantum ESPRESSO is there: with apt when this user may, else say in one line how to get it.
# With the reference BLAS, which Debian puts beside it, pw.x diagonalises at half the speed of OpenBLAS.
set -e
if command -v pw.x >/dev/null && command -v xspectra.x >/dev/null && command -v ld1.x >/dev/null; then exit 0; fi
if [ -n "$POLARON_ESPRESSO_BIN" ] && [ -x "$POLARON_ESPRESSO_BIN/pw.x" ]; then exit 0; fi
hint="Quantum ESPRESSO (pw.x, xspectra.x, ld1.x) is missing: apt install quantum-espresso, or set POLARON_ESPRESSO_BIN to its folder"
command -v apt-get >/dev/null || { echo "$hint" >&2; exit 1; }
if [ "$(id -u)" = 0 ]; then as=""; elif sudo -n true 2>/dev/null; then as="sudo"; else echo "$hint" >&2; exit 1; fi
echo "installing quantum-espresso with apt" >&2
$as apt-get update -qq
$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq quantum-espresso libopenblas0-serial >/dev/null
