#!/bin/sh
# Make sure that Quantum ESPRESSO is there: with apt when this user may, else say in one line how to
# get it. With the reference BLAS, which Debian puts beside it, pw.x diagonalises at half the speed
# of OpenBLAS.
set -e
found=yes
for program in pw.x xspectra.x ld1.x; do command -v "$program" >/dev/null || found=no; done
if [ $found = yes ]; then exit 0; fi
if [ -n "$POLARON_ESPRESSO_BIN" ] && [ -x "$POLARON_ESPRESSO_BIN/pw.x" ]; then exit 0; fi
hint="Quantum ESPRESSO (pw.x, xspectra.x, ld1.x) is missing: apt install quantum-espresso, or set\
 POLARON_ESPRESSO_BIN to its folder"
command -v apt-get >/dev/null || { echo "$hint" >&2; exit 1; }
as=""
if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || { echo "$hint" >&2; exit 1; }
    as="sudo"
fi
echo "installing quantum-espresso with apt" >&2
$as apt-get update -qq
$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq quantum-espresso \
    libopenblas0-serial >/dev/null
