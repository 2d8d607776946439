"""The Python examples of docs/python.md work as the page shows them."""

import os
import re
import sys
from pathlib import Path

from tests.e2e.client import Swell
from tests.e2e.engines import run
from tests.e2e.examples import ROOT
from tests.e2e.upstreams import Upstreams


async def test_the_python_examples_succeed(swell: Swell, upstreams: Upstreams, tmp_path: Path) -> None:
    """A newcomer copies them into a file each."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    page = (ROOT / "docs/python.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 4
    outputs = list[str]()
    for number, example in enumerate(examples):
        local = example.replace("http://localhost:9090", swell.url)
        local = local.replace("localhost:9500/library/busybox", upstreams.image())
        local = local.replace('["samtools=1.17"], template="conda/direct:v1"', '["samtools=1.17"]')  # no channel here
        file = tmp_path / f"example{number}.py"
        file.write_text(f"import os\nos.chdir({str(tmp_path)!r})\n{local}")
        ran = await run(sys.executable, str(file), environment=dict(os.environ) | {"SWELL_URL": swell.url})
        assert ran.status == 0, f"{local}\n{ran.output}"
        outputs.append(ran.output)

    authority = swell.url.removeprefix("http://")
    assert "hello" in outputs[1]
    assert f"{authority}/wt/" in outputs[1]
    assert outputs[2].count(f"{authority}/wt/") == 3
    assert outputs[3].startswith("sha256:")
