"""`--check-settings` shows what was understood, and no secret."""

import re
from typing import Any

import msgspec
import pytest

import builder.settings
import gateway.settings
import metrics.settings
import registry_proxy.settings
import scanner.settings
from swell import settings_report
from swell.settings import read, settings_of

SECRET = "hunter2-hunter2-hunter2-hunter2-hunter2"
SERVICES = [module.Settings for module in (gateway.settings, registry_proxy.settings, builder.settings,
                                           scanner.settings, metrics.settings)]  # fmt: skip


@pytest.mark.parametrize("kind", SERVICES)
def test_no_secret_of_a_service_is_shown(kind: type[msgspec.Struct]) -> None:
    """Every text whose name says that it is secret, and the logins of URLs."""
    environment: dict[str, Any] = {}
    for variable, path, hint, is_required in settings_of(kind):
        if is_required:
            environment[variable] = f"redis://user:{SECRET}@host:1/0" if path[-1] == "url" else "/x"
        is_text = hint in {str, str | None}
        if is_text and re.search(r"KEY(?!LESS_AUDIENCE)|TOKEN|PASSWORD|SECRET", variable) and "_ID" not in variable:
            environment[variable] = SECRET
    output = "\n".join(settings_report.lines(read(kind, environment), environment))

    assert SECRET not in output
    assert settings_report.MASK in output
    assert f'"redis://{settings_report.MASK}@host:1/0" (environment)' in output


def test_the_source_of_a_value_is_named(tmp_path: Any) -> None:
    """A value from a file is a common mistake: the operator sees which file was read."""

    class Settings(msgspec.Struct, frozen=True):
        name: str
        rpc_token: str = ""

    file = tmp_path / "name"
    file.write_text("one\n")
    environment = {"SWELL_NAME_FILE": str(file)}

    assert list(settings_report.lines(read(Settings, environment), environment)) == [
        f'SWELL_NAME="one" (file {file})',
        'SWELL_RPC_TOKEN="" (default)',
    ]
