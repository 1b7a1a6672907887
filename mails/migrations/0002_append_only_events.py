"""Let the database itself refuse to change or delete an event."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

POSTGRESQL = """
CREATE OR REPLACE FUNCTION mails_event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are append-only: % of mails_event is refused', TG_OP;
END $$;
CREATE TRIGGER mails_event_append_only BEFORE UPDATE OR DELETE ON mails_event
    FOR EACH ROW EXECUTE FUNCTION mails_event_is_append_only();
CREATE INDEX event_by_time ON mails_event USING brin (created_at) WITH (autosummarize = on);
"""
POSTGRESQL_BACK = """
DROP INDEX event_by_time;
DROP TRIGGER mails_event_append_only ON mails_event;
DROP FUNCTION mails_event_is_append_only();
"""
SQLITE = (
    """CREATE TRIGGER mails_event_no_update BEFORE UPDATE ON mails_event
    BEGIN SELECT RAISE(ABORT, 'events are append-only: UPDATE of mails_event is refused'); END""",
    """CREATE TRIGGER mails_event_no_delete BEFORE DELETE ON mails_event
    BEGIN SELECT RAISE(ABORT, 'events are append-only: DELETE of mails_event is refused'); END""",
)
SQLITE_BACK = ("DROP TRIGGER mails_event_no_update", "DROP TRIGGER mails_event_no_delete")


def _run(schema_editor: BaseDatabaseSchemaEditor, postgresql: str, sqlite: tuple[str, ...]) -> None:
    statements = (postgresql,) if schema_editor.connection.vendor == "postgresql" else sqlite
    for statement in statements:
        schema_editor.execute(statement, params=None)


def guard(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Add the guards."""
    _run(schema_editor, POSTGRESQL, SQLITE)


def unguard(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Take the guards away."""
    _run(schema_editor, POSTGRESQL_BACK, SQLITE_BACK)


class Migration(migrations.Migration):
    """Guards of the event table."""

    dependencies = [("mails", "0001_initial")]
    operations = [migrations.RunPython(guard, unguard)]
