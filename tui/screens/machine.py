"""Machine: what is here, which model sizes fit, and what finetui suggests."""

from __future__ import annotations

import math

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static
from textual.widgets.option_list import Option

from engine.advise import fits
from engine.config.draft import choose_gpu
from engine.display import GIB, gib, printable
from engine.errors import UserError
from engine.fit import grid
from engine.fit.cards import known_cards
from engine.machine.model import Disk, Gpu, Machine
from tui.keymap import bindings
from tui.planning import PLANNED, FitReport, Target, report_on, target_of
from tui.screens.wizard import Body, WizardStep
from tui.text import hanging, stack
from tui.widgets.fit_table import fit_table

OTHERS_USE = GIB // 2  # memory taken by other programs that is worth a word
LITTLE_DISK = 10 * GIB


class MachineScreen(WizardStep):
    """The first step: look, and say what it means."""

    STEP = "machine"
    KEY_GROUPS = ("wizard", "machine")
    BINDINGS = bindings("wizard", "machine")
    HELP = (
        """\
GPU memory (VRAM) decides which models can be trained. The table says, for each size of model and each way to train, how \
many GiB 19 of 20 runs stay below; 1 GiB is 1,073,741,824 bytes. "Fits" means that this is free now, with one text at \
once, evaluation and saving included. "Tight" means that half of the runs would end for lack of memory.

LoRA trains small added matrices and leaves the model as it is. QLoRA also holds the model in 4 bits, a quarter of \
the memory. Full training changes every weight. A token is about three quarters of a word. bf16 is a number format that \
halves the memory; cards since 2020 have it.

"""
        + "The sizes are counted with these models: "
        + ", ".join(f"{size.billions} B {size.model_name}" for size in grid.SIZES)
        + "."
    )

    def __init__(self) -> None:
        super().__init__()
        self._length = grid.LENGTH
        self._reports: dict[tuple[Target, int], FitReport] = {}

    def question(self) -> ComposeResult:
        yield Static(Content.styled("Looking at this machine ...", "$muted"), id="report")

    def ready(self) -> None:
        self.query_one(Body).can_focus = True
        self.query_one(Body).focus()
        self.the_app.look_at_machine()
        self.watch(self.app, "machine", self._show)

    def on_resize(self) -> None:
        self._show(self.the_app.machine)

    def _show(self, machine: Machine | None) -> None:
        several = machine is not None and len(machine.usable_gpus) > 1
        hidden = [] if several else ["machine.card"]
        target = target_of(machine, self.draft)
        if machine is None or machine.usable_gpus:
            hidden.append("machine.plan")
        if target is None:
            hidden.append("machine.length")
        self.key_line.hide(*hidden)
        if machine is None:
            return
        if target is not None and (target, self._length) not in self._reports:
            self._work_out(target, self._length)
        body = self.query_one(Body)
        found = self._reports.get((target, self._length)) if target else None
        report = machine_report(
            machine,
            self._gpu(machine),
            self.draft.price_per_hour,
            target,
            found,
            self.size.width - 4,
            self.size.height,
        )
        body.query_one("#report", Static).update(report)

    def _work_out(self, target: Target, length: int) -> None:
        def got(report: FitReport) -> None:
            self._reports[target, length] = report
            self._show(self.the_app.machine)

        self.in_background(lambda: report_on(target, length), got, "grid")

    def _gpu(self, machine: Machine) -> Gpu | None:
        return choose_gpu(machine, self.draft.gpu) or choose_gpu(machine, None)

    def action_card(self) -> None:
        machine = self.the_app.machine
        gpu = self._gpu(machine) if machine else None
        # A card is chosen by its number, so the slices of one card count as one.
        numbers = sorted({card.index for card in machine.usable_gpus}) if machine else []
        if gpu is None or len(numbers) < 2:
            self.notice.say("This machine has no other card to choose.")
            return
        self.draft.gpu = numbers[(numbers.index(gpu.index) + 1) % len(numbers)]
        self._show(machine)

    def action_length(self) -> None:
        """The next of the usual lengths, and from the last to the first."""
        at = grid.LENGTHS.index(self._length)
        self._length = grid.LENGTHS[(at + 1) % len(grid.LENGTHS)]
        self._show(self.the_app.machine)

    def action_plan(self) -> None:
        from tui.screens.pick import PickScreen

        machine = self.the_app.machine
        if machine is None or machine.usable_gpus:
            self.notice.say(
                "The table is for the card of this machine; for another one: finetui fit --gpu NAME"
            )
            return
        cards = sorted(known_cards(), key=lambda card: card.name)
        options = [
            Option(Content.assemble(f"{card.name:<24}", (f"{gib(card.usable):>10}", "$muted")), id=card.name)
            for card in cards
        ]
        self.app.push_screen(
            PickScreen(
                "Which card do you plan for?",
                "The table then shows what would fit on it. Nothing is started there: the training still runs here.",
                options,
                self.draft.answers.get(PLANNED, "RTX 4090"),
            ),
            self._planned,
        )

    def _planned(self, name: str | None) -> None:
        if name is not None:
            self.draft.answers[PLANNED] = name
            self.keep_draft()
            self._show(self.the_app.machine)

    def action_look(self) -> None:
        self.query_one("#report", Static).update(Content.styled("Looking again ...", "$muted"))
        self.the_app.look_at_machine(again=True)

    def action_price(self) -> None:
        from tui.screens.ask import AskScreen

        price = self.draft.price_per_hour
        self.app.push_screen(
            AskScreen(
                "What does one hour of this machine cost?",
                "In dollars, such as 0.69. finetui then shows what the training costs. Empty: do not show it.",
                "" if price is None else f"{price:g}",
                parse_price,
            ),
            self._priced,
        )

    def _priced(self, value: str | None) -> None:
        if value is not None:
            self.draft.price_per_hour = parse_price(value)
            self.keep_draft()
            self._show(self.the_app.machine)


