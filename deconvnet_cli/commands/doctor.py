"""``deconvnet doctor``: check this machine, and say how to fix what is missing."""

from __future__ import annotations

from dataclasses import asdict

import click


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line per finding.")
def command(as_json: bool) -> None:
    """Check the packages, weights and devices of this machine. Each line begins with ok, with note
    if something could be better, or with PROBLEM if something that is needed does not work; the
    remedy follows the arrow. The exit code is 1 if there is a problem.
    """
    from deconvnet_cli.diagnostics.checks import checkup
    from deconvnet_cli.reporting import console

    found = checkup()
    for finding in found:
        if as_json:
            console.json_line(asdict(finding))
        else:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            console.result(f"{finding.state:8} {finding.name}: {finding.text}{remedy}")
    if any(finding.state == "PROBLEM" for finding in found):
        raise SystemExit(1)
