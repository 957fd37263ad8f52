"""Mutation testing: small faults are put into a module, one at a time, and the tests must notice each.

    python tests/mutation/run.py                    all modules: the row S12 of the scoreboard
    python tests/mutation/run.py wire paths         some of them
    python tests/mutation/run.py --quick            a sample of each
    python tests/mutation/run.py wire --match zeros only mutants whose line holds that text

``operators`` says what a small fault is, ``run`` tries them, and ``survivors.toml`` names every mutant that lives, with
the reason. A mutant that lives and isn't named there fails the run, and so does a name that no living mutant has.

Left alone are docstrings, annotations, decorators and the words of error messages (with their hints): they are for
people, and the type checker. What an error carries beside its words is no text: path, offset and rule are mutated.

Known tools were tried on paper first. mutmut leaves out module-level tables and whatever is decorated, which is most of
a codec; cosmic-ray rewrites files in place, starts an interpreter for each mutant, and neither deletes statements nor
touches slices and keyword arguments.
"""
