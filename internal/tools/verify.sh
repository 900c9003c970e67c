#!/usr/bin/env bash
# Generates everything anew in a copy of the tree and compares it with what is
# committed, so that the working tree stays as it is.
set -eu
top=$(git rev-parse --show-toplevel)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cd "$top"
git ls-files -z | xargs -0 cp -pP --parents -t "$copy"
ln -s "$top/query/page/node_modules" "$copy/query/page/node_modules"
cd "$copy"
git init -q .
echo node_modules >> .git/info/exclude
git add -A -f -- . ':!query/page/node_modules'
for module in . deploy/check internal/tools; do
  (cd "$module" && go mod verify >/dev/null) || { echo "Modules of $module on disk are not what go.sum says." >&2; exit 1; }
done
make --no-print-directory generate >/dev/null
# The same source gives the same bytes: whoever builds the page can check what is committed.
mv query/page/dist "$copy/.dist-once"
(cd query/page && npm run --silent build >/dev/null)
if ! diff -r "$copy/.dist-once" query/page/dist >&2; then
  echo "The page's build differs from one time to the next." >&2
  exit 1
fi
rm -rf "$copy/.dist-once"
go mod tidy
if ! git diff --quiet; then
  echo "Not fresh; run make generate (and go mod tidy) and commit the result:" >&2
  git --no-pager diff --stat >&2
  exit 1
fi
new=$(git ls-files --others --exclude-standard)
if [ -n "$new" ]; then
  echo "Generated but not committed:" "$new" >&2
  exit 1
fi
echo "Generated files are fresh."
