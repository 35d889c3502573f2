"""A copy of production made harmless: nothing in it sends, fetches, pays or calls out, and it says so on every page.

Done as statements of our own, from what Odoo's modules do in their ``neutralize.sql`` (Odoo 16 and later bring such files;
here every version is treated), in one transaction that commits only when every post-condition holds. A table that is not
there belongs to a module that is not installed; a table that is there with other columns than known is a reason to stop.
"""

# ruff: noqa: S608 - every part of these statements stands in this file.
from __future__ import annotations

from dataclasses import dataclass

import psycopg

from webapp.core.reports import Check, CheckState
from webapp.core.status import ErrorCode
from webapp.core.text import format_count
from webapp.engine.pgconnect import Connection
from webapp.engine.restore.databases import RestoreError

FLAG = "database.is_neutralized"
_BANNERS = ("web.neutralize_banner", "website.neutralize_ribbon")
_COLUMNS = """
SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing made harmless.

    Attributes:
        table: In schema public; without it the rule has nothing to do.
        columns: That the rule needs.
        statement: The change.
        remains: Counts what would still do harm; must be 0 afterwards.
        optional: Columns that only some versions of Odoo have: without them there is nothing to do either.
    """

    title: str
    table: str
    columns: tuple[str, ...]
    statement: str
    remains: str
    optional: bool = False


def _emptied(title: str, table: str, *columns: str) -> Rule:
    """Columns with keys or tokens are set to NULL."""
    sets = ", ".join(f"{column} = NULL" for column in columns)
    filled = " OR ".join(f"{column} IS NOT NULL" for column in columns)
    return Rule(
        title,
        table,
        columns,
        f"UPDATE public.{table} SET {sets} WHERE {filled}",
        f"SELECT count(*) FROM public.{table} WHERE {filled}",
        optional=True,
    )


def _off(title: str, table: str, column: str = "active", *, optional: bool = False) -> Rule:
    """A truth value is set to false."""
    return Rule(
        title,
        table,
        (column,),
        f"UPDATE public.{table} SET {column} = false WHERE {column} IS DISTINCT FROM false",
        f"SELECT count(*) FROM public.{table} WHERE {column} IS DISTINCT FROM false",
        optional=optional,
    )


def _cleared(title: str, table: str) -> Rule:
    """Every row is deleted."""
    return Rule(title, table, (), f"DELETE FROM public.{table}", f"SELECT count(*) FROM public.{table}")


_AUTOVACUUM = (
    "SELECT res_id FROM public.ir_model_data WHERE module = 'base' AND model = 'ir.cron' AND name = 'autovacuum_job'"
)
_DUMMY = "neutralization - disable emails"
_SERVER = ("name", "smtp_host", "smtp_port", "smtp_encryption", "active")
_NO_DUMMY = "SELECT (count(*) <> 1)::int FROM public.ir_mail_server WHERE active AND smtp_host = 'invalid'"

RULES: tuple[Rule, ...] = (
    Rule(
        "Scheduled actions",
        "ir_cron",
        ("active",),
        f"UPDATE public.ir_cron SET active = false WHERE active IS DISTINCT FROM false AND id NOT IN ({_AUTOVACUUM})",
        f"SELECT count(*) FROM public.ir_cron WHERE active IS DISTINCT FROM false AND id NOT IN ({_AUTOVACUUM})",
    ),
    Rule(
        "Mail servers",
        "ir_mail_server",
        ("active", "name", "smtp_host"),
        "UPDATE public.ir_mail_server SET active = false WHERE active IS DISTINCT FROM false",
        f"SELECT count(*) FROM public.ir_mail_server WHERE active IS DISTINCT FROM false AND name <> '{_DUMMY}'",
    ),
    # Without any active server Odoo falls back to the one on its command line; this one exists nowhere.
    Rule(  # Since Odoo 16 a server must say how one logs in.
        "Mail server that goes nowhere",
        "ir_mail_server",
        (*_SERVER, "smtp_authentication"),
        f"INSERT INTO public.ir_mail_server ({', '.join(_SERVER)}, smtp_authentication)"
        f" VALUES ('{_DUMMY}', 'invalid', 1025, 'none', true, 'login')",
        _NO_DUMMY,
        optional=True,
    ),
    Rule(
        "Mail server that goes nowhere, older",
        "ir_mail_server",
        _SERVER,
        f"INSERT INTO public.ir_mail_server ({', '.join(_SERVER)})"
        f" SELECT '{_DUMMY}', 'invalid', 1025, 'none', true"
        " WHERE NOT EXISTS (SELECT FROM public.ir_mail_server WHERE active AND smtp_host = 'invalid')",
        _NO_DUMMY,
    ),
    _emptied("Mail servers of templates", "mail_template", "mail_server_id"),
    _off("Incoming mail servers", "fetchmail_server"),
    Rule(
        "Payment providers",
        "payment_provider",
        ("state",),
        "UPDATE public.payment_provider SET state = 'disabled' WHERE state IS DISTINCT FROM 'disabled'",
        "SELECT count(*) FROM public.payment_provider WHERE state IS DISTINCT FROM 'disabled'",
    ),
    Rule(  # Their name up to Odoo 15.
        "Payment acquirers",
        "payment_acquirer",
        ("state",),
        "UPDATE public.payment_acquirer SET state = 'disabled' WHERE state IS DISTINCT FROM 'disabled'",
        "SELECT count(*) FROM public.payment_acquirer WHERE state IS DISTINCT FROM 'disabled'",
    ),
    Rule(
        "Webhooks that are called",
        "ir_act_server",
        ("state", "webhook_url"),
        "UPDATE public.ir_act_server SET webhook_url = 'neutralization - disable webhook' WHERE state = 'webhook'",
        "SELECT count(*) FROM public.ir_act_server WHERE state = 'webhook' AND webhook_url LIKE 'http%'",
        optional=True,
    ),
    Rule(
        "Automation rules that wait for webhooks",
        "base_automation",
        ("webhook_uuid",),
        "UPDATE public.base_automation SET webhook_uuid = 'neutralised-' || gen_random_uuid() WHERE webhook_uuid IS NOT NULL",
        "SELECT count(*) FROM public.base_automation WHERE webhook_uuid NOT LIKE 'neutralised-%'",
        optional=True,
    ),
    Rule(
        "In-app purchase accounts",
        "iap_account",
        ("account_token",),
        "UPDATE public.iap_account SET account_token = regexp_replace(account_token, '(\\+.*)?$', '+disabled')",
        "SELECT count(*) FROM public.iap_account WHERE account_token NOT LIKE '%+disabled'",
    ),
    _cleared("Devices that receive push messages", "mail_push_device"),
    _cleared("Push messages that wait", "mail_push"),
    _cleared("Devices that receive push messages (older)", "mail_notification_web_push"),
    _cleared("Devices that receive push messages (17.0)", "mail_partner_device"),
    Rule(
        "Keys for push messages",
        "ir_config_parameter",
        ("key", "value"),
        "DELETE FROM public.ir_config_parameter WHERE key LIKE 'mail.web\\_push\\_vapid%'",
        "SELECT count(*) FROM public.ir_config_parameter WHERE key LIKE 'mail.web\\_push\\_vapid%'",
    ),
    _off("Delivery carriers in production", "delivery_carrier", "prod_environment", optional=True),
    _off("Log in by other services", "auth_oauth_provider", "enabled"),
    _emptied("Google calendars", "res_users_settings", "google_calendar_rtoken", "google_calendar_token"),
    _emptied("Microsoft calendars", "res_users", "microsoft_calendar_rtoken", "microsoft_calendar_token"),
    _off("Electronic invoices' proxies", "account_edi_proxy_client_user", optional=True),
)


