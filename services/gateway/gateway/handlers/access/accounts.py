"""`/v1alpha2/accounts`: accounts, for operators, and for users who change their password."""

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec.structs import asdict

from gateway.access.accounts.manage_accounts import AccountManager
from gateway.access.keys import Actor
from gateway.domain.access.account import Account
from gateway.http.bodies import HttpRequest, read
from gateway.http.caller import Callers
from swell.api.accounts import AccountChange, AccountPage, AccountRecord, AccountRequest, NewAccount


class AccountsController(Controller):
    path = "/v1alpha2/accounts"

    @post(status_code=201, request_max_body_size=None)  # `read` limits the size
    async def create(
        self,
        request: HttpRequest,
        account_manager: NamedDependency[AccountManager],
        actor: NamedDependency[Actor],
        callers: NamedDependency[Callers],
    ) -> NewAccount:
        body, address = await read(request, AccountRequest), callers.address(request.scope)
        account, password = await account_manager.create(actor, body, address)
        return NewAccount(**asdict(record_of(account)), password=password)

    @get()
    async def list(
        self,
        account_manager: NamedDependency[AccountManager],
        actor: NamedDependency[Actor],
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int | None] = None,
    ) -> AccountPage:
        accounts, following = await account_manager.list(actor, cursor, limit)
        return AccountPage(accounts=tuple(map(record_of, accounts)), next=following)

    @get("/{name:str}")
    async def record(
        self, name: FromPath[str], account_manager: NamedDependency[AccountManager], actor: NamedDependency[Actor]
    ) -> AccountRecord:
        return record_of(await account_manager.get(actor, name))

    @patch("/{name:str}", request_max_body_size=None)
    async def change(
        self,
        request: HttpRequest,
        name: FromPath[str],
        account_manager: NamedDependency[AccountManager],
        actor: NamedDependency[Actor],
        callers: NamedDependency[Callers],
    ) -> AccountRecord:
        body, address = await read(request, AccountChange), callers.address(request.scope)
        return record_of(await account_manager.change(actor, name, body, address))

    @delete("/{name:str}", status_code=200)
    async def remove(
        self, name: FromPath[str], account_manager: NamedDependency[AccountManager], actor: NamedDependency[Actor]
    ) -> AccountRecord:
        return record_of(await account_manager.remove(actor, name))


def record_of(account: Account) -> AccountRecord:
    return AccountRecord(
        name=account.name,
        email=account.email,
        organisation=account.organisation,
        scopes=tuple(sorted(scope.value for scope in account.scopes)),
        created=account.created,
        created_by=account.created_by,
        disabled=account.disabled,
    )
