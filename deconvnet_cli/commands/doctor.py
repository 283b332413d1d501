"""``deconvnet doctor``: what is here, what is missing, and how to mend it."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON line a finding.")
def command(as_json: bool) -> None:
    """Check packages, weights and devices; exit code 1 if something needed does not work.

    ok: nothing to do. note: all works, but something could be better. PROBLEM: something that is
    needed does not work. What to do about it stands behind the arrow.
    """
    from deconvnet_cli.diagnostics.checks import checkup

    found = checkup()
    for finding in found:
        if as_json:
            click.echo(json.dumps(asdict(finding)))
        else:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            click.echo(f"{finding.state:8} {finding.name}: {finding.text}{remedy}")
    if any(finding.state == "PROBLEM" for finding in found):
        raise SystemExit(1)
