#!/bin/sh
# Restore one archive with standard tools alone: nothing of Holdfast is used.
#
#   restore-by-hand.sh DIRECTORY DATABASE [FILESTORE]
#
# DIRECTORY  holds the archive and its manifest.json
# DATABASE   is made new; where, and as whom, is said by PGHOST, PGPORT, PGUSER, PGPASSWORD
# FILESTORE  is made new and gets the attachments' files, e.g. /var/lib/odoo/filestore/DATABASE
#
# Needs sh, python3 (for reading JSON), sha256sum, sha1sum, unzip, createdb, psql, pg_restore.
# Loading a dump runs what its owner put into it. Restore only databases that you trust.
set -eu

say() { printf '%s\n' "$*"; }
fail() { printf 'restore-by-hand: %s\n' "$*" >&2; exit 1; }

[ $# -ge 2 ] || fail "usage: $0 DIRECTORY DATABASE [FILESTORE]"
directory=$1 database=$2 filestore=${3:-}
manifest=$directory/manifest.json
[ -f "$manifest" ] || fail "$manifest is not there"
[ -z "$filestore" ] || [ ! -e "$filestore" ] || fail "$filestore is there already"

# A field of the manifest; null and lists are printed as nothing.
field() {
    python3 -c '
import json, sys
value = json.load(open(sys.argv[1], encoding="utf-8"))[sys.argv[2]]
print(value if isinstance(value, (str, int)) else "")' "$manifest" "$1"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# 1. Is it what was written?
archive=$directory/$(field file_name)
printf '%s  %s\n' "$(field sha256)" "$archive" >"$work/sum"
sha256sum --quiet -c "$work/sum" || fail "$archive is not what was written"
say "1. The archive is what was written."

# 2. The database, in one transaction: all of it, or nothing. A database that was made in vain is removed again.
format=$(field archive_format)
if [ "$format" = zip ]; then
    unzip -tqq "$archive" || fail "$archive is damaged"
    unzip -p "$archive" dump.sql >"$work/dump.sql"
    tail -n 10 "$work/dump.sql" | grep -q '^-- PostgreSQL database dump complete' || fail "dump.sql is not complete"
fi
createdb -T template0 -- "$database"
load() {
    if [ "$format" = zip ]; then
        psql -X -q -v ON_ERROR_STOP=1 -1 -d "$database" -f "$work/dump.sql" >/dev/null
    else
        pg_restore --no-owner --no-privileges --exit-on-error --single-transaction -d "$database" "$archive"
    fi
}
if ! load; then
    dropdb -- "$database"
    fail "the dump could not be loaded; nothing is left of it"
fi
say "2. The dump is loaded."

# 3. As many rows as the source had?
python3 - "$manifest" "$work" <<'PYTHON'
import json, sys
rows = json.load(open(sys.argv[1], encoding="utf-8"))["table_rows"] or {}
quoted = lambda name: '"' + name.replace('"', '""') + '"'
with open(sys.argv[2] + "/count.sql", "w", encoding="utf-8") as query, open(sys.argv[2] + "/wanted", "w") as wanted:
    for table in sorted(rows):
        schema, _, name = table.partition(".")
        print(f"SELECT count(*) FROM {quoted(schema)}.{quoted(name)};", file=query)
        print(rows[table], file=wanted)
PYTHON
if [ -s "$work/count.sql" ]; then
    psql -X -q -At -v ON_ERROR_STOP=1 -d "$database" -f "$work/count.sql" >"$work/found"
    cmp -s "$work/wanted" "$work/found" || fail "rows differ from table_rows in $manifest"
    say "3. $(wc -l <"$work/wanted") tables have the rows that the source had."
else
    say "3. The source did not tell how many rows it had."
fi

# 4. The filestore: every file is what its name says, every attachment has its file.
[ -n "$filestore" ] || { say "Done: $database, without a filestore."; exit 0; }
[ "$format" = zip ] || fail "this archive holds no filestore; $database is restored"
mkdir "$work/files"
unzip -qq "$archive" 'filestore/*' -d "$work/files"
cd "$work/files/filestore"
find . -type f -path './??/*' | awk -F/ '{print $3 "  " $2 "/" $3}' >"$work/sums"
sha1sum --quiet -c "$work/sums" || say "   These files were damaged at the source, or the archive is."
psql -X -At -d "$database" -c "SELECT DISTINCT store_fname FROM ir_attachment WHERE store_fname <> ''" >"$work/names"
missing=0
while IFS= read -r name; do
    [ -f "$name" ] || { say "   missing: $name"; missing=$((missing + 1)); }
done <"$work/names"
cd /
mv "$work/files/filestore" "$filestore"
say "4. $(wc -l <"$work/sums") files are at $filestore; $missing are missing ($(field missing_attachment_count) were at the source)."
say "Done: $database. Give the files to Odoo's user, and neutralise a copy before Odoo sees it."
