#!/usr/bin/env bash
# Prints the folder with Kubernetes' JSON schemas, which it fetches once: they come
# with the PyPI package kubernetes-validate, in the form that kubeconform reads.
set -eu
version=1.37.0
sha256=85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9
dir=${XDG_CACHE_HOME:-$HOME/.cache}/agentmeter/kubernetes-schemas/$version
if [ ! -d "$dir" ]; then
  mkdir -p "$(dirname "$dir")"
  work=$(mktemp -d "$dir.XXXXXX") # beside it: only there a move is one step
  trap 'rm -rf "$work"' EXIT
  echo "kubernetes-validate==$version --hash=sha256:$sha256" >"$work/requirements.txt"
  python3 -m venv "$work/venv" # which brings pip along
  "$work/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes -d "$work" -r "$work/requirements.txt" >&2
  python3 - "$work"/*.whl "$work/schemas" <<'PY'
import json, pathlib, sys, zipfile
wheel, out = sys.argv[1:]
inside = "kubernetes_validate/kubernetes-json-schema/"
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if name.startswith(inside) and name.endswith(".json") and "-local-strict/" in name:
            schema = json.loads(archive.read(name).replace(b'"/api/_definitions.json#', b'"_definitions.json#'))
            schema.pop("$id", None)  # references are to the file beside it
            target = pathlib.Path(out, name[len(inside):])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(schema))
PY
  # Whole or not at all; of two at once the first one wins.
  mv -T "$work/schemas" "$dir" 2>/dev/null || [ -d "$dir" ]
fi
echo "$dir"
