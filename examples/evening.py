#!/usr/bin/env python3
"""An evening of a made-up company over AMQP: a member turns 2FA on, an admin makes it mandatory for
all, a bank account changes, a number changes, a phone is lost, and at the end stands what the
Activity report says of it. Prints every reply, event and message. Exit code 0 only if everything
went as it should. evening.sh does the same over HTTP; login.py is the shorter one to begin with.

Requests travel over AMQP; what an app reads, the findings of a review and the Activity report, it
reads over HTTP. Needs pika and PyNaCl, and from the environment what login.py needs, and besides:

  STEPUP_APPROVAL_KEYS  what `stepup keys approval` prints
  STEPUP_URL            the ingress: http://127.0.0.1:8080
  STEPUP_API_KEY        the API key of the app

The lost phone is waited for: start stepup with STEPUP_RESET_HOLD_SECONDS=10, in the place of a day.
"""

import base64
import datetime
import json
import os
import random
import re
import sys
import time
import urllib.parse
import urllib.request
import uuid

import nacl.signing

from login import App

ARRIVAL_SECONDS = 30
PATIENCE_SECONDS = 60
GRACE_SECONDS = 15


def scene(text):
    print(f"\n{text}", flush=True)


def check(holds, what):
    """Ends the evening with a sentence if something is not as it should be."""
    if not holds:
        raise SystemExit(f"evening: {what}")


def moment(text):
    """A time as stepup writes it."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def fetch(url, headers={}, seconds=ARRIVAL_SECONDS + 10):
    """The JSON at a URL; None if there is none yet (204)."""
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=seconds) as answer:
        return None if answer.status == 204 else json.load(answer)


def unpadded(text):
    """Bytes out of base64url without padding, as JWTs have it."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def claims_of(approval, keys, app):
    """What a signed approval says, once the signature, the issuer, the audience and the time are
    seen to be right."""
    head, body, signature = approval.split(".")
    header = json.loads(unpadded(head))
    check(header["alg"] == "EdDSA", f"an approval signed with {header['alg']}")
    key = next((key for key in keys["keys"] if key["kid"] == header["kid"]), None)
    check(key, f"no key {header['kid']} in STEPUP_APPROVAL_KEYS")
    # Raises if the signature is not of these bytes by this key.
    signed = f"{head}.{body}".encode()
    nacl.signing.VerifyKey(unpadded(key["x"])).verify(signed, unpadded(signature))
    claims = json.loads(unpadded(body))
    check(claims["iss"] == "stepup" and claims["aud"] == app, f"an approval for another: {claims}")
    check(claims["iat"] - 5 <= time.time() < claims["exp"], f"out of its time: {claims}")
    return claims


