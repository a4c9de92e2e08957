#!/bin/sh
# Has Apple notarize the programs and bundles in a folder, and staples its answer to the bundles. `cargo xtask package archive`
# runs it where AUDIODIFF_NOTARIZE names it. All in the folder must be signed by a developer's identity (AUDIODIFF_SIGN),
# with the hardened runtime and a timestamp.
#
# APPLE_ID, APPLE_TEAM_ID and APPLE_PASSWORD (of this app alone) are the developer's.
set -eu

folder=${1:?notarize.sh: expected a folder}
for name in APPLE_ID APPLE_TEAM_ID APPLE_PASSWORD; do
    eval "value=\${$name-}"
    # shellcheck disable=SC2154 # set by eval
    [ -n "$value" ] || { echo "notarize.sh: expected $name to be set" >&2; exit 2; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ditto -c -k --keepParent "$folder" "$work/all.zip"
xcrun notarytool submit "$work/all.zip" --wait \
    --apple-id "$APPLE_ID" --team-id "$APPLE_TEAM_ID" --password "$APPLE_PASSWORD"
# A program that is not a bundle has no place for the answer: macOS asks for it when it first runs.
for bundle in "$folder"/*.clap "$folder"/*.vst3; do
    xcrun stapler staple "$bundle"
done
