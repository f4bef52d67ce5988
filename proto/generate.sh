#!/usr/bin/env bash
# Generate the Python code of every .proto here into a folder: generate.sh PYTHON_WITH_GRPCIO_TOOLS FOLDER
set -euo pipefail
cd "$(dirname "$0")"
python=$1 out=$2
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
"$python" -m grpc_tools.protoc -I . --python_out="$built" --pyi_out="$built" --grpc_python_out="$built" \
    anomaly_vae/v1/scoring.proto inference/inference.proto
find "$built" -name '*_pb2*' -exec mv -t "$out" {} +
# The modules lie in the package, not where the proto's path would have them.
sed -i -E 's/^from (anomaly_vae\.v1|inference) import/from anomaly_vae.service.pb import/' "$out"/*_pb2*
