#!/usr/bin/env bash
# Builds a release into dist/: the roles for linux/amd64 and linux/arm64, without
# cgo, and their checksums. release.sh RELEASE
set -eu
release=$1
cd "$(dirname "$0")/.."
if ! [[ $release =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
  echo "Say which release: make release RELEASE=v1.2.3 (not ${release@Q})." >&2
  exit 2
fi
out=${DIST:-dist}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for arch in ${ARCHITECTURES:-amd64 arm64}; do
  deploy/image-tree.sh "$work/$arch" "$release" linux "$arch"
  mv "$work/$arch/usr/bin/agentmeter" "$out/agentmeter-$release-linux-$arch"
done
cd "$out"
sha256sum "agentmeter-$release"-linux-* >"agentmeter-$release.sha256"
cat "agentmeter-$release.sha256"
