"""The `cloudpulse` command. Each subcommand's module is loaded only when it is called.

That is why `cloudpulse exporter` imports neither torch nor pandas, and why the shared ground can offer the
services' commands without importing them.
"""

from __future__ import annotations

import importlib
import sys

import click

from cloudpulse import __version__
from cloudpulse.errors import CloudPulseError, DependencyMissing

COMMANDS = {
    "exporter": ("exporter.__main__:command", "Show this host as metrics."),
    "forecaster": ("forecaster.__main__:command", "Forecast the configured PromQL expressions."),
    "alert-bridge": ("alert_bridge.__main__:command", "Carry Alertmanager's webhooks to people."),
    "scaler": ("scaler.__main__:command", "Answer the Kubernetes HPA from PromQL."),
    "up": ("cloudpulse.local.__main__:command", "Run the whole stack on this machine."),
    "forecast": ("forecaster.adhoc:command", "Forecast one PromQL expression or a CSV file, once."),
    "backtest": ("forecaster.backtesting:command", "Test the configured forecasts on their own past."),
    "simulate": ("forecaster.simulating:command", "Replay a load through the HPA: reactive against predictive."),
    "check": ("cloudpulse.check:command", "Validate the config file; with --online ask Prometheus, too."),
    "models": ("forecaster.versions:command", "Look at the versions of trained models, roll back, prune."),
}
"""Subcommand -> (module:attribute, help). The help stands here so that `--help` loads nothing."""

EXTRAS = {"forecaster": "forecaster", "alert_bridge": "alert-bridge", "scaler": "scaler", "cloudpulse": "all"}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module_name, _, attribute = COMMANDS[cmd_name][0].partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            package = module_name.partition(".")[0]
            if (error.name or "").partition(".")[0] in (package, "cloudpulse"):
                raise
            extra = EXTRAS.get(package, "all")
            raise DependencyMissing(
                f"`cloudpulse {cmd_name}` needs the package {error.name}: pip install 'cloudpulse[{extra}]'"
            ) from error
        command: click.Command = getattr(module, attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cloudpulse")
def cloudpulse() -> None:
    """The predictive layer for the Prometheus that you already run."""


def main() -> None:
    """Run the command; every error of our own is one message on stderr and an exit code."""
    try:
        cloudpulse()
    except CloudPulseError as error:
        from cloudpulse import logs  # a page of help does without

        click.echo(logs.printable_text(f"cloudpulse: {error}"), err=True)
        sys.exit(error.exit_code)
