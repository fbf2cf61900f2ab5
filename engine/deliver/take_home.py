"""Taking an export home: the lines that copy it from this machine, check it, and run it on another computer."""

from __future__ import annotations

import ipaddress
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.deliver.export.manifest import Export
from engine.display import printable
from engine.run import atomic
from engine.run.checkpoints import SUMS

# (address, port): what pods say about the port of theirs that the world sees. No other variable is read.
_MAPPED = (
    ("RunPod", "RUNPOD_PUBLIC_IP", "RUNPOD_TCP_PORT_22"),
    ("Vast.ai", "PUBLIC_IPADDR", "VAST_TCP_PORT_22"),
)


@dataclass(frozen=True, slots=True)
class Remote:
    """This machine as the other computer reaches it by SSH.

    Attributes:
        user: Who logs in.
        host: Address or name; ``HOST`` where it is not known.
        port: SSH port.
        notes: What to look out for.
    """

    user: str
    host: str
    port: int
    notes: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """``user@host`` as scp and rsync take it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}"


@dataclass(frozen=True, slots=True)
class Command:
    """One line to type.

    Attributes:
        what: What it does.
        line: The command.
    """

    what: str
    line: str


def this_machine(environ: Mapping[str, str] | None = None, process: Path = Path("/proc/1/environ")) -> Remote:
    """How the user's computer reaches this machine.

    Args:
        environ: The environment; this process's own where None.
        process: The environment the container was started with: a login shell often has less.
    """
    found = dict(os.environ if environ is None else environ)
    user = _user(found)
    container = {**_of_container(process), **found}
    parts = found.get("SSH_CONNECTION", "").split()
    server, port = (parts[2], _port(parts[3])) if len(parts) == 4 else ("", None)
    for pod, address, mapped in _MAPPED:
        outside = _port(container.get(mapped, ""))
        host = container.get(address, "").split(",")[0].strip()
        if outside is not None and _is_host(host):
            words = f"{pod} maps the SSH port of this pod: from outside it is port {outside} of {host}"
            inside = f", not port {port} as in here." if port not in (None, outside) else "."
            return Remote(user, host, outside, (words + inside,))
    if not _is_host(server) or port is None:
        words = "You are not connected by SSH, so put your own words for HOST and 22: those you log in with."
        return Remote(user, "HOST", 22, (words,))
    if _is_private(server):
        words = (
            f"{server} is an address inside the provider's network. Replace it, and port {port}, with what you typed after ssh to "
            "get here."
        )
        return Remote(user, server, port, (words,))
    return Remote(user, server, port)


def copy_commands(export: Export, remote: Remote) -> list[Command]:
    """Lines to type on the other computer that fetch an export.

    Args:
        export: What to fetch; it arrives in a folder of `local_name` below the current one.
        remote: This machine.
    """
    folder, here = str(export.folder.absolute()), "./" + local_name(export)
    port = f" -p {remote.port}" if remote.port != 22 else ""
    source = f"{remote.target}:{folder}/"
    # -s keeps the far shell from reading spaces and quotes in names; -P shows progress and goes on after a cut.
    lines = []
    if shutil.which("rsync"):
        ssh = f" -e {shlex.quote('ssh' + port)}" if port else ""
        lines.append(
            Command(
                "with rsync, which goes on after a cut",
                f"rsync -rtsP{ssh} {shlex.quote(source)} {shlex.quote(here + '/')}",
            )
        )
    capital = f" -P {remote.port}" if remote.port != 22 else ""
    lines.append(
        Command(
            "with scp, on every computer",
            f"scp -r{capital} {shlex.quote(source.rstrip('/'))} {shlex.quote(here)}",
        )
    )
    return lines


def check_commands(export: Export) -> list[Command]:
    """Lines to type on the other computer that compare every byte with what was made here."""
    inside = f"cd {shlex.quote('./' + local_name(export))} && "
    return [
        Command("on Linux", f"{inside}sha256sum -c {SUMS}"),
        Command("on a Mac", f"{inside}shasum -a 256 -c {SUMS}"),
    ]


def write_checksums(export: Export) -> bool:
    """Put ``SHA256SUMS`` beside the files, as ``sha256sum -c`` reads it; False where the folder cannot be written."""
    told = []
    for file in export.files:
        name, mark = file.path, ""
        if "\\" in name or "\n" in name:  # as sha256sum itself writes them
            name, mark = name.replace("\\", "\\\\").replace("\n", "\\n"), "\\"
        told.append(f"{mark}{file.sha256}  {name}\n")
    path = export.folder / SUMS
    text = "".join(told)
    try:
        if not path.is_file() or path.read_text("utf-8") != text:
            atomic.write_text(path, text, 0o644)
    except OSError:
        return False
    return True


def run_commands(export: Export) -> list[Command]:
    """Lines that use an export on the computer where it was copied to."""
    here = shlex.quote("./" + local_name(export))
    ggufs = [file.path for file in export.files if file.path.endswith(".gguf")]
    match export.target:
        case "ollama":
            name = shlex.quote(str(export.extra.get("ollama_name") or local_name(export)))
            return [
                Command("Ollama", f"cd {here} && ollama create {name} -f Modelfile && ollama run {name}"),
                Command("chat page (Ollama)", _open_webui()),
            ]
        case "gguf" if ggufs:
            file = shlex.quote(f"./{local_name(export)}/{ggufs[0]}")
            return [
                Command("llama.cpp", f"llama-cli -m {file}"),
                Command("chat page", f"llama-server --jinja -m {file}   # then open http://localhost:8080"),
            ]
        case "lora-gguf" if ggufs:
            return _lora_commands(export, ggufs)
        case "merged":
            return [
                Command(
                    "transformers", _python(f"pipeline('text-generation', {'./' + local_name(export)!r})")
                ),
                Command("vLLM", f"vllm serve {here}"),
            ]
        case "adapter":
            return _adapter_commands(export)
        case _:
            url = export.extra.get("url")
            return [Command("the repository", printable(url, 200))] if isinstance(url, str) else []


def local_name(export: Export) -> str:
    """The folder's name on the other computer, such as ``owl-gguf``."""
    name = export.folder.name
    return name if name.startswith(export.run) else f"{export.run}-{name}"


