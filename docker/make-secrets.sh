#!/bin/sh
# Makes the files that docker-compose.yml gives to its services, once: passwords of Redis and PostgreSQL, and the addresses
# that contain them. Only you can enter ./secrets; the files inside are readable, since services run as other users.
set -eu
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets
chmod 700 secrets

random() { LC_ALL=C tr -dc 'A-Za-z0-9' < /dev/urandom | head -c 40; }
keep() { # NAME: standard input becomes the file, unless it is there
  if [ -e "secrets/$1" ]; then cat > /dev/null; else cat > "secrets/$1"; chmod 444 "secrets/$1"; echo "made secrets/$1"; fi
}

random | keep redis_password
random | keep postgres_password
printf 'redis://:%s@redis:6379/0' "$(cat secrets/redis_password)" | keep redis_url
printf 'postgresql://holdfast:%s@postgres:5432/holdfast' "$(cat secrets/postgres_password)" | keep database_url
