#!/usr/bin/env bash
# Makes sure that what the tests need beyond Go and npm is there: Chromium for
# the page, kcat to talk to the embedded broker as others would, Prometheus to
# evaluate rules and dashboards, and what the README's commands use.
set -eu
browser=
for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
  if [ -n "$name" ] && command -v "$name" >/dev/null 2>&1; then browser=$name; fi
done
missing=()
[ -n "$browser" ] || missing+=(chromium)
command -v kcat >/dev/null 2>&1 || missing+=(kcat)
for tool in curl jq; do
  command -v "$tool" >/dev/null 2>&1 || missing+=("$tool")
done
command -v prometheus >/dev/null 2>&1 && command -v promtool >/dev/null 2>&1 || missing+=(prometheus)
[ ${#missing[@]} -gt 0 ] || exit 0
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  echo "installing for the tests: ${missing[*]}" >&2
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  exit 0
fi
echo "The tests need ${missing[*]}: install it (on Debian: sudo apt-get install ${missing[*]}), or set CHROMIUM to a browser's path." >&2
# Without kcat or prometheus only their own tests are skipped, loudly; the others
# are needed.
[ -n "$browser" ] && command -v curl >/dev/null 2>&1 && command -v jq >/dev/null 2>&1
