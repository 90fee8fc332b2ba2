#!/usr/bin/env bash
# Brings the images of dra-driver from one registry to another, at once or by way of files.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: mirror.sh copy --from REGISTRY --to REGISTRY [options]
       mirror.sh save --from REGISTRY --to FOLDER   [options]
       mirror.sh push --from FOLDER   --to REGISTRY [options]

copy  copies the images straight from one registry to another
save  writes each image into FOLDER, as NAME_TAG.tar, an OCI archive
push  pushes each image from FOLDER to a registry

REGISTRY is a host with or without a path, such as harbor.example.com/gpu. Log in first, with the tool's own
command (skopeo login, crane auth login, docker login).

options:
  --images FILE  the list of images; images.txt beside this script if not given
  --tool TOOL    skopeo, crane or docker; the first of them that is installed if not given.
                 docker copies images of this machine's platform alone, the others all platforms
  --dry-run      print the commands, run none
EOF
}

fail() {
    echo "mirror.sh: $1" >&2
    exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mode='' from='' to='' tool='' dry_run=false images="$here/images.txt"

while [[ $# -gt 0 ]]; do
    case $1 in
        copy | save | push) mode=$1 ;;
        --dry-run) dry_run=true ;;
        -h | --help) usage && exit 0 ;;
        --from | --to | --images | --tool)
            [[ $# -ge 2 ]] || fail "$1 needs a value"
            case $1 in
                --from) from=$2 ;;
                --to) to=$2 ;;
                --images) images=$2 ;;
                --tool) tool=$2 ;;
            esac
            shift
            ;;
        *) fail "unknown argument $1; see mirror.sh --help" ;;
    esac
    shift
done

[[ -n $mode ]] || fail "say what to do: copy, save or push; see mirror.sh --help"
[[ -n $from ]] || fail "$mode needs --from"
[[ -n $to ]] || fail "$mode needs --to"
from=${from%/} to=${to%/}
[[ -r $images ]] || fail "cannot read the list of images $images (--images)"

if [[ -z $tool ]]; then
    for candidate in skopeo crane docker; do
        if command -v "$candidate" >/dev/null; then
            tool=$candidate
            break
        fi
    done
    [[ -n $tool ]] || fail "none of skopeo, crane and docker is installed"
fi
case $tool in
    skopeo | crane | docker) ;;
    *) fail "unknown tool $tool (--tool); it knows skopeo, crane and docker" ;;
esac
$dry_run || command -v "$tool" >/dev/null || fail "$tool (--tool) is not installed"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Prints a command, and runs it unless this is a dry run.
run() {
    printf '+' && printf ' %q' "$@" && printf '\n'
    $dry_run || "$@"
}

copy_image() {
    local source=$from/$1 target=$to/$1
    case $tool in
        skopeo) run skopeo copy --all "docker://$source" "docker://$target" ;;
        crane) run crane copy "$source" "$target" ;;
        docker)
            run docker pull "$source"
            run docker tag "$source" "$target"
            run docker push "$target"
            ;;
    esac
}

save_image() {
    local source=$from/$1 file=$2
    case $tool in
        skopeo) run skopeo copy --all "docker://$source" "oci-archive:$file" ;;
        crane)
            local layout=$work/layout
            run rm -rf "$layout"
            run crane pull --format=oci "$source" "$layout"
            run tar -C "$layout" -cf "$file" .
            ;;
        docker)
            run docker pull "$source"
            run docker save --output "$file" "$source"
            ;;
    esac
}

# Sets `loaded` to what docker calls the image of the archive $1: the archive decides on its name.
load_into_docker() {
    printf '+ docker load --input %q\n' "$1"
    loaded='(the loaded image)'
    if ! $dry_run; then
        loaded=$(docker load --input "$1" | sed -n 's/^Loaded image\( ID\)\{0,1\}: //p' | tail -n 1)
        [[ -n $loaded ]] || fail "docker named no image that it loaded from $1"
    fi
}

push_image() {
    local target=$to/$1 file=$2
    $dry_run || [[ -r $file ]] || fail "cannot read $file: was the image saved into this folder?"
    case $tool in
        skopeo) run skopeo copy --all "oci-archive:$file" "docker://$target" ;;
        crane)
            local layout=$work/layout
            run rm -rf "$layout"
            run mkdir "$layout"
            run tar -C "$layout" -xf "$file"
            run crane push "$layout" "$target"
            ;;
        docker)
            load_into_docker "$file"
            run docker tag "$loaded" "$target"
            run docker push "$target"
            ;;
    esac
}

if [[ $mode == save ]]; then
    run mkdir -p "$to"
fi
count=0
while read -r image <&3 || [[ -n $image ]]; do
    case $image in
        '' | '#'*) continue ;;
        *:*) ;;
        *) fail "$images names $image without a tag" ;;
    esac
    file=$(tr '/:' '__' <<<"$image").tar
    case $mode in
        copy) copy_image "$image" ;;
        save) save_image "$image" "$to/$file" ;;
        push) push_image "$image" "$from/$file" ;;
    esac
    count=$((count + 1))
done 3<"$images"
[[ $count -gt 0 ]] || fail "$images names no image"
echo "$mode: $count images with $tool"