def _lora_commands(export: Export, ggufs: list[str]) -> list[Command]:
    folder = f"./{local_name(export)}/"
    lora = next((name for name in ggufs if "-lora-" in name), ggufs[0])
    base = next((name for name in ggufs if name != lora), None)
    model = shlex.quote(folder + base) if base else "BASE.gguf"
    line = f"-m {model} --lora {shlex.quote(folder + lora)}"
    return [
        Command("llama.cpp", f"llama-cli {line}"),
        Command("chat page", f"llama-server --jinja {line}   # then open http://localhost:8080"),
    ]


def _adapter_commands(export: Export) -> list[Command]:
    from engine.deliver.export.card import vllm_command

    folder = "./" + local_name(export)
    config: dict[str, Any] = atomic.read_json(export.folder / "adapter_config.json") or {}
    base = str(config.get("base_model_name_or_path") or export.model)
    rank = config.get("r")
    return [
        Command(
            "transformers",
            f'python -c "from peft import AutoPeftModelForCausalLM as M; m = M.from_pretrained({folder!r})"',
        ),
        Command("vLLM", vllm_command(base, folder, rank if isinstance(rank, int) else 16)),
    ]


def _python(expression: str) -> str:
    code = f"from transformers import pipeline; print({expression}([{{'role': 'user', 'content': 'Hello'}}]))"
    return f"python -c {shlex.quote(code)}"


def _open_webui() -> str:
    return "docker run -p 3000:8080 --add-host=host.docker.internal:host-gateway ghcr.io/open-webui/open-webui:main   # then open http://localhost:3000"


def _user(environ: Mapping[str, str]) -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return environ.get("USER") or "root"


def _of_container(process: Path) -> dict[str, str]:
    """The few variables of `_MAPPED`, from the container's first process."""
    wanted = {name for _, *names in _MAPPED for name in names}
    try:
        entries = process.read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return {}
    pairs = (entry.partition("=") for entry in entries)
    return {name: value for name, _, value in pairs if name in wanted}


def _port(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 65536 else None


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_private(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    return address.is_private or address.is_loopback
