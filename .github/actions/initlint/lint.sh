# Run initlint for the action: annotations on standard output, SARIF and summary into files, the exit code as an output.
set -uo pipefail
set -f # globs are initlint's to expand
# shellcheck disable=SC2206
models=(${MODELS//$'\n'/ })
# shellcheck disable=SC2206
arguments=(${ARGUMENTS:-})
python -m initlint check "${arguments[@]+"${arguments[@]}"}" --format github \
    -o "sarif:${SARIF}" -o "markdown:${GITHUB_STEP_SUMMARY}" -- "${models[@]}"
echo "exit-code=$?" >>"$GITHUB_OUTPUT"
