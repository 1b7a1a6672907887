"""Mercury under fire: `python faults/run.py SCENARIO`.

Starts everything itself, posts mails while faults strike, lets it settle, and compares three ledgers: what clients were
told, what Mercury says, what the providers took. Prints one line for each law and each goal; exits with 1 on a breach.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from faults import laws, scenarios  # noqa: E402  (the path comes first)
from faults.rig import LEGS, Rig, rig  # noqa: E402
from faults.scenario import POLICIES, Goal, Run, Scenario  # noqa: E402
from faults.servers import ProgramMissing  # noqa: E402

SHOWN = 5  # breaches of one law


def main() -> int:
    """The command line."""
    known = scenarios.find()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="?", help="One of --list, or all.")
    parser.add_argument("--list", action="store_true", help="Say what there is.")
    parser.add_argument("--mails", type=int, help="How many mails instead of the scenario's own number.")
    parser.add_argument("--leg", choices=LEGS, help="On this leg only.")
    parser.add_argument("--policy", choices=POLICIES, help="With this policy only.")
    parser.add_argument("--short", action="store_true", help="As in CI: few mails, and short silences.")
    parser.add_argument("--bug", help="Plant a bug of faults/bugs.py.")
    options = parser.parse_args()
    if options.list or options.scenario is None:
        for scenario in known.values():
            print(f"{scenario.name:24} {scenario.about} ({' and '.join(scenario.legs)}, {scenario.mails} mails)")
        return 0
    if options.scenario != "all" and options.scenario not in known:
        parser.error(f"no scenario is called {options.scenario}; --list shows all.")
    chosen = list(known.values()) if options.scenario == "all" else [known[options.scenario]]
    try:
        broken = [run for scenario in chosen for run in _legs(scenario, options)]
    except ProgramMissing as missing:
        raise SystemExit(str(missing)) from missing
    return 1 if any(broken) else 0


def _legs(scenario: Scenario, options: argparse.Namespace) -> list[bool]:
    """Run a scenario on each leg and with each policy that was asked for; whether each run broke something."""
    broken = []
    for leg in scenario.legs:
        for policy in scenario.policies:
            if options.leg in {None, leg} and options.policy in {None, policy}:
                mails = options.mails or (scenario.short if options.short else scenario.mails)
                plant = ",".join(filter(None, (scenario.plant, options.bug, "hurry" if options.short else "")))
                print(f"\n{scenario.name}: {scenario.about}; {leg}, {policy}, {mails} mails", flush=True)
                began = time.monotonic()
                with rig(leg, plant=plant, **scenario.settings) as built:
                    built.start()
                    broken.append(execute(scenario, built, mails=mails, policy=policy, short=options.short))
                print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    return broken


def execute(scenario: Scenario, built: Rig, *, mails: int, policy: str, short: bool) -> bool:
    """Run a scenario on a rig that has been started, print what came of it, and return whether something is broken."""
    run = Run(built, mails, policy, short)
    scenario.strike(run)
    breaches = laws.judge(run.ledgers)
    assert run.clients is not None
    print(f"  clients were told {dict(run.clients.answers.statuses)}")
    for number, (law, found) in enumerate(breaches.items(), start=1):
        print(f"  {'BROKEN' if found else 'holds '} law {number}: {law}")
        for sentence in found[:SHOWN]:
            print(f"           {sentence}")
        if len(found) > SHOWN:
            print(f"           and {len(found) - SHOWN} more")
    for goal in run.goals:
        print(f"  {_verdict(goal)} {goal.name}: {goal.figure}{f' ({goal.wanted})' if goal.wanted else ''}")
    return any(breaches.values()) or any(goal.holds is False for goal in run.goals)


def _verdict(goal: Goal) -> str:
    return {True: "holds ", False: "MISSED", None: "      "}[goal.holds]


if __name__ == "__main__":
    sys.exit(main())
