#!/bin/sh
# Has Apple notarize the programs and bundles in a folder, and staples its answer to the bundles. `cargo xtask package archive`
# runs it where AUDIODIFF_NOTARIZE names it. All in the folder must be signed by a developer's identity (AUDIODIFF_SIGN),
# with the hardened runtime and a timestamp.
#
# APPLE_ID, APPLE_TEAM_ID and APPLE_PASSWORD (of this app alone) are the developer's.
set -eu

refuse() {
    echo "notarize.sh: $*" >&2
    exit 1
}

folder=${1:?notarize.sh: expected a folder}
[ -d "$folder" ] || refuse "expected a folder, found $folder"
for name in APPLE_ID APPLE_TEAM_ID APPLE_PASSWORD; do
    eval "value=\${$name-}"
    # shellcheck disable=SC2154 # set by eval
    [ -n "$value" ] || { echo "notarize.sh: expected $name to be set" >&2; exit 2; }
done
set -- --apple-id "$APPLE_ID" --team-id "$APPLE_TEAM_ID" --password "$APPLE_PASSWORD"

# What Apple would refuse after minutes is refused here at once.
for item in "$folder"/*; do
    codesign --verify --strict "$item" || refuse "$item: expected a signature that holds"
    signature=$(codesign --display --verbose=2 "$item" 2>&1)
    expect() {
        printf '%s\n' "$signature" | grep -q "$1" || refuse "$item: expected $2"
    }
    expect '^Authority=Developer ID Application:' "a Developer ID's signature: codesign --sign"
    expect '^CodeDirectory .*flags=[^ ]*runtime' "the hardened runtime: codesign --options runtime"
    expect '^Timestamp=' "a timestamp of Apple's: codesign --timestamp"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ditto -c -k --keepParent "$folder" "$work/all.zip"
answer=$(xcrun notarytool submit "$work/all.zip" --wait --output-format json "$@") || refuse "notarytool failed: $answer"
printf '%s\n' "$answer"
# notarytool does not fail where Apple's answer is no.
answered() {
    printf '%s\n' "$answer" | tr -d ' \n' | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"
}
if [ "$(answered status)" != Accepted ]; then
    xcrun notarytool log "$(answered id)" "$@" >&2 || true
    refuse "expected Apple to accept $folder, found $(answered status)"
fi

# A program that is not a bundle has no place for the answer: macOS asks for it when it first runs.
for bundle in "$folder"/*.clap "$folder"/*.vst3; do
    [ ! -d "$bundle" ] || xcrun stapler staple "$bundle"
done
