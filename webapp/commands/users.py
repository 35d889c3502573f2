"""``holdfast user``."""

from __future__ import annotations

from argparse import Namespace

from webapp.commands.base import (
    Answer,
    Context,
    Parsers,
    add_noun,
    add_password_options,
    add_verb,
    ago,
    read_password,
    table,
)
from webapp.commands.shapes import user_shape
from webapp.core.errors import NotFound
from webapp.core.status import Role
from webapp.services import setup, users
from webapp.supervisor.web import web_address


def register(parsers: Parsers) -> None:
    """Add the noun and its verbs."""
    verbs = add_noun(parsers, "user", "who may sign in")
    add_verb(verbs, "list", list_users, "show all users")
    create = add_verb(verbs, "create", create_user, "add a user")
    create.add_argument("username")
    create.add_argument("--role", choices=[str(role) for role in Role], default=str(Role.VIEWER))
    create.add_argument("--name", default="", help="the name that others see")
    add_password_options(create)
    reset = add_verb(verbs, "reset-password", reset_password, "give a user a new password; all their sessions end")
    reset.add_argument("username")
    add_password_options(reset)
    disable = add_verb(verbs, "disable", disable_user, "sign a user out for good; their history stays")
    disable.add_argument("username")
    enable = add_verb(verbs, "enable", enable_user, "let a disabled user sign in again")
    enable.add_argument("username")
    link = add_verb(verbs, "setup-link", show_setup_link, "print the link that makes the first admin")
    link.add_argument(
        "--base-url", default="", help="e.g. https://backup.example.org, where your browser finds Holdfast"
    )


def list_users(context: Context, _arguments: Namespace) -> Answer:
    """All users."""
    found = users.list_users()
    now = context.now()
    rows = [
        (user.username, user.role, "active" if user.is_active else "disabled", ago(user.last_sign_in_at, now))
        for user in found
    ]
    return Answer(
        [user_shape(user) for user in found],
        table(["USER", "ROLE", "STATE", "LAST SIGN-IN"], rows, none="Nobody is set up yet: holdfast user setup-link"),
    )


def create_user(context: Context, arguments: Namespace) -> Answer:
    """Add one."""
    new = users.NewUser(arguments.username, read_password(arguments), Role(arguments.role), arguments.name)
    user = users.add_user(new, actor=context.actor, now=context.now())
    return Answer(user_shape(user), f"Added {user.username} ({user.role}).")


def reset_password(context: Context, arguments: Namespace) -> Answer:
    """A new password."""
    user = _user(arguments.username)
    users.reset_password(user.id, read_password(arguments), actor=context.actor, now=context.now())
    return Answer(user_shape(user), f"{user.username} has a new password and is signed out everywhere.")


def disable_user(context: Context, arguments: Namespace) -> Answer:
    """No more sign-ins."""
    users.deactivate_user(_user(arguments.username).id, actor=context.actor, now=context.now())
    user = _user(arguments.username)
    return Answer(user_shape(user), f"{user.username} can no longer sign in.")


def enable_user(context: Context, arguments: Namespace) -> Answer:
    """Sign-ins again."""
    users.activate_user(_user(arguments.username).id, actor=context.actor, now=context.now())
    user = _user(arguments.username)
    return Answer(user_shape(user), f"{user.username} can sign in again.")


def show_setup_link(context: Context, arguments: Namespace) -> Answer:
    """The link, as long as nobody is set up."""
    token = setup.ensure_setup_token(context.now())
    if token is None:
        return Answer({"url": None}, "Holdfast is set up already: sign in.")
    base = arguments.base_url.rstrip("/") or web_address(context.settings.host, context.settings.port)
    url = base + setup.setup_path(token)
    return Answer({"url": url}, url)


def _user(username: str) -> users.UserRow:
    user = users.find_user(username)
    if user is None:
        raise NotFound(f"There is no user {username}.", hint="holdfast user list shows all.")
    return user
