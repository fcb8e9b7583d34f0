#!/bin/sh
# Stand-in of aiprov's lab: nvidia-container-runtime-hook, version @VERSION@. GPUs come into a container
# by CDI or by the runtime, before it is created; what asks for them here alone gets none, and is told.
set -eu
case "${1:-}" in
    --version | -version) echo "NVIDIA Container Runtime Hook version @VERSION@ (stand-in of aiprov's lab)"; exit 0 ;;
    prestart) ;;
    *) exit 0 ;;
esac
bundle=$(sed -n 's/.*"bundle": *"\([^"]*\)".*/\1/p')
if ! grep -q /dev/nvidia "$bundle/config.json"; then
    echo "nvidia-container-runtime-hook: this stand-in of aiprov's lab gives no GPUs by itself:" \
        "use --device nvidia.com/gpu=all, or --runtime nvidia" >&2
    exit 1
fi
