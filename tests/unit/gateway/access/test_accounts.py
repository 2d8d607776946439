"""Accounts: who may pass, and what it costs to find out."""

import asyncio
import base64
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

import bcrypt
import pytest

from gateway.access.accounts.accounts import Accounts, parse_accounts, parse_basic
from gateway.access.accounts.password_queue import MAX_OF_ADDRESS, MAX_WAITING, MAX_WRONG, FairQueue
from gateway.adapters.access.accounts import read_accounts
from swell.errors import AccountRequired, TooManyRequests
from swell.settings import SettingsInvalid

ANNA, BORIS = b"anna's password", "größe:mit:Doppelpunkt".encode()


def hashed(password: bytes, rounds: int = 4) -> bytes:
    """As `htpasswd -B` writes it."""
    return bcrypt.hashpw(password[:72], bcrypt.gensalt(rounds)).replace(b"$2b$", b"$2y$")


FILE = b"# the operators\n\nanna:" + hashed(ANNA) + b"\r\nboris:" + hashed(BORIS) + b"\n"


@pytest.fixture
def accounts() -> Accounts:
    return Accounts(parse_accounts(FILE))


def basic(name: str, password: bytes, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(name.encode() + b':' + password).decode()}"


@pytest.mark.parametrize(("name", "password"), [("anna", ANNA), ("boris", BORIS)])
async def test_who_knows_the_password_passes(accounts: Accounts, name: str, password: bytes) -> None:
    """The scheme in any case, as RFC 9110 says; a password may hold colons, a name may not."""
    for scheme in ("Basic", "basic", "BASIC"):
        await accounts.require(basic(name, password, scheme))


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic größe",
        "Bearer " + base64.b64encode(b"anna:" + ANNA).decode(),
        "Basic " + base64.b64encode(b"anna").decode(),
        basic("anna", b"wrong"),
        basic("anna", b""),
        basic("anna", b"\x00"),
        basic("boris", ANNA),
        basic("unknown", ANNA),
        basic("", ANNA),
        basic("# the operators", b""),
    ],
)
async def test_other_credentials_are_refused(accounts: Accounts, authorization: str | None) -> None:
    """Unknown names, wrong passwords and missing headers are refused alike."""
    with pytest.raises(AccountRequired):
        await accounts.require(authorization)


async def test_without_accounts_no_client_passes() -> None:
    """An operator who has made no file has opened nothing."""
    with pytest.raises(AccountRequired):
        await Accounts(parse_accounts(b"")).require(basic("anna", ANNA))


async def test_a_long_password_is_cut_off_as_htpasswd_does() -> None:
    """bcrypt reads 72 bytes; an account made by htpasswd must work with the password it was made with."""
    accounts = Accounts({b"anna": hashed(b"x" * 100)})

    await accounts.require(basic("anna", b"x" * 100))
    with pytest.raises(AccountRequired):
        await accounts.require(basic("anna", b"x" * 71))


async def test_a_pair_is_verified_once(monkeypatch: pytest.MonkeyPatch, accounts: Accounts) -> None:
    """Dashboards poll; a hash costs tens of milliseconds on purpose. A wrong pair beside it stays wrong."""
    verified: list[bytes] = []
    check = bcrypt.checkpw

    def checkpw(password: bytes, hashed_password: bytes) -> bool:
        verified.append(password)
        return check(password, hashed_password)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    for _ in range(10):
        await accounts.require(basic("anna", ANNA))
    for _ in range(2):
        with pytest.raises(AccountRequired):
            await accounts.require(basic("anna", b"wrong"))

    assert verified == [ANNA, b"wrong"]


async def test_a_name_that_is_not_there_takes_as_long_as_one_that_is() -> None:
    """Otherwise the duration would reveal which names exist."""
    accounts = Accounts({b"anna": hashed(ANNA, rounds=9)})

    async def seconds(name: str) -> float:
        started = time.process_time()  # of our own threads: what else this machine does makes no difference
        with pytest.raises(AccountRequired):
            await accounts.require(basic(name, b"wrong"))
        return time.process_time() - started

    known, unknown = [min([await seconds(name) for _ in range(3)]) for name in ("anna", "zoe")]
    assert unknown > known / 3


