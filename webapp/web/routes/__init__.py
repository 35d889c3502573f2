"""Routes: one module and one blueprint (``bp``) per noun. This list is the register, written by hand."""

from __future__ import annotations

from flask import Blueprint

from webapp.web.routes import (
    account,
    audit,
    auth,
    health,
    preferences,
    settings,
    setup,
    users,
)

BLUEPRINTS: tuple[Blueprint, ...] = (
    auth.bp,
    setup.bp,
    account.bp,
    preferences.bp,
    users.bp,
    audit.bp,
    settings.bp,
    health.bp,
)