def parse_price(text: str) -> float | None:
    """A price as typed: ``0.69``, ``$0.69``, ``0,69``; None when empty.

    Raises:
        UserError: It is not a number of 0 or more.
    """
    plain = text.strip().lstrip("$€").replace(",", ".").strip()
    if not plain:
        return None
    try:
        price = float(plain)
    except ValueError:
        price = -1.0
    if not math.isfinite(price) or not 0 <= price < 100_000:
        raise UserError(
            "This is not a price.", repr(printable(text, 40)), "Type a number such as 0.69, or nothing."
        )
    return price


def machine_report(
    machine: Machine,
    gpu: Gpu | None,
    price: float | None,
    target: Target | None,
    found: FitReport | None,
    width: int,
    height: int,
) -> Content:
    """Everything the screen says.

    Args:
        machine: What was found.
        gpu: The card that will train; None for a machine without a usable one.
        price: Of an hour, if told.
        target: The card the table is for; None without a card.
        found: What fits on it; None while that is worked out.
        width: Columns there are.
        height: Rows of the terminal.
    """
    parts = [*_cards(machine, gpu, width, height), *_host(machine, price), Content("")]
    if gpu is None:
        parts += _no_card(machine, width)
    if target is None:
        parts += _without_table(gpu, width)
    elif found is None:
        parts.append(Content.styled("Working out what fits ...", "$muted"))
    else:
        parts += [*fit_table(target, found.grid, width), Content(""), *_suggestion(target, found, width)]
    warnings = _warnings(machine, gpu)
    if warnings:
        parts += [Content(""), *(hanging("!", "bold $warning", text, width) for text in warnings)]
    return stack(*parts)


def _cards(machine: Machine, gpu: Gpu | None, width: int, height: int) -> list[Content]:
    cards = machine.usable_gpus
    if gpu is None or not cards:
        return [
            Content.assemble(
                ("No graphics card (GPU). ", "bold"), "Training runs on the processor: good for the demo."
            )
        ]
    shown = cards if len(cards) <= 4 or height >= 34 else (gpu,)
    lines = [_card(card, card.uuid == gpu.uuid, machine, len(cards) > 1, width) for card in shown]
    if len(shown) < len(cards):
        at = [card.uuid for card in cards].index(gpu.uuid) + 1
        lines.append(Content.styled(f"  card {at} of {len(cards)}; g shows the next one", "$muted"))
    return lines


def _card(card: Gpu, chosen: bool, machine: Machine, several: bool, width: int) -> Content:
    mark = ("● " if chosen else "○ ") if several else ""
    memory = (
        f"{gib(card.memory_total)}, {card.memory_free / GIB:.1f} free"
        if card.memory_total
        else "memory unknown"
    )
    facts = [
        memory,
        "shared with the CPU" if card.unified_memory else "",
        "bf16" if card.bf16().value else "no bf16",
    ]
    if not several and machine.gpu_state.driver_version:
        facts.append(f"driver {printable(machine.gpu_state.driver_version, 20)}")
    label = f"{card.label}: " if several else ""
    line = Content.assemble(
        (mark, "bold $primary"), (label + printable(card.name, 40), "bold" if chosen else "")
    )
    for fact in facts:  # the most important first; what does not fit is left out
        if fact and line.cell_length + 3 + len(fact) <= width:
            line = Content.assemble(line, f" · {fact}")
    return line


