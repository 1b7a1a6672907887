r"""Text in either case, beyond ASCII too, on SQLite as on PostgreSQL: `icontains` and its like, and `any_case_like`.

SQLite's LIKE knows the case of ASCII only. A pattern beyond ASCII is compared in capitals, made by a function of ours;
one within ASCII stays with SQLite, which is ten times as fast. PostgreSQL folds case by the locale of its database.
"""

from typing import Any

from django.db.models import CharField, Lookup, TextField
from django.db.models.lookups import IContains, IEndsWith, IExact, IStartsWith

from mercury.lib.database.fair_sqlite.capitals import CAPITALS, list_capitals


class _InAnyCase:
    """Compares in capitals where SQLite's own LIKE would miss a letter."""

    def as_sqlite(self: Any, compiler: Any, connection: Any) -> tuple[str, Any]:
        """Return Django's SQL, or the same of both sides in capitals."""
        sql, parameters = self.as_sql(compiler, connection)
        if not self.rhs_is_direct_value() or all(str(parameter).isascii() for parameter in parameters):
            return sql, parameters
        column, column_parameters = self.process_lhs(compiler, connection)
        _, pattern_parameters = self.process_rhs(compiler, connection)
        pattern = tuple(list_capitals(parameter) for parameter in pattern_parameters)
        return f"{CAPITALS}({column}) LIKE %s ESCAPE '\\'", (*column_parameters, *pattern)


class ContainsInAnyCase(_InAnyCase, IContains):
    """`icontains`."""


class StartsInAnyCase(_InAnyCase, IStartsWith):
    """`istartswith`."""


class EndsInAnyCase(_InAnyCase, IEndsWith):
    """`iendswith`."""


class ExactInAnyCase(_InAnyCase, IExact):
    """`iexact`."""


class AnyCaseLike(_InAnyCase, Lookup):
    """LIKE with the client's own pattern, in which letters match in either case."""

    lookup_name = "any_case_like"

    def get_prep_lookup(self) -> str:
        """Return the client's pattern with valid escapes: PostgreSQL refuses a stray backslash."""
        pattern, characters = "", iter(str(self.rhs))
        for character in characters:
            if character == "\\":
                following = next(characters, "")
                pattern += f"\\{following}" if following and following in "%_\\" else f"\\\\{following}"
            else:
                pattern += character
        return pattern

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """SQLite's LIKE."""
        column, column_params = self.process_lhs(compiler, connection)
        pattern, pattern_params = self.process_rhs(compiler, connection)
        return f"{column} LIKE {pattern} ESCAPE '\\'", (*column_params, *pattern_params)

    def as_postgresql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """PostgreSQL's ILIKE."""
        column, column_params = self.process_lhs(compiler, connection)
        pattern, pattern_params = self.process_rhs(compiler, connection)
        return f"{column} ILIKE {pattern} ESCAPE '\\'", (*column_params, *pattern_params)


def register() -> None:
    """Put these lookups in the place of Django's, for text of any model."""
    for lookup in (ContainsInAnyCase, StartsInAnyCase, EndsInAnyCase, ExactInAnyCase, AnyCaseLike):
        for field in (CharField, TextField):
            field.register_lookup(lookup)
