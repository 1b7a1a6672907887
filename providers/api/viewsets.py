"""Provider accounts for clients: list, register, read, change, remove. Secrets go in and never come out."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mercury.lib.database import database_clock
from mercury.lib.rest.openapi import describe_header
from mercury.lib.rest.pagination import Pagination
from mercury.lib.rest.problems import Problem
from mercury.lib.rest.resource import ResourceViewSet
from providers.accounts import registration, registry
from providers.accounts.errors import AccountChangeNotAllowed, AccountInvalid
from providers.accounts.registry import Candidate
from providers.api.serializers import (
    ANY_NEW_ACCOUNT,
    FIELDS,
    ChangedProviderAccountSerializer,
    NewProviderAccountSerializer,
    OpenAccountSerializer,
    ProviderAccountSerializer,
    build_account_url,
)
from providers.health import breaker_store
from providers.models import Account
from providers.quotas.rules import FIELDS as QUOTA_FIELDS
from providers.routing.refusing_accounts import describe_account, load_refusals

_ID = re.compile(r"[0-9]{1,18}", re.ASCII)  # within 64 bits


class AccountPagination(Pagination):
    """Pages of accounts."""

    results_key = "providers"


class AccountViewSet(ResourceViewSet):
    """The provider accounts of this instance."""

    tag, noun = "Providers", "provider"
    verbs = {"create": "register"}
    queryset = Account.objects.none()
    lookup_url_kwarg = "account_id"
    lookup_value_regex = "[^/]+"
    serializer_class = ProviderAccountSerializer
    serializer_classes = {"create": NewProviderAccountSerializer, "update": ChangedProviderAccountSerializer}
    pagination_class = AccountPagination
    filter_fields = FIELDS
    ordering = "name"
    refusals = {"update": (409,), "destroy": (409,)}
    required_scopes = {
        "GET": "providers:read",
        "POST": "providers:write",
        "PUT": "providers:write",
        "DELETE": "providers:write",
    }
    required_permissions = {  # a person may be given each alone
        "GET": "providers.view_account",
        "POST": "providers.add_account",
        "PUT": "providers.change_account",
        "DELETE": "providers.delete_account",
    }

    def get_queryset(self) -> QuerySet[Account]:
        """Return the accounts that the registry knows; those of the environment have a row from then on."""
        return Account.objects.filter(pk__in=self._candidates)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List provider accounts."""
        return super().list(request, *args, **kwargs)

    def represent(self, rows: QuerySet[Account]) -> Sequence[Any]:
        """Return whole accounts."""
        now = database_clock.now()
        refusals = load_refusals(list(self._candidates.values()), now)
        known = [(row, self._candidates[row.pk]) for row in rows if row.pk in self._candidates]
        return super().represent(
            [(row, candidate, describe_account(candidate, refusals, now)) for row, candidate in known]
        )

    @extend_schema(
        request=ANY_NEW_ACCOUNT,
        responses={201: ProviderAccountSerializer},
        parameters=[describe_header("Location", "The account's URL.", on=[201])],
    )
    def create(self, request: Request) -> Response:
        """Register a provider account.

        It may be selected at once.
        """
        serializer: Any = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields = dict(serializer.validated_data)
        name, kind, options = fields.pop("name"), fields.pop("kind"), fields.pop("options", {})
        try:
            account = registration.register(
                name, kind, options, quota=_pop_quota(fields), by=_format_recorder(request), **fields
            )
        except AccountInvalid as error:
            raise serializer.refuse(error.errors) from None
        body = self._show(account)
        return Response(body, status=201, headers={"Location": body["url"]})

    def retrieve(self, request: Request, account_id: str) -> Response:
        """Read a provider account."""
        return Response(self._show(_find_account(account_id)))

    @extend_schema(responses={200: ProviderAccountSerializer})
    def update(self, request: Request, account_id: str) -> Response:
        """Update a provider account.

        What is left out stays as it is, and so does a secret that is sent as it was shown. The options of an account of
        the environment are changed there.
        """
        account = _find_account(account_id)
        serializer: Any = self.get_serializer(data=request.data, context={"account": account})
        serializer.is_valid(raise_exception=True)
        fields = dict(serializer.validated_data)
        no_rate = "rate" in fields and fields["rate"] is None
        try:
            registration.update(
                account, quota=_pop_quota(fields), by=_format_recorder(request), no_rate=no_rate, **fields
            )
        except AccountInvalid as error:
            raise serializer.refuse(error.errors) from None
        except AccountChangeNotAllowed as error:
            raise Problem(409, "account_fixed", str(error)) from None
        return Response(self._show(account))

    @extend_schema(responses={204: OpenApiResponse(description="Removed.")})
    def destroy(self, request: Request, account_id: str) -> Response:
        """Remove a provider account.

        Emails and events keep its name.
        """
        try:
            registration.remove(_find_account(account_id), by=_format_recorder(request))
        except AccountChangeNotAllowed as error:
            raise Problem(409, "account_fixed", str(error)) from None
        return Response(status=204)

    @extend_schema(responses={200: ProviderAccountSerializer})
    @action(
        detail=True,
        methods=["post"],
        required_permissions={"POST": "providers.change_account"},
        serializer_class=OpenAccountSerializer,
    )
    def open(self, request: Request, account_id: str) -> Response:
        """Open a provider account again.

        Its provider said that a quota is used up; from now on it gets email again. An account that is open does not change.
        """
        account = _find_account(account_id)
        serializer: Any = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        breaker_store.open_account(account.name, by=_format_recorder(request), why=serializer.validated_data["note"])
        return Response(self._show(account))

    def build_url(self, pk: int) -> str:
        """Return the URL of an account."""
        return build_account_url(self.request, pk)

    @cached_property
    def _candidates(self) -> dict[int, Candidate]:
        """Return what the registry knew of each account at the beginning of the request, by id."""
        return {candidate.id: candidate for candidate in registry.load_candidates()}

    def _show(self, account: Account) -> dict[str, Any]:
        candidate = next((candidate for candidate in registry.load_candidates() if candidate.id == account.pk), None)
        if candidate is None:  # removed by another request
            raise Http404
        now = database_clock.now()
        says = describe_account(candidate, load_refusals([candidate], now), now)
        serializer = ProviderAccountSerializer(context={"request": self.request})
        return serializer.to_representation((account, candidate, says))


def _pop_quota(fields: dict[str, Any]) -> dict[str, Any]:
    """Take the quotas out of the fields of a request."""
    return {name: fields.pop(name) for name in QUOTA_FIELDS if name in fields}


def _find_account(account_id: str) -> Account:
    """Return the account of this id. Accounts of the environment have one from their first sight on."""
    registry.load_candidates()
    account = Account.objects.filter(pk=int(account_id)).first() if _ID.fullmatch(account_id) else None
    if account is None:
        raise Http404
    return account


def _format_recorder(request: Request) -> str:
    """Return who asks, as the account's history names them."""
    key = getattr(request.auth, "name", None)
    return (f"key:{key}" if key else f"user:{request.user.get_username()}")[:128]
