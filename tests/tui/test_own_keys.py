"""Keys of one's own: what works is used, what does not is said, and nothing keeps finetui from starting."""

from __future__ import annotations

from pathlib import Path

import pytest

import tests.tui.test_keymap as keymap_tests
from tests.tui.pilot import running
from tui.__main__ import main
from tui.keymap import KEYMAP, TOGETHER, use
from tui.own_keys import key_name, page, read_own_keys

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _table_as_it_was():  # type: ignore[no-untyped-def]
    yield
    use({})


def written(home: Path, text: str) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    path = home / "keys.yaml"
    path.write_text(text)
    return path


async def test_a_key_is_changed_everywhere(finetui_home: Path) -> None:
    written(finetui_home, 'home.demo: D\nhome.remove: [x, delete]\nhome.new: f5\napp.help: "H"\n')
    async with running(100) as screens:
        assert "F5 new" in screens.text
        assert "D demo" in screens.text
        assert "H help" in screens.text
        await screens.press("question_mark")
        assert screens.at == "HomeScreen"
        await screens.press("H")
        assert screens.at == "HelpScreen"
        assert "D" in screens.text
        await screens.press("escape", "n")
        assert screens.at == "HomeScreen"
        await screens.press("f5")
        assert screens.at == "machine"


async def test_keys_may_change_places(finetui_home: Path) -> None:
    written(finetui_home, "home.demo: n\nhome.new: d\n")
    async with running() as screens:
        await screens.press("d")
        assert screens.at == "machine"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("home.dmo: D", "Did you mean home.demo?"),
        ("zzz.zzz: D", "All ids: finetui keys."),
        ("home.demo: ctrl+banana", "is no key"),
        ("home.demo: []", "no key is given"),
        ("home.demo: ctrl+c", "always leaves"),
        ("home.demo: o", "already means 'order'"),
        ("home.demo: q", "already means 'leave'"),
        ("monitor.log: k", "already means"),
        ("list.choose: j", "belongs to the list"),
        ("- home.demo", "lines such as"),
        ("home.demo: [", "not YAML, line"),
        ("&a [*a, *a]", "lines such as"),
        pytest.param("x" * 70_000, "lines such as", id="too long"),
        ("\x00", "not YAML"),
    ],
)
async def test_what_cannot_be_used_is_said(finetui_home: Path, text: str, problem: str) -> None:
    path = written(finetui_home, text)
    found = read_own_keys(path)
    assert problem in " ".join(found.problems)
    assert found.keys == {}
    async with running() as screens:
        assert "keys.yaml" in screens.one_line
        await screens.press("n")
        assert screens.at == "machine"


def test_the_rest_of_a_file_with_a_mistake_is_used(finetui_home: Path) -> None:
    found = read_own_keys(written(finetui_home, "home.demo: q\nhome.sort: S\nhome.path: 7\nhome.mark: y\n"))
    assert found.keys == {"home.sort": "S", "home.path": "7", "home.mark": "y"}
    assert len(found.problems) == 1


def test_a_file_that_is_not_text_or_a_folder(finetui_home: Path) -> None:
    path = written(finetui_home, "")
    path.write_bytes(b"\xff\xfe\x00home")
    assert read_own_keys(path).problems
    assert read_own_keys(finetui_home).problems
    assert not read_own_keys(finetui_home / "missing.yaml").problems


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("?", "question_mark"), ("/", "slash"), ("$", "dollar_sign"), ("D", "D"), ("é", "é"), (" ", "space"),
        ("f12", "f12"), ("ctrl+n", "ctrl+n"), ("shift+tab", "shift+tab"), ("alt+left", "alt+left"),
        ("ctrl+", None), ("hyper+n", None), ("", None), ("two words", None), ("\x1b", None), ("-", "minus"),
    ],
)  # fmt: skip
def test_names_of_keys(text: str, name: str | None) -> None:
    assert key_name(text) == name


def test_groups_that_work_together_are_those_of_the_screens() -> None:
    for screen in keymap_tests.all_screens():
        groups = screen.KEY_GROUPS  # type: ignore[attr-defined]
        assert len(groups) == 1 or any(set(groups) <= set(known) for known in TOGETHER), screen
    assert {group for groups in TOGETHER for group in groups} <= set(KEYMAP)


def test_the_verb_prints_the_table(finetui_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(finetui_home, "home.demo: D\nhome.nonsense: x\nhome.remove: x\n")
    assert main(["keys"]) == 0
    shown = capsys.readouterr().out
    assert "(your own; otherwise d)" in shown
    assert "Not used: there is no key 'home.nonsense'" in shown
    assert str(finetui_home / "keys.yaml") in shown
    for keys in KEYMAP.values():
        for key in keys:
            assert key.id in shown


def test_the_page_is_current() -> None:
    wanted = (ROOT / "docs" / "keys.md").read_text(encoding="utf-8")
    assert wanted == page(), "run: finetui keys --markdown > docs/keys.md"
