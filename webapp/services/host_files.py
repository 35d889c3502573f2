"""Hosts from files and into files: a CSV of many, the configuration of all as YAML, the files of a pobsync installation.

The door to the modules that know the formats. No secret is in any of them.
"""

from __future__ import annotations

from webapp.services.host_csv import CSV_COLUMNS, csv_template, read_csv
from webapp.services.host_imports import HostImport, HostRow, SettingChange, apply_import
from webapp.services.host_prefix import read_prefix
from webapp.services.host_yaml import export_yaml, read_yaml

__all__ = [
    "CSV_COLUMNS",
    "HostImport",
    "HostRow",
    "SettingChange",
    "apply_import",
    "csv_template",
    "export_yaml",
    "read_csv",
    "read_prefix",
    "read_yaml",
]
