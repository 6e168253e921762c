# Sourced by bazelw and venv.sh.

# Installs Debian packages where that needs no question; returns 1 where it cannot.
apt_install() {
  local sudo=()
  command -v apt-get >/dev/null || return 1
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || return 1
    sudo=(sudo -n)
  fi
  echo "installing with apt, once: $*" >&2
  # An update may fail for a foreign source; whether the packages come is what counts.
  "${sudo[@]}" apt-get update -qq >&2 </dev/null || true
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 \
    "$@" >&2 </dev/null
}
