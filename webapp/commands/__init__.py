"""The verbs of the ``holdfast`` command, one module per noun. Each adds its parsers; each verb calls one service."""
