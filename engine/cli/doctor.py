"""Check the machine: GPU and driver, libraries, memory, disks. Reads only; takes no GPU memory."""

from __future__ import annotations

import argparse
import json

from engine.cli.main import Parser, Screen
from engine.display import gib, printable
from engine.run.home import finetui_home

EXAMPLE = "finetui doctor --json"
MARKS = {"ok": "ok     ", "note": "note   ", "warning": "WARNING", "problem": "PROBLEM"}


def configure(parser: Parser) -> None:
    """Options of the verb."""
    parser.add_argument("--json", action="store_true", help="machine and findings as one JSON object")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="also run a small 4-bit computation with the installed libraries, and ask the Hub whether it answers",
    )


def run(args: argparse.Namespace, screen: Screen | None) -> int:
    """Print machine and findings; exit code 2 when there is a problem."""
    from engine.hub.doctor import diagnose as hub_findings
    from engine.machine.deep import deep_check
    from engine.machine.doctor import diagnose
    from engine.machine.probe import probe

    machine = probe(finetui_home())
    findings = list(diagnose(machine))
    findings += hub_findings(ask=args.deep)
    if args.deep:
        findings.append(deep_check())
    bad = any(finding.severity == "problem" for finding in findings)
    if args.json:
        print(
            json.dumps(
                {
                    "machine": machine.to_dict(),
                    "findings": [finding.to_dict() for finding in findings],
                    "ok": not bad,
                },
                indent=1,
                default=str,
            )
        )
        return 2 if bad else 0
    host = machine.host
    print(f"CPU   {printable(host.cpu_name, 60)}, {host.cores_usable} usable threads")
    print(f"RAM   {gib(host.ram_available)} free of {gib(host.ram_total)}")
    for gpu in machine.gpus:
        memory = (
            f"{gib(gpu.memory_free)} free of {gib(gpu.memory_total)}"
            if gpu.memory_total
            else "memory not reported"
        )
        print(f"{gpu.label}  {printable(gpu.name, 50)}: {memory}{'' if gpu.visible else ' (hidden)'}")
    if not machine.gpus:
        print(f"GPU   {printable(machine.gpu_state.message)}")
    print(f"Runs  {finetui_home() / 'runs'}")
    print()
    for finding in findings:
        print(f"{MARKS.get(finding.severity, '')}  {printable(finding.title)}: {printable(finding.detail)}")
        if finding.fix:
            print(f"         -> {printable(finding.fix)}")
    return 2 if bad else 0
