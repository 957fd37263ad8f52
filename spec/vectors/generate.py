"""Makes the test vectors: ``python spec/vectors/generate.py`` writes them beside this script, ``--check`` compares.

The same bytes come out every time, on every machine, with every version of every library.
"""

from __future__ import annotations

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SUFFIX = ".vector"

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(HERE)))

# Each module enters its vectors into the table.
from spec.vectors import ends, framing, keys, manifest, order, rows, sealed, sound, sound_manifest, together  # noqa: E402, F401
from spec.vectors.cases import CASES  # noqa: E402


def make() -> dict[str, bytes]:
    """All vectors, by file name."""
    return {name + SUFFIX: case.encode() for name, case in sorted(CASES.items())}


def read() -> dict[str, bytes]:
    """The vectors on disk, by file name."""
    found = {}
    for name in sorted(os.listdir(HERE)):
        if name.endswith(SUFFIX):
            with open(os.path.join(HERE, name), "rb") as file:
                found[name] = file.read()
    return found


def main(arguments: list[str]) -> int:
    """Write, or compare; the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: generate.py [--check]", file=sys.stderr)
        return 2
    made, found = make(), read()
    wrong = sorted(name for name in made.keys() | found.keys() if made.get(name) != found.get(name))
    if arguments:
        for name in wrong:
            print(f"{name}: {'missing' if name not in found else 'superfluous' if name not in made else 'differs'}")
        return 1 if wrong else 0
    for name in wrong:
        if name not in made:
            os.unlink(os.path.join(HERE, name))
            continue
        with open(os.path.join(HERE, name), "wb") as file:
            file.write(made[name])
    print(f"{len(made)} vectors, {len(wrong)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
