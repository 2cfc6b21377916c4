"""Reads a topic of orderly from its beginning to its end as of now, and prints a line of JSON for each record.

    reader.py BROKERS TOPIC SCHEMAS events|state

It knows Kafka by kafka-python, which shares no code with the service's client, and CloudEvents by the specification.
"""

import json
import sys
from datetime import datetime
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

NEEDED = ["ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_sequence"]


def main() -> None:
    brokers, topic, schemas, kind = sys.argv[1:]
    required = {
        path.name.removesuffix(".schema.json"): json.loads(path.read_text()).get("required", [])
        for path in Path(schemas).glob("*.schema.json")
    }
    consumer = KafkaConsumer(
        bootstrap_servers=brokers.split(","), group_id=None, enable_auto_commit=False, isolation_level="read_committed"
    )
    partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends = consumer.end_offsets(partitions)
    left = {partition for partition in partitions if consumer.position(partition) < ends[partition]}
    while left:
        for partition, records in consumer.poll(timeout_ms=1000).items():
            for record in records:
                if record.offset < ends[partition]:
                    print(json.dumps(look(record, required, kind == "events")))
            if consumer.position(partition) >= ends[partition]:
                left.discard(partition)
    consumer.close()


def look(record, required: dict[str, list[str]], is_event: bool) -> dict:
    """A record as the binary mode of CloudEvents says, and its data by the schema of its type."""
    headers = {name.lower(): (value or b"").decode() for name, value in record.headers}
    key, wrong = (record.key or b"").decode(), []
    if is_event:
        wrong += [f"no {name}" for name in NEEDED if not headers.get(name)]
        if headers.get("ce_specversion") != "1.0":
            wrong.append(f"specversion {headers.get('ce_specversion')}")
        if headers.get("ce_subject") != key:
            wrong.append(f"subject {headers.get('ce_subject')} under the key {key}")
        try:
            datetime.fromisoformat(headers.get("ce_time", ""))
        except ValueError:
            wrong.append(f"time {headers.get('ce_time')}")
    kind, sequence = headers.get("ce_type", ""), headers.get("ce_sequence", "")
    if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        wrong.append(f"content type {headers.get('content-type')}")
    try:
        data = json.loads(record.value)
        if kind not in required:
            wrong.append(f"no schema of {kind}")
        wrong += [f"no {field} in {kind}" for field in required.get(kind, []) if field not in data]
        if str(data.get("version")) != sequence:
            wrong.append(f"version {data.get('version')} under sequence {sequence}")
        if data.get("order_id") != key:
            wrong.append(f"order {data.get('order_id')} under the key {key}")
    except (TypeError, ValueError, AttributeError) as error:
        wrong.append(f"data is no JSON object: {error}")
    return {
        "partition": record.partition, "offset": record.offset, "key": key,
        "id": headers.get("ce_id", ""), "type": kind, "sequence": sequence, "wrong": wrong,
    }


if __name__ == "__main__":
    main()
