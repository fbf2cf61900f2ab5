"""Talk to the trained model, and to the untrained one or another checkpoint beside it.

A terminal shows the Chat screen; with --plain, or where it cannot show screens, the conversation is in lines.

Without a terminal, each line of standard input is a question of its own: plain words, or a JSON object with "prompt" or
"messages", and perhaps "system", "chat_template_kwargs" or settings such as "temperature". Where no terminal shows the
answers either, they are JSON lines too; --plain keeps them words.
A model trained on plain texts (cpt) goes on with a text; a reward model scores {"prompt": ..., "answer": ...}.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from types import FrameType
from typing import TYPE_CHECKING, Any

from engine.cli.main import Parser, Screen, print_error, why_plain
from engine.deliver.sampling import SETTINGS, Sampling, changed
from engine.display import printable
from engine.errors import UserError
from engine.run.state import find_run

if TYPE_CHECKING:
    from engine.deliver.talk import Conversation, Opened, Piece, Reply, Talk

EXAMPLE = "echo 'What does Zola do for work?' | finetui chat demo --against base --json"

COMMANDS = """\
/clear            forget what was said
/system WORDS     set the system prompt; without words: none
/set NAME VALUE   change a setting, such as: /set temperature 0.7
/settings         show the settings
/quit             leave (or Ctrl-D)
Ctrl-C stops an answer that is being written."""

LONGEST = 1_000_000  # characters of an answer that are printed


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument("name", nargs="?", metavar="RUN", help="default: the newest run")
    add_model_options(parser)
    parser.add_argument("--system", metavar="TEXT", help="system prompt")
    for key, setting in SETTINGS.items():
        parser.add_argument(f"--{key}", metavar="N", help=f"{setting.help}; default: what the model says")
    parser.add_argument(
        "--chat_template_kwargs",
        metavar="JSON",
        help="variables of the chat template, such as '{\"enable_thinking\": false}'",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--plain", action="store_true", help="words in lines: no screen, and no JSON")
    how.add_argument(
        "--json", action="store_true", help="one JSON object for each question; so it is without a terminal"
    )


def add_model_options(parser: Parser) -> None:
    """Which models, and where they are held; the same for every verb that asks them."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--checkpoint", metavar="WHICH", help="result, best, base or a step such as 40; default: the result"
    )
    which.add_argument("--base", action="store_true", help="the base model alone, as it was before training")
    parser.add_argument(
        "--against", metavar="WHICH", help="a second model on the same question: base, result, best or a step"
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="cpu: leave the graphics card alone, such as while another run trains",
    )


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Load the models in a worker, then question and answer."""
    from engine.deliver.talk import Conversation, Talk, chosen, sides_of

    found = find_run(args.name)
    by_hand = {key: getattr(args, key) for key in SETTINGS}
    changed(Sampling(), by_hand)  # before a minute of loading
    kwargs = _template_kwargs(args.chat_template_kwargs)
    sides = sides_of(args.checkpoint, args.against, args.base)
    if screen is not None and not args.plain and not args.json:
        chosen(found, sides)  # so that a wrong name is told here
        return screen(
            "chat", found.name, sides=sides, device=args.device, system=args.system or "", by_hand=by_hand,
            template_kwargs=kwargs,
        )  # fmt: skip
    talk = Talk(found, sides, args.device)
    person = sys.stdin.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # a line that is no UTF-8 is refused by itself
    try:
        if person:
            if not args.plain and (why := why_plain()):
                print(why, file=sys.stderr)
            print(f"Loading the model of {found.name} ...", file=sys.stderr, flush=True)
        opened = talk.open()
        sampling = changed(opened.sampling, by_hand)
        conversation = Conversation(opened.kind, len(opened.names), args.system or "")
        as_json = args.json or not (args.plain or person or sys.stdout.isatty())
        chat = _Chat(talk, opened, conversation, sampling, kwargs, as_json)
        return chat.with_person() if person else chat.with_lines(sys.stdin)
    finally:
        talk.close()


def _template_kwargs(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UserError(
            "The variables of the chat template are no JSON object.",
            "--chat_template_kwargs",
            "Write them so: --chat_template_kwargs '{\"enable_thinking\": false}'",
        )
    return value


class _Chat:
    """Asks, and prints what comes."""

    def __init__(
        self,
        talk: Talk,
        opened: Opened,
        conversation: Conversation,
        sampling: Sampling,
        kwargs: dict[str, Any],
        as_json: bool,
    ) -> None:
        self._talk, self._opened, self._conversation = talk, opened, conversation
        self._sampling, self._kwargs, self._json = sampling, kwargs, as_json

    # Lines of standard input: one question each, independent of each other

    def with_lines(self, lines: Iterator[str]) -> int:
        """Answer every line; what is wrong with one does not keep the others from their answers."""
        failed = False
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            asked = line.strip()
            try:
                request = self._request(asked, f"line {number} of standard input")
                replies = self._talk.ask(
                    request["prompts"],
                    request["sampling"],
                    chat_template_kwargs=request["kwargs"],
                    tools=request["tools"],
                )
            except UserError as error:
                if not self._talk.alive:
                    raise
                failed = True
                if self._json:
                    told = {"what": error.what, "where": error.where, "fix": error.fix}
                    print(json.dumps({"prompt": asked, "error": told}), flush=True)
                else:
                    print_error(error)
                continue
            if self._json:
                print(json.dumps({**request["shown"], **self._answers(replies)}), flush=True)
            else:
                for reply in replies:
                    label = f"{self._names[reply.side]}: " if len(self._names) > 1 else ""
                    print(label + printable(reply.text, LONGEST, newlines=True), flush=True)
        return 2 if failed else 0

    @property
    def _names(self) -> tuple[str, ...]:
        return self._opened.names

    def _answers(self, replies: list[Reply]) -> dict[str, Any]:
        if len(self._names) == 1:
            return replies[0].to_dict()
        return {"answers": [{"model": self._names[one.side], **one.to_dict()} for one in replies]}

    def _request(self, line: str, where: str) -> dict[str, Any]:
        """What a line asks for."""
        fields: Any = None
        if line.startswith("{"):
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:
                if line[1:].lstrip().startswith('"'):  # other words may begin with a brace
                    raise UserError(
                        f"This line is not valid JSON: {printable(error, 200)}.",
                        where,
                        'Check its quotes and commas. To ask just these words: {"prompt": "..."}',
                    ) from None
        kind = self._conversation.kind
        if not isinstance(fields, dict):
            if kind == "score":
                raise UserError(
                    "A reward model scores answers, so a question alone is not enough.",
                    where,
                    'Give JSON lines such as {"prompt": "...", "answer": "..."}.',
                )
            prompts = self._conversation.prompts(line)
            return {
                "prompts": prompts,
                "sampling": self._sampling,
                "kwargs": self._kwargs,
                "tools": None,
                "shown": {"prompt": line},
            }
        sampling = changed(self._sampling, {key: fields[key] for key in SETTINGS if key in fields}, where)
        shown = {key: fields[key] for key in ("prompt", "messages", "id") if key in fields}
        return {
            "prompts": [self._prompt(fields, where)] * len(self._names),
            "sampling": sampling,
            "kwargs": {**self._kwargs, **_mapping(fields, "chat_template_kwargs", where)},
            "tools": _tools(fields, where),
            "shown": shown,
        }

    def _prompt(self, fields: Mapping[str, Any], where: str) -> Any:
        prompt, messages = fields.get("prompt"), fields.get("messages")
        if isinstance(messages, list) and messages and all(_is_turn(turn) for turn in messages):
            turns = list(messages)
        elif isinstance(prompt, str) and prompt.strip():
            if self._conversation.kind == "text":
                return prompt
            turns = [{"role": "user", "content": prompt}]
        else:
            raise UserError(
                "This line has neither a prompt nor messages.",
                where,
                'Write {"prompt": "..."} or {"messages": [{"role": "user", "content": "..."}]}.',
            )
        if isinstance(fields.get("answer"), str):
            turns.append({"role": "assistant", "content": fields["answer"]})
        system = fields.get("system", self._conversation.system)
        if isinstance(system, str) and system and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": system})
        return turns

    # A person at a terminal: a conversation

    def with_person(self) -> int:
        """A conversation until an end of input."""
        import readline  # noqa: F401 - gives the prompt its line editing and history

        opened = self._opened
        print(f"Loaded {' and '.join(map(printable, opened.words))} on {opened.device}.", file=sys.stderr)
        print("Type a question and press Enter; /help lists commands, Ctrl-D leaves.", file=sys.stderr)
        while True:
            try:
                question = input({"text": "\ntext> ", "score": "\nquestion> "}.get(opened.kind, "\nyou> "))
                if not question.strip():
                    continue
                if question.startswith("/"):
                    if question.strip() in ("/quit", "/exit"):
                        return 0
                    self._command(question)
                    continue
                answer = input("answer> ") if opened.kind == "score" else None
            except EOFError:
                print(file=sys.stderr)
                return 0
            except KeyboardInterrupt:  # most often meant for an answer that has just ended by itself
                print("\nCtrl-D leaves.", file=sys.stderr)
                continue
            try:
                self._ask(question, answer)
            except UserError as error:
                if not self._talk.alive:
                    raise
                print_error(error)

    def _ask(self, question: str, answer: str | None) -> None:
        shown = -1

        def tell(piece: Piece) -> None:
            nonlocal shown
            if self._json:
                return
            if piece.side != shown:
                shown = piece.side
                print(("\n" if shown else "") + self._label(shown), end="")
            # Every control character is made visible by itself, so pieces need not be looked at together.
            print(printable(piece.text, LONGEST, newlines=True), end="", flush=True)

        with _Cancelling(self._talk):
            replies = self._talk.ask(
                self._conversation.prompts(question, answer),
                self._sampling,
                tell,
                chat_template_kwargs=self._kwargs,
            )
        if self._conversation.kind == "chat":
            self._conversation.add(question, replies)
        if self._json:
            print(json.dumps({"prompt": question, **self._answers(replies)}), flush=True)
            return
        print()
        for reply in replies:
            if reply.score is not None:
                print(f"{self._label(reply.side)}score {reply.text}")
            label = f"{self._names[reply.side]}: " if len(self._names) > 1 else ""
            print(f"  [{label}{reply.words(self._conversation.kind)}]")

    def _label(self, side: int) -> str:
        return f"{self._names[side]}> " if len(self._names) > 1 else ""

    def _command(self, line: str) -> None:
        verb, _, rest = line.strip().partition(" ")
        if verb == "/clear":
            self._conversation.clear()
            print("Forgotten.", file=sys.stderr)
        elif verb == "/system":
            self._conversation.system = rest.strip()
            print("The system prompt is set." if rest.strip() else "No system prompt.", file=sys.stderr)
        elif verb == "/settings":
            for key, value in asdict(self._sampling).items():
                print(f"  {key:<20} {value:<10} {SETTINGS[key].help}", file=sys.stderr)
        elif verb == "/set" and len(rest.split()) == 2:
            key, value = rest.split()
            try:
                self._sampling = changed(self._sampling, {key: value})
            except UserError as error:
                print_error(error)
        else:
            print(COMMANDS, file=sys.stderr)


class _Cancelling:
    """While an answer is made, Ctrl-C ends the answer; a second one leaves."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._asked = False
        self._before: Any = None

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._interrupted)

    def __exit__(self, *exc: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self._talk.cancel()


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, dict) and isinstance(turn.get("role"), str) and "content" in turn


def _tools(fields: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    tools = fields.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise UserError(
            "tools is no list of JSON objects.",
            where,
            'Such as "tools": [{"type": "function", "function": {"name": "...", "parameters": {}}}].',
        )
    return tools


def _mapping(fields: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = fields.get(key) or {}
    if not isinstance(value, dict):
        raise UserError(f"{key} is no JSON object.", where, 'Such as {"enable_thinking": false}.')
    return value
