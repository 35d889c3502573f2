"""The web door: routes read the request, call one service, and answer. access.py says who may; htmx.py how parts of pages go."""
