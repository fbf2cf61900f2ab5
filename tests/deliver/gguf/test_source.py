"""The converter's source: found through pip's settings, fetched once, checked, unpacked safely."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.deliver.export.gguf import source
from engine.deliver.export.gguf.index import IndexSettings, find_source_package, read_settings
from engine.deliver.export.job import Cancelled
from engine.errors import UserError
from tests.deliver.gguf.jobs import Listener

VERSION = "9.9.9"
NAME = f"llama_cpp_python-{VERSION}.tar.gz"
FILES = {
    "convert_hf_to_gguf.py": b"# converter\n" + b"#" * 3_000_000,
    "convert_lora_to_gguf.py": b"# lora\n",
    "conversion/base.py": b"base = 1\n",
    "gguf-py/gguf/__init__.py": b"gguf = 1\n",
    "src/llama.cpp": b"int main() {}\n",
}


def archive(extra: dict[str, bytes] | None = None, links: dict[str, str] | None = None) -> bytes:
    """A source package."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=0) as package:
        root = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/"
        named = {root + name: data for name, data in FILES.items()} | (extra or {})
        for name, data in named.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            package.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(root + name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            package.addfile(member)
    return out.getvalue()


class Index(ThreadingHTTPServer):
    """A package index on this machine."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = archive()
        self.sha256: str | None = hashlib.sha256(self.body).hexdigest()
        self.html = False
        self.status = 200
        self.cut_after: list[int] = []  # bytes after which a download breaks off, one a request
        self.asked: list[tuple[str, str | None]] = []
        self.authorization: str | None = None

    @property
    def settings(self) -> IndexSettings:
        return IndexSettings((f"http://me:secret@127.0.0.1:{self.server_address[1]}/simple",), timeout=5)


class _Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        index = self.server
        index.asked.append((self.path, self.headers.get("Range")))
        index.authorization = self.headers.get("Authorization")
        if index.status != 200:
            self.send_error(index.status)
        elif self.path == "/simple/llama-cpp-python/":
            self._page(index)
        else:
            self._file(index)

    def _page(self, index: Index) -> None:
        if index.html:
            fragment = f"#sha256={index.sha256}" if index.sha256 else ""
            body = f'<a href="../../files/{NAME}{fragment}">x</a><a href="/files/other-1.whl">y</a>'.encode()
        else:
            hashes = {"sha256": index.sha256} if index.sha256 else {}
            files = [{"filename": NAME, "url": f"/files/{NAME}", "hashes": hashes}, "nonsense"]
            body = json.dumps({"files": files}).encode()
        kind = "text/html" if index.html else "application/vnd.pypi.simple.v1+json"
        self._send(200, body, {"Content-Type": kind})

    def _file(self, index: Index) -> None:
        begin = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        rest = index.body[begin:]
        cut = index.cut_after.pop(0) if index.cut_after else None
        self._send(206 if begin else 200, rest, {}, cut)

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def index() -> Iterator[Index]:
    server = Index()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def fetch(index: Index, told: Listener | None = None) -> source.Converter:
    return source.find_converter(told or Listener(), VERSION, index.settings)


def kept_names() -> list[str]:
    return sorted(path.name for path in source.cache_folder().iterdir() if path.name != ".lock")


@pytest.mark.parametrize("html", [False, True])
def test_fetched_once_and_only_the_converter_is_kept(index: Index, html: bool) -> None:
    index.html = html
    told = Listener()
    found = fetch(index, told)
    kept = sorted(
        path.relative_to(found.folder).as_posix() for path in found.folder.rglob("*") if path.is_file()
    )
    assert kept == sorted(name for name in FILES if name != "src/llama.cpp")
    assert told.bytes[-1] == (len(index.body), len(index.body))
    assert index.authorization == "Basic bWU6c2VjcmV0"
    assert kept_names() == [VERSION]
    asked = len(index.asked)
    assert fetch(index) == found
    assert len(index.asked) == asked


def test_a_cut_download_goes_on_where_it_was(index: Index) -> None:
    index.cut_after = [1_000_000, 500_000]
    fetch(index)
    ranges = [asked for path, asked in index.asked if path.startswith("/files")]
    assert ranges == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_cancelled_download_goes_on_the_next_time(index: Index) -> None:
    told = Listener(stop=lambda: bool(told.bytes) and told.bytes[-1][0] > 2_000_000)
    with pytest.raises(Cancelled):
        fetch(index, told)
    assert source.cached(VERSION) is None
    fetch(index)
    assert index.asked[-1][1] is not None


def test_two_exports_at_once_fetch_once(index: Index) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda number: fetch(index), range(2)))
    assert found[0] == found[1]
    assert len([path for path, _ in index.asked if path.startswith("/files")]) == 1


def test_another_file_than_promised_is_refused(index: Index) -> None:
    index.sha256 = "0" * 64
    with pytest.raises(UserError, match="checksum differs"):
        fetch(index)
    assert source.cached(VERSION) is None
    assert not kept_names()


def test_a_known_version_must_have_the_known_checksum(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(source.KNOWN_SHA256, VERSION, "1" * 64)
    with pytest.raises(UserError, match="another file"):
        fetch(index)


def test_no_checksum_no_trust(index: Index) -> None:
    index.sha256 = None
    with pytest.raises(UserError, match="gives no checksum"):
        fetch(index)


@pytest.mark.parametrize("status", [404, 403, 500])
def test_without_an_index_the_words_say_what_to_do(index: Index, status: int) -> None:
    index.status = status
    with pytest.raises(UserError) as told:
        fetch(index)
    assert "could not be found" in told.value.what
    assert "secret" not in str(told.value)
    assert f"pip download --no-deps --no-binary :all: llama-cpp-python=={VERSION}" in told.value.fix
    assert str(source.cache_folder()) in told.value.fix


def test_offline_a_file_put_there_by_hand_serves() -> None:
    source.cache_folder().mkdir(parents=True)
    (source.cache_folder() / NAME).write_bytes(archive())
    found = source.find_converter(Listener(), VERSION, IndexSettings(()))
    assert (found.folder / "conversion/base.py").read_bytes() == b"base = 1\n"


def test_a_local_folder_of_packages_serves(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(archive())
    source.find_converter(Listener(), VERSION, IndexSettings((), (tmp_path,)))


def test_nothing_is_unpacked_outside_the_folder(index: Index, tmp_path: Path) -> None:
    root = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/"
    index.body = archive(
        {
            f"{root}conversion/../../../../../../evil.py": b"x",
            f"/{root}conversion/evil.py": b"x",
            "evil.py": b"x",
        },
        {"conversion/link.py": "/etc/passwd"},
    )
    index.sha256 = hashlib.sha256(index.body).hexdigest()
    found = fetch(index)
    names = {path.name for path in tmp_path.rglob("*")}
    assert "evil.py" not in names
    assert not (found.folder / "conversion/link.py").is_symlink()


def test_a_damaged_package_is_said_and_fetched_again(index: Index) -> None:
    whole = index.body
    index.body = whole[: len(whole) // 2]
    index.sha256 = hashlib.sha256(index.body).hexdigest()
    with pytest.raises(UserError, match="cannot be unpacked"):
        fetch(index)
    assert not kept_names()
    index.body, index.sha256 = whole, hashlib.sha256(whole).hexdigest()
    fetch(index)


def test_pip_settings_are_read() -> None:
    listing = (
        "global.index-url='https://me:pw@mirror/simple'\nglobal.extra-index-url='https://a/simple https://b/simple'\n"
        "install.find-links='/opt/wheels'\n:env:.timeout='12'\nfreeze.all='1'\nwheel.cert='/no'\n"
    )
    found = read_settings(listing, {"PIP_CERT": "/etc/cert.pem"})
    assert found.indexes == ("https://me:pw@mirror/simple", "https://a/simple", "https://b/simple")
    assert found.folders == (Path("/opt/wheels"),)
    assert found.cert == Path("/etc/cert.pem")
    assert found.timeout == 12
    assert read_settings("", {}).indexes == ("https://pypi.org/simple",)
    assert read_settings("", {"PIP_NO_INDEX": "1"}).indexes == ()
    assert read_settings(listing, {"PIP_INDEX_URL": "https://c/simple"}).indexes[0] == "https://c/simple"


def test_other_kinds_of_addresses_are_not_opened() -> None:
    with pytest.raises(UserError, match="could not be found"):
        find_source_package("llama-cpp-python", VERSION, IndexSettings(("ftp://127.0.0.1/simple",)))
