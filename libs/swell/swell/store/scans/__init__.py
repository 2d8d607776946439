"""Scans of images for vulnerabilities: their records in Redis and in memory.

The gateway writes the submission of a scan, once; the scanner writes its result. A scan belongs to a key, which names
what is scanned: an image by its digest and platforms, or a build that has not ended. Two requests for one key share
one scan, unless it failed.
"""

from swell.store.scans.protocol import Scans
from swell.store.scans.records import (
    AffectedScan,
    DatabaseInfo,
    Finding,
    PlatformScan,
    Scan,
    ScanProblem,
    ScanResult,
    ScanSubmission,
    SeverityLevel,
)
from swell.store.scans.redis import RedisScans

__all__ = [
    "AffectedScan",
    "DatabaseInfo",
    "Finding",
    "PlatformScan",
    "RedisScans",
    "Scan",
    "ScanProblem",
    "ScanResult",
    "ScanSubmission",
    "Scans",
    "SeverityLevel",
]
