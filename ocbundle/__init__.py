"""Encrypted, verifiable, single-file backups of OpenClaw gateways."""
