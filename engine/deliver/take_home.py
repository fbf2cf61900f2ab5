"""Taking an export home: the lines that copy it from this machine, check it, and run it on another computer."""

from __future__ import annotations

import ipaddress
import json
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.deliver.export.base import is_folder
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
        words = (
            "You are not connected by SSH, so put the address that you log in with for HOST; if its port is not 22, add it: "
            "rsync -e 'ssh -p PORT', scp -P PORT."
        )
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
    # -P shows progress and goes on after a cut. -s keeps the far shell from reading spaces and quotes in names; the rsync
    # that a Mac comes with does not know it, so it is there only where it must be.
    odd = shlex.quote(folder) != folder
    lines = []
    if shutil.which("rsync"):
        ssh = f" -e {shlex.quote('ssh' + port)}" if port else ""
        lines.append(
            Command(
                "with rsync, which goes on after a cut"
                + (" (not a Mac's own: brew install rsync)" if odd else ""),
                f"rsync -rt{'s' if odd else ''}P{ssh} {shlex.quote(source)} {shlex.quote(here + '/')}",
            )
        )
    capital = f" -P {remote.port}" if remote.port != 22 else ""
    lines.append(
        Command(
            ("with scp of OpenSSH 9 or newer" if odd else "with scp, on every computer")
            + f"; after a cut, delete {printable(here, 100)} first",
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


def run_commands(export: Export, folder: str | None = None) -> list[Command]:
    """Lines that use an export, the plainest first.

    Args:
        export: What is to be run.
        folder: Where it lies; the one of `local_name` on the computer where it was copied to where None.
    """
    folder = folder or "./" + local_name(export)
    here = shlex.quote(folder)
    ggufs = [file.path for file in export.files if file.path.endswith(".gguf")]
    match export.target:
        case "ollama":
            name = shlex.quote(str(export.extra.get("ollama_name") or local_name(export)))
            return [
                Command("Ollama", f"cd {here} && ollama create {name} -f Modelfile && ollama run {name}"),
                Command("chat page (Ollama)", _open_webui()),
            ]
        case "gguf" if ggufs:
            return _llama_commands("-m " + shlex.quote(f"{folder}/{ggufs[0]}"))
        case "lora-gguf" if ggufs:
            lora = next((name for name in ggufs if "-lora-" in name), ggufs[0])
            base = next((name for name in ggufs if name != lora), None)
            model = shlex.quote(f"{folder}/{base}") if base else "BASE.gguf"
            return _llama_commands(f"-m {model} --lora {shlex.quote(f'{folder}/{lora}')}")
        case "merged":
            return _merged_commands(export, folder)
        case "adapter":
            return _adapter_commands(export, folder)
        case _:
            url = export.extra.get("url")
            return [Command("the repository", printable(url, 200))] if isinstance(url, str) else []


def local_name(export: Export) -> str:
    """The folder's name on the other computer, such as ``owl-gguf``."""
    name = export.folder.name
    return name if name.startswith(export.run) else f"{export.run}-{name}"


def run_notes(export: Export) -> list[str]:
    """What these lines need that is not in the export."""
    if export.target != "adapter" or not is_folder(export.model):
        return []
    return [
        f"The base model is a folder on this machine ({export.model}), and an adapter runs only over its base: copy that "
        "folder, too, and name it in adapter_config.json; or take the merged model home: --to merged"
    ]


def _llama_commands(files: str) -> list[Command]:
    # --jinja: the template as it is in the file, which is the one that was checked.
    return [
        Command("llama.cpp", f"llama-cli --jinja {files}"),
        Command("chat page", f"llama-server --jinja {files}   # then open http://localhost:8080"),
    ]


def _merged_commands(export: Export, folder: str) -> list[Command]:
    from engine.deliver.export.card import talks

    if not talks(export.objective):
        return [
            Command("transformers: README.md there shows how", f"cat {shlex.quote(folder + '/README.md')}")
        ]
    code = f'from transformers import pipeline; print(pipeline("text-generation", {json.dumps(folder, ensure_ascii=False)})({_asked(export)}))'
    return [
        Command("transformers", f"python -c {shlex.quote(code)}"),
        Command("vLLM", f"vllm serve {shlex.quote(folder)}"),
    ]


def _adapter_commands(export: Export, folder: str) -> list[Command]:
    from engine.deliver.export.card import talks, vllm_command

    if not talks(export.objective):
        return [
            Command("transformers: README.md there shows how", f"cat {shlex.quote(folder + '/README.md')}")
        ]
    config: dict[str, Any] = atomic.read_json(export.folder / "adapter_config.json") or {}
    base = str(config.get("base_model_name_or_path") or export.model)
    base = f"path/to/{base}" if is_folder(export.model) else base
    # The tokenizer is the adapter's own: it may have another template than the base.
    code = (
        "from peft import AutoPeftModelForCausalLM as M; from transformers import AutoTokenizer as T, pipeline; "
        f'f = {json.dumps(folder, ensure_ascii=False)}; print(pipeline("text-generation", M.from_pretrained(f), tokenizer=T.from_pretrained(f))'
        f"({_asked(export)}))"
    )
    serve = vllm_command(base, folder, config)
    return [
        Command("transformers", f"python -c {shlex.quote(code)}"),
        *([Command("vLLM", serve)] if serve else []),
    ]


def _asked(export: Export) -> str:
    """A first question, in Python."""
    return '"Once upon a time"' if export.objective == "cpt" else '[{"role": "user", "content": "Hello"}]'


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
