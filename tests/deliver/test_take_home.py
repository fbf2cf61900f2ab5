"""The lines that take an export home, and what is said to be only here."""

from __future__ import annotations

import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.config.draft import DEMO
from engine.deliver import at_home
from engine.deliver.at_home import mark_home, standing
from engine.deliver.export import manifest
from engine.deliver.export.manifest import Export
from engine.deliver.export.places import remember
from engine.deliver.export.staging import check_final
from engine.deliver.export_choices import choices_of, room_for
from engine.deliver.take_home import (
    check_commands,
    copy_commands,
    local_name,
    run_commands,
    run_notes,
    this_machine,
    write_checksums,
)
from engine.run.layout import RunDir
from tests.deliver.chat_runs import made_run
from tests.deliver.exports_sealed import sealed

NOWHERE = Path("/nowhere")


def test_the_address_is_that_of_the_ssh_connection() -> None:
    found = this_machine({"SSH_CONNECTION": "203.0.113.9 51000 198.51.100.7 2222"}, NOWHERE)
    assert (found.host, found.port) == ("198.51.100.7", 2222)
    real = this_machine({"SSH_CONNECTION": "8.8.8.8 51000 1.1.1.1 22"}, NOWHERE)
    assert (real.host, real.port, real.notes) == ("1.1.1.1", 22, ())
    six = this_machine({"SSH_CONNECTION": "::1 5 2606:4700::1111 22"}, NOWHERE)
    assert six.target.endswith("@[2606:4700::1111]")


@pytest.mark.parametrize(
    "variables",
    [
        {"RUNPOD_PUBLIC_IP": "1.2.3.4", "RUNPOD_TCP_PORT_22": "40022"},
        {"PUBLIC_IPADDR": "1.2.3.4", "VAST_TCP_PORT_22": "40022"},
    ],
)
def test_a_mapped_port_is_warned_about(variables: dict[str, str], tmp_path: Path) -> None:
    connection = {"SSH_CONNECTION": "8.8.8.8 51000 172.17.0.2 22"}
    found = this_machine(connection | variables, NOWHERE)
    assert (found.host, found.port) == ("1.2.3.4", 40022)
    assert "maps the SSH port" in found.notes[0]
    assert "not port 22" in found.notes[0]
    container = tmp_path / "environ"
    container.write_bytes("\0".join(f"{name}={value}" for name, value in variables.items()).encode())
    assert this_machine(connection, container) == found


@pytest.mark.parametrize(
    ("connection", "host", "words"),
    [
        ("", "HOST", "not connected by SSH"),
        ("nonsense", "HOST", "not connected by SSH"),
        ("a b $(reboot) 22", "HOST", "not connected by SSH"),
        ("1.1.1.1 5 1.1.1.1 99999", "HOST", "not connected by SSH"),
        ("8.8.8.8 51000 172.17.0.2 22", "172.17.0.2", "inside the provider's network"),
    ],
)
def test_what_is_not_known_is_said(connection: str, host: str, words: str) -> None:
    found = this_machine({"SSH_CONNECTION": connection}, NOWHERE)
    assert found.host == host
    assert words in found.notes[0]


