#!/usr/bin/env bash
# Writes what docker-compose.yml needs and nobody else may know: .env, and a folder
# of secrets. It never overwrites either: with new secrets the old data would be
# locked, and every token void.
#
#   deploy/env.sh [DIR]     DIR: where docker-compose.yml is; default: above this script
set -eu
umask 077
cd "${1:-$(dirname "$0")/..}"
for taken in .env secrets; do
  if [ -e "$taken" ]; then
    echo "$PWD/$taken is there already and stays as it is. To begin anew, remove .env, secrets and the volumes yourself." >&2
    exit 1
  fi
done

uid=$(id -u) gid=$(id -g)
# Containers do not run as root, even where root installs them.
if [ "$uid" = 0 ]; then uid=65532 gid=65532; fi

mkdir secrets
# In hexadecimal, so that no shell, URL or XML has anything to say about it.
random() { od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'; }
sha256() { printf %s "$1" | sha256sum | cut -d' ' -f1; }

head -c 32 /dev/urandom >secrets/access.key
{
  echo "# Written by deploy/env.sh. Passwords are in secrets/; here are only the SHA-256"
  echo "# of those that ClickHouse checks."
  echo "AGENTMETER_RELEASE=${RELEASE:-dev}"
  echo "AGENTMETER_UID=$uid"
  echo "AGENTMETER_GID=$gid"
  # 16 bytes in base64's URL alphabet, as Kafka writes a cluster's id. The leading
  # letter keeps it from looking like an option.
  echo "KAFKA_CLUSTER_ID=M$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=' | cut -c2-22)"
  for user in migrator writer reader operator; do
    password=$(random)
    printf '%s\n' "$password" >"secrets/clickhouse_$user"
    echo "CLICKHOUSE_$(echo $user | tr a-z A-Z)_SHA256=$(sha256 "$password")"
  done
} >.env
random >secrets/grafana_admin
if [ "$(id -u)" = 0 ]; then chown -R "$uid:$gid" secrets; fi
echo "Wrote $PWD/.env and $PWD/secrets. Back up secrets/access.key: without it every token is void." >&2
