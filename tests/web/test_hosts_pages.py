"""Pages of hosts and their snapshots: what they show, hand out and refuse."""

from __future__ import annotations

import io
import os
import re
import tarfile
import zipfile
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from flask import Flask

from tests.support.app import Browser, service_context
from tests.support.host_pages import SeededHost, add_emptied_run
from webapp.web.file_paths import download_name, read_path, sent_path, shown_path

ODD = quote("/home/bob/", safe="/") + "caf%E9%20%3Cb%3E.txt"


def test_a_host_is_added_with_a_key_and_says_how_to_let_it_in(alice: Browser) -> None:
    form = {"kind": "host", "name": "files-01", "ssh_host": "10.8.0.9", "ssh_user": "backup", "paths": "/etc\n/srv"}

    answer = alice.submit("/instances/new", data=form, ssh_port="22", target_age_hours="26")
    page = alice.get(answer.location).text

    assert answer.status_code == 303
    assert "command=&#34;rrsync -ro /&#34;" in page
    assert "ssh-ed25519" in page
    assert "Key not pinned" in page
    assert "/etc, /srv" in page


def test_what_cannot_be_a_host_is_refused_at_its_field(alice: Browser) -> None:
    form = {"kind": "host", "name": "x", "ssh_host": "-oProxyCommand=x", "ssh_user": "root", "paths": "etc"}

    answer = alice.submit("/instances/new", data=form, rsync_options="--rsh=evil", own_rsync_options="1")

    assert answer.status_code == 422
    for field in ("ssh_host", "paths", "rsync_options"):
        assert f'id="{field}-error"' in answer.text


def test_the_form_of_a_host_keeps_what_was_stored(alice: Browser, host: SeededHost) -> None:
    page = alice.get(f"/instances/{host.instance_id}/edit").text

    assert "*.tmp" in page
    assert "as the settings say" in page
    assert "Databases" not in page


def test_the_list_shows_every_host(charlie: Browser, host: SeededHost) -> None:
    page = charlie.get("/hosts").text

    assert "web-03.example.com" in page
    assert "Key pinned" in page
    assert "Add host" not in page


def test_the_page_of_a_host_leads_to_its_snapshots(bob: Browser, host: SeededHost) -> None:
    page = bob.get(f"/instances/{host.instance_id}").text
    points = bob.get(f"/instances/{host.instance_id}/restore-points").text

    assert f"/snapshots/{host.snapshot_ids[-1]}/files" in page
    assert "Place of its snapshots" in page
    for snapshot_id in host.snapshot_ids:
        assert f"/snapshots/{snapshot_id}" in points


def test_every_tab_and_job_page_of_a_host_opens(bob: Browser, host: SeededHost) -> None:
    points = bob.get(f"/instances/{host.instance_id}/restore-points").text
    assert 'data-l="Holds"' in points
    assert 'data-l="Database"' not in points
    assert "Empty for all that the host names." in bob.get(f"/instances/{host.instance_id}/jobs/new").text
    for path in ("", "/restore-points", "/runs", "/jobs", "/settings", "/jobs/new"):
        assert bob.get(f"/instances/{host.instance_id}{path}").status_code == 200, path
    for path in ("", "/edit", "/retention", "/delete"):
        assert bob.get(f"/jobs/{host.job_id}{path}").status_code == 200, path


def test_the_settings_tab_says_whose_each_value_is(charlie: Browser, host: SeededHost) -> None:
    page = charlie.get(f"/instances/{host.instance_id}/settings").text

    assert "the settings’ and its own" in page
    assert "as the settings say" in page


def test_a_snapshot_is_shown_with_its_numbers(charlie: Browser, host: SeededHost) -> None:
    page = charlie.get(f"/snapshots/{host.snapshot_ids[-1]}").text

    assert "Sample read back" in page
    assert "Shares with" in page
    assert "Restore…" not in page


def test_the_run_of_a_snapshot_leads_to_it(bob: Browser, host: SeededHost) -> None:
    runs = bob.get("/api/v1/runs").json["runs"]

    page = bob.get(f"/runs/{runs[0]['id']}").text

    assert f"/snapshots/{host.snapshot_ids[-1]}/files" in page
    assert "shared with the one before" in page
    assert "/download" not in page