@pytest.mark.parametrize("name", ["merged", "my model", "modèle 🦉", "a'b\"c$(d)"])
def test_names_are_quoted_for_the_shell(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    export = sealed(made_run(), "merged", name=name)
    found = this_machine({"SSH_CONNECTION": "8.8.8.8 5 1.1.1.1 2222"}, NOWHERE)
    for command in copy_commands(export, found):
        words = shlex.split(command.line)
        assert f"{found.target}:{export.folder}" in [word.rstrip("/") for word in words]
        assert f"./owl-{name}" in [word.rstrip("/") for word in words]
        assert "2222" in command.line
    assert [shlex.split(command.line)[0] for command in copy_commands(export, found)] == ["rsync", "scp"]
    # A Mac's own rsync has no -s; without it, names that a shell takes apart would be.
    assert ("s" in shlex.split(copy_commands(export, found)[0].line)[1]) == (name != "merged")


@pytest.mark.parametrize("target", ["merged", "adapter"])
@pytest.mark.parametrize("objective", ["sft", "cpt", "reward"])
@pytest.mark.parametrize("name", ["plain", "a'b\"c$(touch hit)`d`"])
def test_python_lines_are_what_they_say_after_a_shell_has_read_them(
    target: str, objective: str, name: str, tmp_path: Path
) -> None:
    export = replace(sealed(made_run(), target, name=name), objective=objective)
    line = run_commands(export)[0].line
    fake = tmp_path / "bin" / "python"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\nprintf %s "$2" > "{tmp_path}/saw"\n')
    fake.chmod(0o755)
    there = tmp_path / "there" / local_name(export)
    there.mkdir(parents=True)
    (there / "README.md").write_text("read me")
    path = f"{fake.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=there.parent, env={"PATH": path}, capture_output=True, text=True, check=True
    )
    assert [one.name for one in there.parent.iterdir()] == [there.name]
    if objective == "reward":
        assert done.stdout == "read me"
        return
    said = (tmp_path / "saw").read_text()
    texts = {node.value for node in ast.walk(ast.parse(said)) if isinstance(node, ast.Constant)}
    assert f"./{local_name(export)}" in texts
    assert ("Once upon a time" if objective == "cpt" else "Hello") in texts


