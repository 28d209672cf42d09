"""Benchmark of the emitted `realtime/` app beside other frameworks, in one run.

The server has a core of its own. The load, Redis and PostgreSQL share another. Contestants take turns, and each starts
again in every round. Prints ratios first, then medians with their ranges. "by CPU" is the ratio in CPU time of the
server, which drifts less if the machine does other work. Next to the medians are the server's CPU time per delivery in
microseconds, and the used part of both cores. With "!", the load used more than 90 % of its core, so it may be the
limit. A server that does not use its whole core is waiting, or other programs use the machine.

`make bench ARGS="--only fanout,echo"` runs a part. If a contestant fails, the run exits with 1 and names it.
"""

import argparse
import os
import resource
import signal
import sys
import time

from bench import contestants, workshop
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
    signal.signal(signal.SIGTERM, interrupt)  # end the servers as well
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    workshop.load_client()
    print(f"{workshop.versions()}; load before: {os.getloadavg()[0]:.2f}", flush=True)
    pin(LOAD_CORE)
    plan = Plan(arguments.rounds, arguments.seconds, min(1, arguments.seconds), arguments.brief)
    contestants.PEOPLE = plan.people(contestants.PEOPLE)
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
