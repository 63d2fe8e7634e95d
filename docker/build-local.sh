#!/bin/sh
# Builds the image quorate:local from a binary made on this machine, static by default: needs Rust, a C linker and a container
# engine, and no image registry. For the image from source see docker/Dockerfile.
#
#     docker/build-local.sh [BINARY]     with BINARY, a quorate that exists already; if it is not static, its libraries go along
#
# PROFILE is Cargo's: release unless it says otherwise.
set -eu

binary=${1:+$(realpath "$1")}
cd "$(dirname "$0")/.."

if [ -z "$binary" ]; then
    target=$(rustc -vV | sed -n 's/^host: //p')
    # Naming the target keeps the flag from build scripts and procedural macros, which cannot be static. The variable
    # replaces the flags of .cargo/config.toml, so these are repeated.
    RUSTFLAGS="--cfg tokio_unstable -C target-feature=+crt-static" \
        cargo build --profile "${PROFILE:-release}" --locked --bin quorate --target "$target"
    case ${PROFILE:-release} in dev) folder=debug ;; *) folder=${PROFILE:-release} ;; esac
    binary=${CARGO_TARGET_DIR:-target}/$target/$folder/quorate
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir "$context/data" "$context/libraries"
for library in $(ldd "$binary" 2>/dev/null | grep -o '/[^ ]*'); do
    mkdir -p "$context/libraries$(dirname "$library")"
    cp -L "$library" "$context/libraries$library"
done
cp "$binary" "$context/quorate"
chmod 755 "$context/quorate"
docker build -q -f docker/Dockerfile.local -t quorate:local "$context"
