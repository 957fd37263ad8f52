"""Build a real OpenClaw installation in a home of its own, with made-up secrets only.

Usage: make_gateway.py LAB HOME. OpenClaw is installed from the npm registry into LAB, unless it is there already;
needs npm. It then runs for real: two profiles, agents' turns against a model that is made up, a cron job, a short run
of the gateway. What it can't write without accounts elsewhere, such as a channel login, is added in the shape that its
documentation gives. The gateway listens on the loopback interface only. Takes about a minute.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

VERSION: Final = "2026.9.6"
NODE: Final = "24"
QUIET: Final = ("--no-audit", "--no-fund", "--loglevel=error")
ONBOARD: Final = (
    "onboard", "--non-interactive", "--accept-risk", "--mode", "local", "--gateway-bind", "loopback",
    "--gateway-auth", "token", "--skip-daemon", "--skip-health", "--skip-channels", "--skip-skills", "--skip-search",
    "--skip-ui", "--skip-hooks",
)  # fmt: skip


def install(lab: Path) -> None:
    """Install node and OpenClaw into *lab*: whole, or not at all."""
    if (lab / "node_modules/.bin/openclaw").exists():
        return
    lab.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f"{lab.name}.", dir=lab.parent))
    try:
        (making / "package.json").write_text('{"name": "lab", "private": true}\n')
        # The caller's own environment: npm may need its proxy, its certificates or its settings.
        environ = os.environ | {"PATH": _path(making)}
        run = ("npm", "install", *QUIET)
        subprocess.run((*run, f"node@{NODE}"), cwd=making, env=environ, check=True, stdout=sys.stderr)
        subprocess.run(
            (*run, "--ignore-scripts", f"openclaw@{VERSION}"), cwd=making, env=environ, check=True, stdout=sys.stderr
        )
        making.rename(lab)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def build(lab: Path, home: Path) -> None:
    """Build the installation in the empty directory *home*."""
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gateway-tmp-") as temporary, fake_model() as model:
        environ = _environ(lab, home) | {"TMPDIR": temporary}
        openclaw = OpenClaw(lab, home, environ, Path(temporary) / "openclaw.log")
        _default_profile(openclaw, home, model)
        openclaw.run("--profile", "work", *ONBOARD, "--auth-choice", "skip", "--gateway-token", "fake-work-token-0000")
        _run_gateway(openclaw)
    _add_made_up(home)


class OpenClaw:
    """The program, run in one home."""

    def __init__(self, lab: Path, home: Path, environ: dict[str, str], log: Path) -> None:
        self.program = str(lab / "node_modules/.bin/openclaw")
        self.home = home
        self.environ = environ
        self.log = log

    def run(self, *arguments: str, stdin: bytes = b"") -> None:
        """Run a command to its end; what it says is only shown if it fails."""
        done = subprocess.run(
            (self.program, *arguments), cwd=self.home, env=self.environ, input=stdin, capture_output=True, check=False
        )
        if done.returncode:
            sys.stderr.buffer.write(done.stdout + done.stderr)
            raise SystemExit(f"openclaw {' '.join(arguments[:3])} … ended with {done.returncode}")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command, its words going to the log."""
        with self.log.open("wb") as log:
            return subprocess.Popen(
                (self.program, *arguments), cwd=self.home, env=self.environ, stdout=log, stderr=subprocess.STDOUT
            )


def _environ(lab: Path, home: Path) -> dict[str, str]:
    """An environment that leads to nobody's OpenClaw but the one in *home*."""
    return {
        "PATH": _path(lab),
        "HOME": str(home),
        "NO_COLOR": "1",
        "OPENCLAW_NO_AUTO_UPDATE": "1",
        "OPENCLAW_DISABLE_BONJOUR": "1",
        "OPENCLAW_OFFLINE": "1",
        "OPENCLAW_SKIP_CHANNELS": "1",
    }


def _path(lab: Path) -> str:
    """The programs of *lab* first: its node is the one that OpenClaw needs."""
    return f"{lab}/node_modules/.bin:{os.environ['PATH']}"


def _default_profile(openclaw: OpenClaw, home: Path, model: str) -> None:
    openclaw.run(
        *ONBOARD, "--auth-choice", "apiKey", "--anthropic-api-key", "sk-ant-api03-FAKE-" + "0" * 36,
        "--gateway-port", str(_free_port()), "--gateway-token", "fake-gateway-token-000000000000000000",
    )  # fmt: skip
    provider = {
        "baseUrl": model,
        "api": "openai-completions",
        "apiKey": "fake-local-key",
        "models": [{"id": "fake-model", "name": "Fake", "contextWindow": 128000, "maxTokens": 2048}],
    }
    settings = [
        {"path": "models.providers.fakelocal", "value": provider},
        {"path": "agents.defaults.model.primary", "value": "fakelocal/fake-model"},
    ]
    openclaw.run("config", "set", "--batch-json", json.dumps(settings))
    openclaw.run("agents", "add", "research", "--non-interactive", "--workspace", str(home / "research-ws"), "--json")
    for agent, message in (("main", "remember 111"), ("main", "remember 222"), ("research", "look it up")):
        openclaw.run("agent", "--local", "--agent", agent, "--message", message)
    openclaw.run("secrets", "store", "set", "FAKE_TOKEN", "--kind", "secret", "--value-file", "-", stdin=b"FAKE-value")


