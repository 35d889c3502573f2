"""Archives: writing and reading zip files as streams, digests, and what a database dump holds; one file per job."""
