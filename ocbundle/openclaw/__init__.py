"""OpenClaw, behind a small interface: what to capture, and what to rewrite after a move."""
