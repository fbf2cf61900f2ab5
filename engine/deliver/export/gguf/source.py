"""llama.cpp's converter, out of the source package of the installed llama-cpp-python: fetched once, checked, unpacked."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath

from engine.deliver.export.gguf.index import (
    IndexSettings,
    SourcePackage,
    find_source_package,
    open_url,
    read_settings,
    reason,
    without_password,
)
from engine.deliver.export.job import Tell
from engine.display import gib, printable
from engine.errors import UserError
from engine.run import atomic
from engine.run.home import ensure_private, finetui_home

PROJECT = "llama-cpp-python"
INSTALL = "pip install 'finetui[gguf]'"
# Checksums of the source packages this program was tested with; for others, the index's own is taken.
KNOWN_SHA256 = {"0.3.36": "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"}
DOWNLOAD_BYTES = 80_000_000  # about; of which some 2 MB are unpacked

_CHUNK = 1 << 20
_ATTEMPTS = 3
_MOST_UNPACKED = 200 << 20
# In the source package everything of llama.cpp lies in vendor/llama.cpp.
_ROOT = "vendor/llama.cpp"
_FILES = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "LICENSE")
_FOLDERS = ("conversion", "gguf-py/gguf")


@dataclass(frozen=True, slots=True)
class Converter:
    """llama.cpp's converter on this disk.

    Attributes:
        folder: It holds ``convert_hf_to_gguf.py``, ``convert_lora_to_gguf.py``, ``conversion`` and ``gguf-py``.
        version: Version of llama-cpp-python it came with.
    """

    folder: Path
    version: str


def installed_version() -> str:
    """Version of llama-cpp-python.

    Raises:
        UserError: It is not installed.
    """
    try:
        return version(PROJECT)
    except PackageNotFoundError:
        raise UserError(
            "GGUF files need llama-cpp-python, which is not installed here.",
            "optional packages of finetui",
            f"Install it (it is compiled, which takes about six minutes and a C++ compiler): {INSTALL}. "
            "Without it adapter, merged and hub can be made.",
        ) from None


def is_here() -> bool:
    """Whether the converter of the installed version is in the cache; not without llama-cpp-python."""
    try:
        return cached(installed_version()) is not None
    except UserError:
        return False


def cache_folder() -> Path:
    """Where converters are kept, one folder a version."""
    return finetui_home() / "cache" / "llama.cpp"


def cached(wanted: str) -> Converter | None:
    """The converter of a version, where it has been fetched before."""
    folder = cache_folder() / wanted
    return Converter(folder, wanted) if (folder / _FILES[0]).is_file() else None


def find_converter(tell: Tell, wanted: str | None = None, settings: IndexSettings | None = None) -> Converter:
    """The converter, fetched from the package index where it is not here yet.

    Args:
        tell: Told what happens; a download can be cancelled and goes on where it was the next time.
        wanted: Version of llama-cpp-python; the installed one where None.
        settings: Where to fetch from; pip's settings where None.

    Raises:
        UserError: It cannot be fetched, or is not what it should be.
        Cancelled: The user asked to stop.
    """
    wanted = wanted or installed_version()
    found = cached(wanted)
    if found is not None:
        return found
    cache = cache_folder()
    ensure_private(cache)
    with _alone(cache, tell):
        return cached(wanted) or _made(wanted, settings or read_settings(), tell)


def _made(wanted: str, settings: IndexSettings, tell: Tell) -> Converter:
    cache = cache_folder()
    archive = cache / f"llama_cpp_python-{wanted}.tar.gz"
    if not archive.is_file():
        tell.step(f"Fetching llama.cpp's converter for llama-cpp-python {wanted} (once)")
        _fetch(wanted, archive, settings, tell)
    elif wanted in KNOWN_SHA256:  # put there by hand
        _check(archive, KNOWN_SHA256[wanted])
    tell.step("Unpacking llama.cpp's converter")
    _unpack(archive, cache / wanted, tell)
    archive.unlink(missing_ok=True)
    return Converter(cache / wanted, wanted)


@contextlib.contextmanager
def _alone(cache: Path, tell: Tell) -> Iterator[None]:
    """One process at a time; the others find what it fetched."""
    with open(cache / ".lock", "w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                tell.check()
                time.sleep(0.2)
            except OSError:
                break  # a file system without locks
        yield


def _fetch(wanted: str, archive: Path, settings: IndexSettings, tell: Tell) -> None:
    try:
        package = find_source_package(PROJECT, wanted, settings)
    except UserError as error:
        raise _by_hand(error.what, error.where, archive) from None
    expected = KNOWN_SHA256.get(wanted) or package.sha256
    if expected is None and not package.url.startswith("file:"):
        raise _by_hand(
            "The package index gives no checksum for llama.cpp's converter, so it is not trusted.",
            without_password(package.url),
            archive,
        )
    if expected and package.sha256 and expected != package.sha256:
        raise UserError(
            f"The package index offers another file as {package.name} than the one finetui was tested with.",
            without_password(package.url),
            "Check which index pip uses: pip config list",
        )
    part = archive.with_name(f".{archive.name}.part")
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _download(package, part, settings, tell)
            break
        except (OSError, ValueError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) == 28 or attempt == _ATTEMPTS:
                raise _by_hand(
                    f"llama.cpp's converter could not be fetched: {_why(error)}.",
                    without_password(package.url),
                    archive,
                ) from None
            tell.check()
    if expected:
        _check(part, expected)
    os.replace(part, archive)


def _download(package: SourcePackage, part: Path, settings: IndexSettings, tell: Tell) -> None:
    """Append what is missing; what a broken connection left is kept."""
    have = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        answer = open_url(package.url, settings, headers)
    except OSError as error:
        if have and getattr(error, "code", None) == 416:  # all there, or more than there is
            part.unlink()
        raise
    with answer:
        resumed = getattr(answer, "status", 200) == 206
        length = answer.headers.get("Content-Length")
        total = (int(length) if length else 0) + (have if resumed else 0)
        with open(part, "ab" if resumed else "wb") as stream:
            done = have if resumed else 0
            while chunk := answer.read(_CHUNK):
                stream.write(chunk)
                done += len(chunk)
                tell.progress(done, max(total, done))
    if total and done < total:
        raise ConnectionError("the connection was cut")


def _check(file: Path, expected: str) -> None:
    with open(file, "rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != expected:
        file.unlink(missing_ok=True)
        raise UserError(
            "The fetched source package is not the one it should be (its checksum differs), so it was deleted.",
            printable(file.name, 120),
            "Try again; where it happens again, check which index and proxy pip uses: pip config list",
        )


def _unpack(archive: Path, final: Path, tell: Tell) -> None:
    """Only the converter, only ordinary files, only inside the folder."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        unpacked = 0
        with tarfile.open(archive, "r:gz") as package:
            for member in package:
                tell.check()
                inner = _inner(member.name)
                if inner is None or not member.isfile():
                    continue
                unpacked += member.size
                if unpacked > _MOST_UNPACKED:
                    raise tarfile.TarError("it is larger than any converter is")
                target = temporary / inner
                target.parent.mkdir(parents=True, exist_ok=True)
                source = package.extractfile(member)
                assert source is not None
                with source, open(target, "wb") as stream:
                    shutil.copyfileobj(source, stream)
        missing = [name for name in (*_FILES[:2], *_FOLDERS) if not (temporary / name).exists()]
        if missing:
            raise tarfile.TarError(f"{missing[0]} is missing")
        atomic.publish(temporary, final)
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        if getattr(error, "errno", None) is None:  # the archive is damaged, not the disk full
            archive.unlink(missing_ok=True)
        raise UserError(
            f"llama.cpp's converter cannot be unpacked: {_why(error)}.",
            printable(final, 200),
            f"Free {gib(_MOST_UNPACKED)} where it lies if the disk is full, and try again.",
        ) from None
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary)


def _inner(name: str) -> PurePosixPath | None:
    """Path below llama.cpp's folder of a file that belongs to the converter; None for all others."""
    parts = PurePosixPath(name).parts[1:]  # the first is llama_cpp_python-VERSION
    if ".." in parts or "\\" in name or name.startswith("/"):
        return None
    inner = "/".join(parts)
    if not inner.startswith(_ROOT + "/"):
        return None
    inner = inner[len(_ROOT) + 1 :]
    wanted = inner in _FILES or (
        inner.startswith(tuple(folder + "/" for folder in _FOLDERS)) and re.search(r"\.(py|typed)$", inner)
    )
    return PurePosixPath(inner) if wanted else None


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == 28:
        return "the disk is full"
    return reason(error) if isinstance(error, OSError) else printable(error, 200)


def _by_hand(what: str, where: str, archive: Path) -> UserError:
    return UserError(
        what,
        where,
        "Try again with a connection. Without one, fetch the file on another computer (pip download --no-deps "
        f"--no-binary :all: {PROJECT}=={archive.name.removesuffix('.tar.gz').rpartition('-')[2]}) and put it here: "
        f"{printable(archive.parent, 200)}",
    )