def test_counts_that_take_in_links_say_so(charlie: Browser, host: SeededHost) -> None:
    first, _, last = (in_plain_text(charlie.get(f"/snapshots/{number}").text) for number in host.snapshot_ids)

    # 31 files and one symlink; on the third day one picture is gone.
    assert "New in it" in first
    assert "32 files and links" in first
    assert "31 files" in first
    assert "Shared – it stands alone" in first
    assert "Gone 1 file or link" in last


def in_plain_text(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_directories_are_browsed_and_odd_names_cannot_hide(bob: Browser, host: SeededHost) -> None:
    base = f"/snapshots/{host.snapshot_ids[-1]}/files"

    top, home = bob.get(base).text, bob.get(f"{base}?path=/home/bob").text

    assert "path=/srv" in top
    assert "caf\\xe9 &lt;b&gt;.txt" in home
    assert "-rw-r--r--" in home


def test_symlinks_say_where_they_lead_and_are_not_followed(bob: Browser, host: SeededHost) -> None:
    base = f"/snapshots/{host.snapshot_ids[-1]}"

    listed = bob.get(f"{base}/files?path=/srv/www").text
    entered = bob.get(f"{base}/download?path=/srv/www/current")

    assert "→ /srv/www/index.html" in listed
    assert entered.status_code == 404


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/srv/..", "%2E%2E/etc", "/nowhere", "/etc/hosts", "/a%00b"])
def test_nothing_but_directories_of_the_snapshot_is_listed(bob: Browser, host: SeededHost, path: str) -> None:
    answer = bob.get(f"/snapshots/{host.snapshot_ids[-1]}/files", query_string={"path": path})

    assert answer.status_code in (404, 422)
    assert "root:" not in answer.text


def test_a_search_finds_names(bob: Browser, host: SeededHost) -> None:
    base = f"/snapshots/{host.snapshot_ids[-1]}/search"

    assert "/etc/nginx/nginx.conf" in bob.get(f"{base}?q=*.CONF").text
    assert "Nothing here is called" in bob.get(f"{base}?q=no-such-name").text


def test_one_file_is_handed_out_as_it_was(bob: Browser, host: SeededHost) -> None:
    answer = bob.get(f"/snapshots/{host.snapshot_ids[-1]}/download", query_string={"path": "/etc/hosts"})

    assert answer.data == b"127.0.0.1 localhost\n" * 3
    assert answer.headers["Content-Disposition"] == "attachment; filename=hosts"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.content_length == 60


def test_a_name_that_is_no_text_is_handed_out(bob: Browser, host: SeededHost) -> None:
    answer = bob.get(f"/snapshots/{host.snapshot_ids[-1]}/download", query_string={"path": ODD})

    assert answer.data == b"not UTF-8\n"


def test_folders_are_handed_out_as_tar_and_zip(bob: Browser, host: SeededHost) -> None:
    url = f"/snapshots/{host.snapshot_ids[-1]}/download?path=/etc&as="

    with tarfile.open(fileobj=io.BytesIO(bob.get(url + "tar").data)) as tar:
        in_tar = tar.getnames()
    with zipfile.ZipFile(io.BytesIO(bob.get(url + "zip").data)) as packed:
        in_zip = packed.namelist()

    assert "etc/nginx/nginx.conf" in in_tar
    assert "etc/hosts" in in_zip
    assert not any(name.startswith(("/", "..")) for name in [*in_tar, *in_zip])


def test_a_download_is_in_the_audit_log(alice: Browser, host: SeededHost) -> None:
    alice.get(f"/snapshots/{host.snapshot_ids[-1]}/download?path=/etc/hosts")

    assert "/etc/hosts" in alice.get("/audit").text


def test_viewers_get_no_files(charlie: Browser, host: SeededHost) -> None:
    assert charlie.get(f"/snapshots/{host.snapshot_ids[-1]}/download?path=/etc/hosts").status_code == 403
    assert charlie.get(f"/snapshots/{host.snapshot_ids[-1]}/restore").status_code == 403


def test_changes_are_told_against_the_snapshot_before_and_any_other(charlie: Browser, host: SeededHost) -> None:
    first, _, last = host.snapshot_ids

    before = charlie.get(f"/snapshots/{last}/changes").text
    oldest = charlie.get(f"/snapshots/{last}/changes?with={first}").text

    assert "/srv/www/picture-003.jpg" in before
    assert "notes day 2.txt" in before
    assert "notes day 1.txt" not in before
    assert "notes day 1.txt" in oldest


def test_the_first_snapshot_has_nothing_before_it(charlie: Browser, host: SeededHost) -> None:
    assert "the oldest one" in charlie.get(f"/snapshots/{host.snapshot_ids[0]}/changes").text


def test_a_comparison_is_asked_for_and_shown(bob: Browser, host: SeededHost) -> None:
    answer = bob.submit(f"/snapshots/{host.snapshot_ids[-1]}/compare")

    assert answer.status_code == 303
    assert "Comparing" in bob.get(answer.location).text


def test_a_discovery_is_a_task(bob: Browser, host: SeededHost) -> None:
    answer = bob.submit(f"/instances/{host.instance_id}/discover")

    assert answer.location.startswith("/tasks/")
    assert bob.get(answer.location).status_code == 200
    assert "Looking" in bob.get(f"/instances/{host.instance_id}/restore-points").text


def test_a_file_of_hosts_is_shown_first_and_added_then(alice: Browser) -> None:
    text = "name,address,user,paths\nfiles-01,10.8.0.9,root,/\nfiles-02,10.8.0.10,root,/srv\n"

    seen = alice.submit("/hosts/import", kind="csv", text=text, then="preview")
    count_before = len(alice.get("/api/v1/hosts").json["hosts"])
    added = alice.submit("/hosts/import", kind="csv", text=text, then="add")

    assert "Add 2 hosts" in seen.text
    assert count_before == 0
    assert added.location == "/hosts"
    assert [host["name"] for host in alice.get("/api/v1/hosts").json["hosts"]] == ["files-01", "files-02"]


def test_a_file_with_nothing_new_says_so_and_one_with_settings_alone_says_which(
    alice: Browser, host: SeededHost
) -> None:
    heading = "format: holdfast-hosts\nversion: 1\n"

    same = alice.submit("/hosts/import", kind="yaml", text=alice.get("/hosts/export.yaml").text, then="preview")
    text = f"{heading}settings: {{bandwidth_kib: 700, excludes: [], one_file_system: false}}\n"
    shared = alice.submit("/hosts/import", kind="yaml", text=text, then="preview")
    changed = alice.submit("/hosts/import", kind="yaml", text=text, then="add")

    assert same.status_code == 200
    assert "There is nothing to add." in same.text
    for words in ("bandwidth kib: 700 (was 0)", "excludes: none (was ", "Change the settings"):
        assert words in shared.text
    assert "Add 0" not in shared.text
    assert "What all hosts share is changed." in alice.get(changed.location).text


def test_a_file_with_a_wrong_line_adds_nothing(alice: Browser) -> None:
    text = "name,address,user,paths\nfiles-01,10.8.0.9,root,/\nfiles-02,-oProxyCommand=x,root,/srv\n"

    answer = alice.submit("/hosts/import", kind="csv", text=text, then="add")

    assert answer.status_code == 422
    assert "line 3" in answer.text
    assert alice.get("/api/v1/hosts").json["hosts"] == []


def test_a_file_may_be_uploaded_and_what_is_none_is_refused(alice: Browser) -> None:
    good = (io.BytesIO(b"\xef\xbb\xbfname,address,user,paths\nfiles-01,10.8.0.9,root,/\n"), "hosts.csv")
    bad = (io.BytesIO(b"\xff\xfe\x00"), "hosts.csv")

    assert "Add 1 host" in alice.submit("/hosts/import", data={"kind": "csv", "file": good}).text
    assert "not UTF-8" in alice.submit("/hosts/import", data={"kind": "csv", "file": bad}).text
    assert alice.submit("/hosts/import", kind="csv").status_code == 422


def test_hosts_leave_as_yaml_without_a_secret(alice: Browser, host: SeededHost) -> None:
    answer = alice.get("/hosts/export.yaml")

    assert "web-03.example.com" in answer.text
    assert "PRIVATE KEY" not in answer.text
    assert alice.get("/hosts/template.csv").text.startswith("name,")


def test_the_api_tells_of_hosts_snapshots_and_runs(charlie: Browser, host: SeededHost) -> None:
    hosts = charlie.get("/api/v1/hosts").json["hosts"]
    found = charlie.get(f"/api/v1/snapshots?instance_id={host.instance_id}").json
    runs = charlie.get("/api/v1/runs?status=completed").json

    assert hosts[0]["newest_snapshot"]["id"] == host.snapshot_ids[-1]
    assert [row["id"] for row in found["snapshots"]] == list(reversed(host.snapshot_ids))
    assert found["snapshots"][0]["base_id"] == host.snapshot_ids[1]
    assert runs["total"] == 3
    assert charlie.get("/api/v1/runs?status=nonsense").status_code == 400


def test_the_settings_of_hosts_are_saved_and_named(alice: Browser) -> None:
    page = alice.get("/settings").text

    assert "/proc/*" in page
    assert "Backup root" in page


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/plain", "/plain"),
        (os.fsdecode(b"/caf\xe9"), "/caf\\xe9"),
        ("/line\nbreak\t", "/line\\nbreak\\t"),
        ("/gpj.\u202eexe", "/gpj.\\u202eexe"),
        ("/\x1b[31m", "/\\x1b[31m"),
        ("/café", "/café"),
    ],
)
def test_paths_are_spelt_out_and_come_back_as_they_were(path: str, shown: str) -> None:
    assert shown_path(path) == shown
    assert read_path(sent_path(path)) == path
    assert sent_path(path).isascii()
    assert "\n" not in download_name(path, "x")


