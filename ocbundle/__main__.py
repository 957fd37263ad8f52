"""``python -m ocbundle``: the same as the ``ocbundle`` program."""

from ocbundle.cli import main

main()
