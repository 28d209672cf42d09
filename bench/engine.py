"""How fast the emitted `realtime/` app is, beside other ways to do the same, in one run.

A server has one core to itself; the load, Redis and PostgreSQL share another. Contestants take turns, and each starts
anew in every round; what is printed are ratios first, then medians with their ranges. "by CPU" is the same ratio in
the server's CPU time, which drifts less where a machine has other work. Beside the medians are the microseconds of the
server's CPU time for each delivery, and how much of the two cores was used: with "!", above 90 % of the load's core,
the load may be what was measured; a server that does not fill its own waits, or others use the machine.
`make bench ARGS="--only fanout,echo"` runs a part. If a contestant failed, the run ends with 1 and names it.
"""

import argparse
import os
import resource
import signal
import sys
import time

from bench import workshop
from bench.measure import LOAD_CORE, SERVER_CORE, Failed, pin
from bench.plan import Plan
from bench.scenarios import SCENARIOS


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios, separated by commas")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="how long each time (%(default)s)")
    parser.add_argument(
        "--brief", action="store_true", help="few connections, to show that everything runs; the figures mean nothing"
    )
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",")
    if unknown := set(arguments.only) - SCENARIOS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    return arguments


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    arguments = parse()
    if SERVER_CORE == LOAD_CORE:
        sys.exit("The benchmark needs two cores: one for a server, one for the load.")
    signal.signal(signal.SIGTERM, interrupt)  # so that servers end as well
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    workshop.load_client()
    print(f"{workshop.versions()}; load before: {os.getloadavg()[0]:.2f}", flush=True)
    pin(LOAD_CORE)
    plan = Plan(arguments.rounds, arguments.seconds, min(1, arguments.seconds), arguments.brief)
    for name in arguments.only:
        started = time.monotonic()
        print(f"\n{name}: {SCENARIOS[name].__doc__}", flush=True)
        try:
            SCENARIOS[name](plan)
        except (Failed, AssertionError) as error:
            print(f"  failed: {error}")
            plan.failures.append(f"{name}: {error}")
        print(f"\n  ({plan.rounds} rounds, {time.monotonic() - started:.0f} s)", flush=True)
    if plan.failures:
        sys.exit("\n".join(["These failed:", *dict.fromkeys(plan.failures)]))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
