"""What a hand-over does with open sagas, as options of the commands that make one."""

from django.core.management.base import CommandParser


def add_saga_options(parser: CommandParser) -> None:
    """--drain-sagas and --pin-sagas, of which one may be given."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--drain-sagas",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="let no saga of the context begin, and wait so long at most until the open ones have ended",
    )
    choice.add_argument(
        "--pin-sagas",
        action="store_true",
        help="leave open sagas on the side where they began; what they write there the fence refuses meanwhile",
    )