def neutralise(connection: Connection) -> list[Check]:
    """Change the database and assert that nothing is left, inside the transaction of the caller.

    Raises RestoreError(neutralise_failed): the transaction must then be rolled back.
    """
    if not _columns_of(connection, "ir_config_parameter") >= {"key", "value"}:
        raise _failed("it has no ir_config_parameter, so it is no database of Odoo")
    changed = [line for rule in RULES if (line := _apply(connection, rule))]
    set_parameter(connection, FLAG, "true")
    banners = _show_banner(connection)
    _require_harmless(connection)
    detail = f"{'; '.join(changed) or 'Nothing had to be changed'}. Every post-condition holds."
    checks = [Check("neutralised", "Copy neutralised", CheckState.PASSED, detail, f"{len(changed)} kinds")]
    if not banners:
        checks.append(
            Check("banner", "Banner shown", CheckState.SKIPPED, "This Odoo has no view for it (16.0 and later do).")
        )
    return checks


def set_parameter(connection: Connection, key: str, value: str) -> None:
    """One of Odoo's system parameters, whether it was there before or not."""
    done = connection.execute("UPDATE public.ir_config_parameter SET value = %s WHERE key = %s", [value, key])
    if done.rowcount == 0:
        connection.execute("INSERT INTO public.ir_config_parameter (key, value) VALUES (%s, %s)", [key, value])


def _apply(connection: Connection, rule: Rule) -> str:
    """What was changed in words, "" for nothing."""
    if not _applies(connection, rule):
        return ""
    try:
        done = connection.execute(rule.statement.encode())
    except psycopg.Error as error:
        raise _failed(f"{rule.title}: {str(error).splitlines()[0]}") from error
    return f"{rule.title} ({format_count(done.rowcount)})" if done.rowcount > 0 else ""


def _applies(connection: Connection, rule: Rule) -> bool:
    columns = _columns_of(connection, rule.table)
    if not columns:
        return False
    missing = set(rule.columns) - columns
    if missing and not rule.optional:
        raise _failed(f"table {rule.table} has no column {', '.join(sorted(missing))}, and so cannot be made harmless")
    return not missing


def _columns_of(connection: Connection, table: str) -> set[str]:
    return {str(row[0]) for row in connection.execute(_COLUMNS, [f"public.{table}"])}


def _show_banner(connection: Connection) -> int:
    if not _columns_of(connection, "ir_ui_view") >= {"key", "active"}:
        return 0
    return connection.execute(
        "UPDATE public.ir_ui_view SET active = true WHERE key = ANY (%s)", [list(_BANNERS)]
    ).rowcount


def _require_harmless(connection: Connection) -> None:
    """The post-conditions, each asked of the changed database."""
    for rule in RULES:
        if not _applies(connection, rule):
            continue
        row = connection.execute(rule.remains.encode()).fetchone()
        if row is None or row[0] != 0:
            count = "unknown" if row is None else format_count(int(row[0]))
            raise _failed(f"{rule.title}: {count} are left")
    row = connection.execute("SELECT value FROM public.ir_config_parameter WHERE key = %s", [FLAG]).fetchone()
    if row is None or row[0] != "true":
        raise _failed(f"{FLAG} is not set")


def _failed(why: str) -> RestoreError:
    return RestoreError(
        f"The copy could not be neutralised: {why}.",
        hint="It was removed again, before anybody could connect to it.",
        code=ErrorCode.NEUTRALISE_FAILED,
    )
