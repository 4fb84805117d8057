"""Real runs, recorded once and played again by programs that write what pw.x, xspectra.x wrote.

For tests of the runner itself, which need hundreds of runs: everything but the computing is real.
"""

import os
import shutil
from pathlib import Path

# Runs the real program (one process), and keeps its output and the small part of what it leaves.
_RECORD = """#!/bin/sh
name=$(basename "$PWD")
case "$name" in polaron-version-*) exec {program} "$@";; esac
{program} "$@" > program.out; status=$?
cat program.out
mkdir -p "{tape}/$name"
mv program.out "{tape}/$name/output"
[ -f chain.sav ] && cp chain.sav "{tape}/$name/"
if [ "{short}" = pw ]; then
    mkdir -p "{tape}/$name/outdir/polaron.save"
    cp outdir/polaron.save/data-file-schema.xml "{tape}/$name/outdir/polaron.save/"
    echo "density of $name" > "{tape}/$name/outdir/polaron.save/charge-density.dat"
fi
exit $status
"""

# Writes what was recorded, in pieces and after a while, as a program does. It notes its start and
# its end, and refuses a density that is not whole. POLARON_TAPE_KEY=kind plays one recording for
# all jobs of a kind and polarisation.
_PLAY = """#!/bin/sh
name=$(basename "$PWD")
case "$name" in polaron-version-*) echo "     Program v.{version} starts"; exit 1;; esac
key=$name
if [ "$POLARON_TAPE_KEY" = kind ]; then
    key=${{name%%-*}}
    [ $key = xas ] && {{ key=${{name%-*}}; key=xas-${{key##*-}}; }}
fi
tape="{tape}/$key"
[ -n "$POLARON_TAPE_LOG" ] && echo "start $name" >> "$POLARON_TAPE_LOG"
if [ {short} = xspectra ]; then
    grep -q "density of" outdir/polaron.save/charge-density.dat || {{ echo "no density"; exit 3; }}
    cp "$tape/chain.sav" part.sav || exit 4
    sleep "${{POLARON_TAPE_SECONDS:-0}}" && mv part.sav chain.sav || exit 4
else
    mkdir -p outdir/polaron.save
    cp "$tape/outdir/polaron.save/data-file-schema.xml" outdir/polaron.save/ || exit 4
    sleep "${{POLARON_TAPE_SECONDS:-0}}"
    cp "$tape/outdir/polaron.save/charge-density.dat" outdir/polaron.save/ || exit 4
fi
cat "$tape/output" || exit 4
[ -n "$POLARON_TAPE_LOG" ] && echo "end $name" >> "$POLARON_TAPE_LOG"
exit 0
"""


def _programs(folder: Path, tape: Path, text: str, version: str = "") -> Path:
    folder.mkdir(parents=True)
    tape.mkdir(exist_ok=True)
    for short in ("pw", "xspectra"):
        path = folder / f"{short}.x"
        path.write_text(text.format(program=shutil.which(path.name), tape=tape, short=short,
                                    version=version))
        path.chmod(0o755)
    os.symlink(shutil.which("ld1.x") or "ld1.x", folder / "ld1.x")
    return folder


def recorder(folder: Path, tape: Path) -> Path:
    """Make a folder for POLARON_ESPRESSO_BIN whose programs are real and record in a folder."""
    return _programs(folder, tape, _RECORD)


def player(folder: Path, tape: Path, version: str) -> Path:
    """Make a folder for POLARON_ESPRESSO_BIN whose programs, of this version, play a tape."""
    return _programs(folder, tape, _PLAY, version)


def generalise(tape: Path) -> None:
    """Let a tape serve any job: one recording of each kind is linked under the kind's name."""
    for one in sorted(tape.glob("*-*-*")):
        kind = one.name.split("-")[0]
        key = f"xas-{one.name.rsplit('-', 2)[1]}" if kind == "xas" else kind
        if not (tape / key).exists():
            os.symlink(one.name, tape / key)
