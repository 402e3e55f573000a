# Sourced by the scripts that need the Python programs this project is held against: how they are installed.
# Wants $target, the folder for what is built.

# At the versions they are held against.
peers=(whisper==1.1.10 carbon==1.1.10 carbonate==1.1.10 mmh3==5.3.1)

say() { printf '\n== %s\n' "$*" >&2; }

fail() {
    printf 'scripts/%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Runs a command as root: as it is, or through sudo where that asks for no password.
as_root() {
    if [[ $(id -u) -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        fail "not root, and no sudo without a password; as root, run: $*"
    fi
}

# Installs these system packages, if there are any.
install_packages() {
    if [[ $# -eq 0 ]]; then
        return
    fi
    say "installing $*"
    command -v apt-get >/dev/null || fail "missing, and no apt-get to install them: $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >&2
}

# The packages that are missing for a Python with the peers, a line each.
missing_for_peers() {
    command -v python3 >/dev/null || echo python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

# A Python with the peers, made once and made anew where the list above has changed.
set_up_peers() {
    local venv=$target/peers
    local stamp="$venv/installed"
    if [[ -x $venv/bin/python && -f $stamp && $(<"$stamp") == "${peers[*]}" ]]; then
        return
    fi
    say "setting up a Python with ${peers[*]}"
    rm -rf -- "$venv"
    mkdir -p -- "$target"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${peers[@]}" >&2
    printf '%s\n' "${peers[*]}" >"$stamp"
}
