"""The tables through which an Odoo reaches the outside world, filled as a production has them."""

from __future__ import annotations

from tests.support.postgres import PostgresServer

# As in Odoo 18.0, reduced to what concerns a copy.
_TABLES = """
CREATE TABLE ir_cron (id serial PRIMARY KEY, cron_name varchar, active boolean DEFAULT true);
CREATE TABLE ir_model_data (id serial PRIMARY KEY, module varchar, name varchar, model varchar, res_id integer);
CREATE TABLE ir_mail_server (id serial PRIMARY KEY, name varchar NOT NULL, smtp_host varchar, smtp_port integer,
    smtp_encryption varchar NOT NULL, smtp_authentication varchar NOT NULL, active boolean DEFAULT true);
CREATE TABLE mail_template (id serial PRIMARY KEY, name varchar, mail_server_id integer);
CREATE TABLE fetchmail_server (id serial PRIMARY KEY, name varchar, active boolean);
CREATE TABLE payment_provider (id serial PRIMARY KEY, name varchar, state varchar);
CREATE TABLE ir_act_server (id serial PRIMARY KEY, state varchar, webhook_url varchar);
CREATE TABLE base_automation (id serial PRIMARY KEY, webhook_uuid varchar);
CREATE TABLE iap_account (id serial PRIMARY KEY, service_name varchar, account_token varchar);
CREATE TABLE mail_push_device (id serial PRIMARY KEY, endpoint varchar);
CREATE TABLE auth_oauth_provider (id serial PRIMARY KEY, name varchar, enabled boolean);
CREATE TABLE delivery_carrier (id serial PRIMARY KEY, name varchar, prod_environment boolean);
CREATE TABLE ir_ui_view (id serial PRIMARY KEY, key varchar, active boolean);
"""
_ROWS = """
INSERT INTO ir_cron (cron_name) VALUES ('Autovacuum'), ('Send mails'), ('Fetch mails'), ('Charge cards');
INSERT INTO ir_model_data (module, name, model, res_id) VALUES ('base', 'autovacuum_job', 'ir.cron', 1);
INSERT INTO ir_mail_server (name, smtp_host, smtp_port, smtp_encryption, smtp_authentication)
    VALUES ('Main', 'smtp.example.com', 587, 'starttls', 'login');
INSERT INTO mail_template (name, mail_server_id) VALUES ('Invoice', 1);
INSERT INTO fetchmail_server (name, active) VALUES ('inbox', true);
INSERT INTO payment_provider (name, state) VALUES ('Stripe', 'enabled'), ('Demo', 'test'), ('Wire', 'disabled');
INSERT INTO ir_act_server (state, webhook_url) VALUES ('webhook', 'https://hooks.example.com/x'), ('code', NULL);
INSERT INTO base_automation (webhook_uuid) VALUES ('11111111-1111-4111-8111-111111111111'), (NULL);
INSERT INTO iap_account (service_name, account_token) VALUES ('sms', 'token+old'), ('snailmail', 'other'), ('none', NULL);
INSERT INTO mail_push_device (endpoint) VALUES ('https://push.example.com/1');
INSERT INTO auth_oauth_provider (name, enabled) VALUES ('Google', true);
INSERT INTO delivery_carrier (name, prod_environment) VALUES ('DHL', true);
INSERT INTO ir_ui_view (key, active) VALUES ('web.neutralize_banner', false), ('web.login', true);
INSERT INTO ir_config_parameter (key, value) VALUES ('database.secret', 'production-secret'),
    ('mail.web_push_vapid_private_key', 'private'), ('mail.web_push_vapid_public_key', 'public');
"""


def add_outward_tables(server: PostgresServer, database: str) -> None:
    """Give the database mail servers, scheduled actions, payment providers, webhooks and the like."""
    server.execute(_TABLES + _ROWS, database)


def outward_ways(server: PostgresServer, database: str) -> list[str]:
    """Every way in which the database would still reach out."""
    questions = {
        "crons": "SELECT cron_name FROM ir_cron WHERE active AND cron_name <> 'Autovacuum'",
        "mail": "SELECT smtp_host FROM ir_mail_server WHERE active AND smtp_host <> 'invalid'",
        "template": "SELECT name FROM mail_template WHERE mail_server_id IS NOT NULL",
        "fetchmail": "SELECT name FROM fetchmail_server WHERE active",
        "payment": "SELECT name FROM payment_provider WHERE state <> 'disabled'",
        "webhook": "SELECT webhook_url FROM ir_act_server WHERE webhook_url LIKE 'http%'",
        "automation": "SELECT webhook_uuid FROM base_automation WHERE webhook_uuid LIKE '11111111%'",
        "iap": "SELECT account_token FROM iap_account WHERE account_token NOT LIKE '%+disabled'",
        "push": "SELECT endpoint FROM mail_push_device UNION SELECT key FROM ir_config_parameter WHERE key LIKE '%vapid%'",
        "oauth": "SELECT name FROM auth_oauth_provider WHERE enabled",
        "delivery": "SELECT name FROM delivery_carrier WHERE prod_environment",
    }
    return [f"{kind}: {row[0]}" for kind, query in questions.items() for row in server.rows(query, database)]