class Evening:
    """The company, and the app that it uses."""

    def __init__(self, environment):
        self.app = App(environment["STEPUP_APP_AMQP_URL"], environment["STEPUP_PUBLIC_KEY"])
        self.keys = json.loads(environment["STEPUP_APPROVAL_KEYS"])
        self.sim = environment["STEPUP_SIM_URL"].rstrip("/")
        self.url = environment["STEPUP_URL"].rstrip("/")
        self.api_key = environment["STEPUP_API_KEY"]
        self.run = uuid.uuid4().hex[:12]
        self.account = f"ridgeline-{self.run}"
        # A range of numbers of its own for each run, so that nobody gets too many messages.
        self.prefix = f"+1202{random.randint(2, 9)}{random.randint(0, 9999):04}"
        self.read = {}
        self.app.listen(self.account)

    def number(self, at):
        return f"{self.prefix}{at:02}"

    def address(self, member):
        return f"{member}.{self.run}@ridgeline.example"

    def ask(self, wanted, key, **body):
        """A request about the company, which must answer just this."""
        outcome = self.app.ask(key, {"account": self.account, **body})
        check(outcome["outcome"] == wanted, f"expected {wanted} from {key}, got {outcome}")
        return outcome

    def hear(self, kind, **fields):
        heard = self.app.hears(kind, PATIENCE_SECONDS, **fields)
        check(heard, f"no event {kind} {fields or ''} within {PATIENCE_SECONDS} s")

    def look_up(self, path):
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return fetch(f"{self.url}/v1/accounts/{self.account}/{path}", headers)

    def receive(self, place, recipient, word):
        """The message that holds a word, after those that were read already."""
        path = f"{self.sim}/{place}/{urllib.parse.quote(recipient, safe='@')}/next"
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while time.monotonic() < deadline:
            after = self.read.get(recipient, 0)
            message = fetch(f"{path}?after={after}&wait={ARRIVAL_SECONDS}")
            if message is None:
                break
            self.read[recipient] = after + 1
            if word in message["text"]:
                print("    | " + message["text"].strip().replace("\n", "\n    | "))
                return message["text"]
        raise SystemExit(f"evening: nothing with '{word}' came to {recipient}")

    def code(self, text):
        return self.app.seal(re.search(r"\b\d{6,8}\b", text).group())

    def prove(self, opened, number, word="code"):
        """Proves a challenge with the code that the phone shows."""
        guess = self.code(self.receive("phones", number, word))
        return self.ask("verified", "challenge.verify", challenge=opened["challenge"], guess=guess)

    def enters(self, member, **fields):
        """A member of the company, with a confirmed address."""
        email = self.app.seal(self.address(member))
        self.ask("stored", "directory.member", member=member, version=1, email=email,
                 email_verified=True, **fields)

    def company(self):
        scene("Ridgeline Plumbing: Grace runs it. Grace, Dan and Eve have 2FA on; Ben and Cleo have "
              "no phone.")
        phone = lambda at: self.app.seal(self.number(at))
        self.ask("stored", "directory.account", version=1, name="Ridgeline Plumbing", country="US",
                 origin="app.fieldservice.example")
        self.enters("grace", role="primary_admin", notify_number_changes=True, two_factor=True,
                    phone=phone(1))
        self.enters("ada", phone=phone(2))
        self.enters("dan", phone=phone(3), two_factor=True)
        self.enters("eve", phone=phone(4), two_factor=True)
        self.enters("ben")
        self.enters("cleo")

    def enrolment(self):
        scene("Ada turns 2FA on. The app shows where the code would go, then has it sent.")
        self.ask("ready", "enrolment.start", member="ada")
        opened = self.ask("open", "enrolment.send", member="ada")
        self.prove(opened, self.number(2))
        self.ask("already_enabled", "enrolment.start", member="ada")

    def mandate(self):
        scene("Grace makes 2FA mandatory. First a review of everybody, which finds two without a "
              "phone.")
        review = self.ask("reviewing", "team.review", actor="grace")["review"]
        self.hear("review.finished", review=review)
        members = self.look_up(f"reviews/{review}")["members"]
        bare = [found["member"] for found in members if "no_phone" in found["verdicts"]]
        check(bare == ["ben", "cleo"], f"expected ben and cleo without a phone: {members}")
        print(f"  without a phone: {', '.join(bare)}")
        mandate = {"actor": "grace", "review": review, "confirmed": True}
        self.ask("not_acknowledged", "team.mandate.enable", **mandate)
        # In earnest the grace is some weeks. The code is good for just this, the time included.
        self.grace_until = now() + datetime.timedelta(seconds=GRACE_SECONDS)
        until = self.grace_until.strftime("%Y-%m-%dT%H:%M:%SZ")
        mandate |= {"acknowledged": bare, "grace_until": until}
        opened = self.ask("open", "team.mandate.enable", **mandate)
        self.prove(opened, self.number(1))
        self.ask("stored", "team.mandate.enable", proof=opened["challenge"], **mandate)
        spared = self.ask("not_required", "challenge.issue", member="ben", login="ben-1")
        check("enrol_by" in spared, f"expected enrol_by: {spared}")
        self.hear("mandate.applied")

    def bank_account(self):
        scene("Ada changes the bank account. A code approves exactly this change.")
        before, after = "DE02120300000000202051", "DE02500105170137075030"
        opened = self.ask(
            "open", "settings.change.request", member="ada", change=f"change-{self.run}",
            setting="bank_account", before=self.app.seal(before), after=self.app.seal(after),
            summary=self.app.seal("payouts to the account ending in 5030"))
        verified = self.prove(opened, self.number(2), "5030")
        # The audience is the app; here it is named like its broker user.
        claims = claims_of(verified["approval"], self.keys, self.app.user)
        print(f"  a signed approval: {claims}")
        for claim, wanted in {
            "jti": opened["challenge"], "account": self.account, "sub": "ada",
            "setting": "bank_account", "change": f"change-{self.run}",
            "operation": opened["operation"], "amr": ["otp", "sms"],
        }.items():
            check(claims[claim] == wanted, f"the approval's {claim} is {claims[claim]}")
        # Right before it carries the change out, the app asks whether it may. That is granted once.
        redeem = {"challenge": opened["challenge"], "before": self.app.seal(before)}
        self.ask("redeemed", "settings.change.redeem", **redeem)
        self.ask("already_used", "settings.change.redeem", **redeem)

    def changed_number(self):
        scene("Dan has a new number: a code to the old one, then a code to the new one.")
        new = self.app.seal(self.number(5))
        opened = self.ask("open", "number.change", member="dan", phone=new)
        self.prove(opened, self.number(3))
        proof = opened["challenge"]
        opened = self.ask("open", "number.change", member="dan", phone=new, proof=proof)
        self.prove(opened, self.number(5))
        mail = self.receive("mailboxes", self.address("grace"), "Member:      dan")
        check("•••05" in mail, "the mail does not name the new number")
        self.receive("mailboxes", self.address("dan"), "was changed")
        self.ask("cooling_off", "settings.change.request", member="dan", change=f"dan-{self.run}",
                 setting="bank_account", before=self.app.seal("one"), after=self.app.seal("two"),
                 summary=self.app.seal("payouts to Dan"))

    def lost_phone(self):
        scene("Eve has lost her phone. Sue at support asks for a reset; Tom, not Sue, approves it.")
        reset = self.ask("recorded", "support.reset.request", member="eve", requested_by="sue",
                         reason="phone left on a train")["reset"]
        self.ask("forbidden", "support.reset.approve", reset=reset, approved_by="sue")
        approved = self.ask("recorded", "support.reset.approve", reset=reset, approved_by="tom")
        hold = (moment(approved["due_at"]) - now()).total_seconds()
        check(hold <= PATIENCE_SECONDS, f"the reset waits {hold:.0f} s; start stepup with "
              "STEPUP_RESET_HOLD_SECONDS=10 for this")
        self.receive("mailboxes", self.address("eve"), "reset")
        self.hear("factor.reset", member="eve")
        login = {"member": "eve", "login": "eve-1"}
        self.ask("enrolment_required", "challenge.issue", **login)
        # Her address speaks for her, and lets her bind a new number.
        self.ask("code_mailed", "email.prove", member="eve")
        mail = self.receive("mailboxes", self.address("eve"), "confirm")
        self.ask("stored", "email.confirm", member="eve", guess=self.code(mail))
        new = self.app.seal(self.number(6))
        self.prove(self.ask("open", "enrolment.send", member="eve", phone=new), self.number(6))
        self.prove(self.ask("open", "challenge.issue", **login), self.number(6))

    def after_the_grace(self):
        scene("Ben has done nothing, and the grace is over.")
        self.app.connection.sleep(max(0, (self.grace_until - now()).total_seconds()) + 1)
        self.ask("enrolment_required", "challenge.issue", member="ben", login="ben-2")

    def report(self):
        scene("What the Activity report keeps of the evening, the oldest first:")
        rows = self.look_up("activity?limit=1000")["activity"][::-1]
        for row in rows:
            numbers = row["new_number"] or ""
            if row["old_number"]:
                numbers = f"{row['old_number']} -> {row['new_number'] or 'none'}"
            print(f"  {row['at'][11:19]}  {row['member'] or 'all':6} by {row['actor']:6} "
                  f"{row['action']:19} {row['origin']:8} {numbers}")
        found = [(row["member"], row["actor"], row["action"], row["origin"]) for row in rows]
        check(found == ROWS, f"these rows were expected: {ROWS}")


