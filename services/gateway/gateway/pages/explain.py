"""Why a build failed, in words: what happened, whose problem it is, and the next step."""

from msgspec import Struct

from swell.store.records import Reason


class Explanation(Struct, frozen=True):
    """`cause` and `advice` are sentences; `code` is the `reason` of the API; `is_users` says who can solve it."""

    code: str
    cause: str
    advice: str
    is_users: bool


_EXPLANATIONS = {
    Reason.RECIPE: ("A step of the recipe failed.", "Read the last lines, change the recipe and build it again."),
    Reason.CONTEXT: ("The build context cannot be used.", "Check the files of the context and send them again."),
    Reason.BASE_IMAGE: (
        "A base image cannot be read.",
        "Check its name and tag, and whether this server may read it.",
    ),
    Reason.PACKAGE: ("A package cannot be installed.", "Check the names and versions of the packages."),
    Reason.MEMORY: ("The build needed more memory than it may use.", "Do less in one step, or ask for a higher limit."),
    Reason.TIMED_OUT: ("The build took longer than it may take.", "Make it shorter, or ask for a longer time limit."),
    Reason.PLATFORM: ("No builder can run steps for this platform.", "Choose another platform."),
    Reason.PUSH: (
        "The image cannot be pushed to its registry.",
        "Build it again later. If it fails again, ask the operator.",
    ),
    Reason.DISK: ("The builder has no disk space left.", "Build it again later. If it fails again, ask the operator."),
    Reason.ENGINE: ("The engine failed.", "Build it again. If it fails again, ask the operator."),
    Reason.GIVEN_UP: (
        "No builder could run this build.",
        "The operator can replay it from the dead letters, or you can build it again.",
    ),
    Reason.CANCELLED: ("The build was cancelled.", "Build it again if you still need the image."),
}
_UNKNOWN = ("The build failed.", "Read the log. If it does not help, ask the operator.")


def explain(reason: Reason | None, noun: str = "build") -> Explanation:
    """The explanation of a failure for *reason*; *noun* is what has failed."""
    cause, advice = _EXPLANATIONS[reason] if reason else _UNKNOWN
    texts = cause.replace("build", noun), advice
    return Explanation(reason or "unknown", *texts, reason is None or reason.is_users)
