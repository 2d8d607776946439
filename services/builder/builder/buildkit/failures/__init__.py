"""Why a build of BuildKit failed."""
