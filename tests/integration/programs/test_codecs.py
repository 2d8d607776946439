"""No type is used for the first time by several threads at once: msgspec would crash the process."""

import subprocess
import sys

import pytest

from tests.integration.programs.race import PROGRAMS

ROUNDS = 2
FIRST_USE = """
import json, sys, threading
from builder.conda.model.package import read_package

info = {
    "info/index.json": b'{"name": "a", "version": "1", "build": "0"}',
    "info/paths.json": json.dumps({"paths": [{"_path": "a", "sha256": "0", "size_in_bytes": 1}]}).encode(),
    "info/link.json": b'{"noarch": {"type": "python", "entry_points": ["a = b:c"]}}',
}
barrier = threading.Barrier(8)
sys.setswitchinterval(0.0001)

def read():
    barrier.wait()
    read_package(info)

threads = [threading.Thread(target=read) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
SERVICE = """
import asyncio, msgspec
from swell import codecs
from swell.serve import run_service

class Settings(msgspec.Struct):
    log_level: str = "WARNING"

class Message(msgspec.Struct):
    text: str

async def main(settings, drain):
    assert codecs.unprepared() == [], codecs.unprepared()

assert Message in codecs.unprepared()
run_service("test", Settings, main, in_loop=asyncio.run)
"""


def python(*arguments: str) -> str:
    """What a new Python process prints; the exit status is 0."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_threads_may_use_every_type_of_a_program_at_once(program: str) -> None:
    """All programs crash here when their types are not prepared; types that are imported later count too."""
    for _ in range(ROUNDS):
        assert int(python("-m", "tests.integration.programs.race", program)) > 30


def test_the_first_packages_may_be_read_at_once() -> None:
    """The first conda/direct build reads several archives in threads; without a decoder it crashes in 2 of 5 runs."""
    for _ in range(10):
        python("-c", FIRST_USE)


def test_a_service_prepares_its_types_before_it_starts() -> None:
    """No thread exists then."""
    python("-c", SERVICE)
