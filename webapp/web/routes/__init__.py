"""Routes: one module and one blueprint (``bp``) per noun. This list is the register, written by hand."""

from __future__ import annotations

from flask import Blueprint

from webapp.web.routes import (
    account,
    activity,
    api,
    archives,
    audit,
    auth,
    dashboard,
    health,
    instance_actions,
    instances,
    jobs,
    patterns,
    preferences,
    runs,
    search,
    settings,
    setup,
    tasks,
    users,
    welcome,
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
    patterns.bp,
    dashboard.bp,
    activity.bp,
    welcome.bp,
    instances.bp,
    instance_actions.bp,
    jobs.bp,
    runs.bp,
    tasks.bp,
    archives.bp,
    search.bp,
    api.bp,
)
