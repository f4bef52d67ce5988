#!/bin/sh
# Build anomaly_vae and install it into an environment made by install_dependencies.sh:
#   deploy/install_package.sh PYTHON FOLDER
set -eu
python=$1 folder=$2
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

"$python" -m venv "$tools"
"$tools/bin/pip" --quiet --disable-pip-version-check \
    install --no-deps --require-hashes --only-binary :all: --requirement "$(dirname "$0")/build.lock"
# Build from a copy: a build writes files beside its sources and would reuse old ones.
mkdir "$tools/source" "$tools/wheel"
(cd "$(dirname "$0")/.." && cp -R pyproject.toml README.md LICENSE anomaly_vae "$tools/source")
"$tools/bin/pip" --quiet --disable-pip-version-check \
    wheel --no-deps --no-build-isolation --wheel-dir "$tools/wheel" "$tools/source"
"$tools/bin/pip" --quiet --disable-pip-version-check --python "$folder/bin/python" \
    install --no-deps --no-index --force-reinstall "$tools"/wheel/*.whl
