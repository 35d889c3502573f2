"""Holdfast: backups of Odoo and PostgreSQL, on schedule, verified, put back when needed.

The rooms, from the door down (nothing calls upward; docs/architecture.md has the picture):

- ``app`` ``worker`` ``cli``: the three doors, which read settings and wire the rest.
- ``web`` ``tasks``: what a browser and a worker may ask for; they call one service and answer.
- ``services``: use cases; they own transactions and decisions.
- ``engine`` ``store`` ``queue`` ``vault``: machinery for bytes, rows, Redis and secrets.
- ``settings`` ``logs``, then ``core``: values and pure thought.
"""
