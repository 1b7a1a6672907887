"""Programs that read an event stream, with its real target filled in; logins are read from the reader's environment."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mails.events.sinks.config import SinkConfig

GROUP = "shop"  # the consumers' own name, as in docs/streams.md


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A program. `needs`: what to install; `note`: what its reader should know."""

    code: str
    needs: str
    note: str


def build_snippet(config: SinkConfig) -> Snippet:
    """Return the program that reads what this sink publishes."""
    return _BUILDERS[config.kind](config.address)


def _build_redis(address: Mapping[str, str]) -> Snippet:
    stream, login = json.dumps(address["stream"]), address["login"]
    keys = ', username=os.environ.get("REDIS_USERNAME"), password=os.environ["REDIS_PASSWORD"]' if login else ""
    code = f"""
import json{", os" if login else ""}
import redis

client = redis.Redis.from_url({json.dumps(address["url"])}{keys})
try:
    client.xgroup_create({stream}, "{GROUP}", id="$", mkstream=True)
except redis.ResponseError:
    pass  # the group exists already
while True:
    for _, entries in client.xreadgroup("{GROUP}", "worker-1", {{{stream}: ">"}}, count=100, block=5000):
        for entry, fields in entries:
            event = json.loads(fields[b"event"])
            print(event["type"], event["subject"])
            client.xack({stream}, "{GROUP}", entry)
"""
    note = "Redis drops the oldest entries: a consumer that is away for too long misses some, and gets them with manage.py replay."
    return Snippet(code=code.strip(), needs="pip install redis", note=note)


def _build_kafka(address: Mapping[str, str]) -> Snippet:
    settings = {"bootstrap.servers": address["servers"], "group.id": GROUP, "auto.offset.reset": "earliest"}
    if address["security"] != "PLAINTEXT":
        settings["security.protocol"] = address["security"]
    if address["mechanism"]:
        settings["sasl.mechanism"] = address["mechanism"]
    lines = [f"    {json.dumps(name)}: {json.dumps(value)}," for name, value in settings.items()]
    if address["mechanism"]:
        login = ("username", "password")
        lines += [f'    "sasl.{name}": os.environ["KAFKA_{name.upper()}"],' for name in login]
    code = f"""
{"import os" if address["mechanism"] else ""}
from confluent_kafka import Consumer

consumer = Consumer({{
{chr(10).join(lines)}
}})
consumer.subscribe([{json.dumps(address["topic"])}])
while True:
    message = consumer.poll(5)
    if message is not None and message.error() is None:
        print(dict(message.headers())["ce_type"], message.key(), message.value())
"""
    note = "The key is the email's id, so that events of one email stay in order. Its headers are the attributes of a CloudEvent."
    return Snippet(code=code.strip(), needs="pip install confluent-kafka", note=note)


def _build_kinesis(address: Mapping[str, str]) -> Snippet:
    stream = json.dumps(address["stream"])
    named = {"region_name": address["region"], "endpoint_url": address["endpoint"]}
    options = "".join(f", {name}={json.dumps(value)}" for name, value in named.items() if value)
    code = f"""
import json, time
import boto3

kinesis = boto3.client("kinesis"{options})
iterators = [
    kinesis.get_shard_iterator(StreamName={stream}, ShardId=shard["ShardId"], ShardIteratorType="LATEST")["ShardIterator"]
    for shard in kinesis.list_shards(StreamName={stream})["Shards"]
]
while True:
    for number, iterator in enumerate(iterators):
        if iterator is not None:
            answer = kinesis.get_records(ShardIterator=iterator, Limit=1000)
            iterators[number] = answer.get("NextShardIterator")
            for record in answer["Records"]:
                event = json.loads(record["Data"])
                print(event["type"], event["subject"])
    time.sleep(1)
"""
    note = (
        "It keeps no position: use Amazon's Kinesis Client Library, or a Lambda function, to go on where you stopped."
    )
    return Snippet(code=code.strip(), needs="pip install boto3", note=note)


def _build_file(address: Mapping[str, str]) -> Snippet:
    code = f"""
import json, time

with open({json.dumps(address["path"])}) as file:
    file.seek(0, 2)  # from now on; leave it out to begin with the oldest event
    while True:
        line = file.readline()
        if line:
            event = json.loads(line)
            print(event["type"], event["subject"])
        else:
            time.sleep(0.5)
"""
    return Snippet(code=code.strip(), needs="", note="In a terminal: tail -F, on the machine that publishes.")


_BUILDERS: Mapping[str, Callable[[Mapping[str, str]], Snippet]] = {
    "redis": _build_redis,
    "rediss": _build_redis,
    "kafka": _build_kafka,
    "kinesis": _build_kinesis,
    "file": _build_file,
}