async def test_a_flood_of_guesses_is_cut_short_and_the_loop_goes_on() -> None:
    """One core works on them, the rest wait or are sent away; other requests are answered meanwhile."""
    accounts = Accounts({b"anna": hashed(ANNA, rounds=5)})
    guesses = [
        asyncio.create_task(accounts.require(basic("anna", b"%d" % guess), f"192.0.2.{guess}")) for guess in range(100)
    ]
    turns = 0
    while not all(guess.done() for guess in guesses):
        await asyncio.sleep(0.001)
        turns += 1
    kinds = [type(guess.exception()) for guess in guesses]

    assert turns > 10
    assert kinds.count(TooManyRequests) == 100 - MAX_WAITING
    assert kinds.count(AccountRequired) == MAX_WAITING


async def test_many_addresses_that_guess_together_do_not_lock_a_new_one_out() -> None:
    """Each fills its share, so all of the queue is theirs; the address with the least is served next."""
    accounts = Accounts({b"anna": hashed(ANNA, rounds=5)})
    guesses = [
        asyncio.create_task(accounts.require(basic("anna", b"%d" % guess), f"192.0.2.{guess % 32}"))
        for guess in range(32 * MAX_OF_ADDRESS)
    ]
    await asyncio.sleep(0)

    assert await accounts.require(basic("anna", ANNA), "198.51.100.1") == "anna"

    unfinished = [guess for guess in guesses if not guess.done()]
    results = await asyncio.gather(*guesses, return_exceptions=True)
    assert unfinished, "the login did not wait for all of them"
    assert {type(result) for result in results} == {TooManyRequests, AccountRequired}


async def test_any_number_of_addresses_that_guess_do_not_lock_a_new_one_out() -> None:
    """They have their own queue after three wrong passwords. The new address has not sent a right one before."""
    accounts = Accounts({b"anna": hashed(ANNA)})
    addresses = [f"192.0.2.{each}" for each in range(MAX_WAITING * 2)]
    numbers = count()

    async def guess(address: str) -> None:
        with suppress(AccountRequired, TooManyRequests):
            await accounts.require(basic("anna", b"%d" % next(numbers)), address)

    for address in addresses * (MAX_WRONG + 1):
        await guess(address)
    guesses = [asyncio.create_task(guess(address)) for address in addresses * MAX_OF_ADDRESS]
    await asyncio.sleep(0)

    assert await accounts.require(basic("anna", ANNA), "198.51.100.1") == "anna"

    assert not all(guess.done() for guess in guesses)
    await asyncio.gather(*guesses)


async def test_an_address_with_a_login_today_is_not_locked_out_by_any_number_of_strangers() -> None:
    """A new password, or another account of the same office, has a queue of its own."""
    accounts = Accounts({b"anna": hashed(ANNA, rounds=5), b"boris": hashed(BORIS, rounds=5)})
    await accounts.require(basic("anna", ANNA), "198.51.100.1")
    guesses = [
        asyncio.create_task(accounts.require(basic("anna", b"%d" % guess), f"192.0.{guess // 250}.{guess % 250}"))
        for guess in range(1000)
    ]
    await asyncio.sleep(0)

    assert await accounts.require(basic("anna", ANNA), "203.0.113.1") == "anna"  # a known pair needs no check
    assert await accounts.require(basic("boris", BORIS), "198.51.100.1") == "boris"

    assert not all(guess.done() for guess in guesses)
    await asyncio.gather(*guesses, return_exceptions=True)


