#!/usr/bin/env bash
# root.sh PACKAGES OUT.tar: a root file system of Debian packages (one name a line), unpacked and not configured:
# no package manager, and none of what a server image never reads.
set -euo pipefail
useless=(usr/share/{doc,man,info,locale,lintian,bug,perl,perl5,i18n,bash-completion,initramfs-tools} 'usr/bin/perl*'
  'usr/lib/*-linux-gnu/'{perl,perl-base,'libperl*','libLLVM*','libz3*'} 'usr/lib/postgresql/*/lib/'{'llvmjit*',bitcode}
  var/lib/dpkg var/lib/ucf)
# The installation of ca-certificates would join the certificates into the one file that everybody reads.
# shellcheck disable=SC2016 # "$1" is the hook's own: the new root
mmdebstrap --quiet --variant=extract --skip=output/dev --include="$(paste -sd, "$1")" \
  --extract-hook='cd "$1" && mkdir -p dev data tmp etc/ssl/certs && chmod 1777 tmp data' \
  --extract-hook='find "$1/usr/share" -path "*/ca-certificates/*.crt" -exec cat {} + >"$1/etc/ssl/certs/ca-certificates.crt"' \
  --extract-hook='cd "$1" && rm -rf '"${useless[*]}" bookworm "$2"
