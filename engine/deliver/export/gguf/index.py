"""Where the package index has the source package of a project: pip's own settings, and the simple index API.

The API is the one pip uses (packaging.python.org: simple repository API, in JSON and in HTML). pip itself cannot fetch a
source package without running its build, which is why the one file is fetched from here.
"""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

from engine.display import printable
from engine.errors import UserError

DEFAULT_INDEX = "https://pypi.org/simple"
_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_TIMEOUT_SECONDS = 30.0
_MOST_BYTES = 64 << 20  # of an index page; the longest of public projects have some 10 MB


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """Where pip looks for packages.

    Attributes:
        indexes: Addresses of simple indexes, the main one first.
        folders: Local folders with package files.
        cert: File with certificates to trust; None for the system's.
        timeout: Seconds to wait for an answer.
    """

    indexes: tuple[str, ...] = (DEFAULT_INDEX,)
    folders: tuple[Path, ...] = ()
    cert: Path | None = None
    timeout: float = _TIMEOUT_SECONDS


@dataclass(frozen=True, slots=True)
class SourcePackage:
    """A source package as the index offers it.

    Attributes:
        name: File name.
        url: Its address; ``file:`` for one on this machine.
        sha256: Its checksum as the index says it; None where it says none.
    """

    name: str
    url: str
    sha256: str | None


def read_settings(listing: str | None = None, environ: Mapping[str, str] | None = None) -> IndexSettings:
    """pip's configuration, from its files and the environment.

    Args:
        listing: What ``pip config list`` prints; asked from pip where None.
        environ: Environment variables; this process's where None.
    """
    env = os.environ if environ is None else environ
    found: dict[str, str] = {}
    for line in (_pip_config() if listing is None else listing).splitlines():
        # Such as global.index-url='https://...'; sections for other commands than install do not concern us.
        match = re.fullmatch(r"(global|install|download|:env:)\.\.?([a-z-]+)=(.+)", line.strip())
        if match:
            value = _unquoted(match[3])
            if value:
                found[match[2]] = value
    for variable, key in (("PIP_INDEX_URL", "index-url"), ("UV_DEFAULT_INDEX", "index-url"),
                          ("PIP_EXTRA_INDEX_URL", "extra-index-url"), ("PIP_FIND_LINKS", "find-links"),
                          ("PIP_CERT", "cert"), ("PIP_NO_INDEX", "no-index")):  # fmt: skip
        if env.get(variable):
            found[key] = env[variable]
    offline = found.get("no-index", "").lower() in ("1", "true", "yes", "on")
    extra = found.get("extra-index-url", "").split()
    indexes = () if offline else (found.get("index-url", DEFAULT_INDEX), *extra)
    folders = [_folder(place) for place in found.get("find-links", "").split()]
    cert = found.get("cert")
    try:
        timeout = float(found.get("default-timeout") or found.get("timeout") or _TIMEOUT_SECONDS)
    except ValueError:
        timeout = _TIMEOUT_SECONDS
    return IndexSettings(
        tuple(dict.fromkeys(indexes)),
        tuple(folder for folder in folders if folder is not None),
        Path(cert) if cert else None,
        timeout,
    )


