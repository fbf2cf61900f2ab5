"""The local Hub's HTTP side: the API and ``resolve`` on one port, the storage that large files redirect to on another."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.hub.content import FakeFile, FakeRepo
from tests.fakes.hub.trouble import Trouble
from tests.fakes.hub.uploads import Uploads

REPO = r"(?P<id>[^/]+(?:/[^/]+)?)"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came in."""

    server: Literal["hub", "storage"]
    method: str
    path: str
    range: str | None
    authorization: str | None


class FakeHub:
    """The server. `url` goes into HF_ENDPOINT."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], FakeRepo] = {}
        self.accounts: dict[str, str] = {}  # token -> name
        self.readers: set[str] = set()  # names whose token may only read
        self.members: dict[str, tuple[str, ...]] = {}  # name -> organizations it may write to
        self.uploaded: dict[str, bytes] = {}  # large files by their SHA-256, committed or not
        self.parts: dict[str, dict[int, bytes]] = {}
        self.received: list[tuple[str, int]] = []  # what was sent to the storage: SHA-256 and bytes
        self.troubles: list[Trouble] = []
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self._servers = {name: self._serve(name) for name in ("hub", "storage")}

    @property
    def url(self) -> str:
        return self._address("hub")

    @property
    def storage_url(self) -> str:
        return self._address("storage")

    def model(self, repo_id: str, files: dict[str, bytes] | None = None, **facts: Any) -> FakeRepo:
        """Add a model."""
        return self._add("model", repo_id, files, facts)

    def dataset(self, repo_id: str, files: dict[str, bytes] | None = None, **facts: Any) -> FakeRepo:
        """Add a dataset."""
        return self._add("dataset", repo_id, files, facts)

    def misbehave(self, match: str, **how: Any) -> Trouble:
        """The next requests whose path contains `match` go wrong; see `Trouble`."""
        trouble = Trouble(match, **how)
        self.troubles.append(trouble)
        return trouble

    def requests(self, part: str, server: str = "") -> list[Seen]:
        """The requests so far whose path contains a text."""
        return [one for one in self.seen if part in one.path and server in ("", one.server)]

    def close(self) -> None:
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    def file(self, sha256: str) -> FakeFile | None:
        """Content by its hash, for the storage."""
        return next(
            (
                file
                for repo in self.repos.values()
                for branch in repo.files.values()
                for file in branch.values()
                if file.sha256 == sha256
            ),
            None,
        )

    def trouble_for(self, method: str, path: str) -> Trouble | None:
        with self.lock:
            for trouble in self.troubles:
                if trouble.times > 0 and trouble.match in path and trouble.method in ("", method):
                    trouble.times -= 1
                    return trouble
        return None

    def _add(
        self, kind: Any, repo_id: str, files: dict[str, bytes] | None, facts: dict[str, Any]
    ) -> FakeRepo:
        repo = self.repos[(kind, repo_id)] = FakeRepo(repo_id, kind, **facts)
        repo.put(files or {})
        return repo

    def _serve(self, name: str) -> ThreadingHTTPServer:
        handler = type(f"{name}Handler", (Handler,), {"hub": self, "server_name": name})
        server = Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    def _address(self, name: str) -> str:
        return f"http://127.0.0.1:{self._servers[name].server_address[1]}"


class Server(ThreadingHTTPServer):
    """Clients may hang up when they like."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(Uploads, BaseHTTPRequestHandler):
    """Answers one request. New routes: add a pattern and a method to `ROUTES`."""

    hub: FakeHub
    server_name: Literal["hub", "storage"]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def log_message(self, format: str, *args: Any) -> None: ...

    def answer(self) -> None:
        self.query = parse_qs(urlsplit(self.path).query)
        path = urlsplit(self.path).path
        self.hub.seen.append(
            Seen(
                self.server_name,
                self.command,
                self.path,
                self.headers.get("range"),
                self.headers.get("authorization"),
            )
        )
        self.trouble = self.hub.trouble_for(self.command, self.path)
        if self.trouble is not None:
            if self.trouble.stall:
                time.sleep(self.trouble.stall)
                self.close_connection = True
                return
            if self.trouble.status:
                self.close_connection = True  # the body of the request has not been read
                self.reply(self.trouble.status, b"trouble", self.trouble.headers)
                return
        for pattern, method in ROUTES[self.server_name]:
            match = re.fullmatch(pattern, path)
            if match:
                method(self, **{key: unquote(value) for key, value in match.groupdict().items() if value})
                return
        self.reply(404, b"no such route")

    # The API

    def info(self, kind: str, id: str, revision: str = "main") -> None:
        repo = self.visible(kind.removesuffix("s"), id)
        if repo is None:
            return
        branch = repo.branch(revision)
        if branch is None:
            self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        sizes = "blobs" in self.query and not (self.trouble and self.trouble.unsized)
        self.reply_json(repo.info(branch, sizes))

    def search(self, kind: str) -> None:
        words = self.query.get("search", [""])[0].lower()
        limit = int(self.query.get("limit", ["1000"])[0])
        found = [
            {**repo.info("main", False), "siblings": None}
            for (one, _), repo in self.hub.repos.items()
            if one == kind.removesuffix("s") and words in repo.id.lower()
        ]
        self.reply_json(found[:limit])

    def whoami(self) -> None:
        name = self.account()
        if name is None:
            self.error(401, "", "Invalid credentials in Authorization header")
        else:
            self.reply_json({"type": "user", "name": name, "auth": {"type": "access_token"}})

    # Files

    def resolve(self, id: str, revision: str, path: str, kind: str = "model") -> None:
        repo = self.visible(kind.removesuffix("s").removesuffix("s/"), id)
        if repo is None:
            return
        if repo.gated and self.account() not in repo.allowed:
            status = 401 if self.account() is None else 403
            self.error(status, "GatedRepo", f"Access to {kind} {repo.id} is restricted.")
            return
        branch = repo.branch(revision)
        file = repo.files[branch].get(path) if branch else None
        if branch is None or file is None:
            self.error(404, "EntryNotFound" if branch else "RevisionNotFound", "Entry not found")
            return
        headers = {"X-Repo-Commit": repo.commit(branch)}
        if repo.is_lfs(path, file):
            headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.content))}
            headers["Location"] = f"{self.hub.storage_url}/{file.sha256}?Signature=secret&name={path}"
            self.reply(302, b"", headers)
        else:
            self.send_file(file, {**headers, "ETag": f'"{file.git_sha1}"'})

    def stored(self, sha256: str) -> None:
        file = self.hub.file(sha256)
        if file is None:
            self.reply(403, b"expired")
        else:
            self.send_file(file, {"ETag": '"storage"'})

    def send_file(self, file: FakeFile, headers: dict[str, str]) -> None:
        content = bytearray(file.content)
        trouble = self.trouble or Trouble("")
        if trouble.spoil and content:
            content[len(content) // 2] ^= 0xFF
        start = 0
        asked = re.match(r"bytes=(\d+)-", self.headers.get("range", ""))
        if asked and not trouble.plain_ranges:
            start = int(asked[1])
            if start >= len(content):
                self.reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = bytes(content[start:])
        self.send_response(206 if "Content-Range" in headers else 200)
        for name, value in {**headers, "Content-Length": str(len(body)), "Accept-Ranges": "bytes"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            if trouble.at is not None and trouble.call is not None:
                self.wfile.write(body[: trouble.at])
                self.wfile.flush()
                trouble.call()
                body = body[trouble.at :]
            if trouble.cut is not None:
                self.wfile.write(body[: trouble.cut])
                self.wfile.flush()
                self.close_connection = True
                return
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    # Who asks, and how we answer

    def account(self) -> str | None:
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        return self.hub.accounts.get(token)

    def visible(self, kind: str, id: str) -> FakeRepo | None:
        """The repository; None after an answer when this account may not see it."""
        if self.headers.get("authorization") and self.account() is None:
            self.error(401, "", "Invalid credentials in Authorization header")
            return None
        repo = self.hub.repos.get((kind, id))
        if repo is None or (repo.private and self.account() not in repo.allowed):
            status = 404 if self.account() else 401  # as the real Hub does
            self.error(status, "RepoNotFound", "Repository not found")
            return None
        return repo

    def error(self, status: int, code: str, words: str) -> None:
        headers = {"X-Error-Message": words, **({"X-Error-Code": code} if code else {})}
        self.reply(status, json.dumps({"error": words}).encode(), headers)

    def reply_json(self, value: Any) -> None:
        self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


ROUTES: dict[str, list[tuple[str, Callable[..., None]]]] = {
    "hub": [
        (r"/api/whoami-v2", Handler.whoami),
        (r"/api/repos/create", Handler.create_repo),
        (r"/api/validate-yaml", Handler.validate_yaml),
        (r"/api/complete/(?P<oid>[0-9a-f]{64})", Handler.complete),
        (rf"/api/models/{REPO}/preupload/(?P<revision>[^/]+)", Handler.preupload),
        (rf"/api/models/{REPO}/commit/(?P<revision>[^/]+)", Handler.commit),
        (rf"/{REPO}\.git/info/lfs/objects/batch", Handler.lfs_batch),
        (r"/api/(?P<kind>models|datasets)", Handler.search),
        (rf"/api/(?P<kind>models|datasets)/{REPO}/revision/(?P<revision>.+)", Handler.info),
        (rf"/api/(?P<kind>models|datasets)/{REPO}", Handler.info),
        (rf"/(?P<kind>datasets)/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
        (rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
    ],
    "storage": [
        (r"/put/(?P<oid>[0-9a-f]{64})", Handler.put_object),
        (r"/(?P<sha256>[0-9a-f]{64})", Handler.stored),
    ],
}