async def test_guesses_of_clients_that_leave_use_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread cannot be stopped. The next check begins when it has ended, and checks that wait are removed."""
    running, most, begun = 0, 0, threading.Event()

    def checkpw(*_: bytes) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        begun.set()
        time.sleep(0.02)
        running -= 1
        return False

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    accounts = Accounts({b"anna": hashed(ANNA)})
    for guess in range(10):
        begun.clear()
        tasks = [
            asyncio.create_task(accounts.require(basic("anna", b"%d-%d" % (guess, each)), "192.0.2.1"))
            for each in range(MAX_OF_ADDRESS)
        ]
        await asyncio.to_thread(begun.wait)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    with pytest.raises(AccountRequired):
        await accounts.require(basic("anna", b"last"), "192.0.2.1")

    assert most == 1


@pytest.mark.parametrize("clients", [1, 3])
def test_clients_of_a_queue_take_turns(clients: int) -> None:
    """The order is that of the turns, and within a client that of its items."""
    queue: FairQueue[str] = FairQueue(size=9, share=3)
    names = "abc"[:clients]
    for name in names:
        for number in range(3):
            assert queue.add(name, f"{name}{number}") is None
        assert queue.add(name, f"{name}x") == f"{name}x"

    assert [queue.take() for _ in range(len(queue))] == [f"{name}{number}" for number in range(3) for name in names]


def test_a_full_queue_drops_the_last_item_of_the_client_with_the_most() -> None:
    """Until all have the same number; then the new item is dropped."""
    queue: FairQueue[str] = FairQueue(size=4, share=3)
    for item in ("a1", "a2", "a3", "b1"):
        queue.add(item[0], item)

    assert [queue.add(item[0], item) for item in ("c1", "d1", "e1")] == ["a3", "a2", "e1"]
    queue.remove("b", "b1")
    queue.remove("b", "b1")
    assert [queue.take() for _ in range(len(queue))] == ["a1", "c1", "d1"]


async def test_one_client_does_not_lock_the_operators_out() -> None:
    """It may guess as fast as it likes; requests with one password, such as those of a page, share its check."""
    accounts = Accounts({b"anna": hashed(ANNA, rounds=5)})
    guesses = [accounts.require(basic("anna", b"%d" % guess), "192.0.2.1") for guess in range(100)]
    requests = [accounts.require(basic("anna", ANNA), "192.0.2.2") for _ in range(100)]

    results = await asyncio.gather(*guesses, *requests, return_exceptions=True)

    assert results[100:] == ["anna"] * 100
    assert [type(result) for result in results[:100]].count(AccountRequired) == 4


@pytest.mark.parametrize(
    "line",
    [
        b"anna",
        b"anna:",
        b":" + hashed(ANNA),
        b"anna:plain",
        b"anna:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        b"anna:$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00",
        b"anna:" + hashed(ANNA)[:-1],
        b"anna:" + hashed(ANNA).replace(b"$04$", b"$31$"),
    ],
    ids=["no hash", "an empty hash", "no name", "plain", "SHA", "MD5", "cut off", "takes days"],
)
def test_a_line_that_is_no_account_stops_the_start(line: bytes) -> None:
    """Weak hashes and extremely slow ones are refused. The message has the line number, and not the content."""
    with pytest.raises(SettingsInvalid, match="line 2 .* htpasswd -B") as caught:
        parse_accounts(b"# accounts\n" + line)

    assert line.decode() not in str(caught.value)


def test_a_header_is_taken_apart_at_the_first_colon() -> None:
    """A password may contain colons, a name may not."""
    assert parse_basic(basic("boris", BORIS)) == (b"boris", BORIS)


async def test_accounts_come_from_a_file(tmp_path: Path) -> None:
    """The operator manages the accounts with htpasswd."""
    file = tmp_path / "accounts"
    file.write_bytes(FILE)

    await read_accounts(file).require(basic("anna", ANNA))
    with pytest.raises(AccountRequired):
        await read_accounts(None).require(basic("anna", ANNA))


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    """An operator who names one means it."""
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        read_accounts(tmp_path / "accounts")
