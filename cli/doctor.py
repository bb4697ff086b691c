"""`raysignal doctor`: what works here, and what to do about what does not."""

import typer

from raysignal.cli import options
from raysignal.cli.output import Output

_MARKS = {
    "ok": "[green]ok[/green]     ",
    "warning": "[yellow]warning[/yellow]",
    "failed": "[red]failed[/red] ",
}


def doctor(
    store: options.Store = None,
    ray_address: options.RayAddress = None,
    json: options.Json = False,
) -> None:
    """Check what the service needs: settings, Ray, store, database, keys, port, disk, compiled code, packages.

    Exit status 1 if something failed.
    """
    from raysignal.cli.checks import examine
    from raysignal.cli.texts import escape

    output = Output(json)
    findings = []
    for finding in examine(options.given(store=store, ray_address=ray_address)):
        findings.append(finding)
        output.say(f"{_MARKS[finding.status]}  [bold]{finding.name:<8}[/bold]  {escape(finding.detail)}")
        if finding.remedy:
            output.say(f"{'':19}  → {escape(finding.remedy)}")
    failed = [finding.name for finding in findings if finding.status == "failed"]
    if json:
        output.json({"ok": not failed, "checks": [finding.as_dict() for finding in findings]})
    else:
        output.say(
            f"{len(failed)} of {len(findings)} checks failed" if failed else "everything that is needed works"
        )
    if failed:
        raise typer.Exit(1)
