"""The writing half of the local Hub: make a repository, preupload, LFS batch with one or many parts, commit."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from tests.fakes.hub.content import LFS_ENDINGS, LFS_FROM, FakeRepo

if TYPE_CHECKING:
    from tests.fakes.hub.server import FakeHub
    from tests.fakes.hub.trouble import Trouble

PART = 1 << 20  # bytes; larger files come in parts of this size


class Uploads:
    """Mixed into the request handler."""

    hub: FakeHub
    trouble: Trouble | None
    query: dict[str, list[str]]
    headers: Any
    rfile: Any
    close_connection: bool

    # What the handler brings

    def account(self) -> str | None: ...
    def visible(self, kind: str, id: str) -> FakeRepo | None: ...
    def error(self, status: int, code: str, words: str) -> None: ...
    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None: ...
    def reply_json(self, value: Any) -> None: ...

    def body(self) -> bytes:
        """The request's body; with a ``cut`` the connection breaks after so many bytes of it."""
        length = int(self.headers.get("content-length") or 0)
        if self.headers.get("transfer-encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        if self.trouble is not None and self.trouble.cut is not None:
            self.rfile.read(min(length, self.trouble.cut))
            self.close_connection = True
            raise ConnectionResetError
        if self.trouble is not None and self.trouble.at is not None and self.trouble.call is not None:
            start = self.rfile.read(min(length, self.trouble.at))
            self.trouble.call()
            return bytes(start + self.rfile.read(length - len(start)))
        return bytes(self.rfile.read(length))

    def may_write(self, owner: str) -> bool:
        """Whether the account may write to that owner's repositories; answers when it may not."""
        name = self.account()
        if name is None:
            self.error(401, "", "Invalid credentials in Authorization header")
        elif name in self.hub.readers or (name != owner and owner not in self.hub.members.get(name, ())):
            self.error(403, "", f"You don't have the rights to create a model under the namespace {owner!r}")
        else:
            return True
        return False

    def create_repo(self) -> None:
        asked = json.loads(self.body())
        owner = asked["organization"] or self.account() or ""
        if not self.may_write(owner):
            return
        repo_id = f"{owner}/{asked['name']}"
        url = {"url": f"{self.hub.url}/{repo_id}", "name": repo_id}
        if ("model", repo_id) in self.hub.repos:
            self.reply(409, json.dumps({"error": "You already created this model repo", **url}).encode())
            return
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.model(repo_id, {".gitattributes": b""}, private=private, allowed={self.account()})
        self.reply_json(url)

    def validate_yaml(self) -> None:
        import yaml

        content = json.loads(self.body())["content"]
        parts = content.split("---\n", 2)
        errors = []
        try:
            if len(parts) == 3 and not isinstance(yaml.safe_load(parts[1]), dict):
                errors = [{"message": "no mapping"}]
        except yaml.YAMLError as error:
            errors = [{"message": str(error)}]
        body = json.dumps({"errors": errors, "warnings": []}).encode()
        self.reply(400 if errors else 200, body, {"Content-Type": "application/json"})

    def preupload(self, id: str, revision: str) -> None:
        asked = json.loads(self.body())
        repo = self.visible("model", id)
        if repo is None or not self.may_write(id.partition("/")[0]):
            return
        here = repo.files.get(revision, {})
        answers = []
        for file in asked["files"]:
            path = file["path"]
            large = path.endswith(LFS_ENDINGS) or file["size"] >= LFS_FROM
            known = here.get(path)
            oid = (known.sha256 if large else known.git_sha1) if known else None
            answers.append(
                {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}
            )
        self.reply_json({"files": answers})

    def lfs_batch(self, id: str) -> None:
        asked = json.loads(self.body())
        if self.visible("model", id) is None or not self.may_write(id.partition("/")[0]):
            return
        objects = []
        for one in asked["objects"]:
            answer: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.hub.uploaded:
                answer["actions"] = {"upload": self._upload_action(one["oid"], one["size"])}
            objects.append(answer)
        self.reply_json({"transfer": "basic", "objects": objects})

    def _upload_action(self, oid: str, size: int) -> dict[str, Any]:
        address = f"{self.hub.storage_url}/put/{oid}"
        if size <= PART:
            return {"href": f"{address}?Signature=secret", "header": {}}
        parts = {
            f"{number + 1:05}": f"{address}?part={number + 1}&Signature=secret"
            for number in range(-(-size // PART))
        }
        return {"href": f"{self.hub.url}/api/complete/{oid}", "header": {"chunk_size": str(PART), **parts}}

    def put_object(self, oid: str) -> None:
        data = self.body()
        number = int(self.query.get("part", ["0"])[0])
        with self.hub.lock:
            self.hub.received.append((oid, len(data)))
            if number:
                self.hub.parts.setdefault(oid, {})[number] = data
        if not number:
            self._keep(oid, data)
        self.reply(200, b"", {"ETag": f'"{number}"'})

    def complete(self, oid: str) -> None:
        asked = json.loads(self.body())
        parts = self.hub.parts.pop(oid)
        self._keep(oid, b"".join(parts[one["partNumber"]] for one in asked["parts"]))
        self.reply_json({"success": True})

    def _keep(self, oid: str, data: bytes) -> None:
        assert hashlib.sha256(data).hexdigest() == oid, "a damaged upload"
        self.hub.uploaded[oid] = data

    def commit(self, id: str, revision: str) -> None:
        lines = [json.loads(line) for line in self.body().splitlines() if line.strip()]
        repo = self.visible("model", id)
        if repo is None or not self.may_write(id.partition("/")[0]):
            return
        files: dict[str, bytes] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploaded[value["oid"]]
        repo.put(files, revision)
        commit = repo.commit(revision)
        self.reply_json(
            {
                "success": True,
                "commitOid": commit,
                "commitUrl": f"{self.hub.url}/{id}/commit/{commit}",
                "hookOutput": "",
            }
        )
