"""Machine: what is here, which model sizes fit, and what finetui suggests."""

from __future__ import annotations

import math

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from engine.advise import fits
from engine.config.draft import choose_gpu
from engine.display import GIB, gib, printable
from engine.errors import UserError
from engine.machine.model import Disk, Gpu, Machine
from tui.keymap import bindings
from tui.screens.wizard import Body, WizardStep
from tui.text import hanging, stack

SIZES = (3.0, 8.0, 14.0, 32.0, 70.0)
MARKS = {
    fits.Verdict.FITS: ("✓", "$success"),
    fits.Verdict.TIGHT: ("~", "$warning"),
    fits.Verdict.NO: ("✗", "$error"),
}
OTHERS_USE = GIB // 2  # memory taken by other programs that is worth a word
LITTLE_DISK = 10 * GIB


class MachineScreen(WizardStep):
    """The first step: look, and say what it means."""

    STEP = "machine"
    KEY_GROUPS = ("wizard", "machine")
    BINDINGS = bindings("wizard", "machine")
    HELP = """\
GPU memory (VRAM) decides which models can be trained. 1 GiB is 1,073,741,824 bytes; the table counts in GB of \
1,000,000,000 bytes, as it was published.

LoRA trains small added matrices and leaves the model as it is. QLoRA also holds the model in 4 bits, a quarter of \
the memory. bf16 is a number format that halves the memory; cards since 2020 have it."""

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
        hidden = [] if machine and len(machine.usable_gpus) > 1 else ["machine.card"]
        self.key_line.hide(*hidden)
        if machine is None:
            return
        body = self.query_one(Body)
        gpu, price = self._gpu(machine), self.draft.price_per_hour
        report = machine_report(machine, gpu, price, self.size.width - 4, self.size.height)
        body.query_one("#report", Static).update(report)

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
    machine: Machine, gpu: Gpu | None, price: float | None, width: int, height: int
) -> Content:
    """Everything the screen says.

    Args:
        machine: What was found.
        gpu: The card that will train; None for a machine without a usable one.
        price: Of an hour, if told.
        width: Columns there are.
        height: Rows of the terminal; a taller one gets the whole table.
    """
    free = gpu.memory_free if gpu else None
    parts = [*_cards(machine, gpu, width, height), *_host(machine, price), Content("")]
    if gpu is None:
        parts += _no_card(machine, width)
    else:
        parts += [_table_title(gpu), *_table(free, height), Content("")]
    parts += _suggestion(free, width)
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


def _table_title(gpu: Gpu) -> Content:
    legend = [
        Content.assemble((mark, style), f" {verdict.value}") for verdict, (mark, style) in MARKS.items()
    ]
    title = Content.assemble(
        (f"What fits into {gib(gpu.memory_free)}", "bold"), "  (GB needed, short texts)   "
    )
    return title + Content("  ").join(legend)


def _table(free: int | None, height: int) -> list[Content]:
    sizes = tuple(size for size, _ in fits.table()) if height >= 34 else SIZES
    rows = fits.what_fits(free, sizes)
    lines = [Content.styled(f"  {'model size':<14}{'QLoRA, 4-bit':<18}LoRA, 16-bit", "$muted")]
    for size in sizes:
        cells = [Content(f"  {f'{size:g} billion':<14}")]
        for row in (row for row in rows if row.params_b == size):
            mark, style = MARKS[row.verdict]
            cells.append(Content.assemble((mark, style), f"{row.needed_gb:>7g}{'':<10}"))
        lines.append(Content("").join(cells))
    return lines


def _suggestion(free: int | None, width: int) -> list[Content]:
    choice = fits.recommend_model(free)
    return [
        Content.assemble(("→ Suggested: ", "bold $primary"), (choice.value.label, "bold")),
        hanging(" ", "", choice.reason, width),
    ]


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