def test_the_empty_form_of_an_import_says_nothing_wrong(alice: Browser) -> None:
    assert "another look" not in alice.get("/hosts/import").text


def test_what_only_files_of_archives_can_do_is_not_done_with_snapshots(bob: Browser, host: SeededHost) -> None:
    snapshot = host.snapshot_ids[-1]

    assert bob.get(f"/restore-points/{snapshot}").location == f"/snapshots/{snapshot}"
    assert bob.get(f"/restore/new?archive={snapshot}").location == f"/snapshots/{snapshot}/restore"
    assert bob.get(f"/restore-points/{snapshot}/download").status_code in (404, 409)
    assert bob.submit(f"/restore-points/{snapshot}/drill").status_code in (404, 409, 422)
    assert bob.get(f"/restore-points/{snapshot}/manifest.json").json["format"] == "holdfast-snapshot"


def test_a_snapshot_goes_into_the_trash_and_comes_back(bob: Browser, host: SeededHost) -> None:
    snapshot = host.snapshot_ids[0]
    form = bob.get(f"/restore-points/{snapshot}/delete").text
    digest = form.split('name="digest" value="')[1].split('"')[0]

    deleted = bob.submit(f"/restore-points/{snapshot}/delete", digest=digest)
    shown = bob.get(f"/snapshots/{snapshot}")
    back = bob.submit(f"/restore-points/{snapshot}/take-back")

    assert "Other restore points of this host" in form
    assert deleted.location == "/restore-points/trash"
    assert "in the trash" in shown.text
    assert bob.get(f"/snapshots/{snapshot}/files").status_code == 200
    assert back.status_code == 303


