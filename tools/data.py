"""Say which data the notebooks will run on, and make its cache before they start.

    python tools/data.py                    # a line for the log
    python tools/data.py --nbval            # the same, and on stdout the option that nbval is to have
    python tools/data.py --expect glyphs    # fail if it is another

With Omniglot nbval compares what a notebook gives with what it stores. Glyphs give other numbers, so
there only the assertions in the notebooks count (`--nbval-lax`).
"""

from __future__ import annotations

import argparse
import contextlib
import sys

from mlbook import load

WORDS = {
    "omniglot": "Omniglot (the real one: notebooks must give what they store)",
    "glyphs": "glyphs (Omniglot cannot be had here: the assertions in the notebooks decide)",
}
OPTIONS = {"omniglot": "--nbval", "glyphs": "--nbval-lax"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nbval", action="store_true", help="print nbval's option on stdout")
    parser.add_argument("--expect", choices=WORDS, help="fail if the data is another")
    arguments = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):
        name = load("omniglot", fallback="glyphs").name
        print(f"Data: {WORDS[name]}", flush=True)
    if name == "omniglot":  # a notebook may want both
        load("glyphs")
    if arguments.expect not in (None, name):
        sys.exit(f"error: expected {arguments.expect}, found {name}")
    if arguments.nbval:
        print(OPTIONS[name])


if __name__ == "__main__":
    main()
