"""The store: tables, the SQLAlchemy object, compare-and-set claims. Only services open transactions on it."""
