#!/usr/bin/env bash
# Puts what make.py made into the binary: imports its two checkpoints in nf4 into models/, and takes its questions for the tests.
#
#   shard/bundled/train/pack.sh OUT
#
# OUT holds rope/, alibi/ and heldout.jsonl. Afterwards: go test -v ./shard/bundled, and commit models/ and testdata/ (once: the
# history keeps every version).
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,7s/^# \?//p' "$0"; exit 2; }
bundled=$(cd "$(dirname "$0")/.." && pwd)
out=$(cd "$1" && pwd)
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
export BAICHUAN_HOME=$temp/home CGO_ENABLED=0

(cd "$bundled" && go build -o "$temp/baichuan-node" ../../cmd/baichuan-node)

import() { # NAME CHECKPOINT
	"$temp/baichuan-node" import "$2" --name "$1" --weights nf4
	# local.json notes the source: a name here, not a path of one machine.
	sed -i.bak -E 's|("source": ").*(",?)$|\1train/make.py\2|' "$temp/home/models/$1/local.json"
	rm "$temp/home/models/$1/local.json.bak"
}
# Both are imported before anything is replaced.
import baichuan2-mini-chat "$out/rope"
import baichuan2-mini-alibi "$out/alibi"
for name in baichuan2-mini-chat baichuan2-mini-alibi; do
	rm -rf "${bundled:?}/models/$name"
	cp -R "$temp/home/models/$name" "$bundled/models/$name"
done
mkdir -p "$bundled/testdata"
cp "$out/heldout.jsonl" "$bundled/testdata/heldout.jsonl"
