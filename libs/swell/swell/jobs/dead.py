"""`python -m swell.jobs.dead`: the former name of `swell.jobs.dead_letters`, until the next release."""

from swell.jobs.dead_letters import Settings, main
from swell.serve import run

if __name__ == "__main__":
    run("dead", Settings, main)
