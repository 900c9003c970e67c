#!/usr/bin/env bash
# Puts Apache Kafka together from pom.xml, once, and prints the folder of its
# jars. Installs Java and Maven where they are missing and it may.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
missing=()
command -v java >/dev/null 2>&1 || missing+=(default-jre-headless)
command -v mvn >/dev/null 2>&1 || missing+=(maven)
if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo "make test-kafka needs Java 17 and Maven: install ${missing[*]}." >&2
    exit 1
  fi
  echo "installing for the tests: ${missing[*]}" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >&2
fi
# A changed pom.xml is another folder, and half a folder is none.
jars="${XDG_CACHE_HOME:-$HOME/.cache}/agentmeter/kafka/$(sha256sum "$here/pom.xml" | cut -c1-16)"
if [ ! -d "$jars" ]; then
  mkdir -p "$(dirname "$jars")"
  making="$(mktemp -d "$jars.XXXXXX")"
  trap 'rm -rf "$making"' EXIT
  mvn --quiet --batch-mode --no-transfer-progress --file "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$making" >&2
  mv -T "$making" "$jars" 2>/dev/null || [ -d "$jars" ] # another one was quicker
fi
echo "$jars"
