"""Restore drills: a throw-away PostgreSQL cluster in a cage, a strict load into it, questions, and nothing left behind."""