def find_source_package(project: str, version: str, settings: IndexSettings) -> SourcePackage:
    """The source package of one version of a project.

    Raises:
        UserError: No index can be reached, or none has it.
    """
    spelling = "[-_.]+".join(re.escape(part) for part in re.split(r"[-_.]+", project))
    name = re.compile(rf"{spelling}-{re.escape(version)}\.tar\.gz", re.I)
    for folder in settings.folders:
        for file in sorted(folder.glob("*.tar.gz")) if folder.is_dir() else ():
            if name.fullmatch(file.name):
                return SourcePackage(file.name, file.as_uri(), None)
    trouble = "it is not offered there"
    normal = re.sub(r"[-_.]+", "-", project).lower()
    for index in settings.indexes:
        page = f"{index.rstrip('/')}/{normal}/"
        try:
            with open_url(page, settings, {"Accept": _ACCEPT}) as answer:
                body = answer.read(_MOST_BYTES)
                base, kind = answer.url or page, answer.headers.get("Content-Type", "")
        except (OSError, ValueError) as error:
            if not (isinstance(error, HTTPError) and error.code == 404) and not page.startswith("file:"):
                trouble = reason(error)
            continue
        for package in _read_page(body, base, "json" in kind):
            if name.fullmatch(package.name):
                return replace(package, url=_with_login(package.url, page))
    raise UserError(
        f"The source package of {project} {version} could not be found: {trouble}.",
        ", ".join(without_password(index) for index in settings.indexes) or "pip is set to use no index",
        "Connect to the internet once, or check pip's index settings: pip config list",
    )


def open_url(url: str, settings: IndexSettings, headers: Mapping[str, str]) -> Any:
    """Open an address, with the proxy of the environment and the name and password that the address may hold.

    Raises:
        OSError: It cannot be reached or answers with an error.
    """
    parts = urlsplit(url)
    headers = dict(headers)
    if parts.username is not None and parts.scheme in ("http", "https"):
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        host = parts.hostname or ""
        url = urlunsplit(parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host))
    if parts.scheme not in ("http", "https", "file"):
        raise ValueError(f"addresses of the kind {parts.scheme!r} are not used")
    context = None
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=str(settings.cert) if settings.cert else None)
    request = urllib.request.Request(url, headers=headers)
    return urllib.request.urlopen(request, timeout=settings.timeout, context=context)


def reason(error: Exception) -> str:
    """Why an address could not be read, in few words and without the address."""
    if isinstance(error, HTTPError):
        return f"the index answers {error.code} ({printable(error.reason, 60)})"
    if isinstance(error, URLError):
        error = error.reason if isinstance(error.reason, Exception) else error
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"no connection ({printable(getattr(error, 'strerror', None) or error, 120)})"


def without_password(url: str) -> str:
    """An address that is safe to show."""
    parts = urlsplit(url)
    return printable(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), 200)


def _with_login(url: str, page: str) -> str:
    """Files on the index's own host need the name and password of the index, too; others must not get them."""
    ours, theirs = urlsplit(page), urlsplit(url)
    login, at, host = ours.netloc.rpartition("@")
    same = at and "@" not in theirs.netloc and (ours.scheme, host) == (theirs.scheme, theirs.netloc)
    return urlunsplit(theirs._replace(netloc=f"{login}@{host}")) if same else url


def _read_page(body: bytes, base: str, is_json: bool) -> list[SourcePackage]:
    if is_json:
        try:
            files = json.loads(body)["files"]
            return [
                SourcePackage(
                    str(file["filename"]),
                    urljoin(base, str(file["url"])),
                    _sha256(file["hashes"].get("sha256")),
                )
                for file in files
                if isinstance(file, dict) and isinstance(file.get("hashes"), dict)
            ]
        except (ValueError, KeyError, TypeError, RecursionError):
            return []
    links = _Links()
    links.feed(body.decode("utf-8", "replace"))
    packages = []
    for link in links.found:
        url, fragment = urldefrag(urljoin(base, link))
        algorithm, _, digest = fragment.partition("=")
        file = unquote(urlsplit(url).path).rpartition("/")[2]
        packages.append(SourcePackage(file, url, _sha256(digest) if algorithm == "sha256" else None))
    return packages


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _sha256(value: object) -> str | None:
    return value.lower() if isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{64}", value) else None


def _pip_config() -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""  # an environment without pip, such as uv's


def _unquoted(value: str) -> str:
    try:
        return str(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return ""


def _folder(place: str) -> Path | None:
    if place.startswith("file:"):
        return Path(unquote(urlsplit(place).path))
    return None if "://" in place else Path(place).expanduser()