def _host(machine: Machine, price: float | None) -> list[Content]:
    host = machine.host
    cores = f"{host.cores_usable} CPU core{'s' * (host.cores_usable != 1)}"
    ram = f"{gib(host.ram_total)} RAM, {host.ram_available / GIB:.1f} free"
    disk = next((disk for disk in machine.disks if "runs" in disk.uses), None)
    facts = [cores, ram, f"disk {gib(disk.free)} free" if disk else ""]
    lines = [Content(" · ".join(fact for fact in facts if fact))]
    if machine.pod is not None:
        lines.append(
            Content(f"Rented from {printable(machine.pod.name, 40)}. {printable(machine.pod.billing, 200)}")
        )
    if price is not None:
        lines.append(Content(f"${price:,.2f} an hour"))
    return lines


def _no_card(machine: Machine, width: int) -> list[Content]:
    state = machine.gpu_state
    broken = state.state not in ("ok", "no_devices", "no_driver")
    lines = [hanging("!", "bold $error", printable(state.message, 300), width)] if broken else []
    if state.fix:
        lines.append(hanging("→", "bold $primary", printable(state.fix, 300), width))
    return [*lines, Content("")] if lines else []


def _without_table(gpu: Gpu | None, width: int) -> list[Content]:
    if gpu is not None:
        words = "This card does not tell how much of its memory is free, so finetui cannot tell what fits."
        return [hanging("!", "bold $warning", words, width)]
    choice = fits.recommend_model(None)
    rent = (
        "Renting a card later? c shows what would fit on it. Everything here works without one, only slower."
    )
    return [
        Content.assemble(("→ Suggested: ", "bold $primary"), (choice.value.label, "bold")),
        hanging(" ", "", choice.reason, width),
        Content(""),
        hanging("→", "bold $primary", rent, width),
    ]


def _suggestion(target: Target, found: FitReport, width: int) -> list[Content]:
    best = found.suggestion.value
    lines = [
        Content.assemble(
            ("→ Suggested: ", "bold $primary"),
            (best.model_id.rpartition("/")[2], "bold"),
            f" with {best.method}.",
        ),
        hanging(" ", "", found.suggestion.reason, width),
    ]
    alternatives = found.suggestion.alternatives
    larger = next(
        (one for one in alternatives if one.params_b > best.params_b and one.verdict == "fits"), None
    )
    if larger is not None:
        words = f"{larger.model_id.rpartition('/')[2]} with {larger.method} fits too: knows more, learns more slowly."
        lines.append(hanging(" ", "", words, width))
    if found.table_note:
        lines.append(hanging(" ", "", found.table_note, width, "$muted"))
    if target.planned:
        lines.append(
            hanging(" ", "", "On this machine, without a card, take the demo or a very small model.", width)
        )
    return lines


def _warnings(machine: Machine, gpu: Gpu | None) -> list[str]:
    words: list[str] = []
    if gpu is not None and gpu.memory_used > OTHERS_USE and not gpu.unified_memory:
        words.append(f"Other programs use {gib(gpu.memory_used)} of this card.")
    for card in machine.gpus:
        if card.problem and card.visible:
            name = "" if card.name == card.label else f", {printable(card.name, 40)}"
            words.append(f"{card.label}{name}: {printable(card.problem, 200)}")
    if gpu is not None and gpu.note:
        words.append(printable(gpu.note, 200))
    runs = next((disk for disk in machine.disks if "runs" in disk.uses), None)
    if runs is not None:
        words += _disk_words(runs)
    return words


def _disk_words(disk: Disk) -> list[str]:
    where = printable(disk.path, 60)
    words = []
    if disk.persistent is False:
        words.append(
            f"Runs are kept in {where}, which is lost when the machine is stopped. {printable(disk.note, 120)}"
        )
    if disk.total and disk.free < LITTLE_DISK:
        words.append(f"Only {gib(disk.free)} are free for runs in {where}; checkpoints may fill that.")
    if not disk.writable:
        words.append(f"Nothing can be written to {where}. Choose another folder: FINETUI_HOME=/path finetui")
    return words
