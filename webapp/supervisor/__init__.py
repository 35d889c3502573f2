"""``holdfast up``: every process of Holdfast under one command, and none left behind.

``python -m webapp.supervisor`` imports neither Flask nor the database, so that watching costs little memory.
"""
