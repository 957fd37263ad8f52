"""Where OpenClaw's databases hold absolute paths, and what is done with each: one table, and nothing else decides.

It names what releases of the hybrid era (state schema 1) and of the SQLite era (state schema 18, agent schema 23) have;
what a database lacks is skipped. Paths in any other column are counted and reported, never changed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final


class How(enum.Enum):
    """What a column holds."""

    PATH = enum.auto()
    REAL = enum.auto()
    """A path that OpenClaw has freed of symbolic links."""
    JSON = enum.auto()
    """JSON whose strings may be paths."""
    ENTRY = enum.auto()
    """A session's entry: JSON, of which the record of the last turn is history."""
    CWD = enum.auto()
    """A transcript's events: the first says where the session works, the rest is history."""
    WORKSPACE = enum.auto()
    """A workspace's path, and its SHA-256 as the key."""
    HISTORY = enum.auto()
    """What was, and where: it stays."""


KNOWN_SCHEMAS: Final[Mapping[bytes, int]] = {b"openclaw.sqlite": 18, b"openclaw-agent.sqlite": 23}
"""The newest ``user_version`` that the table below was made from."""

COLUMNS: Final[tuple[tuple[str, str, How], ...]] = (
    # Without these, jobs, sessions and workspaces are lost after a move.
    ("cron_jobs", "store_key", How.PATH),
    ("cron_jobs", "job_json", How.JSON),
    ("cron_job_scratch", "store_key", How.PATH),
    ("cron_run_receipts", "store_key", How.PATH),
    ("cron_run_logs", "store_key", How.PATH),
    ("agent_databases", "path", How.PATH),
    ("workspace_setup_state", "workspace_key", How.WORKSPACE),
    ("workspace_setup_state", "workspace_path", How.WORKSPACE),
    ("workspace_generated_bootstrap_hashes", "workspace_key", How.WORKSPACE),
    ("workspace_path_aliases", "alias_key", How.WORKSPACE),
    ("workspace_path_aliases", "alias_path", How.WORKSPACE),
    ("workspace_path_aliases", "workspace_key", How.WORKSPACE),
    ("workspace_path_aliases", "workspace_path", How.WORKSPACE),
    ("session_nodes", "entry_json", How.ENTRY),
    ("transcript_events", "event_json", How.CWD),
    # What the configuration, plugins and agents are known by.
    ("config_health_entries", "config_path", How.PATH),
    ("config_machine_state", "value_json", How.JSON),
    ("installed_plugin_index", "install_records_json", How.JSON),
    ("installed_plugin_index", "plugins_json", How.JSON),
    ("installed_plugin_index", "diagnostics_json", How.JSON),
    ("plugin_binding_approvals", "plugin_root", How.PATH),
    ("current_conversation_bindings", "metadata_json", How.JSON),
    ("current_conversation_bindings", "record_json", How.JSON),
    ("agent_model_catalogs", "agent_dir", How.PATH),
    ("auth_profile_stores", "store_key", How.PATH),
    ("auth_profile_state", "store_key", How.PATH),
    ("exec_approvals_config", "socket_path", How.PATH),
    ("exec_approvals_config", "raw_json", How.JSON),
    # An agent that is being deleted: the wrong directory would be.
    ("agent_deletion_journal", "agent_dir", How.PATH),
    ("agent_deletion_journal", "workspace_dir", How.PATH),
    ("agent_deletion_journal", "sessions_dir", How.PATH),
    ("agent_deletion_journal", "database_paths_json", How.JSON),
    ("agent_deletion_journal", "cleanup_paths_json", How.JSON),
    # Where sessions and their helpers work.
    ("acp_sessions", "cwd", How.PATH),
    ("acp_sessions", "identity_json", How.JSON),
    ("acp_sessions", "runtime_options_json", How.JSON),
    ("acp_replay_sessions", "cwd", How.PATH),
    ("session_groups", "cwd", How.PATH),
    ("session_watch_cursors", "watcher_store_path", How.REAL),
    ("subagent_runs", "controller_store_path", How.REAL),
    ("subagent_runs", "requester_store_path", How.REAL),
    ("subagent_runs", "agent_dir", How.PATH),
    ("subagent_runs", "workspace_dir", How.PATH),
    ("subagent_runs", "payload_json", How.JSON),
    ("projects", "repo_root", How.PATH),
    ("worktrees", "repo_root", How.REAL),
    ("worktrees", "path", How.REAL),
    ("worktree_templates", "repo_root", How.REAL),
    ("worktree_templates", "common_dir", How.REAL),
    ("worktree_templates", "worktree_root", How.REAL),
    ("worktree_templates", "path", How.REAL),
    # Files that other rows speak of.
    ("claw_installs", "package_root", How.PATH),
    ("claw_installs", "manifest_path", How.PATH),
    ("claw_installs", "workspace", How.PATH),
    ("claw_installs", "bootstrap_source_path", How.PATH),
    ("claw_installs", "agent_owned_paths_json", How.JSON),
    ("claw_workspace_files", "target_path", How.PATH),
    ("claw_workspace_files", "workspace", How.PATH),
    ("claw_workspace_files", "source_path", How.PATH),
    ("claw_cron_refs", "job_json", How.JSON),
    ("fleet_cells", "data_dir", How.PATH),
    ("managed_outgoing_image_records", "original_media_root", How.PATH),
    ("managed_outgoing_image_records", "record_json", How.JSON),
    ("outbound_media_provenance", "realpath", How.REAL),
    ("skill_usage", "skill_file", How.PATH),
    ("skill_workshop_proposals", "record_json", How.JSON),
    ("skill_workshop_proposal_rollbacks", "target_skill_file", How.PATH),
    # What was, and where.
    ("backup_runs", "archive_path", How.HISTORY),
    ("backup_runs", "manifest_json", How.HISTORY),
    ("capture_events", "path", How.HISTORY),
    ("diagnostic_events", "payload_json", How.HISTORY),
    ("migration_runs", "report_json", How.HISTORY),
    ("migration_sources", "source_path", How.HISTORY),
    ("migration_sources", "report_json", How.HISTORY),
    ("trajectory_runtime_events", "event_json", How.HISTORY),
)

SKIPPED_TABLES: Final = (
    "acp_replay_events",
    "audit_events",
    "cache_entries",
    "capture_",
    "meeting_transcript_",
    "memory_",
    "plugin_blob_entries",
    "session_transcript_",
    "standing_intents",
    "trajectory_",
    "transcript_",
)
"""How tables are called that aren't searched for further paths: what was said, and indices of it. They may be huge."""

CLEARED: Final[tuple[tuple[str, str], ...]] = (
    ("state_leases", "1"),
    ("agent_database_leases", "1"),
    ("delivery_queue_entries", "1"),
    ("plugin_blob_entries", "expires_at IS NOT NULL"),
)
"""Rows that must not come back, by OpenClaw's own rule for restored databases.

They would send messages a second time, or hold leases for processes of the old machine.
"""