def _run_gateway(openclaw: OpenClaw) -> None:
    """Let the gateway run for a moment, and stop it as an operator does: its log of writes stays behind."""
    with openclaw.start("gateway", "run") as gateway:
        try:
            deadline = time.monotonic() + 90
            while b"gateway] ready" not in openclaw.log.read_bytes():
                if gateway.poll() is not None or time.monotonic() > deadline:
                    sys.stderr.buffer.write(openclaw.log.read_bytes())
                    raise SystemExit("the gateway didn't start")
                time.sleep(0.2)
            openclaw.run("cron", "add", "--name", "nightly", "--cron", "0 3 * * *", "--message", "x", "--agent", "main")
        finally:
            gateway.send_signal(signal.SIGTERM)


def _add_made_up(home: Path) -> None:
    """What OpenClaw only writes with accounts elsewhere, in the shapes that its documentation gives."""
    state = home / ".openclaw"
    noise = random.Random(1)  # noqa: S311 - bytes that look random, and are the same each time
    key = {"type": "Buffer", "data": base64.b64encode(noise.randbytes(32)).decode()}
    whatsapp = state / "credentials/whatsapp/default"
    _write(whatsapp / "creds.json", json.dumps({"noiseKey": {"private": key}, "me": {"id": "15550000000:1@s"}}))
    for number in range(1, 201):
        _write(whatsapp / f"pre-key-{number}.json", json.dumps({"private": key, "number": number}))
    _write(state / ".env", "TELEGRAM_BOT_TOKEN=000000000:FAKE\nOPENAI_API_KEY=sk-FAKE-0000\n")
    _write(state / "secrets.json", json.dumps({"providers": {"openai": {"apiKey": "sk-FAKE"}}}))
    _write(state / "skills/my-skill/SKILL.md", "---\nname: my-skill\ndescription: fake\n---\nhi\n", 0o644)
    _write(state / "workspace/memory/2026-11-21.md", "daily\n", 0o644)
    _write(state / "media/inbound/photo.bin", noise.randbytes(300_000))
    _write(state / "browser/openclaw/user-data/Default/Cookies", b"SQLite format 3\0FAKE")
    _write(state / "extensions/demo/openclaw.plugin.json", "{}", 0o644)
    _write(state / "extensions/demo/node_modules/x/index.js", "1", 0o644)
    _write(state / "logs/gateway.log", "fake log\n")
    _write(state / "sandboxes/agent-main/notes.txt", "sandbox\n")
    _write(home / "external-skill/SKILL.md", "---\nname: ext\ndescription: external\n---\n", 0o644)
    _write(home / "research-ws/.hidden/notes", "hidden\n", 0o400)
    (state / "browser/openclaw/user-data/SingletonLock").symlink_to("oldhost-4242")
    (state / "skills/ext").symlink_to(home / "external-skill")
    (home / "research-ws/dangling").symlink_to("nowhere")
    (home / "research-ws/linked.md").hardlink_to(home / "research-ws/SOUL.md")
    os.mknod(state / "exec-approvals.sock", stat.S_IFSOCK | 0o755)  # binding one would limit the length of its path
    for private in ("credentials", "credentials/whatsapp"):
        (state / private).chmod(0o700)


def _write(path: Path, data: str | bytes, mode: int = 0o600) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(mode)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class _Model(BaseHTTPRequestHandler):
    """A chat model with one answer, in OpenAI's protocol."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer with the list of models."""
        self._answer("application/json", json.dumps({"object": "list", "data": [{"id": "fake-model"}]}).encode())

    def do_POST(self) -> None:
        """Answer a chat, in a stream if that's asked for."""
        asked = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        text = f"a made-up reply to {len(asked.get('messages', ()))} messages"
        head = {"id": "chatcmpl-fake", "created": int(time.time()), "model": "fake-model"}
        usage = {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19}
        if not asked.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            body = head | {"object": "chat.completion", "choices": [choice], "usage": usage}
            self._answer("application/json", json.dumps(body).encode())
            return
        head["object"] = "chat.completion.chunk"
        delta = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
        stop = {"index": 0, "delta": {}, "finish_reason": "stop"}
        events = (head | {"choices": [delta]}, head | {"choices": [stop]}, head | {"choices": [], "usage": usage})
        lines = [json.dumps(event) for event in events] + ["[DONE]"]
        self._answer("text/event-stream", "".join(f"data: {line}\n\n" for line in lines).encode())

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def fake_model() -> Iterator[str]:
    """A model that is made up, on a free port of the loopback interface: its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Model) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()


if __name__ == "__main__":
    laboratory, target = (Path(argument).resolve() for argument in sys.argv[1:3])
    install(laboratory)
    build(laboratory, target)
