"""The engine moves bytes; it knows no rows and no requests. Plans in, reports out, progress through a Reporter."""
