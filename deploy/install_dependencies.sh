#!/bin/sh
# Create an environment with the packages that serving needs and no others, not even pip. Hashes are checked:
#   deploy/install_dependencies.sh PYTHON FOLDER
set -eu
python=$1 folder=$2
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

"$python" -m venv "$tools"
"$python" -m venv --clear --without-pip "$folder"
"$tools/bin/pip" --quiet --disable-pip-version-check --python "$folder/bin/python" \
    install --no-deps --require-hashes --only-binary :all: --requirement "$(dirname "$0")/requirements.lock"
