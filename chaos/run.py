"""Mercury under fire: `python chaos/run.py SCENARIO`.

Starts everything itself, submits emails while failures are injected, waits for the end, and compares three records: the answers to
clients, Mercury's database, the emails that providers accepted. Prints one line for each invariant and each goal; exits with 1 on a breach.
`bugs` plants bugs, one after the other, and shows that each is caught.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from chaos import invariants, scenarios  # noqa: E402  (the path comes first)
from chaos.bugs import BUGS  # noqa: E402
from chaos.scenario import GUARANTEES, Goal, Run, Scenario  # noqa: E402
from chaos.servers import ProgramMissing  # noqa: E402
from chaos.testbed import LEGS, SHORT, Testbed, build_testbed  # noqa: E402

SHOWN = 3  # breaches of one invariant
PATIENCE_WITH_BUGS = 30.0  # seconds to finish: some bugs never do


def main() -> int:
    """Run the command line."""
    known = scenarios.find()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="?", help="One of --list, all, or bugs.")
    parser.add_argument("--list", action="store_true", help="List the scenarios.")
    parser.add_argument("--mails", type=int, metavar="N", help="Number of emails instead of the scenario's own.")
    parser.add_argument("--minutes", type=float, help="Duration of the soak: as many emails as its rate needs.")
    parser.add_argument("--leg", choices=LEGS, help="Use this leg only.")
    parser.add_argument("--guarantee", choices=GUARANTEES, help="Use this delivery guarantee only.")
    parser.add_argument("--short", action="store_true", help="As in CI: few emails, short silences and time limits.")
    parser.add_argument("--bug", choices=BUGS, help="With `bugs`: plant this one only.")
    options = parser.parse_args()
    if options.list or options.scenario is None:
        for scenario in known.values():
            print(f"{scenario.name:24} {scenario.about} ({' and '.join(scenario.legs)}; {scenario.mails} emails)")
        return 0
    if options.scenario not in {"all", "bugs", *known}:
        parser.error(f"no scenario is called {options.scenario}; --list shows all.")
    if options.mails is not None and options.mails < 10:
        parser.error("--mails: at least 10.")
    try:
        if options.scenario == "bugs":
            fine = list(_run_bugs(known, options))
        else:
            chosen = list(known.values()) if options.scenario == "all" else [known[options.scenario]]
            fine = [kept for scenario in chosen for kept in _run(scenario, options)]
    except ProgramMissing as missing:
        raise SystemExit(str(missing)) from missing
    return 0 if all(fine) else 1


def _run(scenario: Scenario, options: argparse.Namespace) -> Iterator[bool]:
    """Run a scenario on each requested leg and with each requested delivery guarantee; yield True for a run without a breach."""
    for leg in scenario.legs:
        for delivery_guarantee in scenario.guarantees:
            if options.leg in {None, leg} and options.guarantee in {None, delivery_guarantee}:
                mails = options.mails or _count_mails(scenario, options)
                print(f"\n{scenario.name}: {scenario.about}; {leg}, {delivery_guarantee}, {mails} emails", flush=True)
                began = time.monotonic()
                with build_testbed(leg, **build_settings(scenario, short=options.short)) as built:
                    built.start()
                    broken = execute(
                        scenario, built, mails=mails, delivery_guarantee=delivery_guarantee, short=options.short
                    )
                print(f"       it took {time.monotonic() - began:.0f} s", flush=True)
                yield not broken


def _count_mails(scenario: Scenario, options: argparse.Namespace) -> int:
    if options.minutes and scenario.rate:
        return int(options.minutes * 60 * scenario.rate)
    return scenario.short if options.short else scenario.mails


def build_settings(scenario: Scenario, *, short: bool, plant: str = "") -> dict[str, Any]:
    """Return the settings that the testbed is built with."""
    plants = filter(None, (scenario.plant, plant, "hurry" if short else ""))
    return {**(SHORT if short else {}), **scenario.settings, "plant": ",".join(plants), "disk": scenario.disk}


def execute(scenario: Scenario, built: Testbed, *, mails: int, delivery_guarantee: str, short: bool) -> bool:
    """Run a scenario on a testbed that has been started, print the result, and return True if an invariant or goal is broken."""
    run = Run(built, mails, delivery_guarantee, short)
    scenario.strike(run)
    broken = invariants.judge(run.records)
    _report(run, broken)
    return any(broken.values()) or any(goal.holds is False for goal in run.goals)


def run_with_bug(scenario: Scenario, built: Testbed) -> dict[str, list[str]]:
    """Run the short version of a scenario on a testbed with a planted bug; return each invariant with its breaches."""
    run = Run(built, scenario.short, scenario.guarantees[0], short=True, timeout=PATIENCE_WITH_BUGS)
    scenario.strike(run)
    return invariants.judge(run.records)


def _report(run: Run, broken: dict[str, list[str]]) -> None:
    """Print the result of a run."""
    assert run.clients is not None
    print(
        "       answers to clients: "
        + ", ".join(f"{number} x {what}" for what, number in run.clients.answers.statuses.most_common())
    )
    for number, (invariant, found) in enumerate(broken.items(), start=1):
        print(f"  {'BROKEN' if found else 'holds '} invariant {number}: {invariant}")
        for sentence in found[:SHOWN]:
            print(f"           {sentence}")
        if len(found) > SHOWN:
            print(f"           and {len(found) - SHOWN} more")
    for goal in run.goals:
        print(f"  {_format_result(goal)} {goal.name}: {goal.figure}{f' ({goal.wanted})' if goal.wanted else ''}")


def _format_result(goal: Goal) -> str:
    return {True: "holds ", False: "MISSED", None: "      "}[goal.holds]


def _run_bugs(known: dict[str, Scenario], options: argparse.Namespace) -> Iterator[bool]:
    """Plant each requested bug; yield True if the invariant made for it caught it."""
    for name, bug in BUGS.items():
        for leg, scenario_name in bug.scenarios.items():
            if options.leg in {None, leg} and options.bug in {None, name}:
                scenario = known[scenario_name]
                with build_testbed(leg, **build_settings(scenario, short=True, plant=name)) as built:
                    built.start()
                    found = run_with_bug(scenario, built)[bug.invariant]
                result = f"caught, {len(found)} times" if found else "NOT CAUGHT"
                print(f"{name}: {bug.about}; {leg}, {scenario_name}")
                print(f"  {result}: {bug.invariant}{f', as in: {found[0]}' if found else ''}", flush=True)
                yield bool(found)


if __name__ == "__main__":
    sys.exit(main())
