-- Challenges, their deliveries, and what limits them.

-- A challenge row is updated a handful of times in its life, so room is left for HOT updates, and
-- no index names a column that changes with the state: a predicate on `state` would make every
-- verification write every index.
CREATE TABLE challenge (
    id              uuid PRIMARY KEY,
    account         text NOT NULL,
    member          text NOT NULL,
    login           text NOT NULL,
    purpose         text NOT NULL CHECK (purpose IN ('login')),
    state           text NOT NULL CHECK (state IN ('open', 'verified', 'expired', 'locked',
                                                   'cancelled', 'superseded', 'undeliverable')),
    reason          text,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    code_digits     smallint NOT NULL CHECK (code_digits BETWEEN 6 AND 10),
    code_kid        text NOT NULL,
    code_mac        bytea NOT NULL,
    code_sealed     bytea,
    phone_index     bytea NOT NULL,
    email_index     bytea,
    email_fallback  text NOT NULL,
    sends           smallint NOT NULL,
    wrong           smallint NOT NULL DEFAULT 0,
    resend_at       timestamptz NOT NULL,
    send_at         timestamptz,
    fallback_at     timestamptz,
    -- The deliverable copy of the code goes when the challenge ends.
    CHECK ((state = 'open') = (code_sealed IS NOT NULL)),
    CHECK ((state = 'open') = (ended_at IS NULL)),
    CHECK (expires_at <= created_at + interval '10 minutes')
) WITH (fillfactor = 70);

-- The timers sweep these.
CREATE INDEX challenge_expires_at ON challenge (expires_at);
CREATE INDEX challenge_fallback_at ON challenge (fallback_at) WHERE fallback_at IS NOT NULL;
CREATE INDEX challenge_send_at ON challenge (send_at) WHERE send_at IS NOT NULL;

-- The last challenge of each pending login: what answers "is there one already", "was it replaced",
-- and "what is open for this member".
CREATE TABLE login (
    account    text NOT NULL,
    member     text NOT NULL,
    login      text NOT NULL,
    challenge  uuid NOT NULL,
    PRIMARY KEY (account, member, login)
) WITH (fillfactor = 70);
CREATE INDEX login_challenge ON login (challenge);

-- One row per send. A code can go by email only beside an SMS: an email row must name an SMS row of
-- the same challenge, so that email as the first channel cannot be stored at all.
CREATE TABLE delivery_attempt (
    challenge          uuid NOT NULL,
    channel            text NOT NULL CHECK (channel IN ('sms', 'email')),
    send               smallint NOT NULL,
    backs_up_channel   text CHECK (backs_up_channel = 'sms'),
    backs_up_send      smallint,
    state              text NOT NULL CHECK (state IN ('queued', 'calling', 'accepted', 'failed',
                                                      'unknown', 'skipped')),
    tries              smallint NOT NULL DEFAULT 0,
    destination_index  bytea NOT NULL,
    granted_at         timestamptz NOT NULL,
    lease_until        timestamptz,
    settled_at         timestamptz,
    answer             text,
    provider_ref       text,
    PRIMARY KEY (challenge, channel, send),
    CHECK ((channel = 'email') = (backs_up_channel IS NOT NULL AND backs_up_send IS NOT NULL)),
    FOREIGN KEY (challenge, backs_up_channel, backs_up_send)
        REFERENCES delivery_attempt (challenge, channel, send) ON DELETE CASCADE
) WITH (fillfactor = 70);
CREATE INDEX delivery_attempt_destination ON delivery_attempt (destination_index, granted_at);

-- The timer of a number, shared by all members who have it; its row is also the lock under which
-- sends to the number are counted.
CREATE TABLE destination (
    destination_index  bytea PRIMARY KEY,
    next_send_at       timestamptz,
    used_at            timestamptz NOT NULL
) WITH (fillfactor = 70);

-- Wrong codes by member: counted in rolling windows, not reset by success.
CREATE TABLE wrong_guess (
    account    text NOT NULL,
    member     text NOT NULL,
    at         timestamptz NOT NULL,
    challenge  uuid NOT NULL
);
CREATE INDEX wrong_guess_member ON wrong_guess (account, member, at);
CREATE INDEX wrong_guess_at ON wrong_guess (at);

-- How far the timers have swept.
CREATE TABLE watermark (
    timer    text PRIMARY KEY,
    reached  timestamptz NOT NULL
);

-- Plans are kept, and a plan made for a table that was seen almost empty is a bad one later: see
-- docs/adr/0011. Vacuum and analyze leave the tables that grow alone until they have grown.
DO $$
DECLARE
    grows text;
BEGIN
    FOREACH grows IN ARRAY ARRAY['account', 'member', 'challenge', 'login', 'delivery_attempt',
                                 'destination', 'wrong_guess'] LOOP
        EXECUTE format('ALTER TABLE %I SET (autovacuum_analyze_threshold = 1000, '
            'autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_threshold = 10000)', grows);
    END LOOP;
END $$;
