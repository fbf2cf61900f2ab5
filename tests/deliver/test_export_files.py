"""What is in an adapter export, its card and the lines of the verb: complete, harmless, and nothing private."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from engine.config.draft import DEMO
from engine.deliver.export.card import card, vllm_command
from engine.deliver.export.core import export
from engine.deliver.export.job import Job
from engine.deliver.source import find_trained
from engine.errors import UserError
from engine.hub.download import download
from engine.hub.pin import remember
from tests.deliver.exports_made import Told, base_model, run_yaml, tuned_run
from tests.e2e.runs import finetui
from tests.fakes.hub.server import FakeHub
from tests.hub.models import demo

HOSTILE = 'x"\n---\nevil: "1"\n# <script>alert(1)</script> `$(id)` [a](javascript:b) \x1b[31m\u202e'


def metadata(text: str) -> dict[str, object]:
    found = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def with_config(job: Job, section: str, **values: object) -> Job:
    config = job.trained.config
    part = getattr(config, section).model_copy(update=values)
    return replace(job, trained=replace(job.trained, config=config.model_copy(update={section: part})))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    run, trained = tuned_run(base_model(tmp_path / "secret place" / "base"))
    return Job(run, trained, "adapter")


def test_an_adapter_comes_with_everything_and_without_paths(job: Job, tmp_path: Path) -> None:
    made = export(job, Told())
    assert {file.path for file in made.files} >= {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    for file in made.files:
        assert b"secret place" not in (made.folder / file.path).read_bytes()
    assert json.loads((made.folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "base"


def test_the_base_has_its_name_and_commit_on_the_hub(hub: FakeHub, job: Job) -> None:
    demo(hub)
    commit = download("ada/tiny").name
    run, _ = tuned_run(DEMO, name="from-hub")
    run.config.write_text(run_yaml("ada/tiny"))
    remember(run.path, "ada/tiny", commit)
    job = Job(run, find_trained(run), "adapter")
    made = export(job, Told())
    config = json.loads((made.folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("ada/tiny", commit)
    found = metadata((made.folder / "README.md").read_text())
    assert (found["base_model"], found["library_name"]) == ("ada/tiny", "peft")
    assert found["tags"] == ["finetui", "sft", "lora"]


def test_a_card_tells_data_settings_and_results(job: Job) -> None:
    from engine.run.events import EventWriter

    events = EventWriter(job.run.events)
    events.metric(step=12, loss=0.5)
    events.emit("evaluation", step=12, eval_loss=0.25)
    events.close()
    text = card(job, "adapter")
    for words in ("train.jsonl", "0.002", "0.2500", "PeftModel", "vllm serve", "Imitate answers"):
        assert words in text
    assert str(DEMO) not in text


def test_hub_datasets_are_named_and_files_only_by_their_last_part(job: Job) -> None:
    from engine.config.schema import Source

    train = [Source(path="trl-lib/tldr", split="train"), Source(path="/home/ada/private/letters.jsonl")]
    text = card(with_config(job, "data", train=train), "merged")
    assert metadata(text)["datasets"] == ["trl-lib/tldr"]
    assert "letters.jsonl" in text
    assert "/home/ada" not in text


def test_hostile_names_stay_names(job: Job) -> None:
    from engine.config.schema import Source

    hostile = with_config(job, "data", train=[Source(path="/tmp/" + HOSTILE.replace("/", ""))])
    hostile = with_config(hostile, "model", model_name_or_path="/x/" + HOSTILE.replace("/", ""))
    hostile = replace(hostile, trained=replace(hostile.trained, words=HOSTILE))
    for form in ("adapter", "merged", "gguf"):
        text = card(hostile, form)  # type: ignore[arg-type]
        assert "evil" not in metadata(text)
        assert not re.search(r"^---$", text.split("---\n", 2)[2], re.M)
        prose = re.sub(r"```.*?```", "", text, flags=re.S)
        assert "<script>" not in prose.replace("\\<", "")
        assert not re.search(r"(?<!\\)\[a(?<!\\)\]", prose)
        assert "\x1b" not in text
        assert "\u202e" not in text
    (shell,) = re.findall(r"```sh\n(.*?)```", card(hostile, "adapter"), re.S)
    assert shell.startswith("vllm serve 'path/to/x\"") or shell.startswith("vllm serve 'path/to/")


def test_the_next_command_is_quoted() -> None:
    assert (
        vllm_command("a b", "$(id)", {"r": 8, "rank_pattern": {"q_proj": 24}})
        == "vllm serve 'a b' --enable-lora --max-lora-rank 32 --lora-modules tuned='$(id)'"
    )
    assert "--max-lora-rank" not in vllm_command("a", "b", {"r": 8})
    for refused in ({"r": 8, "use_dora": True}, {"r": 8, "modules_to_save": ["lm_head"]}, {"r": 1024}):
        assert vllm_command("a", "b", refused) == "", "vLLM does not load these"


def test_a_model_trained_whole_has_no_adapter(tmp_path: Path) -> None:
    from engine.run.layout import create

    run = create("whole")
    base_model(run.model)
    run.config.write_text(run_yaml(tmp_path / "base", tuning="full"))
    with pytest.raises(UserError, match="no adapter") as caught:
        export(Job(run, find_trained(run), "adapter"), Told())
    assert "--to merged" in caught.value.fix


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--to", "adapter", "--dtype", "bfloat16"], "--dtype means nothing"),
        (["--to", "merged", "--repo", "x"], "--repo means nothing"),
        (["--to", "merged", "--dtype", "int3"], "no number format"),
        (["--to", "exe"], "invalid choice"),
        (["--to", "adapter", "--checkpoint", "99"], "no checkpoint"),
        (["--to", "hub"], "has no name"),
    ],
)
def test_wrong_options_are_explained(
    job: Job, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from engine.cli.main import main

    assert main(["export", job.run.name, *options]) == 2
    assert words in capsys.readouterr().err
    assert not list(job.run.exports.iterdir())


def test_the_verb(job: Job) -> None:
    done = finetui("export", job.run.name, "--to", "adapter")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr
    where, *proof, command = done.stdout.strip().splitlines()
    assert str(job.run.exports / "adapter") in where
    assert proof[0].startswith("Checked: It answers like the trained model.")
    assert command.startswith("Next:  vllm serve")
    assert finetui("export", job.run.name, "--to", "adapter").returncode == 2
    listed = json.loads(finetui("export", job.run.name, "--json").stdout)
    assert [one["target"] for one in listed] == ["adapter"]


def test_the_verb_for_programs(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    from engine.cli.main import main

    assert main(["export", job.run.name, "--to", "adapter", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[0]["kind"] == "step"
    assert told[-1] == {
        "kind": "done",
        "folder": str(job.run.exports / "adapter"),
        "proof": told[-1]["proof"],
    }
