"""Copy whole images between registries: every platform, byte for byte, with what refers to them.

- `tree` reads the documents of an image: index, manifests, referrers.
- `source` reads a blob, and resumes after a broken connection.
- `upload` sends a blob, and resumes after a broken connection.
- `copier` plans and makes the copy.
"""

from swell.registry.copy.copier import Copier, CopyPlan, CopyProgress, CopyResult, Report
from swell.registry.copy.tree import CopyLimits

__all__ = ["Copier", "CopyLimits", "CopyPlan", "CopyProgress", "CopyResult", "Report"]
