"""OpenClaw, behind a small interface: what to capture, and what to rewrite after a move.

>>> found = discover({"HOME": "/home/alice"})  # doctest: +SKIP
>>> [source.name for source in found.sources]  # doctest: +SKIP
['default', 'work', 'default.workspace.research']
"""

from ocbundle.openclaw.discovery import Discovery, discover
from ocbundle.openclaw.states import Left

__all__ = ["Discovery", "Left", "discover"]