# Whom it concerns (none: the whole account), who did it, what, and how.
ROWS = [
    ("grace", "grace", "two_factor_enabled", "self"),
    ("dan", "dan", "two_factor_enabled", "self"),
    ("eve", "eve", "two_factor_enabled", "self"),
    ("ada", "ada", "two_factor_enabled", "self"),
    (None, "grace", "mandate_enabled", "admin"),
    ("ben", "grace", "two_factor_enabled", "mandate"),
    ("cleo", "grace", "two_factor_enabled", "mandate"),
    ("dan", "dan", "number_changed", "self"),
    ("eve", "sue", "reset_requested", "support"),
    ("eve", "tom", "reset_approved", "support"),
    ("eve", "tom", "number_changed", "support"),
    ("eve", "tom", "factor_reset", "support"),
    ("eve", "eve", "number_changed", "self"),
]


def main():
    """Walks through the evening; ends with an exit code other than 0 where it goes wrong."""
    names = ("STEPUP_APP_AMQP_URL", "STEPUP_PUBLIC_KEY", "STEPUP_APPROVAL_KEYS", "STEPUP_SIM_URL",
             "STEPUP_URL", "STEPUP_API_KEY")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise SystemExit(f"set {', '.join(missing)}")
    evening = Evening(os.environ)
    evening.company()
    evening.enrolment()
    evening.mandate()
    evening.bank_account()
    evening.changed_number()
    evening.lost_phone()
    evening.after_the_grace()
    evening.report()


if __name__ == "__main__":
    sys.exit(main())