def test_verifying_again_reads_all_of_it(bob: Browser, host: SeededHost) -> None:
    answer = bob.submit(f"/restore-points/{host.snapshot_ids[-1]}/verify")

    assert answer.location.startswith("/tasks/")
    assert bob.get(answer.location).status_code == 200


def test_files_of_a_snapshot_in_the_trash_are_not_shown(bob: Browser, host: SeededHost) -> None:
    snapshot = host.snapshot_ids[0]
    digest = bob.get(f"/restore-points/{snapshot}/delete").text.split('name="digest" value="')[1].split('"')[0]

    bob.submit(f"/restore-points/{snapshot}/delete", digest=digest)

    assert bob.get(f"/snapshots/{snapshot}/files").status_code == 404
    assert bob.get(f"/snapshots/{snapshot}/changes").status_code == 200


def test_a_person_says_once_that_far_fewer_files_are_right(app: Flask, bob: Browser, host: SeededHost) -> None:
    with service_context(app):
        run_id = add_emptied_run(host.job_id, datetime.now(UTC)).id

    before = bob.get(f"/runs/{run_id}").text
    answer = bob.submit(f"/runs/{run_id}/accept-shrink")
    after = bob.get(f"/runs/{run_id}").text

    assert "The files are meant to be gone" in before
    assert answer.status_code == 303
    assert "The files are meant to be gone" not in after
    assert bob.submit("/runs/1/accept-shrink").status_code == 409
