"""Restores: an archive, or a piece of it, is put where a person asked, whole or not at all."""
