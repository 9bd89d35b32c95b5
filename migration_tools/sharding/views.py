"""Where a key is, for clients that hold no map, and the whole map, for those that do."""

from dataclasses import asdict

import django.http as http
from django.views import View

from migration_tools.errors import ShardingError
from migration_tools.messaging.feed import consumer_of
from migration_tools.sharding.declaration import sharding
from migration_tools.sharding.homes import home_of
from migration_tools.sharding.mapping import Strategy
from migration_tools.sharding.maps import read_map


class _MapView(View):
    """For services that FEED_TOKENS names."""

    http_method_names = ["get"]

    def dispatch(self, request: http.HttpRequest, *args: object, **kwargs: object) -> http.HttpResponseBase:
        """Refuse strangers, and turn what cannot be found into a problem."""
        if consumer_of(request) is None:
            return problem(401, "Unauthorized", "present the token that FEED_TOKENS holds for this client")
        try:
            return super().dispatch(request, *args, **kwargs)
        except ShardingError as error:
            return problem(404, "Not Found", str(error))


class LocationView(_MapView):
    """GET …/shard-location?map=customers&key=cust-123[&region=eu]."""

    def get(self, request: http.HttpRequest) -> http.HttpResponse:
        """Say which shard serves a key, under which epoch."""
        name, key = request.GET.get("map", ""), request.GET.get("key", "")
        current = read_map(name)
        try:
            asked = int(key) if current.strategy is Strategy.RANGE else key
        except ValueError:
            return problem(400, "Bad Request", f"map {name!r} is by range; its keys are integers")
        region = request.GET.get("region", "")
        bucket = current.locate(asked, (region and home_of(name, asked)) or region)
        return http.JsonResponse(
            {
                "map": name,
                "version": current.version,
                "bucket": bucket.number,
                "epoch": bucket.epoch,
                "shard": bucket.shard,
                "endpoint": sharding(name).shard(bucket.shard).endpoint,
            }
            | ({"region": bucket.region} if bucket.region else {})
        )


class WholeView(_MapView):
    """GET …/shard-map/<name>/, with the version as its ETag."""

    def get(self, request: http.HttpRequest, name: str) -> http.HttpResponse:
        """Give every bucket; nothing if the client has this version."""
        current = read_map(name)
        tag = f'"{current.version}"'
        if request.headers.get("If-None-Match") == tag:
            answer: http.HttpResponse = http.HttpResponseNotModified()
        else:
            answer = http.JsonResponse(
                {
                    "map": name,
                    "strategy": current.strategy.value,
                    "version": current.version,
                    "between": current.between,
                    "buckets": [asdict(bucket) for bucket in current.buckets],
                }
            )
        answer["ETag"] = tag
        return answer


def problem(status: int, title: str, detail: str) -> http.JsonResponse:
    """A problem document."""
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return http.JsonResponse(document, status=status, content_type="application/problem+json")
