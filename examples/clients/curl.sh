#!/bin/sh
# Asks the quickstart site with curl: `sh curl.sh [HOST:PORT]`.
set -eu
url="http://${1:-127.0.0.1:8080}"
images="$(dirname "$0")/../quickstart/images"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

ask() {
    curl --silent --show-error --fail-with-body "$@"
    echo
}

echo "# The Open Inference Protocol, with JSON:"
ask "$url/v2/models/iris/infer" --header 'content-type: application/json' --data '{
    "inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}]
}'

echo "# The same with binary data: JSON of so many bytes, then 5.1, 3.5, 1.4 and 0.2 as little-endian floats."
printf '%s' '{"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}]}' \
    > "$scratch/body"
length="$(wc -c < "$scratch/body" | tr -d ' ')"
printf '\063\063\243\100\000\000\140\100\063\063\263\077\315\314\114\076' >> "$scratch/body"
ask "$url/v2/models/iris/infer" --header "inference-header-content-length: $length" --data-binary "@$scratch/body"

echo "# A pipeline takes a picture as it is:"
ask "$url/v1/infer/digits" --header 'content-type: image/png' --data-binary "@$images/7.png"

echo "# What there is:"
ask "$url/v2/models/iris"
ask --request POST "$url/v2/repository/index"
