#!/usr/bin/env bash
# Builds the image's file tree into a folder: image-tree.sh DIR RELEASE [OS ARCH].
# The Dockerfile and a test run it, so that what is tested is what is shipped.
set -eu
dir=$1 release=$2 os=${3:-linux} arch=${4:-amd64}
cd "$(dirname "$0")/.."
mkdir -p "$dir/usr/bin" "$dir/etc"
# Without cgo the program needs no C library, and the stub of the embedded engine
# says that it is one. -buildvcs=false: the image is built without the history.
CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false \
  -ldflags "-s -w -X main.release=$release" -o "$dir/usr/bin/agentmeter" ./cmd/agentmeter
echo 'agentmeter:x:65532:65532:Agentmeter:/nonexistent:/nonexistent' >"$dir/etc/passwd"
echo 'agentmeter:x:65532:' >"$dir/etc/group"
