"""What may be said to rsync: a short list of options, patterns and paths of one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from webapp.core.errors import InvalidInput
from webapp.core.rsync_options import allowed_options, check_host_path, check_options, check_pattern


def test_options_are_long_each_once_and_without_those_that_are_always_given() -> None:
    given = ["-a", "-z", "--compress", "--delete", " --max-size=2G ", "", "--numeric-ids", "-W"]

    assert check_options(given) == ("--compress", "--max-size=2G", "--whole-file")


@pytest.mark.parametrize(
    "word",
    [
        "--rsh=touch canary",
        "-e",
        "-essh",
        "--rsync-path=/bin/sh",
        "--files-from=/etc/shadow",
        "--log-file=/etc/cron.d/x",
        "--remove-source-files",
        "--inplace",
        "--write-batch=x",
        "--old-args",
        "--no-fake-super",
        "--copy-links",
        "--link-dest=/",
        "--max-size=2G --rsh=x",
        "--max-size",
        "--compress=yes",
        "--compress-level=99",
        "--skip-compress=a b",
        "--skip-compress=a\nb",
        "/etc",
        "-zW",
        "--",
        "--compress\x00",
    ],
)
def test_other_options_are_refused(word: str) -> None:
    with pytest.raises(InvalidInput):
        check_options([word])


def test_too_many_options_are_refused() -> None:
    with pytest.raises(InvalidInput):
        check_options([f"--max-size={number}" for number in range(21)])


@pytest.mark.parametrize("text", ["*.log", "/var/cache/***", "- odd", "+ odd", "!", "ü", "a b", "--rsh=x"])
def test_patterns_stay_as_they_are(text: str) -> None:
    assert check_pattern(text) == text


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\x00b", "a\rb", "x" * 1025])
def test_patterns_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        check_pattern(text)


def test_paths_lose_needless_slashes() -> None:
    assert [check_host_path(path) for path in ("/", "//", "/etc/", "/srv//www", "/a b/$(x)")] == [
        "/",
        "/",
        "/etc",
        "/srv/www",
        "/a b/$(x)",
    ]


@pytest.mark.parametrize(
    "text", ["", "etc", "-rf", "/etc/../root", "/./etc", "/a\nb", "/a\x00b", "host:/etc", "/" + "x" * 1024]
)
def test_paths_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        check_host_path(text)


def test_the_docs_name_every_option_that_can_be_given() -> None:
    text = Path(__file__).parents[2].joinpath("docs/hosts.md").read_text()

    assert [option for option in allowed_options() if f"`{option}`" not in text] == []
