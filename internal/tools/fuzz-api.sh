#!/usr/bin/env bash
# Asks a running instance whatever schemathesis makes of schemas/openapi.yaml, and
# holds every answer against it; fuzzapi/ says how. The instance is its own, on a
# temporary directory that has the trace of testdata in it, and afterwards the
# audit has to prove that it still counts exactly.
#
#   SEED=1      the same requests again; 0 takes the time
#   EXAMPLES=50 random cases for each operation, beside those at the edges of the schemas
set -eu
cd "$(dirname "$0")/../.."
seed=${SEED:-0}
examples=${EXAMPLES:-50}
[ "$seed" != 0 ] || seed=$(date +%s)

# The tool with all that it needs, in an environment of its own. Its name is what
# it is made of, so that it is made anew when the requirements change, and a run
# that was broken off leaves none that looks whole. Of two runs one makes it, and
# the other one waits.
requirements=$PWD/internal/tools/fuzzapi/requirements.txt
cache=${XDG_CACHE_HOME:-$HOME/.cache}/agentmeter/fuzzapi
venv=$cache/$(cat "$requirements" <(python3 --version) | sha256sum | cut -c1-16)
mkdir -p "$cache"
exec 9>"$venv.lock"
flock 9
if [ ! -e "$venv/complete" ]; then
  rm -rf "$venv"
  if ! python3 -m venv "$venv" 2>/dev/null; then
    # Debian has what makes environments in a package of its own.
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
      apt-get update -qq
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null
    fi
    python3 -m venv --clear "$venv" || {
      echo "Fuzzing the API needs Python 3.11 or later with venv (on Debian: sudo apt-get install python3-venv)." >&2
      exit 1
    }
  fi
  echo "installing schemathesis" >&2
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$requirements"
  touch "$venv/complete"
fi
exec 9>&-

work=$(mktemp -d)
pid=
stop() {
  if [ -n "$pid" ]; then
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap stop EXIT
data=$work/data
# Thousands of requests without a token come from one address here.
bin/agentmeter run --data-dir "$data" --attempt-rate 0 --http-listen 127.0.0.1:0 --kafka-listen 127.0.0.1:0 --clickhouse-listen 127.0.0.1:0 \
  >"$work/out" 2>"$work/log" &
pid=$!
until [ -e "$data/endpoints.json" ]; do
  kill -0 "$pid" 2>/dev/null || { cat "$work/log" >&2; pid=; exit 1; }
  sleep 0.1
done
bin/agentmeter import --data-dir "$data" testdata/trace/llm_conversations_2023.ndjson.gz >/dev/null
url=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["http"])' "$data/endpoints.json")

everything=events:write,events:import,adjustments:write,directory:write,usage:read,ops:read
token() { bin/agentmeter token --data-dir "$data" --workspace "$1" --scope "$everything" --ttl 4h; }

# A token is never on a command line, where others on the machine could read it.
failed=0
ask() { # what the answers have to be, how many examples, token
  printf '\n== %s: SEED=%s EXAMPLES=%s\n' "$1" "$seed" "$2"
  PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY=$work FUZZ_HOOKS=$PWD/internal/tools/fuzzapi/hooks.py FUZZ_WORKSPACE=ws_trace FUZZ_EXPECT=$1 FUZZ_TOKEN=$3 \
    "$venv/bin/schemathesis" --no-color --config-file internal/tools/fuzzapi/schemathesis.toml run schemas/openapi.yaml \
    --url "$url" --seed "$seed" --max-examples "$2" >"$work/report" 2>&1 || failed=1
  # A batch that is too large is one line of a megabyte.
  cut -c1-1000 "$work/report"
}
few=$(((examples + 3) / 4))
ask answers "$examples" "$(token ws_trace)"
ask any "$few" "$(token '*')"
ask 404 "$few" "$(token ws_other)"
ask 401 "$few" ""
ask 401 "$few" "$(token ws_trace | rev)"

# What the requests did has to be counted like all else, and the process must
# have taken no harm.
if grep -q 'level=ERROR\|panic' "$work/log"; then
  echo "The instance logged:" >&2
  grep 'level=ERROR\|panic' "$work/log" >&2
  failed=1
fi
bin/agentmeter audit --data-dir "$data" || failed=1
# What ingest has acknowledged must be fit to be counted. An id that comes again
# with something else is the sender's mistake, which nobody can tell beforehand.
bin/agentmeter deadletter list --data-dir "$data" --json --limit 10000000 >"$work/letters"
if grep -v '"code":"payload_conflict"' "$work/letters" | head -5 | grep . >&2; then
  echo "These were acknowledged, and then could not be counted." >&2
  failed=1
fi
kill -TERM "$pid"
wait "$pid" || { echo "The instance did not end well." >&2; failed=1; }
pid=
if [ "$failed" != 0 ]; then
  echo "The API is not what its contract says; again with: make fuzz-api SEED=$seed EXAMPLES=$examples" >&2
fi
exit "$failed"
