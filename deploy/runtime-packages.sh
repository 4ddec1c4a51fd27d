#!/bin/sh
# runtime-packages.sh BINARY - the Debian packages whose libraries a binary is linked with, on one
# line, as dpkg-shlibdeps tells them. Of alternatives the first is taken.
set -eu
binary=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir debian
printf 'Source: senetd\n\nPackage: senetd\nArchitecture: any\n' >debian/control
dpkg-shlibdeps -O "$binary" >depends
sed -n 's/^shlibs:Depends=//p' depends | tr ',' '\n' | sed 's/|.*//; s/(.*//; s/ //g' | tr '\n' ' '
echo
