"""Bad input is normal input: three lines that say what, where and how to mend it, exit code 2, no traceback."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.config.draft import DEMO, DEMO_DATA

ROW = '{"question": "What is it?", "answer": "A thing."}\n'


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def run(*argv: str) -> str:
        code = main(list(argv))
        shown = capsys.readouterr()
        assert code == 2, shown.out + shown.err
        lines = shown.err.splitlines()
        assert [line[:6] for line in lines] == ["Error:", "Where:", "Fix:  "], shown.err
        assert all(len(line) > 8 for line in lines)
        assert "Traceback" not in shown.err
        return shown.err

    return run


def train(config: Path | None = None, *options: str) -> list[str]:
    return ["train", *(["-c", str(config)] if config else []), "--detach", *options]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(f"model: {{model_name_or_path: {DEMO}}}\ndata:\n  train: data.jsonl\n")
    (tmp_path / "data.jsonl").write_text(ROW * 20)
    return path


def test_a_missing_configuration(refused, tmp_path: Path) -> None:
    assert "nowhere.yaml" in refused(*train(tmp_path / "nowhere.yaml"))


def test_an_unknown_key_names_the_line_and_the_nearest(refused, config: Path) -> None:
    config.write_text(config.read_text() + "training:\n  lerning_rate: 1e-4\n")
    shown = refused(*train(config))
    assert "line 5" in shown
    assert "learning_rate" in shown


def test_a_value_out_of_range(refused, config: Path) -> None:
    config.write_text(config.read_text() + "training:\n  max_length: 3\n")
    shown = refused(*train(config))
    assert "line 5" in shown
    assert "greater than or equal to 8" in shown


def test_an_unknown_option(refused, config: Path) -> None:
    assert "--lerning_rate" in refused(*train(config, "--lerning_rate", "1e-4"))


def test_an_option_with_a_wrong_value(refused, config: Path) -> None:
    assert "command line, --learning_rate" in refused(*train(config, "--learning_rate", "fast"))


def test_broken_yaml(refused, config: Path) -> None:
    config.write_text("model: [\n")
    assert "line 2" in refused(*train(config))


def test_a_missing_dataset(refused, config: Path) -> None:
    (config.parent / "data.jsonl").unlink()
    assert "data.jsonl" in refused(*train(config))


def test_an_empty_dataset(refused, config: Path) -> None:
    (config.parent / "data.jsonl").write_text("")
    assert "empty" in refused(*train(config))


def test_broken_json_names_the_line(refused, config: Path) -> None:
    (config.parent / "data.jsonl").write_text(ROW * 6 + '{"question": "x"\n' + ROW)
    assert "line 7" in refused(*train(config))


def test_broken_json_far_into_the_file(refused, config: Path) -> None:
    (config.parent / "data.jsonl").write_text(ROW * 3000 + "{oops\n")
    assert "line 3001" in refused(*train(config))


def test_no_column_that_can_be_trained_on(refused, config: Path) -> None:
    (config.parent / "data.jsonl").write_text('{"height": 1, "width": 2}\n' * 20)
    shown = refused(*train(config))
    assert "height" in shown


def test_a_model_folder_without_weights(refused, config: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(DEMO, model)
    (model / "model.safetensors").unlink()
    assert "weights" in refused(*train(config, "--model_name_or_path", str(model)))


def test_pickle_only_weights(refused, config: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(DEMO, model)
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert "safetensors" in refused(*train(config, "--model_name_or_path", str(model)))


def test_a_model_that_is_nowhere(refused, config: Path, tmp_path: Path) -> None:
    assert "nomodel" in refused(*train(config, "--model_name_or_path", str(tmp_path / "nomodel")))


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "-x y", "x" * 65, "n\x1b[31m"])
def test_a_run_name_that_leaves_the_folder(refused, config: Path, name: str) -> None:
    shown = refused(*train(config, f"--name={name}"))
    assert "\x1b" not in shown


def test_a_run_folder_that_cannot_be_made(
    refused, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    monkeypatch.setenv("FINETUI_HOME", str(blocked))
    assert "FINETUI_HOME" in refused(*train(config))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_run_folder_that_cannot_be_written(
    refused, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "locked"
    (home / "runs").mkdir(parents=True)
    (home / "runs").chmod(0o500)
    monkeypatch.setenv("FINETUI_HOME", str(home))
    assert "written" in refused(*train(config))


def test_an_unknown_run_and_an_unknown_verb(refused) -> None:
    assert "no run" in refused("attach", "nothing")
    assert "finetui train" in refused("trian")
    assert "no runs yet" in refused("chat")


def test_exclusive_settings(refused, config: Path) -> None:
    shown = refused(*train(config, "--load_in_4bit", "true", "--load_in_8bit", "true"))
    assert "load_in_8bit" in shown


def test_nothing_is_left_behind(refused, config: Path, finetui_home: Path) -> None:
    refused(*train(config, "--train", "nowhere.jsonl"))
    assert not list(finetui_home.glob("runs/*"))


def test_the_demo_data_pass(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-c", str(config), "--train", DEMO_DATA, "--dry-run"]) == 0
    assert "# " in capsys.readouterr().out
