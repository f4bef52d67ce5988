#!/usr/bin/env bash
# Generate the Python code of all .proto files into a folder: generate.sh PYTHON_WITH_GRPCIO_TOOLS FOLDER
set -euo pipefail
cd "$(dirname "$0")"
python=$1 out=$2
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
"$python" -m grpc_tools.protoc -I . --python_out="$built" --pyi_out="$built" --grpc_python_out="$built" \
    anomaly_vae/v1/scoring.proto inference/inference.proto
find "$built" -name '*_pb2*' -exec mv -t "$out" {} +
# Import the modules from the package in which they lie, not from the path of the proto.
sed -i -E 's/^from (anomaly_vae\.v1|inference) import/from anomaly_vae.service.pb import/' "$out"/*_pb2*
