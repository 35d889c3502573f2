"""Sources: what a run reads. The family is listed by hand in ``registry.py``."""
