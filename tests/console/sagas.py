"""A saga of the shop for the console's tests: found where this package is an installed app."""

from migration_tools.sagas.declaring import declare
from migration_tools.sagas.definition import Saga, Step

HANDLING = declare(
    Saga(
        "handling",
        stream="orders",
        steps=(
            Step("reserve", command="stock.reserve", compensation="stock.release", replies="stock"),
            Step("ship", command="depot.ship", replies="depot", pivot=True),
        ),
    )
)
