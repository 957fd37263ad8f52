"""Run one shell command and print, as JSON, what it took: seconds, CPU seconds, peak memory in KiB, exit status.

A process of its own, and a small one: Linux counts into a child's peak what its parent held when it was started, so
that a benchmark with a data set in its memory would measure itself.
"""

import json
import os
import sys
import time

start = time.perf_counter()
pid = os.posix_spawnp(
    "bash",
    ["bash", "-o", "pipefail", "-c", sys.argv[1]],
    os.environ,
    file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
)
_, status, usage = os.wait4(pid, 0)
wall_s = time.perf_counter() - start
print(json.dumps([wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status)]))
