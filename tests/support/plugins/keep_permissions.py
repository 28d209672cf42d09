"""Plugin of pytest inside baked projects: content types and permissions stay when a test empties the database.

Django would delete them and create them again, which takes a third of the time of a suite.
"""

from django.core.management.commands import flush

KEPT = {"auth_permission", "django_content_type"}


def sql_flush(style, connection, **options):
    """Return the statements that empty all tables but those that are kept."""
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return connection.ops.sql_flush(style, [table for table in tables if table not in KEPT], **options)


flush.sql_flush = sql_flush
flush.emit_post_migrate_signal = lambda *_: None