@pytest.mark.parametrize("name", ["merged", "my model"])
def test_the_checksum_line_works_as_it_is(name: str, tmp_path: Path) -> None:
    export = sealed(made_run(), "merged", name=name)
    assert write_checksums(export)
    there = tmp_path / "laptop"
    there.mkdir()
    (there / local_name(export)).symlink_to(export.folder)
    line = check_commands(export)[0].line
    done = subprocess.run(line, shell=True, cwd=there, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "model.safetensors: OK" in done.stdout
    (export.folder / "model.safetensors").write_bytes(b"cut")
    assert subprocess.run(line, shell=True, cwd=there, capture_output=True, check=False).returncode != 0
    assert manifest.read(export.folder) == export, "the list is no part of the export"
    check_final(export.folder, overwrite=True)  # and does not keep it from being replaced


@pytest.mark.parametrize(
    ("target", "files", "words"),
    [
        ("gguf", ("owl-Q4_K_M.gguf",), ("llama-cli --jinja -m", "llama-server", "http://localhost:8080")),
        ("lora-gguf", ("owl-base-F16.gguf", "owl-lora-F32.gguf"), ("--lora", "owl-base-F16.gguf")),
        ("ollama", ("Modelfile", "owl-Q8_0.gguf"), ("ollama create owl-ollama -f Modelfile", "open-webui")),
        ("merged", ("model.safetensors",), ("vllm serve", "transformers import pipeline")),
        ("adapter", ("adapter_model.safetensors",), ("--enable-lora", "AutoPeftModelForCausalLM")),
    ],
)
def test_how_it_runs_there(target: str, files: tuple[str, ...], words: tuple[str, ...]) -> None:
    lines = " ".join(command.line for command in run_commands(sealed(made_run(), target, files)))
    assert all(word in lines for word in words), lines


def weights(run: RunDir, age: float = 100.0) -> RunDir:
    path = run.adapter / "adapter_model.safetensors"
    path.write_bytes(b"trained")
    os.utime(path, (path.stat().st_mtime - age,) * 2)
    return run


def only(run: RunDir) -> dict[str, bool]:
    return {one.what: one.matters for one in standing(run).only_here}


def test_what_was_learnt_is_only_here_until_it_is_elsewhere() -> None:
    run = weights(made_run())
    assert only(run)["The trained adapter"]
    export = sealed(run, "adapter", ("adapter_model.safetensors",))
    found = standing(run)
    assert not found.safe
    assert found.only_here[0].what == "The trained adapter"
    assert "The export adapter" in only(run)
    assert "The best checkpoint, of step 24" in only(run)
    mark_home(run, export)
    found = standing(run)
    assert found.safe
    assert found.exports[0].home
    assert not {"The trained adapter", "The export adapter"} & set(only(run))


def test_what_is_at_home_stays_there_when_it_is_deleted_here() -> None:
    run = weights(made_run())
    export = sealed(run, "adapter", ("adapter_model.safetensors",))
    mark_home(run, export)
    shutil.rmtree(export.folder)
    assert standing(run).safe
    weights(run, age=-1000)
    assert not standing(run).safe, "the run was trained further since"


def test_an_older_export_does_not_make_it_safe() -> None:
    run = weights(made_run(), age=-1000)
    mark_home(run, sealed(run, "adapter", ("adapter_model.safetensors",)))
    assert not standing(run).exports[0].current
    assert only(run)["The trained adapter"]


def test_another_export_in_the_same_place_is_not_at_home() -> None:
    run = weights(made_run())
    mark_home(run, sealed(run, "adapter", ("a.safetensors",)))
    sealed(run, "adapter", ("b.safetensors",))
    assert not standing(run).exports[0].home


def test_a_file_that_failed_its_check_makes_nothing_safe() -> None:
    run = weights(made_run())
    mark_home(run, sealed(run, "gguf", ("owl-F16.gguf",), verdict="differs"))
    assert not standing(run).safe
    sealed(run, "hub", (), extra={"url": "https://hub/ada/owl", "pushed": "adapter", "verdict": "differs"})
    assert not standing(run).safe


def test_a_gguf_at_home_is_enough_to_use_and_not_to_train_further() -> None:
    run = weights(made_run())
    mark_home(run, sealed(run, "gguf", ("owl-F16.gguf",)))
    found = standing(run)
    assert found.safe
    assert any("cannot be trained further" in one.what and not one.matters for one in found.only_here)


def test_a_push_counts_as_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    run = weights(made_run())
    sealed(run, "adapter", ("adapter_model.safetensors",))
    sealed(run, "hub", (), extra={"url": "https://hub/ada/owl", "pushed": "adapter"})
    found = standing(run)
    assert found.safe
    assert found.exports[0].words == "uploaded: https://hub/ada/owl"
    shutil.rmtree(run.exports / "adapter")
    assert standing(run).safe
    assert main(["export", "owl"]) == 0
    text = capsys.readouterr().out
    assert "hub        adapter, since" in text
    assert "Nothing has been exported" not in text


def test_a_stopped_run_has_its_newest_checkpoint_to_lose() -> None:
    run = made_run()
    (run.adapter / "adapter_config.json").unlink()
    run.adapter.rmdir()
    assert only(run)["The newest checkpoint, of step 48"]
    assert not standing(run).safe


def test_a_stopped_run_is_safe_once_its_newest_checkpoint_is_home() -> None:
    run = made_run()
    shutil.rmtree(run.adapter)
    older = sealed(run, "adapter", name="adapter-checkpoint-24", trained_from="checkpoint-24")
    mark_home(run, older)
    assert not standing(run).safe
    newest = sealed(
        run, "adapter", ("b.safetensors",), name="adapter-checkpoint-48", trained_from="checkpoint-48"
    )
    assert not standing(run).safe
    mark_home(run, newest)
    assert standing(run).safe


def test_an_adapter_whose_base_is_only_here_is_not_safe(tmp_path: Path) -> None:
    run = weights(made_run())
    base = shutil.copytree(DEMO, tmp_path / "my base")
    run.config.write_text(run.config.read_text().replace(str(DEMO), str(base)))
    export = sealed(run, "adapter", ("adapter_model.safetensors",), model=str(base))
    mark_home(run, export)
    assert not standing(run).safe
    assert only(run)["The base model my base, without which no adapter runs"]
    assert str(base) in run_notes(export)[0]
    mark_home(run, sealed(run, "merged"))
    assert standing(run).safe


def test_exports_written_elsewhere_are_found_again_and_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = weights(made_run())
    there = tmp_path / "big disk"
    shutil.move(sealed(run, "merged").folder, there)
    remember(run, there)
    remember(run, run.exports / "adapter")
    assert [one.export.folder for one in standing(run).exports] == [there]
    assert main(["runs", "--export-status"]) == 0
    assert str(there) in capsys.readouterr().out
    assert main(["export", "owl", "--have", str(there)]) == 0
    assert "what was learnt is elsewhere, too" in capsys.readouterr().out
    shutil.rmtree(there)
    assert standing(run).gone == (there,)
    assert not standing(run).exports
    assert main(["runs", "--export-status"]) == 0
    assert f"gone: the export that was written to {there} is not there" in capsys.readouterr().out
    shutil.move(sealed(made_run("other"), "merged").folder, there)
    assert standing(run).gone == (there,), "another run's export is none of this one"


def test_the_verb_prints_the_way_home(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = weights(made_run())
    export = sealed(run, "adapter", ("adapter_model.safetensors",))
    monkeypatch.setenv("SSH_CONNECTION", "8.8.8.8 5 1.1.1.1 2222")
    assert main(["export", "owl", "--take-home"]) == 0
    text = capsys.readouterr().out
    for line in (
        *copy_commands(export, this_machine()), *check_commands(export), *run_commands(export)
    ):  # fmt: skip
        assert f"      {line.line}\n" in text
    assert "! only here: The trained adapter" in text
    assert main(["export", "owl", "--take-home", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["exports"][0]["check"][0]["line"] == check_commands(export)[0].line
    assert (export.folder / "SHA256SUMS").is_file()
    assert main(["export", "owl", "--have", "nothing"]) == 2
    assert "Choose one of: adapter" in capsys.readouterr().err
    assert main(["export", "owl", "--have", "adapter", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["safe"] is standing(run).safe is True
    assert main(["export", "owl", "--quant", "Q8_0"]) == 2
    assert "Add --to" in capsys.readouterr().err
    assert main(["export", "owl", "--to", "adapter", "--quant", "Q8_0"]) == 2
    assert "--quant means nothing" in capsys.readouterr().err


def test_notes_that_make_no_sense_are_as_good_as_none() -> None:
    run = weights(made_run())
    sealed(run, "adapter", ("adapter_model.safetensors",))
    (run.path / at_home.FILE).write_text('{"home": [1], "done": "x"}')
    assert not standing(run).safe
    assert at_home.done(run) == {}


def test_the_verb_tells_all_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run = weights(made_run())
    sealed(run, "gguf", ("owl-Q4_K_M.gguf",), verdict="differs")
    made_run("young", checkpoints=()).adapter.joinpath("adapter_config.json").unlink()
    (run.path.parent / "young" / "adapter").rmdir()
    assert main(["runs", "--export-status"]) == 0
    text = capsys.readouterr().out
    for words in (
        "owl: what was learnt is ONLY ON THIS MACHINE", "CHECK FAILED: differs; only on this machine",
        "! only here: The trained adapter", "young: nothing to export yet",
    ):  # fmt: skip
        assert words in text, text
    assert main(["runs", "--export-status", "--json"]) == 0
    told = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert told["owl"]["safe"] is False
    assert told["owl"]["exports"][0]["verdict"] == "differs"
    assert told["owl"]["only_here"][0]["matters"] is True


def test_a_folder_that_cannot_be_written_gets_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    export: Export = sealed(made_run(), "merged")
    assert not write_checksums(replace(export, folder=Path("/nowhere/x")))


def test_what_the_screens_ask_loads_nothing_heavy() -> None:
    run = weights(made_run())
    code = (
        "import sys; from pathlib import Path; from engine.run.layout import RunDir; from engine.deliver.at_home import standing; "
        "from engine.deliver.export_choices import choices_of, quant_sizes, room_for; run = RunDir(Path(sys.argv[1])); "
        "names = [choice.name for choice in choices_of(run)]; standing(run); assert quant_sizes(run)['F16'] > 1 << 20; "
        "[room_for(run, name, ('Q4_K_M',)) for name in names]; "
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules); print(*names)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["adapter", "merged", "gguf", "lora-gguf", "ollama", "hub"], done.stderr


def test_sizes_are_told_without_llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("engine.deliver.export.gguf.source.version", absent)
    run = weights(made_run())
    refused = {choice.name: choice.refusal for choice in choices_of(run)}
    assert refused["gguf"] is not None
    assert "llama-cpp-python" in refused["gguf"].what
    assert room_for(run, "gguf", ("Q4_K_M",)).disk_bytes > 1 << 20
