"""Build a real OpenClaw installation in a home of its own, with made-up secrets only.

Usage: make_gateway.py LAB HOME. OpenClaw is installed from the npm registry into LAB, unless it is there already;
needs npm. It then runs for real: two profiles, agents' turns against a model that is made up, a cron job, a short run
of the gateway. What it can't write without accounts elsewhere, such as a channel login, is added in the shape that its
documentation gives. The gateway listens on the loopback interface only. Takes about a minute.

A test can also import this: to choose the release, to keep the model, and to run the program as another user.
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
from typing import Any, Final

VERSION: Final = "2026.9.6"
OLD_VERSION: Final = "2026.5.7"
"""The newest that keeps its sessions and jobs in plain files."""
NODE: Final = "24"
QUIET: Final = ("--no-audit", "--no-fund", "--loglevel=error")
ONBOARD: Final = (
    "onboard", "--non-interactive", "--accept-risk", "--mode", "local", "--gateway-bind", "loopback",
    "--gateway-auth", "token", "--skip-daemon", "--skip-health", "--skip-channels", "--skip-skills", "--skip-search",
    "--skip-ui",
)  # fmt: skip


def cached(version: str = VERSION) -> Path:
    """Where a release is installed once, for all tests."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return cache / f"ocbundle-ci/openclaw-{version}"


def install(lab: Path, version: str = VERSION) -> None:
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
            (*run, "--ignore-scripts", f"openclaw@{version}"), cwd=making, env=environ, check=True, stdout=sys.stderr
        )
        making.rename(lab)
    finally:
        shutil.rmtree(making, ignore_errors=True)


@contextmanager
def shared(lab: Path, place: Path) -> Iterator[Path]:
    """*lab* at *place*, for users who can't reach where it is. OpenClaw refuses files that have several links."""
    lab.chmod(0o755)
    place.mkdir(parents=True)
    subprocess.run(("mount", "-o", "bind,ro", lab, place), check=True)
    try:
        yield place
    finally:
        subprocess.run(("umount", "--lazy", place), check=True)
        place.rmdir()


def build(lab: Path, home: Path) -> None:
    """Build the installation in the empty directory *home*."""
    with tempfile.TemporaryDirectory(prefix="gateway-tmp-") as temporary, fake_model() as model:
        run_in(OpenClaw(lab, home, temporary=Path(temporary)), model)
    add_made_up(home)


def run_in(openclaw: OpenClaw, model: Model) -> None:
    """Let *openclaw* make what it makes by itself, in an empty home."""
    openclaw.home.mkdir(parents=True, exist_ok=True)
    _default_profile(openclaw, model)
    choice = ("--auth-choice", "skip", "--gateway-token", "fake-work-token-0000")
    openclaw.run("--profile", "work", *openclaw.onboard, *choice)
    # For a moment, and stopped as an operator does: its log of writes stays behind.
    with openclaw.gateway():
        openclaw.run("cron", "add", "--name", "nightly", "--cron", "0 3 * * *", "--message", "x", "--agent", "main")


