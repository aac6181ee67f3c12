"""The command line: which commands there are, and how each of them ends.

It knows nothing of what they do.  A person's mistake ends in four lines and the exit status of that
mistake; a bug of ours ends in one line and status 70, with the traceback if POINTSMAN_DEBUG is set.
"""

from __future__ import annotations

import os
import sys
import traceback

import click

from pointsman import __version__
from pointsman.cli.ca import ca
from pointsman.cli.demo import demo
from pointsman.cli.doctor import doctor
from pointsman.cli.driver import driver
from pointsman.cli.events import events
from pointsman.cli.flows import flows
from pointsman.cli.lab import lab
from pointsman.cli.learned import learned
from pointsman.cli.pause import pause, resume
from pointsman.cli.policy import policy
from pointsman.cli.run import run
from pointsman.cli.service import service
from pointsman.cli.status import status
from pointsman.cli.trust import trust
from pointsman.cli.uninstall import uninstall
from pointsman.cli.why import why
from pointsman.errors import Exit, PointsmanError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pointsman")
def cli() -> None:
    """A transparent proxy: the driver decides what happens to a connection, the proxy how it is handled.

    \b
    pointsman demo                              see the whole path at work, in twenty seconds
    pointsman lab -- curl https://example.com/  see what one program says on the network
    """


cli.add_command(demo)
cli.add_command(lab)
cli.add_command(run)
cli.add_command(policy)
cli.add_command(why)
cli.add_command(ca)
cli.add_command(trust)
cli.add_command(status)
cli.add_command(pause)
cli.add_command(resume)
cli.add_command(events)
cli.add_command(flows)
cli.add_command(learned)
cli.add_command(driver)
cli.add_command(service)
cli.add_command(doctor)
cli.add_command(uninstall)


def main() -> None:
    try:
        cli.main(standalone_mode=False)
    except PointsmanError as error:
        click.echo(str(error), err=True)
        sys.exit(error.status)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone; a second complaint at shutdown helps nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.FAILED)
    except Exception as error:  # the last line of defence: never a traceback in a user's face
        if os.environ.get("POINTSMAN_DEBUG"):
            traceback.print_exc()
        click.echo(
            str(
                PointsmanError(
                    "internal error, a bug of Pointsman",
                    code="PM900",
                    seen=f"{type(error).__name__}: {error}",
                    effect="this command ended; connections that need it go direct (fail open)",
                    do="run it again with POINTSMAN_DEBUG=1 and report what it prints",
                )
            ),
            err=True,
        )
        sys.exit(Exit.INTERNAL)
