"""Services: the use cases. One module per noun, functions named by verbs; only they open transactions."""
