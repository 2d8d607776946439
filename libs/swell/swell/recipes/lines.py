"""Lines of recipes."""

CONTEXT = "{{wave_context_dir}}"  # the path of the build context, which the builder fills in


def join_lines(*parts: str | None) -> str:
    """Return a text with *parts* in lines of their own, without those that are None."""
    return "".join(f"{part}\n" for part in parts if part is not None)
