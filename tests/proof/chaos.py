from __future__ import annotations
def run_chaos(stage, *, kills, seed):
    return []
