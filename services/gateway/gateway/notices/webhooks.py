"""Send notices to webhooks: CloudEvents in structured mode, signed as in Standard Webhooks.

Sources: CloudEvents 1.0.2, "HTTP Protocol Binding", 3.2 "Structured Content Mode",
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md; Standard Webhooks,
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec
from cachetools import TTLCache

from gateway.domain.notices import End, Webhook, secret_of
from gateway.notices.hooks import Hooks
from gateway.notices.messages import WebhookNotice
from swell.errors import SwellError, Unavailable
from swell.log import log

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
AT_ONCE = 2  # requests to one webhook
OF_OWNER = 3  # requests to all webhooks of one user or organisation
OF_USERS = 12  # requests to all webhooks but the operator's
PAUSE = 10.0  # seconds without requests after one has failed


class Poster(Protocol):
    async def post(self, url: str, headers: Mapping[str, str], content: bytes) -> int:
        """Send a POST request, and return the status of the response; redirects are not followed.

        Raises:
            SwellError: the address is forbidden, or does not answer in time.
        """


class Webhooks:
    """Slow webhooks of one user do not hold up the notices of others: requests to them are limited together, and a
    webhook that fails gets nothing for some seconds.
    """

    def __init__(
        self,
        hooks: Hooks,
        poster: Poster,
        users_poster: Poster,
        server_url: str,
        pause: float = PAUSE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """*poster* is for the webhooks of the operator, *users_poster* for those of users and organisations."""
        self._hooks = hooks
        self._poster = poster
        self._users_poster = users_poster
        self._server_url = server_url
        self._clock = clock
        self._running: Counter[str] = Counter()
        self._failed: TTLCache[str, bool] = TTLCache(1000, pause)

    async def send(self, notice: WebhookNotice, _: int) -> None:
        """Send *notice*; nothing happens if its webhook has been removed.

        Raises:
            Unavailable: the receiver has not accepted it, or is busy: again later.
        """
        webhook, key = await self._hooks.find(notice.owner, notice.webhook), f"{notice.owner} {notice.webhook}"
        if webhook is None:
            log.info("notice of a removed webhook dropped", webhook=notice.webhook, id=notice.end.id)
            return
        limits = {key: AT_ONCE} | ({f"{notice.owner} ": OF_OWNER, "": OF_USERS} if notice.owner else {})
        if key in self._failed or any(self._running[name] >= most for name, most in limits.items()):
            raise Unavailable(f"the webhook {webhook.name} failed or is busy")
        self._running.update(limits.keys())
        try:
            await self._post(webhook, notice.end, self._users_poster if notice.owner else self._poster)
        except Unavailable:
            self._failed[key] = True
            raise
        finally:
            self._running.subtract(limits.keys())
            self._running += Counter()  # without those that are zero

    async def _post(self, webhook: Webhook, end: End, poster: Poster) -> None:
        content = msgspec.json.encode(cloud_event(end, self._server_url))
        headers = signed(secret_of(webhook.secret), end.id, int(self._clock()), content)
        try:
            status = await poster.post(webhook.url, headers, content)
        except SwellError as error:
            raise Unavailable(f"the webhook {webhook.name} cannot be reached: {error}") from error
        if not 200 <= status < 300:
            raise Unavailable(f"the webhook {webhook.name} answers {status}")
        log.info("webhook notified", webhook=webhook.name, id=end.id, status=status)


def cloud_event(end: End, server_url: str) -> dict[str, object]:
    """The CloudEvent of *end*; `source` and `id` together are unique."""
    data = {
        "id": end.id,
        "image": end.image,
        "platform": end.platform,
        "succeeded": end.succeeded,
        "begun": end.begun,
        "url": page_of(end, server_url),
    }
    return {
        "specversion": "1.0",
        "type": f"swell.{end.kind}.done",
        "source": server_url,
        "id": end.id,
        "time": end.finished,
        "subject": end.image,
        "datacontenttype": "application/json",
        "data": data | ({"counts": end.counts} if end.counts else {}),
    }


def page_of(end: End, server_url: str) -> str:
    """The page of what has ended."""
    return f"{server_url}/view/{end.kind}s/{end.id}"


def signed(secret: bytes, message_id: str, timestamp: int, content: bytes) -> dict[str, str]:
    """The headers of a request with *content*; *timestamp* is in seconds since 1970."""
    text = b".".join((message_id.encode(), str(timestamp).encode(), content))
    signature = base64.b64encode(hmac.digest(secret, text, "sha256")).decode()
    return {
        "Content-Type": CONTENT_TYPE,
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }
