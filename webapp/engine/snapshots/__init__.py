"""Snapshots of hosts: trees pulled by rsync that share unchanged files with the snapshot before them."""
