# shellcheck shell=bash
# Sourced by ci/on: a Rust toolchain with the standard library of any target, made of Debian's packages.
#
# Debian has no prebuilt std for most targets, but std's source. It is built once for each target and laid out as
# rustup would, in a folder of the cache which is a sysroot of its own:
#
#     $cache/rust-VERSION/bin/{rustc,rustdoc}         Debian's, told to use this sysroot
#     $cache/rust-VERSION/lib/rustlib/HOST, src       links to Debian's
#     $cache/rust-VERSION/lib/rustlib/TARGET/lib/     what was built here
#
# So std serves every clone and every profile, cargo runs as with a prebuilt std (no -Zbuild-std, no
# RUSTC_BOOTSTRAP: the crate is compiled as stable Rust), and a clone's artefacts stay in its own target folder.
# A target folder shared by clones would not do: cargo names workspace members relative to their workspace,
# takes those of two clones for the same, and then goes by the age of the files.

cache=${NOSPLIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nosplit}
std_packages=(rustc-web cargo-web rust-web-src)
std_recipe=1 # raise it when build_std changes what it builds (clones then take a cargo clean)

# Where that toolchain is; fails if the packages are not there.
std_toolchain() {
    local version
    version=$(package_version rustc-web) || return 1
    printf '%s\n' "$cache/rust-$version-$std_recipe"
}

# Whether compiler $1 finds a standard library for target $2.
has_std() {
    local libraries
    libraries=$("$1" --print target-libdir --target "$2" 2>/dev/null) || return 1
    compgen -G "$libraries/libcore-*.rlib" >/dev/null
}

# Builds std for target $1 in the cache. A subshell: it changes the environment and leaves by trap.
build_std() (
    target=$1
    [[ $(package_version rustc-web) == "$(package_version rust-web-src)" ]] ||
        die "rustc-web and rust-web-src differ in version: apt-get install ${std_packages[*]}"
    toolchain=$(std_toolchain)
    mkdir -p "$cache"
    exec {lock}>"$cache/lock"
    flock "$lock"
    libraries=$toolchain/lib/rustlib/$target/lib
    [[ ! -d $libraries ]] || exit 0 # by another ci/on, while this one waited
    work=$(mktemp -d "$cache/building.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' INT TERM HUP

    mkdir -p "$toolchain/bin" "$toolchain/lib/rustlib"
    ln -sfn /usr/lib/rustlib/x86_64-unknown-linux-gnu /usr/lib/rustlib/src "$toolchain/lib/rustlib/"
    for tool in rustc rustdoc; do
        # rustdoc passes --sysroot on to the rustc of doctests, and giving it twice is an error.
        cat >"$work/$tool" <<EOF
#!/bin/sh
case " \$*" in *' --sysroot'*) exec /usr/bin/$tool "\$@" ;; esac
exec /usr/bin/$tool --sysroot "\${0%/bin/*}" "\$@"
EOF
        chmod +x "$work/$tool"
        mv "$work/$tool" "$toolchain/bin/"
    done

    # An empty crate whose dependencies are the point. The user's flags and profiles are not for a shared std.
    for variable in "${!CARGO_BUILD_@}" "${!CARGO_PROFILE_@}" "${!CARGO_TARGET_@}" "${!CARGO_ENCODED_@}" "${!RUST@}"; do
        unset "$variable"
    done
    mkdir "$work/src"
    echo '#![no_std]' >"$work/src/lib.rs"
    # The last lines make panic=abort work. Cargo says of them that no package matches, and obeys.
    cat >"$work/Cargo.toml" <<'EOF'
cargo-features = ["profile-rustflags"]

[package]
name = "nothing"
edition = "2024"

[workspace]

[profile.release]
debug = "line-tables-only"
strip = false

[profile.release.package.panic_abort]
rustflags = ["-Cpanic=abort"]
EOF
    # The flags are those of rustup's std: fit for LTO, and for walking frame pointers.
    if ! (
        cd "$work"
        RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc \
            RUSTFLAGS='-Cembed-bitcode=yes -Zunstable-options -Cforce-frame-pointers=non-leaf' \
            /usr/bin/cargo build --release -Zbuild-std=std,panic_abort,test --target "$target" --target-dir "$work/target"
    ) >"$work/log" 2>&1 </dev/null; then
        cat "$work/log" >&2
        die "building std for $target failed"
    fi
    mkdir "$work/lib"
    mv "$work/target/$target"/release/deps/*.rlib "$work/lib/"
    rm "$work"/lib/libnothing-*.rlib
    mkdir -p "${libraries%/lib}"
    mv "$work/lib" "$libraries" # at once, so that has_std never sees half of it
)
