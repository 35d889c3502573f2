#!/bin/sh
# Starts the queue's server with its password from a file: on a command line every process of the host could read it.
set -eu
umask 077
{
  echo "requirepass $(cat /run/secrets/redis_password)"
  echo "appendonly yes"
  echo "appendfsync everysec"
  echo 'save ""'
  echo "maxmemory-policy noeviction"
  echo "dir /data"
} > /tmp/redis.conf
exec valkey-server /tmp/redis.conf
