"""Shell scripts that start buildkitd in its namespaces, and the one that it runs as runc."""

from builder.buildkit.daemons.configuration import STEP_NETWORK
from builder.buildkit.daemons.step_groups import FOLDER

# Root of the sandbox, in U1.
OUTER = """\
mkdir -p "$RUN" "$STATE" "$TMPDIR" /tmp/work/auth
if [ "$REGISTRATIONS" ]; then
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    printf '%s\\n' "$REGISTRATIONS" | while read -r line; do printf %s "$line" > /proc/sys/fs/binfmt_misc/register; done
fi
unset REGISTRATIONS
exec unshare --user --map-users="$IDS" --map-groups="$IDS" --setuid 0 --setgid 0 --mount --net -- sh -ec "$INNER"
"""
# Root of U2, in the network namespace of the steps.
INNER = """\
touch "$STEP_NETWORK"
mount --bind /proc/self/ns/net "$STEP_NETWORK"
unset INNER IDS
exec unshare --net -- "$BUILDKITD" --config "$CONFIGURATION"
"""
# What buildkitd runs as runc: steps are in another network, and in control groups of their own.
RUNTIME_SCRIPT = f"""\
#!/bin/sh
for word in "$@"; do
    case "$word" in
    run|create|exec) for group in {FOLDER}/*; do if [ -e "$group" ]; then {{ echo 0 > "$group"; }} 2>/dev/null; fi; done
        break;;
    esac
done
exec nsenter --net={STEP_NETWORK} -- runc "$@"
"""
