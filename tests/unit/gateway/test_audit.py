"""The chain of sealed batches, and the events of the audit trail."""

from datetime import timedelta

import pytest

from gateway.audit.chain import ChainBroken, seal, verify
from gateway.audit.events import Action, AuditEvent, fingerprint, renamed
from tests.unit.gateway.doubles import NOON

EVENTS = [AuditEvent(id=str(number), time=NOON, action=Action.GRANTED, user="p") for number in range(6)]


def chain(length: int = 3) -> list[bytes]:
    contents: list[bytes] = []
    for number in range(length):
        last = contents[-1] if contents else None
        contents.append(seal(last, EVENTS[2 * number : 2 * number + 2], NOON + timedelta(seconds=number)))
    return contents


def test_a_chain_is_verified() -> None:
    """Also if its oldest batches have expired."""
    contents = chain()

    assert [checked.batch.number for checked in verify(contents)] == [1, 2, 3]
    assert [event.id for checked in verify(contents[1:]) for event in checked.batch.events] == ["2", "3", "4", "5"]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("change", ["changed", "removed", "repeated", "swapped", "cut"])
def test_each_change_breaks_the_chain(place: int, change: str) -> None:
    """Of every batch that another one follows; the head is compared with one that is stored elsewhere."""
    contents = chain(4)
    match change:
        case "changed":
            contents[place] = contents[place].replace(b'"user":"p"', b'"user":"q"', 1)
        case "removed":
            del contents[place + 1]
        case "repeated":
            contents.insert(place, contents[place])
        case "swapped":
            contents[place], contents[place + 1] = contents[place + 1], contents[place]
        case _:
            contents[place] = contents[place][:-1]
    with pytest.raises(ChainBroken):
        list(verify(contents))


def test_names_are_replaced_in_both_places() -> None:
    """The user and the actor; a name without an entry stays."""
    event = AuditEvent(id="1", time=NOON, action=Action.KEY_ISSUED, user="ada", actor="ops", subject="ada")

    assert renamed(event, {"ada": "p1"}) == AuditEvent(
        id="1", time=NOON, action=Action.KEY_ISSUED, user="p1", actor="ops", subject="ada"
    )


def test_a_fingerprint_does_not_contain_the_token() -> None:
    """The trail is read by more people than may pull the image."""
    assert fingerprint("abcdefgh") != "abcdefgh"
    assert len(fingerprint("abcdefgh")) == 16
