"""Put the download links of an email into its bodies, for the provider and for people who look at it."""

import datetime as dt
import uuid
from dataclasses import replace

from mails.files import link_tokens
from mails.message import link_block
from mails.message.link_block import ShownLink
from mails.message.message import LinkReference, Message
from mercury.lib.durations import format_size


def add_links(message: Message) -> Message:
    """Return the message with its links at the end of its text and of its HTML. Raises BaseUrlMissing."""
    if not message.links:
        return message
    shown = [_show(link) for link in message.links]
    text = link_block.add_to_text(message.text, shown) if message.text or not message.html else ""
    html = link_block.add_to_html(message.html, shown) if message.html else ""
    return replace(message, text=text, html=html)


def _show(link: LinkReference) -> ShownLink:
    expires = dt.datetime.fromisoformat(link.expires)
    return ShownLink(
        filename=link.filename,
        details=f"{format_size(link.size)}, until {expires:%Y-%m-%d %H:%M} UTC",
        url=link_tokens.make_url(uuid.UUID(link.id)),
    )