class OpenClaw:
    """The program, run by one user in one home."""

    def __init__(self, lab: Path, home: Path, *, temporary: Path, user: int | None = None) -> None:
        self.home = home
        self.version = json.loads((lab / "node_modules/openclaw/package.json").read_bytes())["version"]
        self.is_old = self.version == OLD_VERSION
        self.onboard = ONBOARD if self.is_old else (*ONBOARD, "--skip-hooks")
        self.log = temporary / "openclaw.log"
        as_user = () if user is None else ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")
        self._program = (*as_user, str(lab / "node_modules/.bin/openclaw"))
        # An environment that leads to nobody's OpenClaw but this.
        self.environ = {
            "PATH": _path(lab),
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "NO_COLOR": "1",
            "OPENCLAW_NO_AUTO_UPDATE": "1",
            "OPENCLAW_DISABLE_BONJOUR": "1",
            "OPENCLAW_OFFLINE": "1",
            "OPENCLAW_SKIP_CHANNELS": "1",
        }

    def run(self, *arguments: str, stdin: bytes = b"", codes: tuple[int, ...] = (0,)) -> bytes:
        """Run a command to its end, which must be one of *codes*; returns what it says."""
        done = subprocess.run(
            (*self._program, *arguments), cwd=self.home, env=self.environ, input=stdin, capture_output=True, check=False
        )
        if done.returncode not in codes:
            sys.stderr.buffer.write(done.stdout + done.stderr)
            raise RuntimeError(f"openclaw {' '.join(arguments[:3])} … ended with {done.returncode}")
        return done.stdout

    def json(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> Any:  # noqa: ANN401 - it is JSON
        """The same with ``--json``; words before the document don't count."""
        said = self.run(*arguments, "--json", codes=codes).decode()
        starts = [at for at in (said.find("{"), said.find("[")) if at >= 0]
        return json.loads(said[min(starts) :])

    @contextmanager
    def gateway(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """A gateway that is ready; it's stopped in the end."""
        with self.log.open("wb") as log:
            gateway = subprocess.Popen(
                (*self._program, *options, "gateway", "run"),
                cwd=self.home, env=self.environ, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        with gateway:
            try:
                deadline = time.monotonic() + 120
                while b"gateway] ready" not in self.log.read_bytes():
                    if gateway.poll() is not None or time.monotonic() > deadline:
                        sys.stderr.buffer.write(self.log.read_bytes())
                        raise RuntimeError("the gateway didn't start")
                    time.sleep(0.2)
                yield gateway
            finally:
                gateway.send_signal(signal.SIGTERM)


def _path(lab: Path) -> str:
    """The programs of *lab* first: its node is the one that OpenClaw needs."""
    return f"{lab}/node_modules/.bin:{os.environ['PATH']}"


def _default_profile(openclaw: OpenClaw, model: Model) -> None:
    openclaw.run(
        *openclaw.onboard, "--auth-choice", "apiKey", "--anthropic-api-key", "sk-ant-api03-FAKE-" + "0" * 36,
        "--gateway-port", str(_free_port()), "--gateway-token", "fake-gateway-token-000000000000000000",
    )  # fmt: skip
    provider = {
        "baseUrl": model.url,
        "api": "openai-completions",
        "apiKey": "fake-local-key",
        "models": [{"id": "fake-model", "name": "Fake", "contextWindow": 128000, "maxTokens": 2048}],
    }
    openclaw.run("config", "set", "models.providers.fakelocal", json.dumps(provider), "--strict-json")
    openclaw.run("config", "set", "agents.defaults.model.primary", "fakelocal/fake-model")
    workspace = str(openclaw.home / "research-ws")
    openclaw.run("agents", "add", "research", "--non-interactive", "--workspace", workspace, "--json")
    for agent, message in (("main", "remember 111"), ("main", "remember 222"), ("research", "look it up")):
        openclaw.run("agent", "--local", "--agent", agent, "--message", message)
    if not openclaw.is_old:
        store = ("secrets", "store", "set", "FAKE_TOKEN", "--kind", "secret", "--value-file", "-")
        openclaw.run(*store, stdin=b"FAKE-value")


def add_made_up(home: Path) -> None:
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


class Model(ThreadingHTTPServer):
    """A chat model with one answer, in OpenAI's protocol."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.asked: list[str] = []
        """All messages that it was shown, by question, as JSON."""


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Model

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer with the list of models."""
        self._answer("application/json", json.dumps({"object": "list", "data": [{"id": "fake-model"}]}).encode())

    def do_POST(self) -> None:
        """Answer a chat, in a stream if that's asked for."""
        asked = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        self.server.asked.append(json.dumps(asked.get("messages")))
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
def fake_model() -> Iterator[Model]:
    """A model that is made up, on a free port of the loopback interface."""
    with Model() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


if __name__ == "__main__":
    laboratory, target = (Path(argument).resolve() for argument in sys.argv[1:3])
    install(laboratory)
    build(laboratory, target)
