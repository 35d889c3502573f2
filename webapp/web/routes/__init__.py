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
    drills,
    health,
    instance_actions,
    instances,
    jobs,
    kept,
    patterns,
    preferences,
    restores,
    runs,
    search,
    settings,
    setup,
    tasks,
    uploads,
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
    uploads.bp,
    restores.bp,
    drills.bp,
    kept.bp,
    search.bp,
    api.bp,
)
