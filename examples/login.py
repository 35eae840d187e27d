#!/usr/bin/env python3
"""A login over AMQP: registers an account and a member, asks for a code, reads it from the
simulated phone and proves it. Prints every reply and event. Exit code 0 only if verified.

Needs pika and PyNaCl, and from the environment:

  STEPUP_APP_AMQP_URL  the broker, with the login of the app's own broker user
  STEPUP_PUBLIC_KEY    what `stepup keys public` prints
  STEPUP_SIM_URL       the simulator, `stepup-harness sim`
  STEPUP_PREFIX        what the names of the exchanges begin with, if not `stepup`

While `make demo` runs, `eval "$(make env)"` sets them.
"""

import base64
import json
import os
import random
import re
import sys
import time
import urllib.parse
import urllib.request
import uuid

import nacl.public
import pika

PREFIX = os.environ.get("STEPUP_PREFIX", "stepup")
REPLY_SECONDS = 15
SMS_SECONDS = 30
EVENT_SECONDS = 10


class App:
    """The app's side of the broker: asks on one channel and hears events on the same."""

    def __init__(self, amqp_url, public_key):
        parameters = pika.URLParameters(amqp_url)
        self.user = parameters.credentials.username
        key_id, key = public_key.strip().split(".", 1)
        self.key_id = key_id
        self.box = nacl.public.SealedBox(nacl.public.PublicKey(base64.b64decode(key)))
        # By correlation id, the replies that are waited for; None until one is there.
        self.replies = {}
        self.events = []
        self.connection = pika.BlockingConnection(parameters)
        self.channel = self.connection.channel()
        # A publish returns only once the broker holds the message on disk.
        self.channel.confirm_delivery()
        # The broker's direct reply-to: no queue of our own, and gone with this channel.
        self.channel.basic_consume("amq.rabbitmq.reply-to", self._reply, auto_ack=True)

    def seal(self, text):
        """Seals a text so that only stepup can read it: `<key id>.<base64 of a sealed box>`."""
        return f"{self.key_id}.{base64.b64encode(self.box.encrypt(text.encode())).decode()}"

    def listen(self, account):
        """Hears the events of one account. The broker lets an app make queues under its name."""
        queue = f"{self.user}.example-{uuid.uuid4().hex}"
        # Full, it drops its oldest event: it must never hold up the one who publishes.
        limits = {"x-max-length": 1000, "x-overflow": "drop-head"}
        self.channel.queue_declare(queue, exclusive=True, arguments=limits)
        self.channel.queue_bind(queue, f"{PREFIX}.events", f"{account}.#")
        self.channel.basic_consume(queue, self._event, auto_ack=True)

    def ask(self, key, body, message_id=None, seconds=REPLY_SECONDS):
        """Sends a request and waits for its outcome. Sent again with the same message_id, a request
        is answered with its first outcome and does nothing again."""
        message_id = message_id or str(uuid.uuid4())
        properties = pika.BasicProperties(
            user_id=self.user,
            message_id=message_id,
            correlation_id=message_id,
            reply_to="amq.rabbitmq.reply-to",
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Persistent.value,
        )
        self.replies[message_id] = None
        self.channel.basic_publish(f"{PREFIX}.requests", key, json.dumps(body), properties)
        self._wait(lambda: self.replies[message_id], seconds)
        outcome = self.replies.pop(message_id)
        if outcome is None:
            again = f"ask again with message_id {message_id}"
            raise TimeoutError(f"{key}: no reply within {seconds} s; {again}")
        print(f"{key}: {json.dumps(outcome, ensure_ascii=False)}")
        return outcome

    def hears(self, kind, seconds=EVENT_SECONDS, **fields):
        """Whether an event of this kind, with these fields, arrives soon."""
        wanted = {"type": kind, **fields}
        heard = lambda: any(wanted.items() <= event.items() for event in self.events)
        self._wait(heard, seconds)
        return heard()

    def _wait(self, done, seconds):
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            self.connection.process_data_events(time_limit=0.2)

    def _reply(self, _channel, _method, properties, body):
        # A late reply, to a request that was given up, is no answer to another one.
        if properties.correlation_id in self.replies:
            self.replies[properties.correlation_id] = json.loads(body)

    def _event(self, _channel, method, _properties, body):
        event = json.loads(body)
        self.events.append(event)
        print(f"  event {method.routing_key}: {json.dumps(event, ensure_ascii=False)}")


def code_on(sim_url, number):
    """Waits for the first text on a simulated phone and takes the code out of it."""
    path = f"/phones/{urllib.parse.quote(number, safe='')}/next?wait={SMS_SECONDS}"
    with urllib.request.urlopen(sim_url.rstrip("/") + path, timeout=SMS_SECONDS + 5) as answer:
        if answer.status != 200:
            raise SystemExit(f"no text within {SMS_SECONDS} s")
        text = json.load(answer)["text"]
    found = re.search(r"\b\d{6,8}\b", text)
    if not found:
        raise SystemExit("the text holds no code")
    return found.group()


def main():
    """Walks through one login and returns the exit code."""
    missing = [
        name
        for name in ("STEPUP_APP_AMQP_URL", "STEPUP_PUBLIC_KEY", "STEPUP_SIM_URL")
        if not os.environ.get(name)
    ]
    if missing:
        raise SystemExit(f"set {', '.join(missing)}")
    app = App(os.environ["STEPUP_APP_AMQP_URL"], os.environ["STEPUP_PUBLIC_KEY"])

    run = uuid.uuid4().hex[:12]
    account, member = f"example-{run}", "ada"
    number = f"+1202{random.randint(2, 9)}{random.randint(0, 999_999):06}"
    app.listen(account)

    stored = app.ask(
        "directory.account",
        {"account": account, "version": 1, "name": "Example Plumbing", "country": "US"},
    )
    if stored["outcome"] != "stored":
        return 1
    stored = app.ask(
        "directory.member",
        {
            "account": account,
            "member": member,
            "version": 1,
            "phone": app.seal(number),
            "two_factor": True,
        },
    )
    if stored["outcome"] != "stored":
        return 1

    issued = app.ask(
        "challenge.issue", {"account": account, "member": member, "login": f"session-{run}"}
    )
    # An app lets the member in at once after `not_required`, and not after any other answer.
    if issued["outcome"] != "open":
        return 1
    guess = code_on(os.environ["STEPUP_SIM_URL"], number)
    verified = app.ask(
        "challenge.verify",
        {"account": account, "challenge": issued["challenge"], "guess": app.seal(guess)},
    )
    heard = app.hears("challenge.verified", challenge=issued["challenge"], purpose="login")
    return 0 if verified["outcome"] == "verified" and heard else 1


if __name__ == "__main__":
    sys.exit(main())
