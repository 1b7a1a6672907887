"""Provider accounts for clients: list, register, read, change, remove. Secrets go in and never come out."""

import re
from collections.abc import Mapping
from typing import Any, cast

from django.http import Http404
from rest_framework.request import Request
from rest_framework.response import Response

from mercury.lib.rest.pagination import PARAMETERS, paginate
from mercury.lib.rest.problems import Fault, Problem
from mercury.lib.rest.resource import Resource
from providers.accounts import registration, registry
from providers.accounts.errors import AccountChangeNotAllowed, AccountInvalid
from providers.api import account_fields, representation, schema
from providers.models import Account

_ID = re.compile(r"[0-9]{1,18}", re.ASCII)  # within 64 bits
_SCOPES = {"GET": "providers:read", "POST": "providers:write", "PUT": "providers:write", "DELETE": "providers:write"}
_PERMISSIONS = {
    "GET": "providers.view_account",
    "POST": "providers.add_account",
    "PUT": "providers.change_account",
    "DELETE": "providers.delete_account",
}


class _Accounts(Resource):
    required_scopes = _SCOPES
    required_permissions = _PERMISSIONS  # a person may be given each alone


@schema.accounts
class Accounts(_Accounts):
    """The provider accounts of this house."""

    query_parameters = {"GET": PARAMETERS}

    def get(self, request: Request) -> Response:
        """List accounts by name."""
        candidates = {candidate.id: candidate for candidate in registry.load_candidates()}
        page = paginate(request, Account.objects.all(), representation.FIELDS, default="name")
        items: list[Any] = [
            representation.account(row, candidates[row.pk], request)
            if page.expand
            else representation.account_url(request, row.pk)
            for row in page.rows
            if row.pk in candidates
        ]
        return Response({"providers": items, "meta": page.meta}, headers={"Link": page.link})

    def post(self, request: Request) -> Response:
        """Register an account; mails may leave by it at once."""
        given = account_fields.parse(_body(request), required=("name", "kind"))
        name, kind, options = given.pop("name"), given.pop("kind"), given.pop("options", {})
        try:
            account = registration.register(name, kind, options, by=_by(request), **given)
        except AccountInvalid as error:
            raise account_fields.invalid(_faults(error)) from None
        body = _shown(account, request)
        return Response(body, status=201, headers={"Location": body["url"]})


@schema.one_account
class OneAccount(_Accounts):
    """One provider account."""

    def get(self, request: Request, account_id: str) -> Response:
        """Show an account."""
        return Response(_shown(_found(account_id), request))

    def put(self, request: Request, account_id: str) -> Response:
        """Change what is given."""
        account = _found(account_id)
        given = account_fields.parse(_body(request))
        _refuse_new_identity(account, given)
        no_rate = "rate" in given and given["rate"] is None
        try:
            registration.update(account, by=_by(request), no_rate=no_rate, **given)
        except AccountInvalid as error:
            raise account_fields.invalid(_faults(error)) from None
        except AccountChangeNotAllowed as error:
            raise Problem(409, "account_fixed", str(error)) from None
        return Response(_shown(account, request))

    def delete(self, request: Request, account_id: str) -> Response:
        """Remove an account with its history."""
        try:
            registration.remove(_found(account_id), by=_by(request))
        except AccountChangeNotAllowed as error:
            raise Problem(409, "account_fixed", str(error)) from None
        return Response(status=204)


def _found(account_id: str) -> Account:
    """The account of this id. Accounts of the environment have one from their first sight on."""
    registry.load_candidates()
    account = Account.objects.filter(pk=int(account_id)).first() if _ID.fullmatch(account_id) else None
    if account is None:
        raise Http404
    return account


def _shown(account: Account, request: Request) -> dict[str, Any]:
    candidate = next((one for one in registry.load_candidates() if one.id == account.pk), None)
    if candidate is None:  # removed meanwhile
        raise Http404
    return representation.account(account, candidate, request)


def _refuse_new_identity(account: Account, given: dict[str, Any]) -> None:
    """Events and attempts refer to an account by its name, and its options belong to its kind."""
    faults = [
        Fault(f"An account keeps its {field}: '{getattr(account, field)}'. Register another one.", "fixed", f"/{field}")
        for field in ("name", "kind")
        if given.pop(field, getattr(account, field)) != getattr(account, field)
    ]
    if faults:
        raise account_fields.invalid(faults)


def _faults(error: AccountInvalid) -> list[Fault]:
    return [
        Fault(detail, "invalid", "/" + field.replace("~", "~0").replace("/", "~1").replace(".", "/", 1))
        for field, detail in error.errors.items()
    ]


def _body(request: Request) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], request.data)  # the parser of REST_FRAMEWORK gives nothing else


def _by(request: Request) -> str:
    """Who did it, for the account's history."""
    key = getattr(request.auth, "name", None)
    return (f"key:{key}" if key else f"user:{request.user.get_username()}")[:128]
