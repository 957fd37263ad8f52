"""Loops that let the N-th system call fail, kill at any moment, fill disks, write under the reader, and damage bundles.

Each row of the scoreboard is one function, which returns what it counted. Nothing here knows how the library works
inside: it looks at what is there afterwards, and at what was said.
"""
